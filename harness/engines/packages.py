"""A package of the index whose ops are audited: found where it is installed, or fetched into a folder of its own.

pip installs it without its dependencies, its wheel or else its sources, and then what it needs and this Python lacks. torch is
always that of this Python.
"""

import importlib.metadata
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from harness.base.cache import atomic_folder, cache_root
from harness.base.errors import BadInput
from harness.engines.released.environment import complaint, pip

Report = Callable[[str], None]
_WORD = re.compile(r"([A-Za-z][\w-]*)(?:==([\w.+!]+))?")
_OURS = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
_LEVELS = 3  # dependencies of dependencies


@dataclass(frozen=True, slots=True)
class Package:
    """A package's importable modules, and the folder for the import path; empty where it is installed."""

    modules: tuple[str, ...]
    path: tuple[str, ...] = ()


def named(word: str) -> tuple[str, str] | None:
    """The (name, release or empty) of a package that a word such as ``bitsandbytes==0.49.0`` names; None for an op's name."""
    found = _WORD.fullmatch(word)
    return (found[1], found[2] or "") if found else None


def package(name: str, release: str, report: Report) -> Package:
    """The installed package, or that release of it, which is fetched. Raises BadInput in one line if it cannot be had."""
    module = name.replace("-", "_")
    if not release and PathFinder.find_spec(module) is not None:
        return Package((module,))
    place = cache_root() / "packages" / f"{name}-{release or 'newest'}"
    if not place.is_dir():
        with atomic_folder(place) as fresh:
            _fetch(name, release, fresh, report)
    return Package(_modules(place, name), (str(place),))


def _fetch(name: str, release: str, folder: Path, report: Report) -> None:
    wanted = f"{name}=={release}" if release else name
    report(f"{wanted}: fetching it into {folder.parent}")
    _install([wanted], folder, report)
    for _ in range(_LEVELS):
        missing = _missing(folder)
        if not missing:
            return
        _install(missing, folder, report)


def _install(wanted: list[str], folder: Path, report: Report) -> None:
    options = [
        "install",
        "--no-deps",
        "--prefer-binary",
        "--no-compile",
        "--progress-bar",
        "off",
        "--target",
        str(folder),
    ]
    code, lines = pip(Path(sys.executable), [*options, *wanted], report)
    if code:
        raise BadInput(f"{' '.join(wanted)} is not installed and cannot be fetched: {complaint(lines)}")


def _missing(folder: Path) -> list[str]:
    """The names that the distributions in a folder need, and that neither it nor this Python has."""
    inside = list(importlib.metadata.distributions(path=[str(folder)]))
    has = {_normal(one.metadata["Name"]) for one in inside}
    needed = [
        re.split(r"[ ;\[<>=!~(]", text)[0] for one in inside for text in one.requires or () if "extra ==" not in text
    ]
    return [name for name in dict.fromkeys(map(_normal, needed)) if name not in has and not _here(name)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _here(name: str) -> bool:
    if _OURS.fullmatch(name):
        return True
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _modules(folder: Path, name: str) -> tuple[str, ...]:
    """The top-level modules of the distribution in a folder. Raises BadInput if it has none."""
    own = [
        one
        for one in importlib.metadata.distributions(path=[str(folder)])
        if _normal(one.metadata["Name"]) == _normal(name)
    ]
    files = [Path(str(file)) for one in own for file in one.files or ()]
    tops = [file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py"]
    found = tuple(
        dict.fromkeys(top for top in tops if top.isidentifier() and top not in ("tests", "test", "benchmarks"))
    )
    if not found:
        raise BadInput(f"{name} has no module that can be imported; expected a package with ops of torch")
    return found
