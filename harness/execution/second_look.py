"""A second look at a run that failed, on a fresh layer, for what tells its causes apart. A run without a failure pays nothing."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.execution.difference import Spread, compare, ranges, right_tokens, total
from harness.execution.evidence import Call, FirstNaN, Run, same_bits, state_of
from harness.execution.memory.external_memory import is_view, tensors_in
from harness.execution.memory.fresh_memory import call_filled, copy_of
from harness.execution.memory.wrapped import wrap_others
from harness.execution.passed_on import AroundOp, noting
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.execution.submodules import has_parts, noting_parts
from harness.execution.watches.cuts import CutWatch, Rows
from harness.execution.watches.undone import Undone, left_out
from harness.ops.finite import all_finite
from harness.ops.higher_order import call_inside, is_higher_order
from harness.ops.names import op_name

_FACTORIES = ("aten::empty", "aten::new_empty")
_MANY = 64  # tokens: of 4 experts that each token takes 2 of, some take any two


def look_again(rig: Rig, run: Run) -> Run:
    """Add to a run what a fresh layer shows of its failing calls. Returns the run."""
    if rig.case.full:  # a second layer of true size may not fit beside the first
        return run
    try:
        run.first_nan = _first_nan(rig, run)
        look_for_routing(rig, run)
        _call_fresh(rig, run)
    except LAYER_ERRORS:  # a second look may find nothing more, and then the finding says less
        pass
    return run


def _call_fresh(rig: Rig, run: Run) -> None:
    """Where a later call is wrong and the first is not, call a fresh layer on the later call's inputs."""
    if not run.calls or _wrong(run.calls[0]):
        return
    for call in run.calls[1:]:
        if not call.replayed and call.tokens and _wrong(call):
            fresh = rig.start()
            with torch.set_grad_enabled(call.with_grad):
                call.fresh_differs = _wrong(rig.call(fresh, fresh.layer, call.label, call.tokens, call.seed))  # type: ignore[arg-type]
                if not call.fresh_differs:
                    call.not_run = part_not_run(rig, call, run.layer, rig.start().layer)
            if call.fresh_differs:
                _tell_apart(rig, run.calls[0], call)


def look_for_routing(rig: Rig, run: Run) -> None:
    """Note of a plain first call that is wrong what is passed on inside its ops."""
    if run.calls and run.calls[0].varied is None and run.calls[0].tokens and _wrong(run.calls[0]):
        note_passed_on(rig, run.calls[0], rig.start().layer)
        run.calls[0].spread = _spread_of_many(rig, run.calls[0])


def _spread_of_many(rig: Rig, call: Call) -> Spread | None:
    """The factors by token of a batch that is large enough for tokens all of whose experts are alike, where a call's differ."""
    found = call.difference[0] if call.difference else None
    if found is None or found.spread is None or call.tokens >= _MANY:
        return None
    fresh = rig.start()
    many = rig.call(fresh, fresh.layer, call.label, _MANY, call.seed)  # type: ignore[arg-type]
    difference = many.difference[0] if _wrong(many) and many.difference else None
    return difference.spread if difference else None


def note_passed_on(rig: Rig, call: Call, layer: Any) -> None:
    """Add to a call what a fresh layer passes on inside its ops, for the call's inputs."""
    again = Call(call.label, call.tokens, tuple(map(copy_of, call.before)))
    with noting() as notes, AroundOp(rig.experts_op) as op:
        made = rig.make(again, layer)
    if made:
        call.misrouted, call.facts = notes.misrouted, tuple(notes.facts)
        call.zero_parts = rig.parts_of(op.indices, op.count)
        _look_at_cut(rig, call)
        _look_at_reductions(rig, call)
        if lost := _lost_rows(rig, call, op.rows):
            call.mispadded = rig.case.padded != rig.case.width and same_bits(again.inputs[0], call.before[0])
            call.facts += (
                f"The rows that the op of the routed experts is given are the layer's own, but zeros for {lost}.",
            )


def _look_at_cut(rig: Rig, call: Call) -> None:
    """Note the cut of the padding that makes a call wrong: with the right columns in its place a fresh layer is right."""
    case = rig.case
    if case.padded == case.width or not rig.experts_op:
        return
    rows = Rows(rig.experts_op, rig.routed_output, call.tokens, case.width, case.padded)
    for mend in (False, True):
        watch, again = CutWatch(rows, mend), Call(call.label, call.tokens, tuple(map(copy_of, call.before)))
        with watch:
            made = rig.make(again, rig.start().layer)  # type: ignore[arg-type]
        if not made or watch.found is None:
            return
    again.expected = call.expected
    if isinstance(again.snapshot, Tensor) and all_finite(again.snapshot) and not _wrong(again):
        call.miscut = watch.found


