"""The calls around a graph: a warm-up and a capture, a replay, and what engines run beside it."""

from harness.execution.modes.cudagraph import CAPTURE, REPLAY, WARM_UP
from harness.execution.modes.eager import larger_batch
from harness.matrix.case import Case
from harness.repro.about import About, next_eight

_MANY_SIZES = 140  # more than caches by the token count have room for


def captured(case: Case) -> str:
    """A warm-up and a capture, as engines do."""
    return (
        f"layer(*inputs({case.tokens}, {WARM_UP}))  # a warm-up\nbatch = inputs({case.tokens}, {CAPTURE})\n"
        "with capturing:\n    out = layer(*batch)"
    )


def replayed(case: Case) -> str:
    """A replay with other inputs, in the buffers of the capture. An input that is absent leaves its buffer as it is."""
    return (
        f"given = inputs({case.tokens}, {REPLAY})  # other inputs, in the same memory\n"
        "[old.copy_(new) for old, new in zip(batch, given) if old is not None and new is not None]\n"
        "graph.replay()\nbatch = given"
    )


def addresses(about: About) -> str:
    """What a graph of one batch size reads, after what engines run beside it."""
    case, label = about.case, about.symptom.finding.call
    if "graph for" not in label:
        capture = f"with Reads() as graph:\n    out = run(inputs({case.tokens}, {CAPTURE}))"
        return f"run(inputs({case.tokens}, {WARM_UP}))\n{capture}\ngraph.check()"
    larger = 2 * next_eight(larger_batch(case.tokens))
    others = f"run(inputs({larger}, {REPLAY}))  # another batch size"
    if "many other" in label:
        others = f"for tokens in range(1, {_MANY_SIZES}):  # other batch sizes\n    run(inputs(tokens, {REPLAY}))"
    return (
        f"run(inputs({larger // 2}, {WARM_UP}))\nwith Reads() as graph:\n    out = run(inputs({about.bucket}, {CAPTURE}))\n"
        f"{others}\ngraph.check()"
    )
