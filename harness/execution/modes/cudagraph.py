"""CUDA graphs: capture once, change the inputs in place, replay. Without CUDA, recorded ops emulate the graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.execution.capture import OpGraph
from harness.execution.capture_rules import CaptureRefused
from harness.execution.evidence import Call, Run, Unwritten
from harness.execution.memory.external_memory import ExternalMemory, ExternalMemoryMode
from harness.execution.memory.fresh_memory import filled_where_possible, overwrite_with_garbage
from harness.execution.memory.reachable import reachable_tensors
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.execution.second_look import look_again

WARM_UP, REPLAY, CAPTURE = range(3)  # seeds of the inputs
_LEFT = 3.0  # no output by chance, and not zero, to which one may be added


def _nothing() -> None:
    """A real capture gave the memory that it made no contents."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A captured graph: its static input and output buffers, and its replay, which raises FreedMemory.

    ``unwritten`` says which memory it reads that the capture of an earlier graph made. An input that was absent is None.
    ``empty`` takes the contents from the memory that the capture made, where the capture was emulated: a real one gives none.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    replay: Callable[[], None]
    external: ExternalMemory
    unwritten: Unwritten | None = None
    empty: Callable[[], None] = _nothing

    @property
    def size(self) -> int:
        """The number of tokens that the graph was captured for."""
        return self.inputs[0].shape[0]

    def fill(self, batch: tuple[Tensor, ...]) -> None:
        """Overwrite the output, and then copy a batch into the input buffers, in which the output may lie.

        In the rows beyond the batch hidden_states become NaN; other inputs stay as they are. So does the buffer of an input that
        this batch does not have: a graph has no way to know that.
        """
        # So that a replay that writes no output cannot pass with the output of the replay before. What a graph made holds nothing
        # before a replay; memory of the layer's own holds numbers, of which a replay that reads them must not make NaN.
        with torch.inference_mode():  # an output that the layer made under inference mode can be written only here
            self.output.fill_(_LEFT if self.external.contains(self.output) else torch.nan)
        for buffer, tensor in zip(self.inputs, batch, strict=True):
            if buffer is not None and tensor is not None:
                buffer[: tensor.shape[0]].copy_(tensor)
        self.inputs[0][batch[0].shape[0] :].fill_(torch.nan)

    def absent(self, batch: tuple[Tensor, ...]) -> tuple[int, ...]:
        """The places of inputs that this batch has and the captured one had not, or the other way round."""
        pairs = zip(self.inputs, batch, strict=True)
        return tuple(place for place, (buffer, tensor) in enumerate(pairs) if (buffer is None) != (tensor is None))

    @property
    def is_nan(self) -> bool:
        """Whether the output holds nothing but NaN."""
        return bool(self.output.isnan().all())

    def of_batch(self, tokens: int) -> Tensor:
        """The batch's rows of the output; the whole output where its rows are not the graph's."""
        return self.output[:tokens] if self.output.shape[:1] == (self.size,) else self.output


def run(rig: Rig, dynamic: bool) -> Run:
    """A warm-up, a capture, a replay with other inputs, and a replay with the warm-up's inputs."""
    return look_again(rig, _run(rig))


def _run(rig: Rig) -> Run:
    run = rig.start(emulated=rig.device.type != "cuda")
    assert run.layer is not None
    # Engines run a layer on other inputs before they capture it. What it caches then must not be captured.
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


def capture(
    run: Run,
    static: tuple[Tensor, ...],
    pool: Any = None,
    earlier: Sequence[Captured] = (),
    errors: str = "global",
) -> Captured | None:
    """Capture the run's layer on these buffers, in the memory pool if one is given; None where the capture failed.

    A failed capture is evidence: it is added to the run as a call that raised. ``earlier`` holds graphs that were captured
    before, and not replayed since. ``errors`` says whose calls end a capture, as ``torch.cuda.graph`` takes it.
    """
    try:
        captured = _emulate(run.layer, static) if run.emulated else _capture(run.layer, static, pool, errors)
        output, replay_graph, external, empty = captured
        if not isinstance(output, Tensor):
            what = f"the layer returned a {type(output).__name__}; expected one tensor [tokens, hidden]"
            raise CaptureRefused(what, "Without one output tensor there is no static output buffer to compare.")
    except LAYER_ERRORS as error:
        run.calls.append(Call("capture", static[0].shape[0], static, error=error))
        return None
    return Captured(static, output, replay_graph, external, _unwritten(run, external, earlier), empty)


def _unwritten(run: Run, external: ExternalMemory, earlier: Sequence[Captured]) -> Unwritten | None:
    """Which memory of an earlier graph this one reads. Garbage is put there: no replay has written it, whatever it holds."""
    first = None
    for graph in earlier:
        for memory, read, line in external.made_by(graph.external):
            first = first or Unwritten(f"{read}, which the capture of the graph for {graph.size} tokens made", line)
            overwrite_with_garbage(memory)
    return first


def replay(rig: Rig, run: Run, graph: Captured, tokens: int, seed: int, label: str) -> Call:
    """One replay on new inputs."""
    fresh = rig.inputs(tokens, seed)
    graph.fill(fresh)
    call = Call(label, tokens, graph.inputs, before=fresh, replayed=True, padding_rows=graph.size - tokens, seed=seed)
    call.unwritten, call.absent, call.began_as_nan = graph.unwritten, graph.absent(fresh), graph.is_nan
    run.calls.append(call)
    try:
        graph.replay()
    except LAYER_ERRORS as error:
        call.error = error
        return call
    # The next replay overwrites the static buffers, so the evidence needs copies.
    call.inputs = tuple(buffer if buffer is None else buffer[:tokens].clone() for buffer in graph.inputs)
    call.output = graph.of_batch(tokens)
    call.snapshot = call.output.clone()
    call.expected = rig.expected(tokens, seed) if tokens else None
    return call


_Graph = tuple[Any, Callable[[], None], ExternalMemory, Callable[[], None]]


def _emulate(layer: Any, static: tuple[Tensor, ...]) -> _Graph:
    graph = OpGraph()
    return graph.capture(layer, static), graph.replay, graph.external, graph.empty


def _capture(layer: Any, static: tuple[Tensor, ...], pool: Any, errors: str) -> _Graph:
    with filled_where_possible(reachable_tensors(layer)):
        return _capture_as_set(layer, static, pool, errors)


def _capture_as_set(layer: Any, static: tuple[Tensor, ...], pool: Any, errors: str) -> _Graph:
    # As torch's documentation asks: lazy initialisation, of cuBLAS for one, must happen before the capture.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        layer(*static)
    torch.cuda.current_stream().wait_stream(stream)
    graph, external = torch.cuda.CUDAGraph(), ExternalMemory("cuda")
    with torch.cuda.graph(graph, pool=pool, capture_error_mode=errors), ExternalMemoryMode(external):
        output = layer(*static)
        if not torch.cuda.is_current_stream_capturing():
            what = "the layer ended the capture, or switched to a stream that is not captured"
            raise CaptureRefused(what, "A graph holds only the work of the stream that is captured.")

    def replay_graph() -> None:
        external.check()
        graph.replay()

    return output, replay_graph, external, _nothing
