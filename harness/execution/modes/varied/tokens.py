"""Token counts: around the sizes of tiles, small batches, more rows than 16 bits count, growth, and a graph above 64 tokens."""

from harness.execution.evidence import Call, Run, Varied
from harness.execution.modes.cudagraph import capture, replay
from harness.execution.modes.varied.varied_run import VariedRun, run_varied
from harness.execution.rig import Rig
from harness.matrix.variations import GROWTH, LARGEST_BATCH

# Where each op's fake is called beside it: fakes that look at the token count do so at powers of two.
_WITH_FAKES = (65, 129, 257, LARGEST_BATCH)
# The widest layer that gets more rows than 16 bits count.
_WIDEST = 1024


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of one layer at many token counts."""
    run = run_varied(rig, {"tokens": _tokens, "growth": _growth, "captured": _captured})
    run.calls.sort(key=lambda call: (call.varied is not None, call.varied is not None and _order(call)))
    return run


def _order(call: Call) -> tuple[bool, int]:
    assert call.varied is not None
    return call.varied.group != "tokens", call.tokens if call.varied.group == "tokens" else 0


def _tokens(varied: VariedRun, variation: Varied) -> None:
    """One call. The first count that fails is followed by more calls, until the smallest that fails is known."""
    count, rig = int(variation.name.partition("=")[2]), varied.rig
    if count > rig.most_tokens or (count > LARGEST_BATCH and rig.case.hidden > _WIDEST):
        return
    failed_before = any(_failed(varied, call) for call in _of_group(varied))
    recorder = rig.recorder(contract=True) if count in _WITH_FAKES else None
    call = varied.call(variation, *varied.batch(count), recorder=recorder)
    if count > LARGEST_BATCH and varied.refused(call, own=True):
        return
    if _failed(varied, call) and not failed_before and not rig.vary:
        _find_smallest(varied, count)


def _of_group(varied: VariedRun) -> list[Call]:
    return [call for call in varied.run.calls if call.varied and call.varied.group == "tokens"]


def _failed(varied: VariedRun, call: Call) -> bool:
    return call.error is not None or varied.is_wrong(call)


def _find_smallest(varied: VariedRun, wrong: int) -> None:
    """Halve the distance between the largest count below ``wrong`` that is right and the smallest that is not."""
    right = max((call.tokens for call in varied.run.calls if call.tokens < wrong), default=0)
    while wrong - right > 1:
        middle = (wrong + right) // 2
        call = varied.call(Varied(f"tokens={middle}", f"{middle:,} tokens"), *varied.batch(middle))
        right, wrong = (right, middle) if _failed(varied, call) else (middle, wrong)


def _growth(varied: VariedRun, variation: Varied) -> None:
    """Smaller batches after larger ones, on a layer that has seen no other."""
    layer = varied.fresh()
    for place, count in enumerate(GROWTH, 1):
        if count <= varied.rig.most_tokens:
            label = f"batch {place} of {', '.join(map(str, GROWTH))} tokens"
            if _failed(varied, varied.call(variation, *varied.batch(count), layer=layer, label=label)):
                return


def _captured(varied: VariedRun, variation: Varied) -> None:
    """A graph for more tokens than small buffers hold, replayed on other inputs; only where a smaller one can be captured."""
    count, rig, run = int(variation.name.partition("=")[2]), varied.rig, varied.run
    separate = rig.start(emulated=run.emulated)
    if count > rig.most_tokens or capture(separate, rig.inputs(rig.case.tokens, 0)) is None:
        return
    separate.calls.clear()
    graph = capture(separate, rig.inputs(count, 0))
    if graph is not None:
        replay(rig, separate, graph, count, 1, f"replay of {variation.words}")
    for call in separate.calls:
        call.varied, call.label = variation, call.label if call.replayed else f"capture of {count} tokens"
        run.calls.append(call)
