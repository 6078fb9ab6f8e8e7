"""A shrinker: greedy, field by field, the simplest value first, until no field has a simpler value that still fails.

Fields may hang together, such as the number of experts and the tokens that choose them. So a field that is above its goal
is lowered once more with one other field raised.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]
MOST = 200
_RAISED = 4  # how many larger values of another field are tried with a field that is above its goal


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest values found, how many values were tried, and whether the bound ended it.

    ``others`` says for each field which other values were tried on the result, and whether they failed, if only alike.
    """

    values: Values
    evaluations: int
    stopped: bool = False
    others: Mapping[str, Mapping[Any, bool]] = field(default_factory=dict)


class _Bound(Exception):
    """No more evaluations are allowed."""


class Shrinker:
    """Shrinks ``start``. ``fields`` maps each field to its values, the simplest first; ``start`` may hold a value beside them.

    ``fails`` says whether values still show the finding. It is called at most ``most`` times, never twice for one choice.
    ``goals`` are the most that a field should end at, if another field may be larger for it.
    ``alike`` says of values for which ``fails`` was false whether they fail in a like way: that tells whether a field matters.
    ``progress`` is called after each evaluation with their number and the smallest values so far.
    """

    def __init__(
        self,
        start: Values,
        fields: Mapping[str, Sequence[Any]],
        fails: Callable[[Values], bool],
        most: int = MOST,
        progress: Callable[[int, Values], None] = lambda count, values: None,
        alike: Callable[[Values], bool] = lambda values: False,
        goals: Mapping[str, int] | None = None,
    ) -> None:
        self._best, self._fields, self._fails = dict(start), fields, fails
        self._most, self._progress, self._alike = most, progress, alike
        self._start, self._goals = dict(start), dict(goals or {})
        self._known: dict[tuple[Any, ...], bool] = {self._key(start): True}

    @property
    def evaluations(self) -> int:
        """How often ``fails`` was called."""
        return len(self._known) - 1  # the start is known to fail

    def run(self, others: Callable[[Values], Mapping[str, Sequence[Any]]] = lambda values: {}) -> Shrunk:
        """Shrink to a fixpoint; then try the ``others`` of the result, the values that tell whether a field matters."""
        stopped = False
        tried: dict[str, dict[Any, bool]] = {}
        try:
            while self._pass() or self._exchange():
                pass
            for name, values in others(self._best).items():
                for value in values:
                    if value != self._best[name]:
                        other = self._best | {name: value}
                        tried.setdefault(name, {})[value] = self._still_fails(other) or self._alike(other)
        except _Bound:
            stopped = True
        return Shrunk(self._best, self.evaluations, stopped, tried)

    def _pass(self) -> bool:
        """Give each field the simplest value that still fails; whether one changed."""
        changed = False
        for name, values in self._fields.items():
            for value in values:
                if value == self._best[name]:
                    break
                if self._still_fails(self._best | {name: value}):
                    self._best, changed = self._best | {name: value}, True
                    break
        return changed

    def _exchange(self) -> bool:
        """Bring one field to its goal at the cost of one other; whether that succeeded."""
        for name in (name for name, goal in self._goals.items() if self._best[name] > goal):
            goals = [value for value in self._fields[name] if value <= self._goals[name]]
            for values in (one | other for one in ({name: goal} for goal in goals) for other in self._raised(name)):
                if self._still_fails(self._best | values):
                    self._best = self._best | values
                    return True
        return False

    def _raised(self, but: str) -> Iterator[Values]:
        """Larger values of each other field, one at a time, none beyond its own goal or where it started."""
        for name, values in self._fields.items():
            start = self._start[name]
            below = values.index(start) if start in values else len(values)
            larger = (*values[:below], start)
            place = larger.index(self._best[name]) + 1
            for value in dict.fromkeys((*larger[place : place + _RAISED], *larger[-1:])):
                if name != but and value != self._best[name] and value <= self._goals.get(name, value):
                    yield {name: value}

    def _still_fails(self, values: Values) -> bool:
        key = self._key(values)
        if key not in self._known:
            if self.evaluations >= self._most:
                raise _Bound
            self._known[key] = bool(self._fails(values))
            self._progress(self.evaluations, self._best)
        return self._known[key]

    @staticmethod
    def _key(values: Values) -> tuple[Any, ...]:
        return tuple(sorted((name, repr(value)) for name, value in values.items()))
