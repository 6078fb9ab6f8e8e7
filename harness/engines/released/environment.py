"""One virtual environment for every release of an engine: this Python's version of torch, and what the releases import."""

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from harness.base import cache
from harness.base.errors import BadInput
from harness.engines.released.engine import Released

Report = Callable[[str], None]


def room(engine: Released) -> Path:
    """The cache folder of the environment and the releases' trees."""
    return cache.cache_root() / engine.name


def wanted(engine: Released) -> list[str]:
    """The packages of the environment. torch by its public version: the package index has no build called +cpu."""
    entries = [line.partition("#")[0].strip() for line in engine.packages.read_text("utf-8").splitlines()]
    return [f"torch=={version('torch').partition('+')[0]}", *filter(None, entries)]


def folder(engine: Released) -> Path:
    """The environment's folder. Each torch, Python and list of packages has its own."""
    digest = hashlib.sha256("\n".join(wanted(engine)).encode()).hexdigest()[:8]
    return (
        room(engine)
        / f"env-{wanted(engine)[0].replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}-{digest}"
    )


def python(engine: Released, report: Report) -> Path:
    """The environment's Python. Builds the environment if it is not there. Raises BadInput if that fails."""
    place = folder(engine)
    if not place.is_dir():
        with cache.atomic_folder(place) as fresh:
            _build(engine, fresh, report)
    return place / "bin" / "python"


def _build(engine: Released, place: Path, report: Report) -> None:
    torch, *packages = wanted(engine)
    report(
        f"building the environment for {engine.title} releases, once: {torch} and {len(packages)} packages, about 2 GB"
    )
    venv.create(place, with_pip=True, symlinks=True)
    # Python compiles what it imports. Compiling everything at installation would double the time.
    options = ["install", "--no-compile", "--progress-bar", "off"]
    code, lines = pip(place / "bin" / "python", [*options, torch, *packages], report)
    if code:
        raise BadInput(f"the environment for {engine.title} releases cannot be built: {complaint(lines)}")


def pip(interpreter: Path, arguments: list[str], report: Report, path: str = "") -> tuple[int, list[str]]:
    """Run pip and report its lines as they come. Returns its exit code and its lines. ``path`` becomes its PYTHONPATH."""
    command = [str(interpreter), "-m", "pip", *arguments, "--retries", "2", "--disable-pip-version-check"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": path} if path else {}
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in map(str.strip, process.stdout):
            lines.append(line)
            report(f"pip: {line}")
    return process.returncode, lines


def complaint(lines: list[str]) -> str:
    """The last error of pip, or else its last line, and the reason if a package index did not answer."""
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    silent = [line.partition("connection broken by ")[2] for line in lines if "connection broken by " in line]
    return "; ".join([(errors or lines or ["pip printed nothing"])[-1], *silent[-1:]])
