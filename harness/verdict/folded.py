"""Findings that follow from another one: of values, where sums over the ranks are missing, too many or dropped."""

from dataclasses import replace

from harness.execution import stages
from harness.execution.evidence import Run
from harness.findings.finding import Finding
from harness.observers.collectives import TOO_MANY
from harness.observers.factors import reduced_less

_MIXED = "The values are wrong too; correct the number first."
_WRONG = "The values are wrong too; correct that first."
_OF_VALUES = ("wrong-values", "wrong-part", "wrong-tokens", "wrong-columns", "not-reduced", "scaled")


def fold_reductions(findings: list[Finding], run: Run) -> list[Finding]:
    """Where the count of all-reduces is wrong, or a sum is dropped, what follows from it goes into that finding.

    That is a part's factor at the all-reduce. It is also a difference that no part, column or token explains: a rank's
    partial sum alone differs in any way. With real ranks it stays: what each rank holds says more of it.
    """
    cause = next((finding for finding in findings if finding.kind in ("collective-count", "sum-unused")), None)
    follows = [finding for finding in findings if cause is not None and _follows(finding, cause, run)]
    if cause is None or not follows:
        return findings
    whole = replace(cause, cause=_told(cause, follows[0]), detail=cause.detail | follows[0].detail)
    return [whole if finding is cause else finding for finding in findings if finding not in follows]


def _told(cause: Finding, follows: Finding) -> str:
    if cause.kind == "sum-unused":
        return f"{cause.cause} {_WRONG}"
    text = follows.cause if follows.stage == stages.REDUCE else _MIXED
    return f"{cause.cause} {text if cause.cause.startswith(TOO_MANY) else reduced_less(text)}"


def _follows(finding: Finding, cause: Finding, run: Run) -> bool:
    """Whether a finding of values is what sums do that are missing, too many or dropped."""
    if finding.kind == "scaled" and finding.stage == stages.REDUCE:
        return True
    # A sum that a part needs before it goes on, as into a norm, leaves that part wrong in any way, as one too many does where
    # each rank should return its own part.
    any_way = cause.kind == "sum-unused" or run.declared.reduces != 1
    return finding.kind in (_OF_VALUES if any_way else ("wrong-values",)) and not run.case.collective