def _look_at_reductions(rig: Rig, call: Call) -> None:
    """Note where the wrong rows are this rank's own part, which no reduction sums."""
    if rig.case.tp == 1:
        return
    again = Call(call.label, call.tokens, tuple(map(copy_of, call.before)))
    with Undone(rig.declared.reduces_by):
        made = rig.make(again, rig.start().layer)  # type: ignore[arg-type]
    if made and isinstance(again.snapshot, Tensor) and left_out(call, again.snapshot, rig.case.tp):
        call.unreduced = True
        call.facts += (
            f"The wrong rows are this rank's own part, 1/{rig.case.tp} of what they should be, and the same without any "
            "all-reduce: none is given them, or what it gives for them is not used.",
        )


def _lost_rows(rig: Rig, call: Call, rows: Tensor | None) -> str:
    """The tokens in whose place the experts' op is given zeros, where these are the wrong ones, and not all tokens; else empty.

    Of a token whose output is zero that is right. Other rows that differ are of a layer which rounds or moves them.
    """
    case, given, output = rig.case, call.before[0], call.snapshot
    if case.latent or rows is None or rows.dtype != given.dtype or rows.dim() != 2 or len(rows) != call.tokens:
        return ""
    if rows.shape[-1] not in (case.hidden, case.padded) or not isinstance(output, Tensor) or call.expected is None:
        return ""
    own = rows[:, : case.hidden]
    differ = ((own != given) & ~(own.isnan() & given.isnan())).any(-1)
    if differ.all() or own[differ].any() or output.shape != given.shape or not all_finite(output):
        return ""
    wrong = ~right_tokens(output, call.expected)
    all_lost = bool(wrong.any()) and torch.equal(wrong, differ & (wrong | total(call.expected).any(-1)))
    return f"tokens {ranges(differ.nonzero().flatten().tolist())}" if all_lost else ""


def part_not_run(rig: Rig, call: Call, used: Any, fresh: Any) -> str:
    """The stage of the one part that a fresh layer runs for a call's inputs, and a used layer, which is wrong, does not."""
    if not has_parts(used):
        return ""
    again = [Call(call.label, call.tokens, tuple(map(copy_of, call.before))) for _ in range(2)]
    with noting_parts() as ran:
        made = rig.make(again[0], used)
    with noting_parts() as needed:
        made = rig.make(again[1], fresh) and made
    again[0].expected = call.expected
    left_out = needed - ran
    return left_out.pop() if made and len(left_out) == 1 and _wrong(again[0]) else ""


def _tell_apart(rig: Rig, first: Call, call: Call) -> None:
    """What makes a fresh layer wrong for a call: something outside of the layer, grad mode, or the one row."""
    call.outside = not _is_right(rig, first)
    if call.outside:
        return
    note_passed_on(rig, call, rig.start().layer)
    call.by_grad = call.with_grad and _is_right(rig, call)
    if not call.by_grad:
        with torch.set_grad_enabled(call.with_grad):
            call.by_row = call.tokens == 1 and _wrong_in_rows(rig, call, first.tokens)


def _is_right(rig: Rig, call: Call) -> bool:
    """Whether a fresh layer, without grad mode, returns the oracle's output for the inputs of a call."""
    fresh = rig.start()
    assert fresh.layer is not None
    again = rig.call(fresh, fresh.layer, call.label, call.tokens, call.seed)
    return again.error is None and not _wrong(again)


def _wrong_in_rows(rig: Rig, call: Call, tokens: int) -> bool:
    """Whether a fresh layer is wrong for the one row of a call too, each time, where it comes ``tokens`` times.

    Each row is compared by itself: all have the same rounding, which no mean over them makes less.
    """
    inputs = tuple(t if t is None else t.repeat(tokens, *(1,) * (t.dim() - 1)) for t in call.before)
    many = Call(call.label, tokens, inputs, expected=rig.oracle(inputs))
    layer = rig.start().layer
    if tokens < 2 or layer is None or not rig.make(many, layer) or not isinstance(many.snapshot, Tensor):
        return False
    assert many.expected is not None
    same_shape = many.snapshot.shape == (tokens, rig.case.hidden)
    return same_shape and all_finite(many.snapshot) and not right_tokens(many.snapshot, many.expected).any()


