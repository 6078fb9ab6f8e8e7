"""Sizes and numbers that remember where they come from, through arithmetic too, and note each comparison."""

import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

_OWN = (__file__, str(Path(__file__).with_name("asked.py")))
# (kind, argument, dimension) of a leaf: kind is ``size``, ``rank`` or ``number``; dimension counts from the front.
Leaf = tuple[str, str, int]
Term = Any  # a Leaf, a plain int, or (operator, Term, Term)
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv, "mod": operator.mod,
}  # fmt: skip
COMPARED: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """``compared`` with its terms and its outcome, or the ``dtype`` or the sizes of ``argument`` that were read.

    ``place`` is the (file, line) that asks, ``names`` are the globals there.
    """

    kind: str
    place: tuple[str, int]
    argument: str = ""
    compared: str = ""
    terms: tuple[Term, Term] = (0, 0)
    outcome: bool = False
    names: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass
class Asked:
    """The questions of one call."""

    questions: list[Question] = field(default_factory=list)


now: list[Asked] = []


def asked_by() -> FrameType:
    """The nearest frame outside this module and torch."""
    frame = sys._getframe(1)
    while frame.f_back and (frame.f_code.co_filename in _OWN or "/torch/" in frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def asked_at() -> tuple[str, int]:
    """The file and the line of ``asked_by``."""
    frame = asked_by()
    return frame.f_code.co_filename, frame.f_lineno


def note(question: Question) -> None:
    """Add a question to those of the call that runs, if one does."""
    if now:
        now[-1].questions.append(question)


class Number(int):
    """An int with the term that it comes from."""

    term: Term

    def __new__(cls, value: int, term: Term) -> "Number":
        """An int of this value."""
        made = super().__new__(cls, value)
        made.term = term
        return made

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __bool__(self) -> bool:
        return bool(_compare("ne", self, 0))


def _term(value: Any) -> Term:
    return value.term if isinstance(value, Number) else int(value)


def _compare(name: str, ours: int, theirs: Any) -> Any:
    outcome = getattr(int, f"__{name}__")(ours, theirs)
    if outcome is not NotImplemented:
        note(Question("compared", asked_at(), "", name, (_term(ours), _term(theirs)), outcome))
    return outcome


def _calculate(name: str, ours: int, theirs: Any) -> Any:
    value = getattr(int, f"__{name}__")(ours, theirs)
    return value if value is NotImplemented else Number(value, (name, _term(ours), _term(theirs)))


def _backwards(name: str, ours: int, theirs: Any) -> Any:
    value = getattr(int, f"__r{name}__")(ours, theirs)
    return value if value is NotImplemented else Number(value, (name, _term(theirs), _term(ours)))


def _give(method: Callable[[str, int, Any], Any], name: str) -> Callable[[int, Any], Any]:
    return lambda self, other: method(name, self, other)


for _name in COMPARED:
    setattr(Number, f"__{_name}__", _give(_compare, _name))
for _name in _ARITHMETIC:
    setattr(Number, f"__{_name}__", _give(_calculate, _name))
    setattr(Number, f"__r{_name}__", _give(_backwards, _name))


def value_of(term: Term, leaves: dict[Leaf, int]) -> int:
    """The value of a term with these leaves. Raises KeyError for a leaf that is not there, ZeroDivisionError."""
    if isinstance(term, int):
        return term
    if term[0] in _ARITHMETIC:
        return _ARITHMETIC[term[0]](value_of(term[1], leaves), value_of(term[2], leaves))
    return leaves[term]


def leaves_of(term: Term) -> Iterator[Leaf]:
    """The leaves of a term."""
    if isinstance(term, tuple):
        if term[0] in _ARITHMETIC:
            yield from leaves_of(term[1])
            yield from leaves_of(term[2])
        else:
            yield term


class Sizes(tuple[int, ...]):
    """The sizes of an argument. Comparing it with another number of sizes asks for its rank."""

    name = ""

    def numel(self) -> int:
        """The number of elements."""
        product = 1
        for size in self:
            product = product * size
        return product

    def __getitem__(self, place: Any) -> Any:
        got = super().__getitem__(place)
        return Sizes(got) if isinstance(place, slice) else got

    def __hash__(self) -> int:
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, tuple) and len(other) != len(self) and self.name:
            _compare("eq", Number(len(self), ("rank", self.name, 0)), len(other))
            return False
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other
