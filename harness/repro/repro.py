"""From a case in a mode to a script that was seen to fail: judge, shrink where asked, write, run."""

from dataclasses import replace

from harness.execution.modes.varied.inputs import Inputs
from harness.execution.modes.varied.sizes import sized
from harness.execution.state.python_state import PythonState
from harness.findings.finding import FINDINGS, Finding
from harness.matrix.case import Case
from harness.matrix.modes import PROOF
from harness.matrix.shrunk import resized
from harness.repro.about import About
from harness.repro.attempt import Attempt, reproduce_in_script
from harness.repro.flat.standalone import standalone
from harness.repro.reducers import reducers
from harness.repro.reproduction import Reproduction
from harness.repro.shrinking.shrink import Shrunk
from harness.repro.shrinking.target import Progress, shrunk_case, with_a_size
from harness.repro.shrinking.words import said
from harness.repro.symptom import Symptom, symptom
from harness.repro.target import Target
from harness.repro.traced.chosen import PROVER, Untraced, chosen
from harness.repro.traced.parts import traced_parts
from harness.repro.unscripted import why_unscripted
from harness.repro.writing.imported import imported
from harness.subjects.declared import declared
from harness.subjects.subject import plain_names


def reproduced(
    target: Target, kind: str = "", shrink: bool = False, seconds: float = 120.0, progress: Progress = lambda text: None
) -> Reproduction:
    """Reproduce the first finding of a target, or its first one of ``kind``."""
    progress("judging the case")
    verdict = target.judged()
    finding = next((one for one in verdict.findings if kind in ("", one.kind)), None)
    if verdict.status != FINDINGS or finding is None:
        return Reproduction(verdict)
    if target.mode is PROOF and finding.observer != PROVER:
        target, finding = with_a_size(target, finding, verdict.proof.get("counterexample") or ())
    elif finding.vary:  # the others cost time, and say nothing of this one
        target = replace(target, mode=replace(target.mode, vary=(finding.vary,)))
    shrunk: Shrunk | None = None
    phrases: tuple[str, ...] = ()
    original = target.case
    if shrink:
        shrunk = shrunk_case(target, finding, progress)
        target = replace(target, case=resized(original, shrunk.values)) if shrunk.evaluations else target
        phrases = tuple(said(original, shrunk))
        finding = target.shows(finding) or finding
    if why_unscripted(finding):
        return Reproduction(verdict, finding, case=target.case)
    progress("running the script")
    if finding.observer != PROVER:
        return Reproduction(verdict, finding, _attempt(target, finding, seconds), target.case, shrunk, phrases)
    attempt, case, reason = _traced(target, finding, seconds)
    return Reproduction(verdict, finding, attempt, case, shrunk, phrases, reason)


def _traced(target: Target, finding: Finding, seconds: float) -> tuple[Attempt | None, Case, str]:
    """The script of a trace and the case in it, or the reason why there is none. A proof looks at a layer on the CPU."""
    state = PythonState()
    try:
        shown = chosen(target.subject, target.case, finding)
        parts = traced_parts(target.subject, target.spec, shown, finding)
    except Untraced as error:
        return None, target.case, str(error)
    about = About(shown.case, target.mode, Symptom(finding, "", ()), plain_names(target.subject.ops(shown.case)), "cpu")
    state.restore()
    return reproduce_in_script(about, parts, target.root, seconds), shown.case, ""


def _attempt(target: Target, finding: Finding, seconds: float) -> Attempt:
    subject, device = target.subject, target.device
    state = PythonState()
    symptoms = symptom(subject, target.case, target.mode, device, finding)
    case = sized(target.case, finding.vary)
    declares = declared(subject, case)
    about = About(
        case,
        target.mode,
        symptoms,
        plain_names(subject.ops(case)),
        device.type,
        declares.reduces,
        reducers(subject, case, int(finding.vary.partition("=")[2]), device)
        if finding.vary.startswith("ranks=")
        else (),
        declares.most_tokens,
        _places(target),
    )
    parts, _ = standalone(subject, case, device)
    state.restore()  # a signal that a build ignored would be ignored in the script's process too
    return reproduce_in_script(about, [*parts, imported(target.spec, case, device.type)], target.root, seconds)


def _places(target: Target) -> tuple[int, int]:
    """Where the expert ids and the routing weights are among the inputs; 1 and 2 where they cannot be told."""
    inputs = Inputs.of(tuple(target.subject.inputs(target.case, 3, 0, target.device)), target.case)
    return inputs.ids_at or 1, inputs.weights_at or 2
