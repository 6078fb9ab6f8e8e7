"""What is reproduced: one case of one subject in one mode, and whether another case shows the same finding."""

from dataclasses import dataclass
from pathlib import Path

import torch

from harness.execution import stages
from harness.findings.finding import Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import ModeInfo
from harness.subjects.subject import Subject
from harness.verdict.judge import judge

# The stages between which the numbers of one output decide, where no frame and no record does.
_FITTED = {stages.EXPERTS, stages.SCALING, stages.UNPAD}


@dataclass(frozen=True, slots=True)
class Target:
    """What is reproduced: a subject by its name and its import path, a case, a mode, a device."""

    subject: Subject
    name: str
    spec: str
    case: Case
    mode: ModeInfo
    device: torch.device
    root: Path

    def judged(self, case: Case | None = None) -> Verdict:
        """The verdict of the case, or of another one."""
        return judge(self.subject, case or self.case, self.mode, self.device, self.name)

    def shows(self, finding: Finding, case: Case | None = None) -> Finding | None:
        """The same finding in the case, or in another one; None where it is not found."""
        return same_finding(self.judged(case), finding)


def same_finding(verdict: Verdict, finding: Finding) -> Finding | None:
    """The same finding in another verdict: of one observer, kind and stage, and of one kind of variation.

    Where a varied call gave other values, the stage is the one that the numbers fit best, and other sizes fit another.
    """
    same = [one for one in verdict.findings if _of_one_kind(one, finding)]
    at_stage = [one for one in same if one.stage == finding.stage]
    fitted = [one for one in same if finding.vary and {one.stage, finding.stage} <= _FITTED]
    return next(iter((*at_stage, *fitted)), None)


def _of_one_kind(one: Finding, other: Finding) -> bool:
    """Whether two are of one kind; of variations without their values, as a search may end at another number of tokens."""
    varied, others = (finding.vary.partition("=")[0] for finding in (one, other))
    return (one.observer, one.kind, varied) == (other.observer, other.kind, others)
