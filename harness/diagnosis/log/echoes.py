"""A fault on a device ends its process's context: what that process reports of the device afterwards is the fault's echo."""

import re
from collections.abc import Iterable

from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import FRAME

# A failure, how often it is there, and who wrote it.
Counted = tuple[Failure, int, list[str]]
_FAULT = re.compile(
    r"illegal memory access|Assertion `|, thread: \[|device-side assert|misaligned address|Memory access fault by GPU"
    r"|=\s?Invalid __\w+__ "
)
_LATER = re.compile(
    r"CU(?:BLAS|DNN|SOLVER|SPARSE)_STATUS_|cuDNN error|(?:CUDA|HIP) error: (?!out of memory)|AcceleratorError"
    r"|unspecified launch failure"
)
# torch's watchdog of collectives reports its rank's fault under a name of its own.
_WATCHDOG = re.compile(r"[Ww]atchdog thread terminated with exception: (?:CUDA|HIP) error")
# How many lines of a fault without a traceback are kept: each thread of a kernel prints the same assertion.
_ASSERTIONS = 8


def without_echoes(failures: Iterable[Counted]) -> list[Counted]:
    """The failures without the echoes of a fault; one that has no traceback takes that of its first echo."""
    found: list[Counted] = []
    faults: dict[str, Failure] = {}
    for counted in failures:
        failure, _, writers = counted
        fault = _fault_of(failure, writers, faults)
        if fault is None:
            found.append(counted)
            if _says(_FAULT, failure):
                faults |= {writer: failure for writer in writers if writer not in faults}
        elif not _framed(fault) and _framed(failure):
            fault.lines = [*fault.lines[:_ASSERTIONS], *failure.lines]
    return found


def _fault_of(failure: Failure, writers: list[str], faults: dict[str, Failure]) -> Failure | None:
    """The fault that a failure is the echo of: an earlier one of its process or of none that is known; for the watchdog, of any."""
    before = [fault for fault in faults.values() if fault.first <= failure.first]
    if before and _says(_WATCHDOG, failure) and not _framed(failure):
        return before[-1]
    own = next((faults[writer] for writer in (*writers, "") if faults.get(writer) in before), None)
    return own if _says(_LATER, failure) else None


def _says(pattern: re.Pattern[str], failure: Failure) -> bool:
    return any(pattern.search(line.text) for line in failure.lines if not FRAME.match(line.text))


def _framed(failure: Failure) -> bool:
    return any(FRAME.match(line.text) for line in failure.lines)
