"""CUDA graphs: capture once, change the inputs in place, replay. Without CUDA the same over recorded ops, an emulation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.execution.capture import CaptureRefused, OpGraph
from harness.execution.evidence import Call, Run
from harness.execution.external_memory import Noting, Outside
from harness.execution.rig import LAYER_ERRORS, Rig

WARM_UP, REPLAY, CAPTURE = range(3)  # seeds of the inputs


@dataclass(frozen=True, slots=True)
class Captured:
    """A graph: the static buffers that it reads, the one that it writes, and its replay, which raises FreedMemory."""

    inputs: tuple[Tensor, ...]
    output: Tensor
    replay: Callable[[], None]

    @property
    def size(self) -> int:
        """The number of tokens that it was captured for."""
        return self.inputs[0].shape[0]

    def fill(self, batch: tuple[Tensor, ...]) -> None:
        """Put a batch into the buffers. The rows beyond it are padding: no hidden states, the rest as it was left there."""
        for buffer, tensor in zip(self.inputs, batch, strict=True):
            buffer[: tensor.shape[0]].copy_(tensor)
        self.inputs[0][batch[0].shape[0] :].fill_(torch.nan)

    def of_batch(self, tokens: int) -> Tensor:
        """The batch's rows of the output; all of it where its rows are not the graph's."""
        return self.output[:tokens] if self.output.shape[:1] == (self.size,) else self.output


def run(rig: Rig, dynamic: bool) -> Run:
    """A warm-up, a capture, a replay with other inputs, and one with those of the warm-up."""
    run = rig.start(emulated=rig.device.type != "cuda")
    assert run.layer is not None
    # Engines run a layer before they capture it, on other inputs; what it caches then must not reach the capture.
    warm = rig.call(run, run.layer, "warm-up", rig.case.tokens, WARM_UP, rig.recorder())
    if warm.error:
        return rig.finish(run)
    graph = capture(run, rig.inputs(rig.case.tokens, CAPTURE))
    if graph is None:
        return rig.finish(run)
    for seed, label in ((REPLAY, "replay with other inputs"), (WARM_UP, "replay with the warm-up's inputs")):
        if replay(rig, run, graph, rig.case.tokens, seed, label).error:
            break
    return rig.finish(run)


def capture(run: Run, static: tuple[Tensor, ...], pool: Any = None) -> Captured | None:
    """A graph of the run's layer on these buffers, in a memory pool if it is given one; None where the capture failed.

    A refused capture is the finding, and stays in the run as a call that raised.
    """
    try:
        output, again = _emulate(run.layer, static) if run.emulated else _capture(run.layer, static, pool)
        if not isinstance(output, Tensor):
            raise CaptureRefused(f"the layer gave a {type(output).__name__}; expected one tensor [tokens, hidden]")
    except LAYER_ERRORS as error:
        run.calls.append(Call("capture", static[0].shape[0], static, error=error))
        return None
    return Captured(static, output, again)


def replay(rig: Rig, run: Run, graph: Captured, tokens: int, seed: int, label: str) -> Call:
    """One replay on new inputs. The output buffer is spoilt first: a replay that writes nothing leaves it so."""
    fresh = rig.inputs(tokens, seed)
    graph.fill(fresh)
    graph.output.fill_(torch.nan)
    call = Call(label, tokens, graph.inputs, before=fresh, replayed=True, filled=graph.size - tokens)
    run.calls.append(call)
    try:
        graph.replay()
    except LAYER_ERRORS as error:
        call.error = error
        return call
    # The static buffers change at the next replay: keep what this one left in them.
    call.inputs = tuple(tensor[:tokens].clone() for tensor in graph.inputs)
    call.output = graph.of_batch(tokens)
    call.snapshot = call.output.clone()
    call.expected = rig.expected(tokens, seed) if tokens else None
    return call


def _emulate(layer: Any, static: tuple[Tensor, ...]) -> tuple[Any, Callable[[], None]]:
    graph = OpGraph()
    return graph.capture(layer, static), graph.replay


def _capture(layer: Any, static: tuple[Tensor, ...], pool: Any) -> tuple[Any, Callable[[], None]]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        layer(*static)
    torch.cuda.current_stream().wait_stream(stream)
    graph, outside = torch.cuda.CUDAGraph(), Outside("cuda")
    with torch.cuda.graph(graph, pool=pool), Noting(outside):
        output = layer(*static)
        if not torch.cuda.is_current_stream_capturing():
            raise CaptureRefused("the layer ended the capture, or went on in a stream that is not captured")

    def again() -> None:
        outside.check()
        graph.replay()

    return output, again
