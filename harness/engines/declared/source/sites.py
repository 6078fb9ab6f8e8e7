"""Find an engine: the installed one, a folder, or a release that pip downloads into the cache. Imports nothing of it."""

import importlib.machinery
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from harness.base.cache import atomic_folder, cache_root
from harness.base.errors import BadInput
from harness.engines.declared.engine import Engine

INSTALLED = "installed"
_FETCH_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Site:
    """An engine: the name that the user gave, its version, and the folder for the import path (None: it is importable)."""

    named: str
    version: str
    folder: Path | None

    @property
    def path(self) -> tuple[str, ...]:
        """What goes in front of the import path."""
        return (str(self.folder),) if self.folder else ()


def site(engine: Engine, named: str) -> Site:
    """The engine for ``installed``, a folder that contains its package, or a release number. Raises BadInput."""
    if named == INSTALLED:
        return Site(INSTALLED, _version(package(engine)) or INSTALLED, None)
    folder = Path(named).expanduser()
    if folder.is_dir() or os.sep in named:
        return _folder(engine, named, folder)
    if not re.fullmatch(r"\d+(\.\w+)*", named):
        raise BadInput(
            f"--versions {named!r} is neither a release such as {engine.release}, nor a folder, nor {INSTALLED!r}"
        )
    return Site(named, named, _fetched(engine, named))


def package(engine: Engine) -> Path:
    """The folder of the engine's package that would be imported. Raises BadInput."""
    spec = importlib.machinery.PathFinder.find_spec(engine.package)
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            f"{engine.title} is not installed here; give --versions {engine.release} to download it, or a folder"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _folder(engine: Engine, named: str, folder: Path) -> Site:
    if not (folder / engine.package).is_dir():
        raise BadInput(f"--versions {named}: expected a folder that contains the package's folder {engine.package}/")
    return Site(named, _version(folder / engine.package) or named, folder.resolve())


def _version(folder: Path) -> str:
    """The package's version, read from its source."""
    for name in ("_build_meta.py", "version.py", "_version.py"):
        file = folder / name
        version = (
            re.search(r"^(?:__)?version(?:__)?\s*=\s*[^\"'\n]*[\"']([^\"']+)", file.read_text("utf-8"), re.M)
            if file.is_file()
            else None
        )
        if version:
            return version[1]
    return ""


def cache(engine: Engine) -> Path:
    """The folder of downloaded releases."""
    return cache_root() / engine.name


def _fetched(engine: Engine, version: str) -> Path:
    """The folder of a release, downloaded if it is not there yet."""
    wanted = cache(engine) / version
    if not wanted.is_dir():
        with atomic_folder(wanted) as fresh:
            _unpack(engine, _download(engine, version, fresh), fresh, version)
    return wanted


def _unpack(engine: Engine, archive: Path, place: Path, version: str) -> None:
    """Unpack only the Python files of a wheel or a source archive, and delete it. Raises BadInput."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(place, [name for name in wheel.namelist() if _wanted(engine, name)])
        else:
            _unpack_sources(engine, archive, place)
        for empty in engine.folders:
            (place / empty).mkdir(parents=True, exist_ok=True)
        archive.unlink()
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise BadInput(f"{engine.distribution} {version} cannot be unpacked into {cache(engine)}: {error}") from None
    if not (place / engine.package).is_dir():
        raise BadInput(f"{archive.name} contains no folder {engine.package}/; expected an archive of {engine.title}")


def _wanted(engine: Engine, name: str) -> bool:
    """Whether it is a Python file of a package. A wheel may have more than one, such as an alias of a part of the engine."""
    return "/" in name and name.endswith(".py") and not name.startswith(("tests/", "test/", "benchmarks/"))


def _unpack_sources(engine: Engine, archive: Path, place: Path) -> None:
    """A source archive has the package below a folder of its own, perhaps below ``python/`` or ``src/``."""
    with tarfile.open(archive) as opened:
        for member in opened:
            inner = re.sub(r"^[^/]+/((python|src)/)?", "", member.name)
            if member.isfile() and inner.startswith(f"{engine.package}/") and _wanted(engine, inner):
                member.name = inner
                opened.extract(member, place, filter="data")


def _download(engine: Engine, version: str, folder: Path) -> Path:
    """Download the archive of a release with pip: its wheel, or its sources. Raises BadInput with pip's last error."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*command, f"{engine.distribution}=={version}"],
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadInput(
            f"{engine.distribution} {version} was not downloaded within {_FETCH_SECONDS} s; is there a network?"
        ) from None
    archives = [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]
    if done.returncode == 0 and archives:
        return archives[0]
    raise BadInput(f"{engine.distribution} {version} cannot be downloaded: {_reason(done.stderr)}")


def _reason(text: str) -> str:
    if "No module named pip" in text:
        return "this Python has no pip; install pip, or unpack the wheel and give its folder"
    if "NewConnectionError" in text or "Name or service not known" in text or "ConnectTimeout" in text:
        return "pip reaches no package index; is there a network?"
    versions = re.search(r"from versions: ([^)]+)\)", text)
    if versions and versions[1] == "none":
        return "pip finds no release of it; is there a network, and a package index that has it?"
    if versions:
        return f"there is no such release; the newest are {', '.join(versions[1].split(', ')[-6:])}"
    lines = [line for line in text.splitlines() if line.startswith("ERROR")]
    return lines[-1].removeprefix("ERROR: ") if lines else (text.strip().splitlines() or ["pip printed nothing"])[-1]
