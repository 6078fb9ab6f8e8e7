"""Captured, on real ranks: every rank captures its layer, collective included, and replays it with changed inputs."""

from harness.base.errors import Skip
from harness.execution.evidence import Run
from harness.execution.modes.cudagraph import CAPTURE, REPLAY, WARM_UP, Captured, capture, replay
from harness.execution.modes.ranks.calls import blind_call, eager_call
from harness.execution.ranks.collective_log import CollectiveLog, Note, note_call, note_end
from harness.execution.ranks.collectives import summing_by
from harness.execution.rig import Rig

_EAGER_BETWEEN = 3  # a seed


def run(rig: Rig, dynamic: bool) -> Run:
    """A warm-up, a capture on every rank, and replays with other inputs, an eager call between them. Raises Skip without CUDA."""
    if rig.device.type != "cuda":
        raise Skip(
            "a capture on real ranks needs CUDA: gloo's collectives run on the host, where no graph records them"
        )
    with summing_by(rig.case.collective, rig.device):
        run = rig.start()
        warm, notes = eager_call(rig, run, "warm-up", rig.case.tokens, WARM_UP, rig.recorder())
        graph = None if warm.error else _captured(rig, run)
        if graph is not None:
            _replays(rig, run, graph, notes)
        return rig.finish(run)


def _captured(rig: Rig, run: Run) -> Captured | None:
    note_call("capture")
    with CollectiveLog(rig.declared.reduces_by):
        # NCCL's own thread asks the device for finished work meanwhile: no other thread's calls may end the capture.
        graph = capture(run, rig.inputs(rig.case.tokens, CAPTURE), errors="thread_local")
    note_end("capture")
    return graph


def _replays(rig: Rig, run: Run, graph: Captured, notes: list[Note]) -> None:
    tokens = rig.case.tokens
    for seed, label in ((REPLAY, "replay with other inputs"), (WARM_UP, "replay with the warm-up's inputs")):
        if blind_call(rig, label, lambda: replay(rig, run, graph, tokens, seed, label).error, notes):  # noqa: B023
            return
        if seed == REPLAY and eager_call(rig, run, "eager call between replays", tokens, _EAGER_BETWEEN)[0].error:
            return
