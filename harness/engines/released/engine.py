"""The description of an engine whose releases are judged: what is downloaded, and what runs it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Released:
    """One engine.

    ``name`` is its distribution, its package and its subject on the command line. ``layer`` is a path that each source tree
    of it has, below the tree's folder. ``packages`` lists what its environment needs beside torch. ``subject`` and ``start``
    are import paths, in the engine's environment. ``example`` is a release number. ``wheel`` says that a release is fetched
    as a wheel, else as a source archive. ``imports`` is the import path of a function that imports the engine and starts nothing of
    it, where a process that did so can be forked.
    """

    name: str
    title: str
    layer: Path
    packages: Path
    subject: str
    start: str
    example: str
    wheel: bool = False
    imports: str = ""
