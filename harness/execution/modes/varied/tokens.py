"""Token counts: around the sizes of tiles, small batches, more rows than 16 bits count, growth, and a graph above 64 tokens."""

from contextlib import suppress

from harness.base.exception_text import is_own_refusal
from harness.execution.evidence import WHEN_RETURNED, Call, Run, Varied, same_bits
from harness.execution.modes.cudagraph import capture, replay
from harness.execution.modes.varied.checks import note
from harness.execution.modes.varied.many_tokens import (
    between,
    count_matters,
    failed,
    find_smallest,
    is_right,
    look_at_row,
    many,
    note_counted,
    of_count,
)
from harness.execution.modes.varied.varied_run import VariedRun, raising, run_varied
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.matrix.variations import EACH_SMALL, LARGEST_BATCH, SMALL_BATCHES, SOME_BETWEEN, growth_counts

# Of the inputs of a replay: the first whose optional inputs are those of the capture.
_SEEDS = range(1, 9)
# Where each op's fake is called beside it, and the global state is watched: both change at powers of two.
_WITH_FAKES = (65, 129, 257, LARGEST_BATCH)


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of one layer at many token counts."""
    groups = {"tokens": _tokens, "growth": _growth, "captured": _captured}
    run = run_varied(rig, groups, tokens=rig.case.tokens, batch=LARGEST_BATCH)
    if not rig.declared.ends_on_errors:
        _allow_limit(run)
    run.calls.sort(key=lambda call: (call.varied is not None, call.varied is not None and _order(call)))
    return run


def _allow_limit(run: Run) -> None:
    """Take out the calls above a limit of the layer: it raises an error of its own at every count from there on."""
    varied = [call for call in run.calls if call.varied]
    refusing = [call for call in varied if call.error is not None and is_own_refusal(call.error)]
    limit = min((call.tokens for call in refusing), default=0)
    if not refusing or any(call.tokens >= limit for call in varied if call not in refusing):
        return
    for call in refusing:
        assert call.varied is not None
        assert call.error is not None
        run.left_out[call.varied.name] = raising(call.error)
    run.calls = [call for call in run.calls if call not in refusing]


def _order(call: Call) -> tuple[bool, int]:
    assert call.varied is not None
    return call.varied.group != "tokens", call.tokens if call.varied.group == "tokens" else 0


def _tokens(varied: VariedRun, variation: Varied) -> None:
    """One call. The first count that fails is followed by more calls, until the smallest that fails is known."""
    if variation.name == EACH_SMALL:
        return _each_small(varied)
    if variation.name == SOME_BETWEEN:
        return between(varied)
    count, rig = int(variation.name.partition("=")[2]), varied.rig
    if count > LARGEST_BATCH:
        return many(varied, variation, count)
    if count > rig.most_tokens:
        return varied.leave_out(variation, f"the subject declares tokens<={rig.most_tokens}")
    if count > varied.most:
        return varied.leave_out(variation, f"the subject makes no inputs or oracle of more than {varied.most} tokens")
    failed_before = any(failed(varied, call) for call in _of_group(varied))
    recorder = rig.recorder(contract=True) if count in _WITH_FAKES else None
    call = varied.call(variation, *varied.batch(count), recorder=recorder)
    look_at_row(varied, call)
    if count == LARGEST_BATCH and not failed(varied, call):
        varied.look_closely(call)  # a factor or a column is known best from the most tokens
        _call_again(varied, variation, call)
    elif count_matters(varied, call) and not failed_before:
        note_counted(varied, call) if rig.vary else find_smallest(varied, count)


def _call_again(varied: VariedRun, variation: Varied, call: Call) -> None:
    """As many other tokens, whose call must leave the earlier output as it was: large ones may be a buffer's."""
    inputs, _ = varied.batch(call.tokens)
    other = Call(call.label, call.tokens, tuple(t if t is None else t.roll(1, 0) for t in inputs))
    varied.rig.make(other, varied.layer)
    varied.counts.append(call.tokens)
    if call.output is not None and call.snapshot is not None and not same_bits(call.output, call.snapshot):
        label = f"the output of a call with {variation.words} after another such call"
        note(varied, variation, label, call.output, call.snapshot, WHEN_RETURNED)


def _each_small(varied: VariedRun) -> None:
    """A call for each small count, compared and forgotten. The first that is wrong is made once more, to be reported."""
    few, many = SMALL_BATCHES
    for count in range(few, min(many, varied.most) + 1):
        if not is_right(varied, *varied.batch(count)):
            for one in (count - 1, count)[count == few :]:
                varied.call(of_count(one), *varied.batch(one))
            return


def _of_group(varied: VariedRun) -> list[Call]:
    return [call for call in varied.run.calls if call.varied and call.varied.group == "tokens"]


def _growth(varied: VariedRun, variation: Varied) -> None:
    """Smaller batches after larger ones, and larger ones after the smallest, on a layer that has seen no other."""
    layer, counts = varied.fresh(), growth_counts(variation.name)
    for place, count in enumerate(counts, 1):
        if count <= 1:  # the mode eager judges it
            with suppress(*LAYER_ERRORS):
                layer(*varied.rig.inputs(count, 0))
        elif count <= varied.most:
            label = f"batch {place} of {', '.join(map(str, counts))} tokens"
            call = varied.call(variation, *varied.batch(count), layer=layer, label=label)
            if failed(varied, call):
                if place == 1:  # nothing has grown: another variation shows why a layer's first call is wrong
                    varied.drop(call)
                look_at_row(varied, call)
                return


def _captured(varied: VariedRun, variation: Varied) -> None:
    """A graph for more tokens than small buffers hold, replayed on other inputs; only where a smaller one can be captured."""
    count, rig, run = int(variation.name.partition("=")[2]), varied.rig, varied.run
    if count > varied.most:
        return
    run.emulated = rig.device.type != "cuda"
    separate = rig.start(emulated=run.emulated)
    graph = capture(separate, varied.batch(count)[0])
    if graph is not None:
        # A batch that lacks an optional input of the captured one is another matter, which the mode cudagraph reports.
        seed = next((seed for seed in _SEEDS if not graph.absent(rig.inputs(1, seed))), None)
        if seed is None:
            return
        call = replay(rig, separate, graph, count, seed, f"replay of {variation.words}")
        call.own_count_too = rig.case.tokens * (varied.is_wrong(call) and _is_wrong_at_own_count(varied, seed))
    elif capture(rig.start(emulated=run.emulated), varied.batch(rig.case.tokens)[0]) is None:
        return
    for call in separate.calls:
        call.varied, call.label = variation, call.label if call.replayed else f"capture of {count} tokens"
        run.calls.append(call)


def _is_wrong_at_own_count(varied: VariedRun, seed: int) -> bool:
    """Whether the replay of a graph for as many tokens as the case has is wrong too: then it is not their number that matters."""
    rig = varied.rig
    run = rig.start(emulated=varied.run.emulated)
    graph = capture(run, varied.batch(rig.case.tokens)[0])
    return graph is not None and varied.is_wrong(replay(rig, run, graph, rig.case.tokens, seed, ""))
