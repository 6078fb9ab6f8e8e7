"""Cells and groups: the cases of a runner summed up, without holding every case in memory."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from harness.nightly.history import MISSING, RANKS
from harness.nightly.nights import CHANGED, FIRST, FIXED, FLAKY, GONE, INCOMPLETE, NEW, SAME, Compared

# What a cell is called: the first of these that any of its cases is. The page explains each.
ORDER = (NEW, FIRST, CHANGED, FLAKY, SAME, INCOMPLETE, FIXED, GONE)
# A change that asks for no list: a finding that was there last night is in the matrix.
LISTED = (NEW, FIRST, CHANGED, FLAKY, INCOMPLETE, FIXED, GONE)
MOST_CASES, MOST_NAMES = 8, 400


@dataclass
class Cell:
    """A model, mode and backend on a runner. ``worst`` maps a night to the rank of its worst result."""

    statuses: Counter[int] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    worst: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    cases: list[Compared] = field(default_factory=list)

    def add(self, case: Compared) -> None:
        """Count a case; keep the first few of which there is something to say, the most urgent in front."""
        for night, result in case.nights.items():
            self.worst[night] = max(self.worst.get(night, 0), result.status)
        if case.now is not None:
            self.statuses[case.now.status] += 1
            self.seconds += case.now.seconds
        if case.change:
            self.changes[case.change] += 1
        if case.change or (case.now is not None and case.now.detail):
            self.cases = sorted([*self.cases, case], key=_urgency)[:MOST_CASES]

    @property
    def state(self) -> str:
        """The word for the cell: a change, or else its worst status."""
        worst = max(self.statuses, default=0)
        return next((change for change in ORDER if self.changes[change]), RANKS[worst])


@dataclass
class Group:
    """Cases of one subject that changed in the same way, with the same finding and the same differences, on any runner."""

    first: Compared
    count: int = 0
    runners: dict[str, None] = field(default_factory=dict)
    cells: dict[int, None] = field(default_factory=dict)

    def add(self, runner: str, cell: int) -> None:
        """Count one more case."""
        self.count += 1
        self.runners[runner] = None
        if len(self.cells) < MOST_NAMES:
            self.cells[cell] = None


@dataclass
class Sums:
    """What the page shows of the matrix: cells by runner and number, groups of changes, and durations.

    ``seconds`` has the sum and the number of cases of a runner, mode and night.
    """

    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    groups: dict[tuple[object, ...], Group] = field(default_factory=dict)
    seconds: dict[tuple[str, str, int], list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))
    shared: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)


def summed(
    cases: Iterable[Compared], about: dict[int, tuple[str, str, str, str]], difference: Callable[[int, int], int]
) -> Sums:
    """Sum up the cases. ``about`` maps a cell to subject, model, mode and backend.

    ``difference`` numbers what differs between two environments, so that cases with the same differences are one group.
    """
    sums = Sums()
    for case in cases:
        number = next(iter(case.nights.values())).cell
        subject, _, mode, _ = about[number]
        sums.cells.setdefault((case.runner, number), Cell()).add(case)
        for night, result in case.nights.items():
            if result.seconds:
                total = sums.seconds[case.runner, mode, night]
                total[0] += result.seconds
                total[1] += 1
        if case.now is not None and case.now.status != RANKS.index(MISSING):
            sums.compared[case.runner] += 1
            sums.shared[case.runner] += bool(case.earlier)
        if case.change in LISTED:
            key = (case.change, subject, case.earlier, *_reason(case, mode, difference))
            sums.groups.setdefault(key, Group(case)).add(case.runner, number)
    return sums


def _reason(case: Compared, mode: str, difference: Callable[[int, int], int]) -> tuple[object, ...]:
    """What cases of a group have in common beside runner, change and subject."""
    if case.change in (INCOMPLETE, GONE) or case.now is None:
        return (mode,)
    shows = case.was if case.change == FIXED and case.was else case.now
    between = difference(case.was.environment, case.now.environment) if case.was else -1
    return (shows.signature or (shows.detail and shows.status), between)


def _urgency(case: Compared) -> tuple[int, int]:
    place = ORDER.index(case.change) if case.change else len(ORDER)
    return place, -case.now.status if case.now else 0
