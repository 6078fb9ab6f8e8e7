"""A report of compute-sanitizer, which is of the fault that a process of the same log tells: another program writes it."""

from collections.abc import Iterable
from dataclasses import replace

from harness.diagnosis.accounts.recompiled import Counted
from harness.diagnosis.known.kinds import kinds
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import FRAME
from harness.diagnosis.log.texts import Texts

_REPORTS, _FAULT = "Invalid __", "illegal-access"


def with_reports(failures: Iterable[Counted]) -> list[Counted]:
    """The failures, the reports of compute-sanitizer each with the fault that is told without one: the last before it, or the next.

    The fault has the report's lines then, so that both are read as one. A report that stands by itself stays as it is.
    """
    found = list(failures)
    reports = [place for place, one in enumerate(found) if _reports(one[0])]
    faults = [place for place, one in enumerate(found) if reports and place not in reports and _is_fault(one[0])]
    if not faults:
        return found
    for place in reports:
        fault = next((at for at in reversed(faults) if found[at][0].first < found[place][0].first), faults[0])
        found[fault] = _joined(found[fault], found[place])
    return [one for place, one in enumerate(found) if place not in reports]


def _reports(failure: Failure) -> bool:
    """Whether a failure is a report and nothing else: one with frames of Python has a fault of its own."""
    lines = failure.lines
    return any(_REPORTS in line.text for line in lines) and not any(FRAME.match(line.text) for line in lines)


def _is_fault(failure: Failure) -> bool:
    match = Texts.of(failure).match(kinds())
    return match is not None and match[0].kind.id == _FAULT


def _joined(fault: Counted, report: Counted) -> Counted:
    (failure, times, writers), (other, _, others) = fault, report
    lines = sorted((*failure.lines, *other.lines), key=lambda line: line.number)
    return replace(failure, lines=lines), times, list(dict.fromkeys((*writers, *others)))
