"""Many token counts on a layer as narrow as can be: it is the number of rows that matters, and each costs little there."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.base.halving import last_and_next
from harness.execution.difference import compare, within
from harness.execution.evidence import Call, Varied
from harness.execution.memory.fresh_memory import call_filled
from harness.execution.modes.varied.beside.one_expert import busiest, of_one_token, spreads
from harness.execution.modes.varied.varied_run import VariedRun, rows_of
from harness.execution.rig import LAYER_ERRORS
from harness.matrix.case import Case
from harness.matrix.shapes import Alignment
from harness.matrix.variations import BETWEEN, LARGEST_BATCH
from harness.ops.finite import all_finite

Batch = tuple[tuple[Tensor, ...], Any]
# So narrow, and of so few experts.
_HIDDEN, _LATENT, _INNER, _EXPERTS, _MULTIPLE = 48, 80, 16, 2, 32


def between(varied: VariedRun) -> None:
    """A call for each count between the others, compared and forgotten. The first that is wrong is made once more, to be reported.

    It is reported of the layer of the run, where that is wrong too.
    """
    narrow = _narrow(varied) or varied
    for count in BETWEEN:
        if count > narrow.rig.most_tokens or (count > LARGEST_BATCH and narrow is varied):
            return
        if not is_right(narrow, *_rows(narrow, count)):
            if count > varied.most or is_right(varied, *varied.batch(count)):
                many(varied, of_count(count), count)
            elif count_matters(varied, varied.call(of_count(count), *varied.batch(count))):
                find_smallest(varied, count)
            return


def many(varied: VariedRun, variation: Varied, count: int) -> None:
    """One call of the narrowest layer, and where it is wrong more, until the smallest count that fails is known.

    Nothing where that layer is wrong at the largest count of the others too: ``sizes=narrow`` reports it.
    """
    narrow = _narrow(varied)
    if narrow is None or count > narrow.rig.most_tokens:
        return
    first = len(narrow.run.calls)
    call = narrow.call(variation, *_rows(narrow, count))
    if failed(narrow, call):
        if not is_right(narrow, *narrow.batch(min(LARGEST_BATCH, count - 1))):
            return
        total = _first_of_total(narrow, variation, count)
        if total is not None:
            total.case = narrow.rig.case
            varied.run.calls.append(total)
            return
        known = varied.rig.vary or any(failed(varied, one) for one in varied.run.calls)
        refused = not narrow.rig.declared.ends_on_errors and narrow.refused(call, own=True)
        if not refused and not known and count_matters(narrow, call):
            find_smallest(narrow, count, least=min(LARGEST_BATCH, count - 1))
        elif varied.rig.vary and not refused:
            note_counted(narrow, call)
    for one in narrow.run.calls[first:]:
        one.case = narrow.rig.case
        varied.run.calls.append(one)


def _first_of_total(narrow: VariedRun, variation: Varied, count: int) -> Call | None:
    """The first of many smaller batches that is wrong, of as many tokens in all: then it is their total that matters."""
    layer = narrow.fresh()
    for number in range(1, count // LARGEST_BATCH + 2):
        total = f"{number * LARGEST_BATCH:,} tokens in all"
        label = f"batch {number} of {LARGEST_BATCH:,} tokens each, {total}"
        call = narrow.call(variation, *narrow.batch(LARGEST_BATCH), layer=layer, label=label)
        if failed(narrow, call):
            return call
    return None


def find_smallest(varied: VariedRun, wrong: int, least: int = 0) -> None:
    """Halve the distance between the largest count that is right, at least ``least``, and ``wrong``."""
    known = [call.tokens for call in varied.run.calls if call.tokens < wrong and not failed(varied, call)]

    def holds(count: int) -> bool:
        call = varied.call(of_count(count), *_rows(varied, count))
        look_at_row(varied, call)
        return not failed(varied, call)

    last_and_next(holds, max((*known, least)), wrong)
    smallest = min((c for c in varied.run.calls if c.varied and failed(varied, c)), key=lambda call: call.tokens)
    note_counted(varied, smallest)


def note_counted(varied: VariedRun, call: Call) -> None:
    """Note whose tokens matter: with one fewer, as many copies of one token go to one expert. Nothing where that tells nothing."""
    fewer, case = call.tokens - 1, varied.rig.case
    if call.error or call.by_row or call.fresh_differs is False or fewer < 1 or not spreads(case):
        return
    inputs, expected = _rows(varied, fewer)
    few = of_one_token(inputs, varied.run.calls[0].tokens)
    if not is_right(varied, inputs, expected) or not is_right(varied, few, varied.rig.oracle(few)):
        return
    copies = of_one_token(inputs, fewer)
    if not is_right(varied, copies, varied.rig.oracle(copies)):
        call.counted = "expert"
        varied.layer, varied.counts = varied.fresh(), []  # what a wrong call left must not show in the next
    elif 0 < busiest(case, call.before) <= fewer:
        call.counted = "batch"


def look_at_row(varied: VariedRun, call: Call) -> None:
    """Note where a row that is wrong in this call is wrong among few others too: then it is not the count that matters."""
    few = varied.run.calls[0].tokens
    if call.error or not varied.is_wrong(call) or call.fresh_differs is False or call.tokens <= few:
        return
    row, inputs = _wrong_row(call), tuple(t if t is None else t.clone() for t in varied.batch(few)[0])
    for tensor, given in zip(inputs, call.before, strict=True):
        if tensor is not None:
            tensor[0] = given[row]
    if not is_right(varied, inputs, varied.rig.oracle(inputs)):
        call.by_row, call.limit = True, f"row {row:,} is wrong in a batch of {few} tokens too"


def _wrong_row(call: Call) -> int:
    """The first row of a wrong output that is wrong by itself, or not finite."""
    assert call.snapshot is not None
    assert call.expected is not None
    if not all_finite(call.snapshot):
        return int((~torch.isfinite(call.snapshot)).any(1).nonzero()[0])
    difference = compare(call.snapshot, call.expected)
    return difference.tokens[0] if difference and difference.tokens else 0


def is_right(varied: VariedRun, inputs: tuple[Tensor, ...], expected: Any) -> bool:
    """Whether the run's layer is right on these inputs. The call is no evidence."""
    varied.counts.append(inputs[0].shape[0])
    try:
        output = call_filled(varied.layer, *inputs)
    except LAYER_ERRORS:
        return False
    shape = (inputs[0].shape[0], varied.rig.case.hidden)
    return isinstance(output, Tensor) and output.shape == shape and all_finite(output) and within(output, expected)


