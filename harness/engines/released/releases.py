"""Releases of an engine by number: downloaded from the package index, unpacked and cached."""

import os
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from harness.base.cache import atomic_folder
from harness.base.errors import BadInput, nearest
from harness.base.printable import bounded
from harness.engines.released.engine import Released
from harness.engines.released.environment import Report, complaint, pip, python, room
from harness.engines.released.torch_asked import KEPT

COUNT = "harness-files.txt"  # has the number of files of a complete tree
_NUMBER = re.compile(r"\d+(\.\d+)*([a-z]+\d+)?(\.post\d+)?(\.dev\d+)?")
# Even for a download, pip asks the build backend of a source archive for metadata. An engine's backend would look for a compiler.
# This one copies the archive's own metadata and runs nothing of it.
BACKEND = """\
import pathlib, shutil

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    # pip from 26.3 on reads the archive's name and version from this folder's own.
    name = "{folder}.dist-info"
    pathlib.Path(folder, name).mkdir()
    shutil.copy("PKG-INFO", pathlib.Path(folder, name, "METADATA"))
    return name
"""


def tree(engine: Released, version: str, report: Report) -> Path:
    """The folder of a release's Python tree. Downloads it if it is missing or incomplete. Raises BadInput."""
    if not _NUMBER.fullmatch(version):
        raise BadInput(
            f"{bounded(version, 100)!r} is not a release of {engine.title}; expected a number such as {engine.example}"
        )
    place = room(engine) / f"{engine.name}-{version}"
    if place.is_dir() and not _complete(engine, place):
        report(f"{engine.title} {version} is incomplete in {place.parent}; downloading it again")
        with atomic_folder(place.with_name(f"broken-{version}")) as aside:
            place.rename(aside / place.name)
            _fetch(engine, version, place, report)
            return place
    if not place.is_dir():
        _fetch(engine, version, place, report)
    return place


def checkout(engine: Released, path: str) -> Path:
    """The folder from which the engine is imported, for a checkout or an unpacked archive. Raises BadInput."""
    given = Path(os.path.realpath(Path(path).expanduser()))
    # The user may give the package's own folder. Some repositories have the package below python/.
    for place in (given, given.parent, given / "python"):
        if os.path.isdir(place / engine.layer) and (place != given.parent or given.name == engine.name):
            return place
    raise BadInput(f"{path} is not a source tree of {engine.title}: it has no {engine.layer}")


def _fetch(engine: Released, version: str, place: Path, report: Report) -> None:
    report(f"downloading {engine.title} {version}, without what it needs")
    # By the harness's own pip: a number that the index does not have is answered before the environment is built. The search
    # leaves setuptools' hook out, which warns where distutils is imported.
    interpreter = Path(sys.executable) if PathFinder.find_spec("pip") else python(engine, report)
    with atomic_folder(place) as fresh:
        code, lines = _download(engine, version, interpreter, fresh, report)
        archives = [*fresh.glob("*.tar.gz"), *fresh.glob("*.whl")]
        if code or not archives:
            raise BadInput(_why(engine, version, lines))
        _unpack(engine, archives[0], fresh)
        (fresh / COUNT).write_text(f"{_count(engine, fresh)}\n", "utf-8")


def _download(engine: Released, version: str, interpreter: Path, fresh: Path, report: Report) -> tuple[int, list[str]]:
    arguments = ["download", "--no-deps", "--progress-bar", "off", "--dest", str(fresh)]
    wanted = f"{engine.name}=={version}"
    if engine.wheel:
        return pip(interpreter, [*arguments, "--only-binary", ":all:", wanted], report)
    backend = fresh / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(BACKEND.replace("{folder}", f"{engine.name}-{version}"), "utf-8")
    options = ["--no-binary", engine.name, "--no-build-isolation"]
    return pip(interpreter, [*arguments, *options, wanted], report, str(backend.parent))


def _unpack(engine: Released, archive: Path, place: Path) -> None:
    """Unpack only the archive's Python package, with what says which torch it asks for, and delete the archive."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(place, [name for name in wheel.namelist() if _is_of_package(engine, name)])
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(place, _wanted(engine, opened), filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise BadInput(f"{archive.name} cannot be unpacked: {error}") from None
    archive.unlink()
    for inner in place.glob(f"{engine.name}-*/{engine.name}"):
        inner.rename(place / engine.name)
    for name in KEPT:
        for file in place.glob(f"{engine.name}-*/{name}"):
            file.rename(place / name)
    if not (place / engine.layer).is_dir():
        raise BadInput(
            f"{archive.name} contains no {engine.layer}: the harness does not know the MoE layer of this release"
        )


_METADATA = tuple((name,) for name in KEPT)


def _is_of_package(engine: Released, name: str) -> bool:
    """Whether a wheel's file is of the engine's package, or its metadata. Compiled libraries are left out: no GPU would run them."""
    if re.fullmatch(rf"{engine.name}-[^/]*\.dist-info/METADATA", name):
        return True
    return name.startswith(f"{engine.name}/") and not name.endswith((".so", ".co"))


def _wanted(engine: Released, opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in opened:
        parts = Path(member.name).parts
        if (parts[1:2] == (engine.name,) or parts[1:] in _METADATA) and member.isfile():
            yield member


def _count(engine: Released, place: Path) -> int:
    return sum(1 for file in (place / engine.name).rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _complete(engine: Released, place: Path) -> bool:
    try:
        return int((place / COUNT).read_text("utf-8")) == _count(engine, place)
    except (OSError, ValueError):
        return False


def _why(engine: Released, version: str, lines: list[str]) -> str:
    """Why pip could not download a release, in one line."""
    known = next((match[1] for line in lines if (match := re.search(r"\(from versions: (.*)\)", line))), None)
    if known is None or known == "none":
        return f"{engine.title} {version} cannot be downloaded: {complaint(lines)}"
    if version in known.split(", "):
        refused = [line.partition("): ")[2] for line in lines if line.startswith("Discarding ")]
        return f"pip does not take {engine.title} {version}, which is on the package index: " + (
            refused[-1] if refused else complaint(lines)
        )
    near = nearest(version, known.split(", "))
    return f"{engine.title} {version} is not on the package index" + (
        f"; did you mean {' or '.join(near)}?" if near else ""
    )
