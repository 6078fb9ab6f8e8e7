"""Eager: plain calls. The first is audited, the second has a poisoned tail; one token, none, and the first again."""

import torch
from torch import Tensor

from harness.bench import Bench
from harness.evidence import REPEATED, Run, same_bits


def run(bench: Bench, dynamic: bool) -> Run:
    """Five calls of one layer; stops at the first that raises."""
    run = bench.start(watch_state=True)
    assert run.layer is not None
    plan = (
        ("first call", bench.case.tokens, 0, bench.recorder(audit=True)),
        ("second call", bench.case.tokens, 1, bench.recorder(poison=True)),
        ("one token", 1, 2, bench.recorder(contract=True)),
        ("zero tokens", 0, 3, bench.recorder(contract=True)),
    )
    for label, tokens, seed, recorder in plan:
        if bench.call(run, run.layer, label, tokens, seed, recorder).error:
            return bench.finish(run)
    with torch.inference_mode():
        bench.call(run, run.layer, REPEATED, bench.case.tokens, 0, bench.recorder())
    bench.finish(run)
    run.reads_changed_state = _reads_changed_state(bench, run)
    return run


def _reads_changed_state(bench: Bench, run: Run) -> bool:
    """Whether what the calls changed in the layer's state reaches the output: a weight does, a workspace does not.

    The elements that were changed are spoilt, and the first inputs come once more.
    """
    changed = run.changed_state
    if not changed or run.failed or run.layer is None:
        return True
    with torch.no_grad():
        for name in changed:
            _spoil(run.state_after[name], run.state_before[name])
    apart = Run(case=run.case, mode=run.mode, ops=run.ops, layer=run.layer)
    call = bench.call(apart, run.layer, "spoilt call", bench.case.tokens, 0, bench.recorder())
    first = run.calls[0].snapshot
    return call.snapshot is None or first is None or not same_bits(call.snapshot, first)


def _spoil(now: Tensor, before: Tensor) -> None:
    changed = now != before if now.shape == before.shape else torch.ones_like(now, dtype=torch.bool)
    now[changed] = torch.nan if now.is_floating_point() else ~now[changed]
