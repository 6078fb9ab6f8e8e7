"""From a case to its account: one eager run and one symbolic trace, with what the observers find in them."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.account.account import BOTH, INPUT, OUTPUT, Account, Step
from harness.account.stages import Group, groups
from harness.base.exception_text import first_line
from harness.execution.evidence import Call, Run
from harness.execution.modes import eager, fake
from harness.execution.pinned import pinned
from harness.execution.rig import Rig
from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.ops.tensor_meta import Size, TensorMeta
from harness.subjects.subject import Subject, routed_output
from harness.verdict.judge import observe


def account(subject: Subject, case: Case, device: str, spec: str, reproduce: str = "") -> Account:
    """The account of a case. Raises Skip, BuildFailed and DeviceLost as a mode does."""
    place = torch.device(device)
    with pinned():
        real = eager.run(Rig(subject, case, place, "eager"), False)
        traced = fake.run(Rig(subject, case, place, "fake-dynamic"), True)
        findings = _findings(real, traced)
    texts = tuple(f"{one.kind} at {one.stage}: {one.what}" for one in findings)
    return Account(
        subject=spec,
        case=case.id,
        title=_title(case),
        steps=tuple(_steps(real, traced, findings, routed_output(subject.ops(case)) or 0)),
        verdict="findings" if findings else "ok",
        findings=texts,
        reproduce=reproduce,
        torch=torch.__version__,
    )


def _findings(*runs: Run) -> tuple[Finding, ...]:
    """What the observers find, each kind at each stage once, as the first run shows it."""
    found: dict[tuple[str, str], Finding] = {}
    for run in runs:
        for finding in observe(run)[0]:
            found.setdefault((finding.kind, finding.stage), finding)
    return tuple(found.values())


def _title(case: Case) -> str:
    ranks = f"{case.tp} rank{'s' if case.tp > 1 else ''}"
    latent = f", latent {case.latent}" if case.latent else ""
    padded = f"padded to {case.padded} (multiples of {case.alignment.hidden}, {case.alignment.name})"
    widths = padded if case.padded != case.width else f"not padded ({case.alignment.name})"
    tokens = f"{case.tokens} token{'' if case.tokens == 1 else 's'}"
    return f"{case.model}: hidden {case.hidden}{latent}, {widths}; a {case.kernel} kernel, {ranks}, {tokens}"


def _steps(real: Run, traced: Run, findings: tuple[Finding, ...], routed: int) -> list[Step]:
    """The input, each stage, and the output."""
    call = real.calls[0]
    fakes = _by_name(groups(traced.calls[0].records, routed))
    found = groups(call.records, routed)
    steps = [_input(real, call)]
    seen: dict[str, int] = {}
    for number, group in enumerate(found, 1):
        seen[group.stage] = seen.get(group.stage, 0) + 1
        twin = fakes.get((group.stage, seen[group.stage]))
        step = _step(real, number, group, twin, _at(group.stage, findings))
        steps.append(replace(step, meets=_meets(step, steps)))
    return [*steps, _output(real, call, len(steps), findings, {step.stage for step in steps})]


def _meets(step: Step, before: list[Step]) -> str:
    """What comes together in a step where branches meet."""
    if step.branch != BOTH or len(step.inputs) < 2:
        return ""
    made = [before[number] for number in step.inputs]
    return " meets ".join(f"{' x '.join(map(str, one.shape))} of {one.stage}" for one in made)


def _by_name(groups_of_trace: list[Group]) -> dict[tuple[str, int], Group]:
    """The steps of a trace by stage and how many of that stage came before."""
    found: dict[tuple[str, int], Group] = {}
    count: dict[str, int] = {}
    for group in groups_of_trace:
        count[group.stage] = count.get(group.stage, 0) + 1
        found[group.stage, count[group.stage]] = group
    return found


def _at(stage: str, findings: tuple[Finding, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.kind for finding in findings if finding.stage == stage))


def _input(run: Run, call: Call) -> Step:
    meta = TensorMeta.of(call.inputs[0])
    return Step(number=0, stage=INPUT, branch=BOTH, inputs=(), **_of(run, meta))


def _step(run: Run, number: int, group: Group, twin: Group | None, findings: tuple[str, ...]) -> Step:
    last = group.last
    meta = group.made(last.outputs)
    return Step(
        number=number,
        stage=group.stage,
        branch=group.branch,
        inputs=tuple(n + 1 for n in group.inputs) or (0,),
        ops=tuple(record.op.removeprefix("aten::") for record in group.records),
        line=last.line,
        fake=_parts(meta, group, twin),
        error=first_line(last.error) if last.error else "",
        findings=findings,
        **(_of(run, meta) if meta is not None else {}),
    )


def _of(run: Run, meta: TensorMeta) -> dict[str, Any]:
    """The fields of a step that its tensor gives."""
    return {
        "shape": meta.shape,
        "stride": meta.stride,
        "dtype": meta.dtype,
        "contiguous": meta.contiguous,
        "rule": _rule(run.case, meta.width),
    }


def _rule(case: Case, width: Size) -> str:
    text = case.describe_width(width) if isinstance(width, int) else ""
    return text if "=" in text else ""


def _parts(meta: TensorMeta | None, group: Group, twin: Group | None) -> str:
    """What the fake says where it differs: a custom op's own fake on the real arguments, else the trace."""
    own = group.last.fake
    if own is not None and own.error is not None:
        return f"the fake raises {type(own.error).__name__}: {first_line(own.error)}"
    said = group.made(own.outputs) if own is not None else None
    if said is None and twin is not None:
        if twin.last.error is not None:
            return "" if group.last.error else f"the trace raises {first_line(twin.last.error)}"
        said = twin.made(twin.last.outputs)
    if meta is None or said is None or _agree(meta, said):
        return ""
    return f"the fake says {said}"


def _agree(real: TensorMeta, said: TensorMeta) -> bool:
    """Whether sizes, strides and dtype agree; a symbol agrees with any number."""
    if len(real.shape) != len(said.shape) or real.dtype != said.dtype:
        return False
    pairs = zip((*real.shape, *real.stride), (*said.shape, *said.stride), strict=True)
    return all(one == other for one, other in pairs if isinstance(other, int))


def _output(run: Run, call: Call, number: int, findings: tuple[Finding, ...], stages: set[str]) -> Step:
    """The layer's output beside the oracle's, with findings of stages that no step is."""
    rest = tuple(dict.fromkeys(one.kind for one in findings if one.stage not in stages))
    meta = TensorMeta.of(call.output) if isinstance(call.output, Tensor) else None
    difference = call.difference[0] if call.difference else None
    return Step(
        number=number,
        stage=OUTPUT,
        branch=BOTH,
        inputs=(number - 1,),
        oracle=f"columns {difference.ranges} differ from the oracle's" if difference and difference.columns else "",
        findings=rest,
        **(_of(run, meta) if meta is not None else {}),
    )
