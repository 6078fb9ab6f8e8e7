"""Eager, on real ranks: two batches, one token, and the first batch once more."""

from harness.execution.evidence import Run
from harness.execution.modes.ranks.calls import eager_call
from harness.execution.ranks.collectives import summing_by
from harness.execution.rig import Rig


def run(rig: Rig, dynamic: bool) -> Run:
    """Four calls of one layer; stops at the first that raises."""
    with summing_by(rig.case.collective, rig.device):
        run = rig.start(watch_state=True)
        calls = (
            ("first call", rig.case.tokens, 0),
            ("second call", rig.case.tokens, 1),
            ("one token", 1, 2),
            ("first inputs once more", rig.case.tokens, 0),
        )
        for label, tokens, seed in calls:
            if eager_call(rig, run, label, tokens, seed, rig.recorder())[0].error:
                break
        return rig.finish(run)
