"""Judge: run one case in one mode, from the subject to the verdict."""

import gc
import os
import re
import time
import traceback
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from typing import Any

import torch

from harness.base.errors import BadInput, DeviceLost, Skip
from harness.base.exception_text import first_line, is_ctrl_c, raised_text, user_line
from harness.base.printable import bounded
from harness.base.source import SourceLine
from harness.base.torch_settings import CONFIGS
from harness.execution import stages
from harness.execution.device import loss
from harness.execution.evidence import Run
from harness.execution.memory.fresh_memory import reuse_freed_memory
from harness.execution.modes import Mode
from harness.execution.pinned import pinned
from harness.execution.rig import EAGER_AUDIT, BuildFailed, Rig
from harness.findings.explain import explain
from harness.findings.finding import DEVICE_LOST, ERROR, FINDINGS, OK, SKIPPED, Finding, Verdict, WidthOrigin
from harness.matrix.case import Case
from harness.matrix.modes import PROOF, ModeInfo
from harness.observers import OBSERVERS
from harness.observers.varied import with_account, with_variation
from harness.proof.findings import with_proof
from harness.proof.mode import BuildFailsAt
from harness.subjects.subject import Subject
from harness.verdict.damage import Damage, damages, with_damage
from harness.verdict.folded import fold_reductions
from harness.verdict.known_bugs import name_bugs
from harness.verdict.machine import MachineFault, machine_fault, missing_compiler
from harness.verdict.reproduce import reproduce


def judge(
    subject: Subject,
    case: Case,
    mode: ModeInfo,
    device: torch.device,
    spec: str = "in-tree",
    runs: list[Run] | None = None,
) -> Verdict:
    """Run ``case`` in ``mode`` on ``device`` and return the verdict. Ctrl-C is the only exception that it lets through.

    ``spec`` is the subject's name on the command line. The reproducing command uses it. Where the case was made small, and
    the subject builds no layer of that width, the published width is judged. The mode's run is added to ``runs``: it holds the
    layer and its inputs, which else die with this call.
    """
    verdict = _judge(subject, case, mode, device, spec, runs)
    if case.small_of and (verdict.status == SKIPPED or any(f.kind == "not-built" for f in verdict.findings)):
        return _judge(subject, case.published(), mode, device, spec, runs)
    return verdict


def _judge(
    subject: Subject, case: Case, mode: ModeInfo, device: torch.device, spec: str, runs: list[Run] | None
) -> Verdict:
    start = time.perf_counter()
    _tune_garbage_collector()
    reuse_freed_memory()
    status, reason, trace, emulated = ERROR, "", "", False
    proof: dict[str, Any] = {}
    settings: dict[str, str] = {}
    findings: tuple[Finding, ...] = ()
    checks: tuple[str, ...] = ()
    line: SourceLine | None = None
    damaged: list[Damage] = []
    try:
        with pinned(), ExitStack() as at_end:
            at_end.callback(lambda: damaged.extend(damages()))
            run = _run(subject, case, mode, device, runs)
            emulated, proof = run.emulated, run.proof.to_json() if run.proof else {}
            settings = (
                run.settings
                | _left_out(run)
                | ({"declares": ", ".join(run.declared.texts)} if run.declared.texts else {})
            )
            if reason := _nothing_varied(run, mode):
                raise Skip(reason)
            findings, checks = observe(run)
        status = FINDINGS if findings else OK if checks else ERROR
        reason = "" if checks or findings else "no check had anything to look at"
    except BuildFailed as error:
        status, findings, checks = FINDINGS, (_not_built(error, case),), ("build",)
    except Skip as error:
        status, reason = SKIPPED, str(error)
    except DeviceLost as error:
        line = user_line(error.__cause__) if error.__cause__ else None
    except BadInput as error:  # what the subject gives cannot be used: this says nothing about the layer
        reason, trace = str(error), bounded(traceback.format_exc()) if error.__cause__ else ""
    except Exception as error:  # the harness, the inputs or the oracle failed: this says nothing about the layer
        reason = machine_fault(error) or f"{type(error).__name__}: {first_line(error)}"
        trace = bounded(traceback.format_exc())
    except BaseException as error:  # KeyboardInterrupt and the like
        if is_ctrl_c(error):
            raise
        reason = f"the subject or its layer raised {raised_text(error)}"
    status, reason, findings = with_damage(status, reason, findings, damaged)
    if lost := loss(device):  # a lost device explains every other finding and error
        line = line or next((finding.line for finding in findings if finding.line), None)
        status, reason, findings, checks = FINDINGS, "", (_lost(lost, line),), ("device",)
    return Verdict.of(
        spec,
        case,
        mode.name,
        status,
        findings=tuple(name_bugs(finding, case) for finding in findings),
        reason=reason,
        checks=checks,
        emulated=emulated,
        proof=proof,
        seconds=round(time.perf_counter() - start, 4),
        reproduce=reproduce(case, mode.name, spec, device.type, _variations(mode, findings)),
        environment=environment(device.type) | settings,
        traceback=trace,
    )