def _wrong(call: Call) -> bool:
    """Whether a call's output is finite and differs from the oracle."""
    output, expected = call.snapshot, call.expected
    if not isinstance(output, Tensor) or expected is None or not all_finite(output):
        return False
    if call.difference is None:
        shape = (expected if isinstance(expected, Tensor) else next(iter(expected.values()))).shape
        if output.shape != shape:
            return False
        call.difference = (compare(output, expected),)
    return call.difference[0] is not None


def not_finite(run: Run) -> Call | None:
    """The first call whose output should be finite and is not."""
    return next(
        (
            call
            for call in run.calls
            if call.expected is not None and call.snapshot is not None and not all_finite(call.snapshot)
        ),
        None,
    )


def look_at_plain(rig: Rig, run: Run) -> None:
    """What a fresh layer shows of a plain first call, with which a run of varied calls begins."""
    with contextlib.suppress(*LAYER_ERRORS):
        look_for_nan(rig, run)
        look_for_routing(rig, run)


def look_for_nan(rig: Rig, run: Run) -> None:
    """Note where NaN first appears in a plain first call, with which a run of varied calls begins."""
    if run.calls and run.calls[0].varied is None and not_finite(run) is run.calls[0]:
        run.first_nan = _first_nan(rig, run)


def _first_nan(rig: Rig, run: Run) -> FirstNaN | None:
    """The op of a fresh call in which NaN first appears, where the run's output holds any."""
    call = not_finite(run)
    if call is None or call.snapshot is None or not call.snapshot.isnan().any():
        return None
    fresh = rig.start()
    rows = call.tokens + call.padding_rows
    inputs = rig.inputs(rows, call.seed)
    inputs[0][call.tokens :] = torch.nan
    watch = _NaNWatch(rig, state_of(fresh.layer), call.tokens, rows)
    with torch.set_grad_enabled(call.with_grad), rig.recorder(poison=call.poisoned), watch:
        assert fresh.layer is not None
        fresh.layer(*inputs)
    return watch.first


def first_nan_of(rig: Rig, call: Call, layer: Any) -> FirstNaN | None:
    """Where NaN first appears in the call of a fresh layer on a call's inputs."""
    if call.snapshot is None or not call.snapshot.isnan().any():
        return None
    watch = _NaNWatch(rig, state_of(layer), call.tokens, call.tokens)
    with contextlib.suppress(*LAYER_ERRORS), watch:
        layer(*map(copy_of, call.before))
    return watch.first


