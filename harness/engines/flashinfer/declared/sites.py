"""Find a FlashInfer: the installed one, a folder, or a release that pip downloads into the cache. Imports nothing of it."""

import importlib.machinery
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from harness.base.cache import atomic_folder, cache_root
from harness.base.errors import BadInput

PACKAGE = "flashinfer-python"
INSTALLED = "installed"
_FETCH_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Site:
    """A FlashInfer: the name that the user gave, its version, and the folder for the import path (None: it is importable)."""

    named: str
    version: str
    folder: Path | None

    @property
    def path(self) -> tuple[str, ...]:
        """What goes in front of the import path."""
        return (str(self.folder),) if self.folder else ()


def site(named: str) -> Site:
    """The FlashInfer for ``installed``, a folder that contains ``flashinfer/``, or a release number. Raises BadInput."""
    if named == INSTALLED:
        return _installed()
    folder = Path(named).expanduser()
    if folder.is_dir() or os.sep in named:
        return _folder(named, folder)
    if not re.fullmatch(r"\d+(\.\w+)*", named):
        raise BadInput(
            f"--versions {named!r} is neither a release such as 0.7.2.post1, nor a folder, nor {INSTALLED!r}"
        )
    return Site(named, named, _fetched(named))


def _installed() -> Site:
    return Site(INSTALLED, _version(package()) or INSTALLED, None)


def package() -> Path:
    """The folder of the FlashInfer that would be imported. Raises BadInput."""
    spec = importlib.machinery.PathFinder.find_spec("flashinfer")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput("FlashInfer is not installed here; give --versions 0.7.2.post1 to download it, or a folder")
    return Path(next(iter(spec.submodule_search_locations)))


def _folder(named: str, folder: Path) -> Site:
    if not (folder / "flashinfer").is_dir():
        raise BadInput(f"--versions {named}: expected a folder that contains the package's folder flashinfer/")
    return Site(named, _version(folder / "flashinfer") or named, folder.resolve())


def _version(folder: Path) -> str:
    """The package's version, read from its source."""
    for name in ("_build_meta.py", "version.py"):
        file = folder / name
        version = (
            re.search(r"^__version__\s*=\s*[\"']([^\"']+)", file.read_text("utf-8"), re.M) if file.is_file() else None
        )
        if version:
            return version[1]
    return ""


def cache() -> Path:
    """The folder of downloaded releases."""
    return cache_root() / "flashinfer"


def _fetched(version: str) -> Path:
    """The folder of a release, downloaded if it is not there yet."""
    wanted = cache() / version
    if not wanted.is_dir():
        with atomic_folder(wanted) as fresh:
            _unpack(_download(version, fresh), fresh, version)
    return wanted


def _unpack(wheel: Path, place: Path, version: str) -> None:
    """Unpack only the wheel's Python files, and delete the wheel. Raises BadInput."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith("flashinfer") and name.endswith(".py")]
            archive.extractall(place, members)
        wheel.unlink()
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"{PACKAGE} {version} cannot be unpacked into {cache()}: {error}") from None
    if not (place / "flashinfer").is_dir():
        raise BadInput(f"{wheel.name} contains no folder flashinfer/; expected a wheel of FlashInfer")


def _download(version: str, folder: Path) -> Path:
    """Download the wheel of a release with pip. Raises BadInput with pip's last error."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*command, f"{PACKAGE}=={version}"], capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BadInput(
            f"{PACKAGE} {version} was not downloaded within {_FETCH_SECONDS} s; is there a network?"
        ) from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    raise BadInput(f"{PACKAGE} {version} cannot be downloaded: {_reason(done.stderr)}")


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
