"""What the plugin reads of a pytest session. Nothing is read before it is first asked for: most sessions are somebody else's."""

import argparse
import re
import shlex
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.base.errors import BadInput
from harness.base.options import SELECTION, add_ranks, add_selection, add_waivers, refuse_workers
from harness.base.project import Project, find
from harness.engines.transformers.models import narrowed
from harness.matrix.paths import refuse_paths
from harness.matrix.selection import Selection
from harness.runs.durations import Durations
from harness.runs.planned import Planned, Task
from harness.runs.shards import Shard, add_shard, planned, singly
from harness.subjects.load import load_subject
from harness.subjects.subject import Subject
from harness.verdict.waivers import Waivers
from harness.workers.plan import Plan
from harness.workers.pool import has_cuda

if TYPE_CHECKING:
    from harness.execution.evidence import Run
    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo

PREFIX = "padding"
_CHOICES = (*(option.removeprefix("--") for option in SELECTION), "full", "ranks", "collectives")
_NAMES = ("subject", *_CHOICES, "waivers", "shard", "durations")
# Where a run is noted: no part of the command that reproduces a test.
_NOTES = ("json", "runner")


def add_options(group: pytest.OptionGroup) -> None:
    """The options of ``harness check``, each with a prefix: an option that two plugins have ends pytest."""

    def add(option: str, **settings: Any) -> None:
        kind = settings.pop("type", None)
        if kind is not None:
            settings["type"] = _typed(kind)
        group.addoption(f"--{PREFIX}-{option.removeprefix('--')}", **settings)

    add_selection(add)
    add_ranks(add)
    add_waivers(add)
    add_shard(add)
    about = "write a JSON record for each verdict, as soon as it is known (docs/reference/records.md)"
    add("--json", metavar="FILE", default=None, help=about)
    about = "name of this kind of machine in the records, such as h100 (default: $HARNESS_RUNNER, else the GPU's name)"
    add("--runner", metavar="NAME", default="", help=about)


def _typed(kind: Callable[[str], object]) -> Callable[[str], object]:
    """Keep an error as the option's value until ``check``: an exit while parsing would be a traceback."""

    def convert(text: str) -> object:
        try:
            return kind(text)
        except argparse.ArgumentTypeError as error:
            return BadInput(str(error))

    return convert


