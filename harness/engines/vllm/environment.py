"""One virtual environment for every release of vLLM, built once: torch of the running version, and what the releases import."""

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

PACKAGES = Path(__file__).parent / "packages.txt"
Tell = Callable[[str], None]


def room() -> Path:
    """Where the environment and the releases' trees are kept."""
    return cache.base() / "vllm"


def wanted() -> list[str]:
    """What the environment holds. The public version of torch alone: an index has no build called +cpu."""
    lines = [line.partition("#")[0].strip() for line in PACKAGES.read_text("utf-8").splitlines()]
    return [f"torch=={version('torch').partition('+')[0]}", *filter(None, lines)]


def folder() -> Path:
    """The environment's place: another torch, another Python or another list is another environment."""
    told = hashlib.sha256("\n".join(wanted()).encode()).hexdigest()[:8]
    return room() / f"env-{wanted()[0].replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}-{told}"


def python(tell: Tell) -> Path:
    """The environment's Python; builds it first where it is not there. Raises BadInput where it cannot be built."""
    place = folder()
    if not place.is_dir():
        with cache.under_another_name(place) as fresh:
            _build(fresh, tell)
    return place / "bin" / "python"


def _build(place: Path, tell: Tell) -> None:
    tell(f"making the environment for vLLM releases, once: {wanted()[0]} and {len(wanted()) - 1} packages, some 2 GB")
    venv.create(place, with_pip=True, symlinks=True)
    # Python compiles what is imported; to compile all that is installed is half the work.
    options = ["install", "--no-compile", "--progress-bar", "off"]
    code, words = pip(place / "bin" / "python", [*options, *wanted()], tell)
    if code:
        raise BadInput(f"the environment for vLLM releases cannot be built: {complaint(words)}")


def pip(interpreter: Path, arguments: list[str], tell: Tell, path: str = "") -> tuple[int, list[str]]:
    """Run pip with each of its lines told as it comes; its exit code and its lines. ``path`` is put on its import path."""
    command = [str(interpreter), "-m", "pip", *arguments, "--retries", "2", "--disable-pip-version-check"]
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    surroundings |= {"PYTHONPATH": path} if path else {}
    words: list[str] = []
    with subprocess.Popen(
        command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in map(str.strip, process.stdout):
            words.append(line)
            tell(f"pip: {line}")
    return process.returncode, words


def complaint(words: list[str]) -> str:
    """What pip said was wrong: its last error, or its last line, and why an index did not answer if one did not."""
    errors = [line.removeprefix("ERROR: ") for line in words if line.startswith("ERROR: ")]
    silent = [line.partition("connection broken by ")[2] for line in words if "connection broken by " in line]
    return "; ".join([(errors or words or ["pip said nothing"])[-1], *silent[-1:]])
