"""CUDA graphs: capture once, change the inputs in place, replay. Without CUDA the same over recorded ops, an emulation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.bench import LAYER_ERRORS, Bench
from harness.evidence import Call, Run
from harness.modes.capture import CaptureRefused, OpGraph

_WARM_UP, _REPLAY, _CAPTURE = range(3)  # seeds of the inputs


def run(bench: Bench, dynamic: bool) -> Run:
    """A warm-up, a capture, a replay with other inputs, and one with those of the warm-up."""
    emulated = bench.device.type != "cuda"
    run = bench.start(emulated=emulated, replay_rewrites_output=True)
    assert run.layer is not None
    # Engines run a layer before they capture it, on other inputs; what it caches then must not reach the capture.
    warm = bench.call(run, run.layer, "warm-up", bench.case.tokens, _WARM_UP, bench.recorder())
    if warm.error:
        return bench.finish(run)
    static = bench.inputs(bench.case.tokens, _CAPTURE)
    call = Call("capture", bench.case.tokens, static)
    run.calls.append(call)
    try:
        replay, output = (_emulate if emulated else _capture)(run.layer, static)
    except LAYER_ERRORS as error:  # a refused capture is the finding
        call.error = error
        return bench.finish(run)
    run.calls.remove(call)
    for seed in (_REPLAY, _WARM_UP):
        if _replay(bench, run, replay, static, output, seed).error:
            break
    return bench.finish(run)


def _replay(
    bench: Bench, run: Run, replay: Callable[[], None], static: tuple[Tensor, ...], output: Tensor, seed: int
) -> Call:
    """One replay on new inputs. The output buffer is spoilt first: a replay that writes nothing leaves it so."""
    fresh = bench.inputs(bench.case.tokens, seed)
    for buffer, tensor in zip(static, fresh, strict=True):
        buffer.copy_(tensor)
    output.fill_(torch.nan)
    label = "replay with the warm-up's inputs" if seed == _WARM_UP else "replay with other inputs"
    call = Call(label, bench.case.tokens, static, before=fresh)
    run.calls.append(call)
    try:
        replay()
    except LAYER_ERRORS as error:
        call.error = error
        return call
    # The static buffers change at the next replay: keep what this one left in them.
    call.inputs = tuple(tensor.clone() for tensor in static)
    call.output, call.snapshot = output, output.clone()
    call.expected = bench.expected(bench.case.tokens, seed)
    return call


def _emulate(layer: Callable[..., Any], static: tuple[Tensor, ...]) -> tuple[Callable[[], None], Tensor]:
    graph = OpGraph()
    output = graph.capture(layer, static)
    return graph.replay, _one_tensor(output)


def _capture(layer: Callable[..., Any], static: tuple[Tensor, ...]) -> tuple[Callable[[], None], Tensor]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        layer(*static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = layer(*static)
    return graph.replay, _one_tensor(output)


def _one_tensor(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise CaptureRefused(f"the layer gave a {type(output).__name__}; expected one tensor [tokens, hidden]")
    return output
