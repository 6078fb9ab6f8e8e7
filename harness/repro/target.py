"""What is reproduced: one case of one subject in one mode, and whether another case shows the same finding."""

from dataclasses import dataclass
from pathlib import Path

import torch

from harness.findings.finding import Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import ModeInfo
from harness.subjects.subject import Subject
from harness.verdict.judge import judge


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
    """The same finding in another verdict: of one observer, kind and stage."""
    wanted = (finding.observer, finding.kind, finding.stage)
    return next((one for one in verdict.findings if (one.observer, one.kind, one.stage) == wanted), None)
