"""A package whose ops are audited: found where it is installed, or fetched into a folder of its own."""

import importlib.metadata
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from harness.base.errors import BadInput
from harness.engines.packages.fetching import fetched, normal
from harness.engines.packages.modules import registering_modules, top_modules

Report = Callable[[str], None]
_WORD = re.compile(r"([A-Za-z][\w-]*)(?:==([\w.+!]+))?")


@dataclass(frozen=True, slots=True)
class Package:
    """A package: ``title`` is NAME==VERSION, ``path`` its folder for the import path, empty where it is installed.

    ``modules`` are its top modules, ``more`` those of its other modules whose source registers ops. ``torch`` is what it asks
    of torch, such as ``torch==2.14.1``; empty if it asks nothing.
    """

    title: str
    modules: tuple[str, ...]
    more: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    torch: str = ""


def named(word: str) -> tuple[str, str] | None:
    """The (name, release or empty) of a package that a word such as ``bitsandbytes==0.49.0`` names; None for an op's name."""
    found = _WORD.fullmatch(word)
    return (found[1], found[2] or "") if found else None


def package(name: str, release: str, report: Report) -> Package:
    """The installed package, or that release of it, which is fetched. Raises BadInput in one line if it cannot be had."""
    own = _installed(name)
    if own is not None and release in ("", own.version):
        return _package(name, own, ())
    if own is None and not release and PathFinder.find_spec(name.replace("-", "_")) is not None:
        return Package(name, (name.replace("-", "_"),))  # a folder of the import path, without metadata
    place = fetched(name, release, report)
    for one in importlib.metadata.distributions(path=[str(place)]):
        if normal(one.metadata["Name"]) == normal(name):
            return _package(name, one, (str(place),))
    raise BadInput(f"{name} was fetched, and no distribution of that name lies in {place}; expected one")


def _installed(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(name: str, own: importlib.metadata.Distribution, path: tuple[str, ...]) -> Package:
    files = [Path(str(file)) for file in own.files or ()]
    tops = top_modules(files) or tuple(filter(PathFinder.find_spec, [name.replace("-", "_")]))
    if not tops:
        raise BadInput(f"{name} {own.version} has no module that can be imported; expected a package with ops of torch")
    more = registering_modules(files, Path(str(own.locate_file(""))))
    asks = [one for one in own.requires or () if re.match(r"torch\b(?![-_.])", one) and "extra ==" not in one]
    return Package(f"{name}=={own.version}", tops, more, path, asks[0].partition(";")[0].strip() if asks else "")
