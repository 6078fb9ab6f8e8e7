"""A subject that lowers Python's recursion limit: what then nests too deep, in torch or in a fake, is not to blame."""

import sys
from collections.abc import Sequence

from harness.findings.finding import FINDINGS, Finding

_BEFORE = sys.getrecursionlimit()  # before any module of a user was imported
_RAISED = "RecursionError"


def lowered_to() -> int:
    """The recursion limit now, where it is lower than it was at first; else 0."""
    limit = sys.getrecursionlimit()
    return limit if limit < _BEFORE else 0


def with_limit(
    status: str, reason: str, findings: Sequence[Finding], limits: Sequence[int]
) -> tuple[str, str, tuple[Finding, ...]]:
    """The status, the reason and the findings, in which one of a lowered limit replaces what a RecursionError led to."""
    others = tuple(finding for finding in findings if _RAISED not in finding.what)
    if not any(limits) or (len(others) == len(findings) and _RAISED not in reason):
        return status, reason, tuple(findings)
    first = next((finding for finding in findings if _RAISED in finding.what), None)
    lowered = Finding(
        observer="global state",
        kind="global-state",
        stage="layer",
        what=f"Python's recursion limit was lowered from {_BEFORE:,} to {limits[0]:,}, and a call then raised {_RAISED}",
        cause="Neither torch nor an op's fake is wrong: at that limit no code runs that nests as deep as torch does. "
        "Remove the call of sys.setrecursionlimit from the layer, its build or its module.",
        line=first.line if first else None,
        call=first.call if first else "",
    )
    return FINDINGS, "", (lowered, *others)
