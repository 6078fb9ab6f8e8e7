"""What came of reproducing a finding: a script that was run, or the reason why there is none."""

from dataclasses import dataclass
from typing import Any

from harness.findings.finding import ERROR, SKIPPED, Finding, Verdict
from harness.matrix.case import Case
from harness.repro.attempt import Attempt
from harness.repro.shrinking.shrink import Shrunk
from harness.repro.unscripted import why_unscripted


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The verdict, the finding that was chosen, the script and what the shrinker found. ``attempt`` is None without a finding.

    ``reason`` says why there is no script for it, where only the layer decides that.
    """

    verdict: Verdict
    finding: Finding | None = None
    attempt: Attempt | None = None
    case: Case | None = None
    shrunk: Shrunk | None = None
    phrases: tuple[str, ...] = ()
    reason: str = ""

    @property
    def reproduced(self) -> bool:
        """Whether a script showed the finding."""
        return self.attempt is not None and self.attempt.reproduced

    @property
    def outcome(self) -> str:
        """One line."""
        if self.attempt is None:
            return f"not reproduced, because {self.reason or _why_not(self.verdict, self.finding)}"
        if not self.attempt.reproduced:
            return f"not reproduced, because {self.attempt.reason}"
        assert self.finding is not None
        same = "same error class, same widths" if self.attempt.raises else f"same check fails, {self.finding.kind}"
        return f"reproduced: {same}"

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dumps`` takes."""
        attempt, finding = self.attempt, self.finding
        shrunk = {"values": self.shrunk.values, "evaluations": self.shrunk.evaluations} if self.shrunk else {}
        return {
            "case": self.verdict.case,
            "mode": self.verdict.mode,
            "kind": finding.kind if finding else "",
            "stage": finding.stage if finding else "",
            "reproduced": self.reproduced,
            "outcome": self.outcome,
            "standalone": attempt.standalone if attempt else False,
            "script": attempt.script if attempt else "",
            "shrunk": shrunk
            | (
                {"says": list(self.phrases), "bound": self.shrunk.stopped, "tried": _tried(self.shrunk)}
                if self.shrunk
                else {}
            ),
        }


def _why_not(verdict: Verdict, finding: Finding | None) -> str:
    if finding is not None:
        return why_unscripted(finding)
    if verdict.status in (SKIPPED, ERROR):
        return f"the case is {verdict.status} here: {verdict.reason}"
    return f"the case is {verdict.status} here, mode {verdict.mode}: {len(verdict.checks)} checks found nothing"


def _tried(shrunk: Shrunk) -> dict[str, dict[str, bool]]:
    """For each field the values that were tried beside the small case's, and whether each shows the finding."""
    return {name: {str(value): fails for value, fails in tried.items()} for name, tried in shrunk.others.items()}
