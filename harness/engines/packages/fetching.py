"""Fetch a package for this Python and its torch: pip says which release fits and what it needs, and installs that elsewhere.

A release without a wheel is built from its source, with this Python's torch, which its ``setup.py`` may import.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.base.cache import atomic_folder, cache_root
from harness.base.errors import BadInput
from harness.engines.packages.refusals import another_torch, no_backend, reason
from harness.engines.released.environment import pip

Report = Callable[[str], None]
_OURS = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
_OPTIONS = ("--prefer-binary", "--use-pep517", "--progress-bar", "off")
# Isolated, a build cannot import this torch: it would fetch another one, 2 GB, and the result would not fit this one.
_WITH_TORCH = ("--no-build-isolation",)


def normal(name: str) -> str:
    """A name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def fetched(name: str, release: str, report: Report) -> Path:
    """The folder that holds a release and what it needs, the newest that fits this torch by default. Raises BadInput."""
    if release and _place(name, release).is_dir():
        return _place(name, release)
    report(f"{_wanted(name, release)}: asking the package index for what fits torch {_torch()}")
    with tempfile.TemporaryDirectory(prefix="harness-package-") as folder:
        found = _Resolution(name, release, Path(folder), report).items()
    own = next(text for text in found if normal(text.partition("==")[0]) == normal(name))
    place = _place(name, own.partition("==")[2])
    if not place.is_dir():
        report(f"fetching {own}" + (f" and {len(found) - 1} packages that it needs" if found[1:] else ""))
        with atomic_folder(place) as fresh:
            _install(found, fresh, report)
    return place


def _torch() -> str:
    return version("torch").partition("+")[0]


def _place(name: str, release: str) -> Path:
    """The folder of a release. What is compiled fits one torch and one Python."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache_root() / "packages" / f"{normal(name)}-{release}-torch{_torch()}-py{python}"


def _wanted(name: str, release: str) -> str:
    return f"{name}=={release}" if release else name


class _Resolution:
    """What pip would install here, as NAME==VERSION. Nothing is installed."""

    def __init__(self, name: str, release: str, folder: Path, report: Report) -> None:
        self._wanted, self._folder, self._report = _wanted(name, release), folder, report

    def items(self) -> list[str]:
        """The package and what it needs and this Python lacks. Raises BadInput."""
        code, lines = self._ask("--constraint", str(self._constraint()))
        if code and another_torch(lines):
            self._report(f"{self._wanted} asks for another torch than {_torch()}; fetching it without what it needs")
            code, lines = self._ask("--no-deps")
        if code:
            raise BadInput(f"{self._wanted} is not installed and cannot be fetched: {reason(lines, self._why())}")
        return self._read()

    def _ask(self, *options: str) -> tuple[int, list[str]]:
        arguments = ["install", "--dry-run", "--report", str(self._folder / "report"), *_OPTIONS, *options]
        return _built(arguments, [self._wanted], self._report)

    def _constraint(self) -> Path:
        file = self._folder / "constraints"
        file.write_text(f"torch=={_torch()}\n", "utf-8")
        return file

    def _read(self) -> list[str]:
        install: list[dict[str, Any]] = json.loads((self._folder / "report").read_text("utf-8"))["install"]
        about = [one["metadata"] for one in install]
        own = normal(self._wanted.partition("==")[0])  # nvidia-modelopt is what was asked for, and no part of torch
        names = [one for one in about if normal(one["name"]) == own or not _OURS.fullmatch(normal(one["name"]))]
        return [f"{one['name']}=={one['version']}" for one in names]

    def _why(self) -> list[str]:
        """What pip says of each file of the project that it left out."""
        return pip(
            Path(sys.executable), ["download", "--no-deps", "-vv", "--dest", str(self._folder), self._wanted], _silent
        )[1]


def _silent(_: str) -> None:
    """A report that nobody reads."""


def _install(wanted: list[str], folder: Path, report: Report) -> None:
    options = ["install", "--no-deps", "--no-compile", *_OPTIONS, "--target", str(folder)]
    code, lines = _built(options, wanted, report)
    if code:
        raise BadInput(f"{wanted[0]} cannot be installed: {reason(lines, [])}")


def _built(arguments: list[str], wanted: list[str], report: Report) -> tuple[int, list[str]]:
    """Run pip; sources are built with this Python's packages, or else isolated, if their backend is not here."""
    os.environ.setdefault("MAX_JOBS", str(max(1, (os.cpu_count() or 2) // 2)))  # of torch's builder of extensions
    code, lines = pip(Path(sys.executable), [*arguments, *_WITH_TORCH, *wanted], report)
    if code and no_backend(lines):
        report("a source needs a build backend that this Python lacks; building it isolated")
        code, lines = pip(Path(sys.executable), [*arguments, *wanted], report)
    return code, lines
