"""From a case in a mode to a script that was seen to fail: judge, shrink where asked, write, run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.execution.modes.varied.contents import Inputs
from harness.execution.modes.varied.sizes import sized
from harness.findings.finding import ERROR, FINDINGS, SKIPPED, Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE, PROOF, ModeInfo
from harness.matrix.shapes import NVFP4_BLOCK
from harness.matrix.shrunk import resized, sizes_of
from harness.repro.about import About
from harness.repro.attempt import Attempt, reproduce_in_script
from harness.repro.flat.standalone import standalone
from harness.repro.imported import imported
from harness.repro.shrinking.fields import others, possible, simpler
from harness.repro.shrinking.shrink import MOST, Shrinker, Shrunk, Values
from harness.repro.shrinking.words import said
from harness.repro.symptom import symptom
from harness.repro.texts.scenarios import scenario_of
from harness.repro.texts.variations import is_change
from harness.subjects.declared import declared
from harness.subjects.subject import Subject, plain_names
from harness.verdict.judge import judge

Progress = Callable[[str], None]
# Variations and kinds that no script shows, and why.
UNSCRIPTED = {
    "ranks=4": "four ranks need the harness, which sums what the layer of each gives to a reduction",
    "other-graphs-memory": "it needs the harness, which overwrites what the capture of another graph made",
}
# How many hidden sizes are tried for a finding of a proof, which names sizes that a layer may not have.
_SIZES = 16


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


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The verdict, the finding that was chosen, the script and what the shrinker found. ``attempt`` is None without a finding."""

    verdict: Verdict
    finding: Finding | None = None
    attempt: Attempt | None = None
    case: Case | None = None
    shrunk: Shrunk | None = None
    phrases: tuple[str, ...] = ()

    @property
    def reproduced(self) -> bool:
        """Whether a script showed the finding."""
        return self.attempt is not None and self.attempt.reproduced

    @property
    def outcome(self) -> str:
        """One line."""
        if self.attempt is None:
            return f"not reproduced, because {_why_not(self.verdict, self.finding)}"
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


def _tried(shrunk: Shrunk) -> dict[str, dict[str, bool]]:
    """For each field the values that were tried beside the small case's, and whether each shows the finding."""
    return {name: {str(value): fails for value, fails in tried.items()} for name, tried in shrunk.others.items()}


def _why_not(verdict: Verdict, finding: Finding | None) -> str:
    if finding is not None:
        return _unscripted(finding)
    if verdict.status in (SKIPPED, ERROR):
        return f"the case is {verdict.status} here: {verdict.reason}"
    return f"the case is {verdict.status} here, mode {verdict.mode}: {len(verdict.checks)} checks found nothing"


def _unscripted(finding: Finding) -> str:
    """Why no script shows a finding; empty where one may."""
    if why := UNSCRIPTED.get(finding.vary) or UNSCRIPTED.get(finding.kind):
        return why
    known = is_change(finding.vary) or scenario_of(finding) is not None
    return "" if known else f"no script shows the variation {finding.vary}: {finding.what}"


def reproduced(
    target: Target, kind: str = "", shrink: bool = False, seconds: float = 120.0, progress: Progress = lambda text: None
) -> Reproduction:
    """Reproduce the first finding of a target, or its first one of ``kind``."""
    progress("judging the case")
    verdict = target.judged()
    finding = next((one for one in verdict.findings if kind in ("", one.kind)), None)
    if verdict.status != FINDINGS or finding is None:
        return Reproduction(verdict)
    if target.mode is PROOF:
        target, finding = _concrete(target, finding)
    elif finding.vary:  # the others cost time, and say nothing of this one
        target = replace(target, mode=replace(target.mode, vary=(finding.vary,)))
    shrunk: Shrunk | None = None
    phrases: tuple[str, ...] = ()
    original = target.case
    if shrink:
        shrunk = _shrunk(target, finding, progress)
        target = replace(target, case=resized(original, shrunk.values)) if shrunk.evaluations else target
        phrases = tuple(said(original, shrunk))
        finding = _same(target.judged(), finding) or finding
    if _unscripted(finding):
        return Reproduction(verdict, finding, case=target.case)
    progress("running the script")
    return Reproduction(verdict, finding, _attempt(target, finding, seconds), target.case, shrunk, phrases)


def _attempt(target: Target, finding: Finding, seconds: float) -> Attempt:
    subject, device = target.subject, target.device
    symptoms = symptom(subject, target.case, target.mode, device, finding)
    case = sized(target.case, finding.vary)
    about = About(
        case,
        target.mode,
        symptoms,
        plain_names(subject.ops(case)),
        device.type,
        declared(subject, case).reduces,
        _places(target),
    )
    parts, _ = standalone(subject, case, device)
    return reproduce_in_script(about, [*parts, imported(target.spec, case, device.type)], target.root, seconds)


def _places(target: Target) -> tuple[int, int]:
    """Where the expert ids and the routing weights are among the inputs; 1 and 2 where they cannot be told."""
    inputs = Inputs.of(tuple(target.subject.inputs(target.case, 3, 0, target.device)), target.case)
    return inputs.ids_at or 1, inputs.weights_at or 2


def _same(verdict: Verdict, finding: Finding) -> Finding | None:
    """The same finding in another verdict: of one observer, kind and stage."""
    wanted = (finding.observer, finding.kind, finding.stage)
    return next((one for one in verdict.findings if (one.observer, one.kind, one.stage) == wanted), None)


def _shrunk(target: Target, finding: Finding, progress: Progress) -> Shrunk:
    def fails(values: Values) -> bool:
        return possible(values) and _same(target.judged(resized(target.case, values)), finding) is not None

    def show(count: int, values: Values) -> None:
        sizes = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
        progress(f"shrinking: {count} tried, {sizes}")

    case = target.case
    if case.full:
        return Shrunk(sizes_of(case), 0)
    return Shrinker(sizes_of(case), simpler(case), fails, MOST, show).run(partial(others, case))


def _concrete(target: Target, finding: Finding) -> tuple[Target, Finding]:
    """A proof's finding at the smallest hidden size that a layer can have and that shows it in eager."""
    eager = replace(target, mode=EVERY_MODE["eager"])
    for size in range(NVFP4_BLOCK, NVFP4_BLOCK * (_SIZES + 1), NVFP4_BLOCK):
        case = resized(target.case, sizes_of(target.case) | {"hidden": size})
        if same := _same(eager.judged(case), finding):
            return replace(eager, case=case), same
    return target, finding
