"""Comparing nights: what a case's results on a runner say of the newest night, beside those before."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from harness.nightly.history import MISSING, RANKS, Result, Run

RED = frozenset((RANKS.index("findings"), RANKS.index("error")))
OK, MISSED = RANKS.index("ok"), RANKS.index(MISSING)
NEW, FIRST, CHANGED, FLAKY, SAME, FIXED, INCOMPLETE, GONE = (
    "new",
    "first",
    "changed",
    "flaky",
    "same",
    "fixed",
    "incomplete",
    "gone",
)


@dataclass(frozen=True, slots=True)
class Nights:
    """The nights of a runner that are compared: its newest, and the one before; ``before`` is 0 where there is none."""

    newest: int
    before: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A case on a runner. ``change`` is empty where nothing is to be said; ``nights`` maps a night to its result.

    ``earlier`` is the night that the newest was compared with: the last before it on which the case has a verdict.
    """

    case: int
    runner: str
    change: str
    now: Result | None
    earlier: int
    nights: dict[int, Result]

    @property
    def was(self) -> Result | None:
        """The result that the newest one is compared with."""
        return self.nights.get(self.earlier)


def nights_by_runner(runs: Iterable[Run]) -> dict[str, Nights]:
    """The newest night of each runner, and the one before it."""
    nights: dict[str, set[int]] = {}
    for run in runs:
        nights.setdefault(run.runner, set()).add(run.night)
    ordered = {runner: sorted(of, reverse=True) for runner, of in sorted(nights.items())}
    return {runner: Nights(of[0], of[1] if len(of) > 1 else 0) for runner, of in ordered.items()}


def compared(
    results: Iterable[Result], shown: dict[int, Run], runners: dict[str, Nights], clean: frozenset[int]
) -> Iterator[Compared]:
    """Each case on each runner, of the runs that are shown.

    ``results`` come in the order of cases; ``clean`` has the environments that name a commit.
    """
    for case, rows in groupby(results, key=lambda result: result.case):
        by_runner: dict[str, list[Result]] = {}
        for row in rows:
            if row.run in shown:
                by_runner.setdefault(shown[row.run].runner, []).append(row)
        for runner, own in by_runner.items():
            yield _case(case, runner, own, shown, runners[runner], clean)


def _case(
    case: int, runner: str, rows: list[Result], runs: dict[int, Run], nights: Nights, clean: frozenset[int]
) -> Compared:
    by_night: dict[int, Result] = {}
    for row in rows:
        night = runs[row.run].night
        if night not in by_night or row.status > by_night[night].status:
            by_night[night] = row
    judged = [night for night, row in by_night.items() if night < nights.newest and row.status != MISSED]
    earlier = max(judged, default=0)
    now = by_night.get(nights.newest)
    change = _change(now, by_night.get(earlier), nights, earlier, now is not None and _is_flaky(now, rows, clean))
    return Compared(case, runner, change, now, earlier, by_night)


def _change(now: Result | None, was: Result | None, nights: Nights, earlier: int, flaky: bool) -> str:
    if now is None:
        return GONE if was is not None and earlier == nights.before else ""
    if now.status == MISSED:
        return INCOMPLETE
    if flaky:
        return FLAKY
    return _red(now, was, nights) if now.status in RED else _not_red(now, was)


def _red(now: Result, was: Result | None, nights: Nights) -> str:
    if was is None:
        return FIRST if nights.before else SAME  # a first night has nothing before it to be new against
    if was.status not in RED:
        return NEW
    return SAME if (was.signature, was.status) == (now.signature, now.status) else CHANGED


def _not_red(now: Result, was: Result | None) -> str:
    return FIXED if now.status == OK and was is not None and was.status in RED else ""


def _is_flaky(now: Result, rows: list[Result], clean: frozenset[int]) -> bool:
    """Whether one environment and one commit gave both verdicts."""
    if now.environment not in clean:
        return False
    same = {row.status for row in rows if row.environment == now.environment}
    return OK in same and bool(same & RED)