class _NaNWatch(TorchDispatchMode):
    """A dispatch mode that notes the first op whose output holds a NaN that should not be there.

    NaN may be in memory that nothing wrote yet, in the padded columns, and in the rows beyond ``tokens`` of ``rows``.
    """

    supports_higher_order_operators = True

    def __init__(self, rig: Rig, state: dict[str, Tensor], tokens: int, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.first: FirstNaN | None = None
        self._is_later = False
        self._case, self._tokens, self._rows = rig.case, tokens, rows
        self._state = {tensor.untyped_storage().data_ptr(): name for name, tensor in state.items()}
        self._experts_op = rig.experts_op
        self._moved: dict[int, FirstNaN] = {}
        self._alive: list[Tensor] = []  # tensors are known by their id
        self._empty: list[tuple[Tensor, SourceLine | None]] = []  # kept, so that no other tensor gets their memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        if is_higher_order(func):
            return call_inside(self, func, args, kwargs or {})
        given = list(tensors_in((args, [*(kwargs or {}).values()])))
        moved = next((self._moved[id(tensor)] for tensor in given if id(tensor) in self._moved), None)
        before = [tensor for tensor in given if self._bad_rows(tensor)] if self.first is None else []
        tails = self._bad_tails(given) if self.first is None and op_name(func) == self._experts_op else []
        out = call_filled(func, *args, **(kwargs or {}))
        if op_name(func).startswith(_FACTORIES):
            self._empty += [(tensor, SourceLine.here()) for tensor in tensors_in(out)]
        elif self.first is None and is_view(func):
            self._note_moved(op_name(func), before, moved, out)
        elif self.first is None:
            self._look(op_name(func), before, out)
            self.first = moved if moved and self.first else self.first
            if tails and not before:
                self._of_tail(tails[0])
        return out

    def _note_moved(self, op: str, before: list[Tensor], moved: FirstNaN | None, out: Any) -> None:
        """Note a view that takes padding for rows: NaN is in its rows, and in none of what it is a view of."""
        for index, tensor in enumerate(tensors_in(out)):
            rows = self._bad_rows(tensor)
            if rows and moved:
                self._moved[id(tensor)] = moved
            elif rows and not before and (tensor.dim() > 1 or self._flat_rows(tensor)):
                count = self._rows if self._flat_rows(tensor) else tensor.shape[0]
                self._moved[id(tensor)] = FirstNaN(
                    op, SourceLine.here(), tuple(rows), count, "", False, self._is_later, (index,)
                )
            self._alive.append(tensor)

    def _bad_tails(self, given: list[Tensor]) -> list[Tensor]:
        """The inputs whose padded columns hold NaN in the row of a token."""
        width, padded = self._case.width, self._case.padded
        rows = [t for t in given if t.is_floating_point() and t.element_size() > 1 and t.dim() == 2 and width < padded]
        return [t for t in rows if t.shape == (self._rows, padded) and t[: self._tokens, width:].isnan().any()]

    def _of_tail(self, tail: Tensor) -> None:
        """Note that the op was given NaN in padded columns, with the line that made their memory if nothing wrote it."""
        where = tail.untyped_storage().data_ptr()
        made = [line for tensor, line in self._empty if tensor.untyped_storage().data_ptr() == where]
        if self.first is not None:
            line = made[0] if made else self.first.line
            self.first = replace(self.first, tail=True, unwritten=bool(made), line=line)

    def _look(self, op: str, before: list[Tensor], out: Any) -> None:
        outputs = [*tensors_in(out)]
        bad = tuple(index for index, tensor in enumerate(outputs) if self._bad_rows(tensor))
        for tensor in outputs:
            if rows := self._bad_rows(tensor):
                names = [self._state.get(one.untyped_storage().data_ptr(), "") for one in before]
                weight = next(filter(None, names), "")
                count = tensor.shape[0] if tensor.dim() else 1
                at = SourceLine.here()
                self.first = FirstNaN(op, at, tuple(rows), count, weight, bool(before), self._is_later, bad)
                return
            self._is_later |= self._is_blurred(tensor)

    def _flat_rows(self, tensor: Tensor) -> int:
        """The columns of each row in a flat tensor, or in rows of blocks, that has as many elements as all rows; 0 for another."""
        flat = tensor.dim() == 1 or (tensor.dim() > 2 and tensor.shape[0] == self._rows)
        sizes = (self._case.padded, self._case.width)
        return next((size for size in sizes if flat and tensor.numel() == size * self._rows), 0)

    def _is_blurred(self, tensor: Tensor) -> bool:
        """Whether a tensor holds NaN, and has rows that are no tokens, so that it may be another row's."""
        if self._rows == self._tokens or not tensor.is_floating_point() or tensor.element_size() < 2:
            return False
        return bool(tensor.dim() and tensor.shape[0] % self._rows and tensor.isnan().any())

    def _bad_rows(self, tensor: Tensor) -> list[int]:
        """The rows of a tensor that hold NaN where none should be."""
        if not tensor.is_floating_point() or tensor.element_size() < 2 or not tensor.numel():
            return []
        case, flat = self._case, tensor.reshape(tensor.shape[0] if tensor.dim() else 1, -1)
        if case.padded != case.width and (flat_rows := self._flat_rows(tensor)):
            flat = tensor.reshape(self._rows, flat_rows)[:, : case.width]
            return flat[: self._tokens].isnan().any(-1).nonzero().flatten().tolist()
        if tensor.dim() and tensor.shape[-1] == case.padded != case.width:
            flat = tensor[..., : case.width].reshape(tensor.shape[0], -1)
        rows = flat.isnan().any(-1)
        if self._rows != self._tokens and tensor.dim():
            if tensor.shape[0] % self._rows:
                return []  # its rows cannot be told apart
            rows = rows.view(self._rows, -1)[: self._tokens].flatten()
        return rows.nonzero().flatten().tolist()


@contextmanager
def without_onednn() -> Iterator[None]:
    """Switch oneDNN off inside a ``with`` block. It may add a NaN of one row, times zero, to another row."""
    # mkldnn.flags would reset precision and determinism too
    onednn: Any = torch.backends.mkldnn
    before = onednn.enabled
    onednn.enabled = False
    try:
        yield
    finally:
        onednn.enabled = before
