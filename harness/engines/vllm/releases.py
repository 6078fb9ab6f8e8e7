"""Releases of vLLM by their number: fetched from the package index as sources, unpacked to their Python tree, kept."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from harness.base.cache import under_another_name
from harness.base.errors import BadInput, nearest
from harness.engines.vllm.environment import Tell, complaint, pip, python, room

LAYER = Path("vllm", "model_executor", "layers", "fused_moe")
COUNT = "harness-files.txt"  # how many files a whole tree has
_NUMBER = re.compile(r"\d+(\.\d+)*([a-z]+\d+)?(\.post\d+)?(\.dev\d+)?")
# pip asks a source archive's build backend for its metadata even if it is to be downloaded alone. vLLM's would look for a
# compiler; this one answers with what the archive says of itself, and runs nothing of it.
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


def tree(version: str, tell: Tell) -> Path:
    """The folder of a release's Python tree; fetches it first where it is not there whole. Raises BadInput."""
    if not _NUMBER.fullmatch(version):
        raise BadInput(f"{version!r} is no release of vLLM; expected a number like 0.20.2")
    place = room() / f"vllm-{version}"
    if place.is_dir() and not _whole(place):
        tell(f"vLLM {version} is not whole in {place.parent}; fetching it again")
        with under_another_name(place.with_name(f"broken-{version}")) as aside:
            place.rename(aside / place.name)
            _fetch(version, place, tell)
            return place
    if not place.is_dir():
        _fetch(version, place, tell)
    return place


def checkout(path: str) -> Path:
    """The folder of a checkout or an unpacked archive, from which ``vllm`` is imported. Raises BadInput."""
    place = Path(path).expanduser().resolve()
    if (place / LAYER.relative_to("vllm")).is_dir() and not (place / LAYER).is_dir():
        place = place.parent  # the package's own folder was named
    if not (place / LAYER).is_dir():
        raise BadInput(f"{path} is no source tree of vLLM: it has no {LAYER}")
    return place


def _fetch(version: str, place: Path, tell: Tell) -> None:
    tell(f"fetching vLLM {version}, sources only")
    interpreter = python(tell)
    with under_another_name(place) as fresh:
        backend = fresh / "backend" / "setuptools"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(BACKEND, "utf-8")
        arguments = ["download", "--no-deps", "--no-binary", "vllm", "--no-build-isolation", "--progress-bar", "off"]
        found = pip(interpreter, [*arguments, "--dest", str(fresh), f"vllm=={version}"], tell, str(backend.parent))
        archives = list(fresh.glob("*.tar.gz"))
        if found[0] or not archives:
            raise BadInput(_why(version, found[1]))
        _unpack(archives[0], fresh)
        (fresh / COUNT).write_text(f"{_count(fresh)}\n", "utf-8")


def _unpack(archive: Path, place: Path) -> None:
    """The archive's Python package alone; the archive goes."""
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(place, _wanted(opened), filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadInput(f"{archive.name} cannot be unpacked: {error}") from None
    archive.unlink()
    for inner in place.glob("vllm-*/vllm"):
        inner.rename(place / "vllm")
    if not (place / LAYER).is_dir():
        raise BadInput(f"{archive.name} holds no {LAYER}: this release has no MoE layer that the harness knows")


def _wanted(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in opened:
        parts = Path(member.name).parts
        if parts[1:2] == ("vllm",) and member.isfile():
            yield member


def _count(place: Path) -> int:
    return sum(1 for file in (place / "vllm").rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _whole(place: Path) -> bool:
    try:
        return int((place / COUNT).read_text("utf-8")) == _count(place)
    except (OSError, ValueError):
        return False


def _why(version: str, words: list[str]) -> str:
    """Why pip did not fetch a release, in one line."""
    known = next((found[1] for line in words if (found := re.search(r"\(from versions: (.*)\)", line))), None)
    if known is None or known == "none":
        return f"vLLM {version} cannot be fetched: {complaint(words)}"
    near = nearest(version, known.split(", "))
    return f"vLLM {version} is not on the package index" + (f"; did you mean {' or '.join(near)}?" if near else "")
