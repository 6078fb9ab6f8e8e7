"""CUDA graphs: captured once, replayed on changed inputs. Without CUDA emulated over dispatched ops, and said so."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from harness.audit.checks.contract import words
from harness.audit.context import ERRORS, Audited, outputs
from harness.audit.row import Seen, breaks, holds, not_applicable, not_run
from harness.audit.samples import Sample
from harness.audit.tensors import difference, faithful, filled, tensors
from harness.execution.capture import CaptureRefused, OpGraph


def capture(audited: Audited) -> Seen:
    """A warm-up on other inputs, a capture, a replay of the same inputs and one of changed inputs."""
    emulated = audited.device.type != "cuda"
    never = _impossible(audited)
    if never:
        return never
    variant = audited.accepted[0]
    name = "emulated" if emulated else "captured"
    audited.call(_changed(audited.fresh(variant)))
    static = audited.fresh(variant)
    start = faithful(static.leaves)
    try:
        with filled(True):
            replay, out = (_emulate if emulated else _capture)(audited, static)
    except CaptureRefused as error:
        return breaks(f"{name}: {error}" + (f" ({error.line})" if error.line else ""), variant.label)
    except ERRORS as error:
        return _refused(name, error, variant.label)
    if not tensors(out) and not audited.written(static):
        return holds(f"{name}: captured; it gives nothing to compare")
    try:
        same = _replayed(audited, replay, out, static, start)
    except ERRORS as error:
        return _refused(name, error, variant.label)
    if same and emulated:
        why = "the kernel writes memory beside torch's ops (C++ loops, ctypes), which the emulation cannot replay"
        return not_run(f"{why}; --device cuda captures really")
    if same:
        return breaks(f"{name}: a replay with the same inputs gives {same}", variant.label)
    found = _replayed(audited, replay, out, static, _changed(audited.fresh(variant)).leaves)
    if found:
        return breaks(
            f"{name}: a replay with other inputs gives {found}: something of the capture is kept", variant.label
        )
    return holds(f"{name}: replays follow the inputs")


def _impossible(audited: Audited) -> Seen | None:
    """What no graph can hold, or what no comparison can judge."""
    variant = audited.accepted[0]
    out = outputs(audited.fake(variant).out)
    if any(isinstance(leaf, Tensor) and any(not isinstance(size, int) for size in leaf.shape) for leaf in out):
        return not_applicable("the size of an output depends on data, as the fake says: no CUDA graph can hold the op")
    with filled(True):
        pair = [audited.call(audited.fresh(variant)) for _ in range(2)]
    return not_run("it answers otherwise at each call; see the row `second call`") if difference(*pair) else None


def _refused(name: str, error: BaseException, label: str) -> Seen:
    if name == "emulated":
        return not_run(f"the emulation cannot record it: {words(error)}; --device cuda captures really")
    return breaks(f"the capture fails: {words(error)}", label)


def _changed(sample: Sample) -> Sample:
    """The same arguments with other values of the same range: rows in reverse order and a half of each float."""
    for leaf in sample.leaves:
        if isinstance(leaf, Tensor) and leaf.dim() and leaf.numel() and 0 not in leaf.stride():
            leaf.copy_(leaf.clone().flip(0))
            if leaf.dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
                leaf.mul_(0.5)
    return sample


def _replayed(audited: Audited, replay: Callable[[], None], out: Any, static: Sample, leaves: list[Any]) -> str:
    """How a replay on these values differs from an eager call on them; empty where it does not."""
    for buffer, value in zip(static.leaves, leaves, strict=True):
        if isinstance(buffer, Tensor) and 0 not in buffer.stride():
            buffer.copy_(value)
    eager = static.with_leaves(faithful(leaves))
    with filled(True):
        expected = audited.call(eager)
        torch.manual_seed(0)
        replay()
    written = audited.written(static)
    pairs = [(a, b) for place, (a, b) in enumerate(zip(eager.leaves, static.leaves, strict=True)) if place in written]
    return difference((expected, [a for a, _ in pairs]), (out, [b for _, b in pairs]))


def _emulate(audited: Audited, static: Sample) -> tuple[Callable[[], None], Any]:
    graph = OpGraph()
    out = graph.capture(lambda *_: audited.call(static), ())
    return graph.replay, out


def _capture(audited: Audited, static: Sample) -> tuple[Callable[[], None], Any]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        audited.op(*static.args, **static.kwargs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = audited.op(*static.args, **static.kwargs)
    return graph.replay, tree_map_only(Tensor, lambda x: x, out)
