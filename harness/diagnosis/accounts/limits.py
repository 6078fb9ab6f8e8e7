"""A function that is compiled again up to its limit: its recompilations, the limit and the limit's exception are one failure."""

from collections.abc import Iterable

from harness.diagnosis.accounts.recompiled import HARD, Counted, Part, blocks_of, parts_of
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import FRAME, is_exception
from harness.diagnosis.log.lines import Line

_REASON = "last reason"


def at_limits(failures: Iterable[Counted]) -> list[Counted]:
    """The failures, each limit's with its exception and without the recompilations before it, whose lines it spans."""
    found: list[Part] = []
    for counted in failures:
        for part in parts_of(counted):
            _take(found, part)
    return [(part.failure, part.times, part.writers) for part in found]


def _take(found: list[Part], part: Part) -> None:
    """Add a part to those before it that are of the same failure."""
    if part.role == "raised" and (limit := _limit_before(found, part)) is not None:
        found[limit] = _with_exception(found[limit], part)
        return
    before = _recompilations(found, part)
    waiting = _exception_before(found, part)
    found[:] = [one for one in found if one is not waiting and not any(one is other for other in before)]
    part = _after(before, part) if before else part
    found.append(_with_exception(part, waiting) if waiting else part)


def _recompilations(found: list[Part], part: Part) -> list[Part]:
    """Those before a limit of the same function. An exception names none: it is of the only one, or of none that is known."""
    before = [one for one in found if one.role == "again" and _meet(one, part)]
    if part.role == "limit":
        return [one for one in before if part.function and one.function == part.function]
    return before if part.role == "raised" and len({one.function for one in before}) == 1 else []


def _exception_before(found: list[Part], part: Part) -> Part | None:
    """The exception of a limit that pytest prints below it."""
    if part.role != "limit":
        return None
    return next((one for one in reversed(found) if one.role == "raised-before" and _meet(one, part)), None)


def _meet(one: Part, other: Part) -> bool:
    return not {*one.writers}.isdisjoint(other.writers)


def _limit_before(found: list[Part], raised: Part) -> int | None:
    """Where the limit is that an exception is of: its process's last one, or that of the only function of a log."""
    limits = [place for place, one in enumerate(found) if one.role == "limit"]
    own = [place for place in limits if _meet(found[place], raised)]
    only = limits if len({found[place].function for place in limits}) == 1 else []
    return next(reversed(own or only), None)


def _after(before: list[Part], part: Part) -> Part:
    """A limit that spans the recompilations before it; of those it takes the last, where it has no reason of its own."""
    lines, first = part.failure.lines, min(one.failure.first for one in before)
    if not any(_REASON in line.text for line in lines):
        lines = [*blocks_of(before[-1].failure)[-1], *lines]
    return _of_lines(part, [_blank(first), *lines])._replace(function=before[-1].function)


def _with_exception(limit: Part, raised: Part) -> Part:
    """A limit with its exception, which is raised where the function is called: the frames are the limit's, if it has any."""
    lines = raised.failure.lines
    if any(FRAME.match(line.text) for line in limit.failure.lines):
        own = [line for line in lines if is_exception(line.text.lstrip())]
        lines = [line for line in own if HARD.search(line.text)] or own
    both = limit.failure, raised.failure
    first, last = min(one.first for one in both), max(one.last for one in both)
    whole = _of_lines(limit, [_blank(first), *limit.failure.lines, *lines, _blank(last)])
    return whole._replace(times=max(limit.times, raised.times), role="limit-raised")


def _of_lines(part: Part, lines: list[Line]) -> Part:
    return part._replace(failure=Failure(part.failure.writer, lines, raised=part.failure.raised))


def _blank(number: int) -> Line:
    """A line of no words, to where a failure reaches."""
    return Line(number, "", "", "")
