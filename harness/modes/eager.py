"""Eager: plain calls. The first is audited, the second runs with a poisoned tail, then one and zero tokens."""

from harness.bench import Bench
from harness.evidence import Run


def run(bench: Bench, dynamic: bool) -> Run:
    """Four calls of one layer; stops at the first that raises."""
    run = bench.start(watch_state=True)
    assert run.layer is not None
    plan = (
        ("first call", bench.case.tokens, bench.recorder(audit=True)),
        ("second call", bench.case.tokens, bench.recorder(poison=True)),
        ("one token", 1, bench.recorder()),
        ("zero tokens", 0, bench.recorder()),
    )
    for seed, (label, tokens, recorder) in enumerate(plan):
        if bench.call(run, run.layer, label, tokens, seed, recorder).error:
            break
    return bench.finish(run)
