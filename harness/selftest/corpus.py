"""The corpus: faults that the harness must find, and correct variants in which it must find nothing.

A project names its corpus in its pyproject.toml, ``[tool.harness] corpus = "package.module"``: a module whose ``FAULTS``
and ``CORRECT`` have the entries. ``harness selftest`` runs each of them and says what was found.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from harness.base.errors import BadInput, unknown
from harness.base.loading import import_named
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE, MODES
from harness.observers import OBSERVERS, RAISING
from harness.subjects.planted import entries
from harness.subjects.subject import Subject

# Findings without an observer: the judge reports `build` for a layer that could not be built, the prover reports `proof`.
OTHERS = ("build", "proof")
Account = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A layer with one small error, and what the harness must report about it.

    ``id`` is ``where#what``: ``vllm#35949`` for a public bug, or ``generic#wrong-slice``. ``cases`` are the cases to run it
    on. At one or more of them the fault ``shows``; at the others its trigger is absent and the layer is correct. In each of
    ``modes`` one of the ``accounts``, (observer, stage), must be among the findings. Each observer in ``must_see`` must
    report it in at least one of these modes, and no observer in ``must_not_see`` in any.
    """

    id: str
    mechanism: str
    trigger: str
    subject: Subject
    cases: tuple[Case, ...]
    modes: tuple[str, ...]
    accounts: frozenset[Account]
    shows: Callable[[Case], bool] = field(default=lambda case: True)
    must_see: frozenset[str] = frozenset()
    must_not_see: frozenset[str] = frozenset()
    fix: str = ""
    """The public fix, as an id or an address; empty if there is none."""

    def __post_init__(self) -> None:
        _check_id(self.id)
        _check_cases(self.id, self.cases)
        if not self.shown:
            raise BadInput(f"fault {self.id!r} shows at none of its cases; add a case at which it does")
        if not self.modes or not self.accounts:
            raise BadInput(f"fault {self.id!r}: give at least one mode, and one (observer, stage) that must report it")
        _check_names(self.id, "mode", self.modes, EVERY_MODE)
        reporting = [observer for observer, _ in self.accounts]
        _check_names(self.id, "observer", (*reporting, *self.must_see, *self.must_not_see), observers())

    @property
    def shown(self) -> tuple[Case, ...]:
        """The cases at which it shows."""
        return tuple(case for case in self.cases if self.shows(case))

    @property
    def absent(self) -> tuple[Case, ...]:
        """The cases without its trigger, at which the layer is correct."""
        return tuple(case for case in self.cases if not self.shows(case))


@dataclass(frozen=True, kw_only=True)
class Correct:
    """A correct layer, close to what a fault gets wrong. No mode may find anything in it."""

    id: str
    about: str
    subject: Subject
    cases: tuple[Case, ...]
    modes: tuple[str, ...] = tuple(MODES)

    def __post_init__(self) -> None:
        _check_id(self.id)
        _check_cases(self.id, self.cases)
        _check_names(self.id, "mode", self.modes, EVERY_MODE)


@dataclass(frozen=True)
class Corpus:
    """The entries of one module, by id."""

    module: str
    faults: dict[str, Fault]
    correct: dict[str, Correct]

    @property
    def entries(self) -> dict[str, Fault | Correct]:
        """Faults and correct variants."""
        return {**self.faults, **self.correct}

    def chosen(self, patterns: Sequence[str]) -> list[Fault | Correct]:
        """The entries whose ids match these patterns, such as ``vllm#*``; all entries without patterns. Raises BadInput."""
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in self.entries):
                raise unknown("fault", pattern, self.entries)
        wanted = patterns or ("*",)
        return [entry for name, entry in self.entries.items() if any(fnmatchcase(name, pattern) for pattern in wanted)]


def observers() -> tuple[str, ...]:
    """Every name that a finding can have as its observer."""
    return (*(observer.name for observer in OBSERVERS), *RAISING, *OTHERS)


def load_corpus(module: str, path: Sequence[str] = ()) -> Corpus:
    """The corpus in a module; ``path`` goes in front of the import path. Raises BadInput."""
    contents = import_named(f"corpus {module!r}", module, path)
    faults, correct = entries(contents, "FAULTS", Fault), entries(contents, "CORRECT", Correct)
    if not faults and not correct:
        raise BadInput(f"corpus {module!r} is empty; give harness.Fault entries in FAULTS (docs/reference/corpus.md)")
    if twice := sorted(set(faults) & set(correct)):
        raise BadInput(f"corpus {module!r}: {twice[0]!r} is both a fault and a correct variant; expected each id once")
    return Corpus(module, faults, correct)


def _check_id(name: str) -> None:
    where, mark, what = name.partition("#")
    if not (where and mark and what) or any(character in name for character in " ,*?["):
        raise BadInput(f"corpus: id {name!r}; expected one like 'vllm#35949' or 'generic#wrong-slice', without blanks")


def _check_cases(name: str, cases: Sequence[Case]) -> None:
    if not cases:
        raise BadInput(f"corpus: {name!r} has no case to run on; give at least one (harness.matrix.case.Case)")


def _check_names(name: str, kind: str, given: Iterable[str], valid: Iterable[str]) -> None:
    for value in given:
        if value not in (names := list(valid)):
            raise BadInput(f"corpus: {name!r}: {unknown(kind, value, names)}")