def _nothing_varied(run: Run, mode: ModeInfo) -> str:
    """Why none of the variations that were chosen is judged; empty where one is, or where none was chosen."""
    if not mode.vary or run.failed or not all(name in run.left_out for name in mode.vary):
        return ""
    return "; ".join(f"{name}: {why}" for name, why in run.left_out.items())


def _left_out(run: Run) -> dict[str, str]:
    return {"left out": "; ".join(f"{name}: {why}" for name, why in run.left_out.items())} if run.left_out else {}


def _variations(mode: ModeInfo, findings: tuple[Finding, ...]) -> tuple[str, ...]:
    """The variations that show the findings; where some finding needs none, those that were chosen."""
    shown = tuple(dict.fromkeys(finding.vary for finding in findings))
    return shown if shown and all(shown) else mode.vary


def _lost(error: str, line: SourceLine | None) -> Finding:
    blocking = os.environ.get("CUDA_LAUNCH_BLOCKING") == "1"  # otherwise CUDA reports the error late, at another line
    hint = "" if blocking else " Set CUDA_LAUNCH_BLOCKING=1 and reproduce it to see the line."
    return Finding(
        observer="device",
        kind=DEVICE_LOST,
        stage="layer",
        what=error,
        cause=f"A kernel accessed memory out of bounds, or a device-side assert failed.{hint}",
        line=line if blocking else None,
    )


_PLACES = re.compile(r"\b(?:row|column|expert|rank|token|index|line|dim|dimension) \d+")  # numbers that are no sizes


def _not_built(error: BuildFailed, case: Case) -> Finding:
    cause = error.__cause__ or error
    at = f"{error}: " if isinstance(error, BuildFailsAt) else ""
    known = {case.padded, case.width, case.hidden, case.intermediate, case.padded_intermediate}
    sizes = [int(number) for number in re.findall(r"\d+", _PLACES.sub("", first_line(cause)))]
    return Finding(
        observer="build",
        kind="not-built",
        stage=stages.BUILD,
        what=f"{at}{type(cause).__name__}: {first_line(cause)}",
        cause="The layer could not be built for this case. Check how its weights are prepared, padded and registered.",
        line=user_line(cause),
        widths=tuple(
            WidthOrigin(case.describe_width(size), "", None) for size in dict.fromkeys(sizes) if size in known
        ),
    )


def _run(subject: Subject, case: Case, mode: ModeInfo, device: torch.device, runs: list[Run] | None) -> Run:
    if problem := missing_compiler(mode, device.type):
        raise Skip(problem)
    module: Mode = import_module(mode.module)
    rig = Rig(subject, case, device, mode.name, mode.vary)
    try:
        run = module.run(rig, mode.dynamic)
    except BuildFailed as error:
        _refuse_machine_fault(error)
        raise
    if runs is not None:
        runs.append(run)
    rig.check_ops_registered()
    return run


def _refuse_machine_fault(error: BaseException) -> None:
    """Raise MachineFault where an exception shows that the machine lacked something: the layer is not to blame."""
    if reason := machine_fault(error):
        raise MachineFault(reason)


def observe(run: Run) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The findings, and the names of the observers that had something to look at."""
    findings: list[Finding] = []
    checks: list[str] = []
    for observer in OBSERVERS:
        observed = observer.look(run)
        if observed is not None:
            checks.append(observer.name)
            findings += observed
    findings = fold_reductions(findings, run)
    raised = next((call for call in run.calls if call.error is not None), None)
    if raised is not None and raised.error is not None:
        _refuse_machine_fault(raised.error)
        findings = _with_failure(run, with_account(run, raised, explain(run, raised)), findings)
    if run.proof is not None:
        findings = with_proof(run, findings)
        checks.append(PROOF.name)
    return tuple(with_variation(run, finding) for finding in findings), tuple(checks)


def _with_failure(run: Run, failure: Finding, findings: list[Finding]) -> list[Finding]:
    """Add the finding of the call that raised, unless it only follows from a wrong fake."""
    eager_works = any(call.label == EAGER_AUDIT and call.error is None for call in run.calls)
    fakes = [finding for finding in findings if finding.observer == "contract"]
    if not eager_works or not fakes:
        return [failure, *findings]
    # Inductor's own assert about a wrong fake and the contract audit report the same fault: keep one of them.
    return [failure] if failure.kind == "fake-differs" else fakes


@cache
def _tune_garbage_collector() -> None:
    """Freeze what torch and sympy allocated. These million objects never die, and scanning them costs a tenth of a run."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@cache
def environment(device: str) -> dict[str, str]:
    """What a verdict depends on besides the code: versions, device and pinned settings."""
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    settings = {f"{part[1:]}.{key}": str(value) for part, pins in CONFIGS.items() for key, value in pins.items()}
    return {"torch": torch.__version__, "device": name, **settings}
