"""Token counts: around the sizes of tiles, small batches, more rows than 16 bits count, growth, and a graph above 64 tokens."""

from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from harness.base.exception_text import first_line, is_own_refusal
from harness.execution.difference import within
from harness.execution.evidence import Call, Run, Varied, all_finite
from harness.execution.memory.fresh_memory import call_filled
from harness.execution.modes.cudagraph import capture, replay
from harness.execution.modes.varied.varied_run import VariedRun, rows_of, run_varied
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.matrix.case import Case
from harness.matrix.shapes import Alignment
from harness.matrix.variations import EACH_SMALL, LARGEST_BATCH, SMALL_BATCHES, growth_counts

# Of the inputs of a replay: the first whose optional inputs are those of the capture.
_SEEDS = range(1, 9)
# Where each op's fake is called beside it: fakes that look at the token count do so at powers of two.
_WITH_FAKES = (65, 129, 257, LARGEST_BATCH)
# A layer for more rows than 16 bits count is this narrow, and has this few experts: it is the rows that matter.
_HIDDEN, _LATENT, _INNER, _EXPERTS, _MULTIPLE = 48, 80, 16, 2, 32


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of one layer at many token counts."""
    groups = {"tokens": _tokens, "growth": _growth, "captured": _captured}
    run = run_varied(rig, groups, tokens=rig.case.tokens, batch=LARGEST_BATCH)
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
        run.left_out[call.varied.name] = f"the layer raises {type(call.error).__name__}: {first_line(call.error)}"
    run.calls = [call for call in run.calls if call not in refusing]


def _order(call: Call) -> tuple[bool, int]:
    assert call.varied is not None
    return call.varied.group != "tokens", call.tokens if call.varied.group == "tokens" else 0


def _tokens(varied: VariedRun, variation: Varied) -> None:
    """One call. The first count that fails is followed by more calls, until the smallest that fails is known."""
    if variation.name == EACH_SMALL:
        return _each_small(varied)
    count, rig = int(variation.name.partition("=")[2]), varied.rig
    if count > LARGEST_BATCH:
        return _many(varied, variation, count)
    if count > rig.most_tokens:
        return varied.leave_out(variation, f"the subject declares tokens<={rig.most_tokens}")
    if count > varied.most:
        return varied.leave_out(variation, f"the subject makes no inputs or oracle of more than {varied.most} tokens")
    failed_before = any(_failed(varied, call) for call in _of_group(varied))
    recorder = rig.recorder(contract=True) if count in _WITH_FAKES else None
    call = varied.call(variation, *varied.batch(count), recorder=recorder)
    if count == LARGEST_BATCH and not _failed(varied, call):
        varied.look_closely(call)  # a factor or a column is known best from the most tokens
    elif _failed(varied, call) and not failed_before and not rig.vary:
        _find_smallest(varied, count)


def _each_small(varied: VariedRun) -> None:
    """A call for each small count, compared and forgotten. The first that is wrong is made once more, to be reported."""
    few, many = SMALL_BATCHES
    for count in range(few, min(many, varied.most) + 1):
        if not _is_right(varied, count):
            for one in (count - 1, count)[count == few :]:
                varied.call(Varied(f"tokens={one}", f"{one:,} tokens"), *varied.batch(one))
            return


def _is_right(varied: VariedRun, count: int) -> bool:
    inputs, expected = varied.batch(count)
    try:
        output = call_filled(varied.layer, *inputs)
    except LAYER_ERRORS:
        return False
    return (
        isinstance(output, Tensor)
        and output.shape == (count, varied.rig.case.hidden)
        and all_finite(output)
        and within(output, expected)
    )


def _many(varied: VariedRun, variation: Varied, count: int) -> None:
    """One call of a layer as narrow as the alignment allows. The rows of one batch come again and again."""
    narrow = varied.of(narrowest(varied.rig.case), LARGEST_BATCH)
    if narrow is None or count > narrow.rig.most_tokens or narrow.most < LARGEST_BATCH:
        return
    inputs, expected = narrow.batch(LARGEST_BATCH)
    rows = torch.arange(count, device=inputs[0].device) % LARGEST_BATCH
    call = narrow.call(
        variation, tuple(tensor if tensor is None else tensor[rows] for tensor in inputs), rows_of(expected, rows)
    )
    if _failed(narrow, call) and _failed(narrow, narrow.call(variation, inputs, expected)):
        return  # it is not the number of rows: sizes=narrow reports it
    if not narrow.refused(call, own=True):
        call = (_failed(narrow, call) and _first_of_total(narrow, variation, count)) or call
        call.case = narrow.rig.case
        varied.run.calls.append(call)


def _first_of_total(narrow: VariedRun, variation: Varied, count: int) -> Call | None:
    """The first of many smaller batches that is wrong, of as many tokens in all: then it is their total that matters."""
    layer = narrow.fresh()
    for number in range(1, count // LARGEST_BATCH + 2):
        total = f"{number * LARGEST_BATCH:,} tokens in all"
        label = f"batch {number} of {LARGEST_BATCH:,} tokens each, {total}"
        call = narrow.call(variation, *narrow.batch(LARGEST_BATCH), layer=layer, label=label)
        if _failed(narrow, call):
            return call
    return None


def narrowest(case: Case) -> Case:
    """The same structure at sizes that are as small as they can be, and padded."""
    shape = replace(case.shape, hidden=_HIDDEN, latent=_LATENT if case.latent else None)
    alignment = Alignment(case.alignment.name, _MULTIPLE, _MULTIPLE, _MULTIPLE)
    shared, top_k = case.shared and _INNER, min(case.top_k, _EXPERTS)
    return replace(
        case,
        shape=shape,
        alignment=alignment,
        hidden=_HIDDEN,
        intermediate=_INNER,
        shared=shared,
        experts=_EXPERTS,
        top_k=top_k,
    )


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
    """Smaller batches after larger ones, and larger ones after the smallest, on a layer that has seen no other."""
    layer, counts = varied.fresh(), growth_counts(variation.name)
    for place, count in enumerate(counts, 1):
        if count <= 1:  # the mode eager judges it
            with suppress(*LAYER_ERRORS):
                layer(*varied.rig.inputs(count, 0))
        elif count <= varied.most:
            label = f"batch {place} of {', '.join(map(str, counts))} tokens"
            call = varied.call(variation, *varied.batch(count), layer=layer, label=label)
            if _failed(varied, call):
                if place == 1:  # nothing has grown: another variation shows why a layer's first call is wrong
                    varied.drop(call)
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
        replay(rig, separate, graph, count, seed, f"replay of {variation.words}")
    elif capture(rig.start(emulated=run.emulated), varied.batch(rig.case.tokens)[0]) is None:
        return
    for call in separate.calls:
        call.varied, call.label = variation, call.label if call.replayed else f"capture of {count} tokens"
        run.calls.append(call)
