"""Releases of vLLM by number: downloaded from the package index as sources, unpacked and cached."""

import os
import re
import sys
import tarfile
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from harness.base.cache import atomic_folder
from harness.base.errors import BadInput, nearest
from harness.engines.vllm.environment import Report, complaint, pip, python, room

LAYER = Path("vllm", "model_executor", "layers", "fused_moe")
COUNT = "harness-files.txt"  # has the number of files of a complete tree
_NUMBER = re.compile(r"\d+(\.\d+)*([a-z]+\d+)?(\.post\d+)?(\.dev\d+)?")
# Even for a download, pip asks the build backend of a source archive for metadata. vLLM's backend would look for a compiler.
# This one copies the archive's own metadata and runs nothing of it.
BACKEND = """\
import pathlib, shutil

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "vllm-0.dist-info"
    pathlib.Path(folder, name).mkdir()
    shutil.copy("PKG-INFO", pathlib.Path(folder, name, "METADATA"))
    return name
"""


def tree(version: str, report: Report) -> Path:
    """The folder of a release's Python tree. Downloads it if it is missing or incomplete. Raises BadInput."""
    if not _NUMBER.fullmatch(version):
        raise BadInput(f"{version!r} is not a release of vLLM; expected a number such as 0.20.2")
    place = room() / f"vllm-{version}"
    if place.is_dir() and not _complete(place):
        report(f"vLLM {version} is incomplete in {place.parent}; downloading it again")
        with atomic_folder(place.with_name(f"broken-{version}")) as aside:
            place.rename(aside / place.name)
            _fetch(version, place, report)
            return place
    if not place.is_dir():
        _fetch(version, place, report)
    return place


def checkout(path: str) -> Path:
    """The folder from which ``vllm`` is imported, for a checkout or an unpacked archive. Raises BadInput."""
    place = Path(os.path.realpath(Path(path).expanduser()))
    if os.path.isdir(place / LAYER.relative_to("vllm")) and not os.path.isdir(place / LAYER):
        place = place.parent  # the user gave the package's own folder
    if not os.path.isdir(place / LAYER):
        raise BadInput(f"{path} is not a source tree of vLLM: it has no {LAYER}")
    return place


def _fetch(version: str, place: Path, report: Report) -> None:
    report(f"downloading vLLM {version}, sources only")
    # By the harness's own pip: a number that the index does not have is answered before the environment is built. The search
    # leaves setuptools' hook out, which warns where distutils is imported.
    interpreter = Path(sys.executable) if PathFinder.find_spec("pip") else python(report)
    with atomic_folder(place) as fresh:
        backend = fresh / "backend" / "setuptools"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(BACKEND, "utf-8")
        arguments = ["download", "--no-deps", "--no-binary", "vllm", "--no-build-isolation", "--progress-bar", "off"]
        code, lines = pip(
            interpreter, [*arguments, "--dest", str(fresh), f"vllm=={version}"], report, str(backend.parent)
        )
        archives = list(fresh.glob("*.tar.gz"))
        if code or not archives:
            raise BadInput(_why(version, lines))
        _unpack(archives[0], fresh)
        (fresh / COUNT).write_text(f"{_count(fresh)}\n", "utf-8")


def _unpack(archive: Path, place: Path) -> None:
    """Unpack only the archive's Python package, and delete the archive."""
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(place, _wanted(opened), filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadInput(f"{archive.name} cannot be unpacked: {error}") from None
    archive.unlink()
    for inner in place.glob("vllm-*/vllm"):
        inner.rename(place / "vllm")
    if not (place / LAYER).is_dir():
        raise BadInput(f"{archive.name} contains no {LAYER}: the harness does not know the MoE layer of this release")


def _wanted(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in opened:
        parts = Path(member.name).parts
        if parts[1:2] == ("vllm",) and member.isfile():
            yield member


def _count(place: Path) -> int:
    return sum(1 for file in (place / "vllm").rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _complete(place: Path) -> bool:
    try:
        return int((place / COUNT).read_text("utf-8")) == _count(place)
    except (OSError, ValueError):
        return False


def _why(version: str, lines: list[str]) -> str:
    """Why pip could not download a release, in one line."""
    known = next((match[1] for line in lines if (match := re.search(r"\(from versions: (.*)\)", line))), None)
    if known is None or known == "none":
        return f"vLLM {version} cannot be downloaded: {complaint(lines)}"
    near = nearest(version, known.split(", "))
    return f"vLLM {version} is not on the package index" + (f"; did you mean {' or '.join(near)}?" if near else "")
