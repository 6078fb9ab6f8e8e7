"""CUDA graphs: capture once, replay on changed inputs. Without CUDA the capture is emulated, and the row says so."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from harness.audit.calling.calls import ERRORS, outputs
from harness.audit.checks.fake_errors import error_line
from harness.audit.context import AuditedOp
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.samples import Sample
from harness.audit.tensors import deterministic_fill, difference, exact_copy, movable, tensors
from harness.execution.capture import OpGraph
from harness.execution.capture_rules import CaptureRefused


def capture(audited: AuditedOp) -> CheckResult:
    """Warm up on other inputs, capture, then replay with the same inputs and with changed ones."""
    emulated = audited.device.type != "cuda"
    impossible = _impossible(audited)
    if impossible:
        return impossible
    variant = audited.accepted[0]
    name = "emulated" if emulated else "captured"
    # Warm up on other inputs: what the op caches in its first call must not happen to be right for the capture.
    others = _others(audited)
    audited.call(others.with_leaves(exact_copy(others.leaves)))
    static = audited.fresh(variant)
    start = exact_copy(static.leaves)
    try:
        with deterministic_fill(True):
            replay, out = (_emulate if emulated else _capture)(audited, static)
    except CaptureRefused as error:
        return breaks(f"{name}: {error}" + (f" ({error.line})" if error.line else ""), variant.label)
    except ERRORS as error:
        return _refused(name, error, variant.label)
    if not tensors(out) and not audited.written(static):
        return holds(f"{name}: captured; it returns and writes nothing to compare")
    try:
        difference_on_same = _replayed(audited, replay, out, static, start)
    except ERRORS as error:
        return _refused(name, error, variant.label)
    if difference_on_same and emulated:
        why = "the kernel writes memory without torch ops (C++ loops, ctypes), which the emulation cannot replay"
        return not_run(f"{why}; --device cuda makes a real capture")
    if difference_on_same:
        return breaks(f"{name}: a replay with the same inputs differs from eager: {difference_on_same}", variant.label)
    changed = _replayed(audited, replay, out, static, others.leaves)
    if changed:
        return breaks(
            f"{name}: a replay with other inputs differs from eager: {changed}; the graph still uses a value from the capture",
            variant.label,
        )
    return holds(f"{name}: replays follow the inputs")


def _impossible(audited: AuditedOp) -> CheckResult | None:
    """A result if no graph can capture the op, or no comparison can judge it; else None."""
    variant = audited.accepted[0]
    out = outputs(audited.fake(variant).out)
    if any(isinstance(leaf, Tensor) and any(not isinstance(size, int) for size in leaf.shape) for leaf in out):
        return not_applicable("by the fake, the size of an output depends on data: no CUDA graph can capture the op")
    with deterministic_fill(True):
        pair = [audited.call(audited.fresh(variant)) for _ in range(2)]
    return not_run("the outputs differ from call to call; see the row `second call`") if difference(*pair) else None


def _refused(name: str, error: BaseException, label: str) -> CheckResult:
    if name == "emulated":
        return not_run(f"the emulation cannot record it: {error_line(error)}; --device cuda makes a real capture")
    return breaks(f"capture raises {error_line(error)}", label)


def _others(audited: AuditedOp) -> Sample:
    """Other values that the op takes: with the rows reversed, or of the floats alone where it refuses other integers."""
    variant = audited.accepted[0]
    changed = _changed(audited.fresh(variant))
    try:
        audited.call(changed.with_leaves(exact_copy(changed.leaves)))
    except ERRORS:
        return _changed(audited.fresh(variant), integers=False)
    return changed


def _changed(sample: Sample, integers: bool = True) -> Sample:
    """Other values of the same range in the same memory: reverse the rows and halve the floats."""
    for leaf in sample.leaves:
        if isinstance(leaf, Tensor) and not integers and not leaf.is_floating_point():
            continue
        if isinstance(leaf, Tensor) and leaf.dim() and leaf.numel() and 0 not in leaf.stride():
            movable(leaf).copy_(movable(leaf).flip(0))
            if leaf.dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
                leaf.mul_(0.5)
    return sample


def _replayed(audited: AuditedOp, replay: Callable[[], None], out: Any, static: Sample, leaves: list[Any]) -> str:
    """How a replay on these values differs from an eager call on them; empty if it does not."""
    for buffer, value in zip(static.leaves, leaves, strict=True):
        if isinstance(buffer, Tensor) and 0 not in buffer.stride():
            buffer.copy_(value)
    eager = static.with_leaves(exact_copy(leaves))
    with deterministic_fill(True):
        expected = audited.call(eager)
        torch.manual_seed(0)
        replay()
    written = audited.written(static)
    pairs = [(a, b) for place, (a, b) in enumerate(zip(eager.leaves, static.leaves, strict=True)) if place in written]
    return difference((expected, [a for a, _ in pairs]), (out, [b for _, b in pairs]))


def _emulate(audited: AuditedOp, static: Sample) -> tuple[Callable[[], None], Any]:
    graph = OpGraph()
    out = graph.capture(lambda *_: audited.call(static), ())
    return graph.replay, out


def _capture(audited: AuditedOp, static: Sample) -> tuple[Callable[[], None], Any]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        audited.op(*static.args, **static.kwargs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = audited.op(*static.args, **static.kwargs)
    return graph.replay, tree_map_only(Tensor, lambda x: x, out)