class Session:
    """The options of a pytest session, and what they and the project around its root choose."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.runs: list[Run] = []  # of the case judged last, where a debugger may ask for them
        self._options = {name: getattr(config.option, f"{PREFIX}_{name}") for name in _NAMES}
        self.noted = {name: getattr(config.option, f"{PREFIX}_{name}") for name in _NOTES}

    @property
    def debugs(self) -> bool:
        """Whether a failing test ends in a debugger (``--pdb``)."""
        return bool(self._config.option.usepdb)

    @property
    def given(self) -> list[str]:
        """The options that were typed, as words of a command line."""
        typed = {f"--{PREFIX}-{name}": value for name, value in self._options.items() if value}
        return [word for name, value in typed.items() for word in _words(name, value)]

    def check(self) -> None:
        """Check what was typed, before anything is collected; the project's settings are left alone. Raises BadInput."""
        try:
            self._check()
        except BadInput as error:
            raise BadInput(prefixed(str(error))) from error

    def _check(self) -> None:
        for name, value in self._options.items():
            if isinstance(value, BadInput):
                raise BadInput(f"--{name}: {value}")
        if self._options["full"]:
            refuse_workers(getattr(self._config.option, "numprocesses", None) or 1)  # xdist's
        self.tasks()
        refuse_paths(self._options["models"], self.subject_name)
        file = self.noted["json"]
        if file is not None and not (file and Path(file).absolute().parent.is_dir()):
            raise BadInput(f"cannot write --json {file}; give a file in a folder that exists")
        if self._options["waivers"] is not None:
            _ = self.waivers
        if self._options["subject"]:  # here already: a worker of xdist could not say what is wrong with it
            _ = self.subject

    @cached_property
    def selection(self) -> Selection:
        """The cases and modes; a proof asks about every hidden size, so there is none beside sizes that were chosen."""
        chosen = {name: self._options[name] for name in _CHOICES}
        selection = Selection(**chosen, proofs=not chosen["hidden"], cuda=has_cuda())
        return narrowed(self._subject_path, selection)

    @property
    def _subject_path(self) -> str:
        """The subject's import path; empty where there is none, which a test that asks for the subject says in a line."""
        try:
            return self.project.subject(self.subject_name)
        except BadInput:
            if self._options["subject"]:
                raise
            return ""

    def tasks(self) -> "list[tuple[Case, ModeInfo]]":
        """The (case, mode) of the chosen matrix that the chosen shard has. Raises BadInput."""
        tasks = self.selection.tasks()
        if self.shard.of == 1:
            return tasks
        own = self.matrix.of(self.shard.index)
        return [(case, mode) for case, mode in tasks if self.task(case, mode) in own]

    def task(self, case: "Case", mode: "ModeInfo") -> Task:
        """A case in a mode, as records name it. Raises BadInput."""
        return Task(self.subject_name, case.id, mode.name)

    @property
    def shard(self) -> Shard:
        """The chosen one, else all."""
        return self._options["shard"] or Shard()

    @cached_property
    def durations(self) -> Durations:
        """What the shards are planned by. Raises BadInput."""
        return Durations.read(self._options["durations"])

    @cached_property
    def matrix(self) -> Planned:
        """The chosen matrix, of all shards. Raises BadInput."""
        tasks = [self.task(case, mode) for case, mode in self.selection.tasks()]
        return planned(singly(tasks), self.shard.of, self.durations) if self.shard.of > 1 else Planned.whole(tasks)

    def named(self) -> dict[str, Task]:
        """The task of each test, by the part of its id between brackets. Raises BadInput."""
        return {id_of_test(case, mode): self.task(case, mode) for case, mode in self.tasks()}

    @property
    def project(self) -> Project:
        """The project around the session's root. Raises BadInput."""
        return find(self._config.rootpath)

    @property
    def subject_name(self) -> str:
        """The subject as it was named. Raises BadInput."""
        return self._options["subject"] or self.project.default

    @cached_property
    def subject(self) -> Subject:
        """What is judged. Raises BadInput."""
        return load_subject(self.project.subject(self.subject_name), self.project.path)

    @property
    def plan(self) -> Plan:
        """What processes need to judge the session's cases. Raises BadInput."""
        path = self.project.subject(self.subject_name)
        return Plan(self.selection, path, self.subject_name, "auto", 1, self.project.path)

    @cached_property
    def waivers(self) -> Waivers:
        """Those of the option's file, else of the project's. Raises BadInput."""
        file = self._options["waivers"]
        return Waivers.read(file if file is not None else self.project.waivers)

    def unmatched(self) -> list[str]:
        """A line for each waiver that matches nothing, neither here nor in another shard. Empty if none was asked for."""
        if "waivers" not in vars(self):
            return []
        own = self.matrix.of(self.shard.index)
        for case, mode in self.selection.tasks() if self.shard.of > 1 else ():
            if self.task(case, mode) not in own:
                self.waivers.expect(case, mode.name, self.subject_name)
        return self.waivers.unmatched()


def id_of_test(case: "Case", mode: "ModeInfo") -> str:
    """The id without ``-full``: a session is of true sizes or has none, so each name would only be longer by it."""
    return f"{case.id.removesuffix('-full')}-{mode.exact}"


def prefixed(text: str) -> str:
    """A text with the options of ``harness check`` in it by their names here."""
    return re.sub(rf"(?<!\S)--(?=({'|'.join((*_NAMES, *_NOTES))})\b)", f"--{PREFIX}-", text)


def _words(option: str, value: Any) -> list[str]:
    if value is True:
        return [option]
    return [option, shlex.quote(",".join(map(str, value)) if isinstance(value, tuple) else str(value))]