def failed(varied: VariedRun, call: Call) -> bool:
    """Whether a call raised or is wrong."""
    return call.error is not None or varied.is_wrong(call)


def count_matters(varied: VariedRun, call: Call) -> bool:
    """Whether a call failed, and not for earlier calls: where a layer that had none is right, the count does not matter."""
    return failed(varied, call) and call.fresh_differs is not False


def of_count(count: int) -> Varied:
    """The variation of a number of tokens."""
    return Varied(f"tokens={count}", f"{count:,} tokens")


def _narrow(varied: VariedRun) -> VariedRun | None:
    """The run of the narrowest layer, made once; None where the subject builds none, or has no inputs for it."""
    if "narrow" not in varied.others:
        narrow = varied.of(narrowest(varied.rig.case), LARGEST_BATCH)
        varied.others["narrow"] = None if narrow is None or narrow.most < LARGEST_BATCH else narrow
    return varied.others["narrow"]


def _rows(varied: VariedRun, count: int) -> Batch:
    """So many rows: those of one batch, which come again and again where there are more."""
    if count <= varied.most:
        return varied.batch(count)
    inputs, expected = varied.batch()
    rows = torch.arange(count, device=inputs[0].device) % varied.most
    return tuple(tensor if tensor is None else tensor[rows] for tensor in inputs), rows_of(expected, rows)


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
