"""The corpus: faults that the harness must see, and right variants that it must leave alone.

A project names its corpus in its pyproject.toml, ``[tool.harness] corpus = "package.module"``: a module whose ``FAULTS``
and ``CORRECT`` hold the entries. ``harness selftest`` plants each of them and says what was seen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from harness.base.errors import BadInput, unknown
from harness.base.loading import imported
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE, MODES
from harness.observers import OBSERVERS, RAISING
from harness.subjects.planted import entries
from harness.subjects.subject import Subject

# Findings that no observer makes: `build` is the judge's, for a layer that could not be made, `proof` the prover's.
OTHERS = ("build", "proof")
Account = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One small change to something right, and what must be seen of it.

    ``id`` is ``where#what``: a public bug's, ``vllm#35949``, or ``generic#wrong-slice``. ``cases`` are those it is run
    on: one or more at which it ``shows``, and where there is one a case without the trigger, at which the layer is right.
    In each of ``modes`` one of the ``accounts``, (observer, stage), must be among the findings. Each observer in
    ``must_see`` must report it in at least one of these modes, and none in ``must_not_see`` in any.
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
    """What fixed it in public, an id or an address; empty if nothing did or it is not public."""

    def __post_init__(self) -> None:
        _check_id(self.id)
        _check_cases(self.id, self.cases)
        if not self.shown:
            raise BadInput(f"fault {self.id!r} shows at none of its cases; give one at which it does")
        if not self.modes or not self.accounts:
            raise BadInput(f"fault {self.id!r}: give at least one mode and one (observer, stage) that must tell of it")
        _check_names(self.id, "mode", self.modes, EVERY_MODE)
        told = [observer for observer, _ in self.accounts]
        _check_names(self.id, "observer", (*told, *self.must_see, *self.must_not_see), observers())

    @property
    def shown(self) -> tuple[Case, ...]:
        """The cases at which it can be seen."""
        return tuple(case for case in self.cases if self.shows(case))

    @property
    def absent(self) -> tuple[Case, ...]:
        """The cases without its trigger, at which the layer is right."""
        return tuple(case for case in self.cases if not self.shows(case))


@dataclass(frozen=True, kw_only=True)
class Correct:
    """A right way to write what the faults get wrong: no mode may find anything in it."""

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
    right: dict[str, Correct]

    @property
    def entries(self) -> dict[str, Fault | Correct]:
        """Faults and right variants."""
        return {**self.faults, **self.right}

    def chosen(self, patterns: Sequence[str]) -> list[Fault | Correct]:
        """The entries of these ids or patterns (``vllm#*``), all of them if there is none. Raises BadInput."""
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in self.entries):
                raise unknown("fault", pattern, self.entries)
        wanted = patterns or ("*",)
        return [entry for name, entry in self.entries.items() if any(fnmatchcase(name, word) for word in wanted)]


def observers() -> tuple[str, ...]:
    """Whatever a finding can name as the one that saw it."""
    return (*(observer.name for observer in OBSERVERS), *RAISING, *OTHERS)


def load_corpus(module: str, path: Sequence[str] = ()) -> Corpus:
    """The corpus in a module; ``path`` goes in front of the import path. Raises BadInput."""
    found = imported(f"corpus {module!r}", module, path)
    faults, right = entries(found, "FAULTS", Fault), entries(found, "CORRECT", Correct)
    if not faults and not right:
        raise BadInput(f"corpus {module!r} is empty; give harness.Fault entries in FAULTS (docs/corpus.md)")
    if twice := sorted(set(faults) & set(right)):
        raise BadInput(f"corpus {module!r}: {twice[0]!r} is both a fault and a right variant; expected each id once")
    return Corpus(module, faults, right)


def _check_id(name: str) -> None:
    where, mark, what = name.partition("#")
    if not (where and mark and what) or any(sign in name for sign in " ,*?["):
        raise BadInput(f"corpus: id {name!r}; expected one like 'vllm#35949' or 'generic#wrong-slice', without blanks")


def _check_cases(name: str, cases: Sequence[Case]) -> None:
    if not cases:
        raise BadInput(f"corpus: {name!r} has no case to run on; give at least one (harness.matrix.case.Case)")


def _check_names(name: str, kind: str, given: Iterable[str], valid: Iterable[str]) -> None:
    for word in given:
        if word not in (names := list(valid)):
            raise BadInput(f"corpus: {name!r}: {unknown(kind, word, names)}")
