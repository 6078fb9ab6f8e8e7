"""A run of a varied mode: a plain call of the layer, and then one variation after the other."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from harness.base.errors import Skip
from harness.base.exception_text import first_line, is_own_refusal
from harness.execution.difference import compare, within
from harness.execution.evidence import CALL_WITH, Call, Run, Varied, same_bits, state_of
from harness.execution.memory.fresh_memory import copy_of
from harness.execution.modes.eager import reads_changed_state
from harness.execution.recorder import Recorder
from harness.execution.rig import BuildFailed, Rig
from harness.execution.second_look import first_nan_of, look_at_plain, note_passed_on, part_not_run
from harness.matrix.case import Case
from harness.matrix.variations import DECLARED, default_names, words_of
from harness.ops.finite import all_finite
from harness.subjects.checked import SubjectError

PLAIN = "first call"
_FEWER = 16
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
_ROWS_TO_MOVE = 3  # fewer have hardly another order
# What a layer raises that says what it does not take.
CLEAR_ERRORS = (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError, IndexError)
Variation = Callable[["VariedRun", Varied], None]
Form = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
Around = Callable[[Any], Callable[..., Any]]


def run_varied(rig: Rig, variations: Mapping[str, Variation], tokens: int = 0, batch: int = 0) -> Run:
    """A plain call, then every variation of the mode, or those that the rig names.

    ``variations`` has a function for each group. ``tokens`` is the plain call's number of tokens, the case's where it is 0.
    ``batch`` is the number of rows that variations take theirs from; where it is 0, they are the plain call's inputs.
    Where the plain call is wrong or raises there is nothing to compare a variation with, and it is the only call.
    """
    tokens = min(tokens or max(rig.case.tokens, 1), rig.most_tokens)
    varied = VariedRun(rig, batch or tokens)
    if varied.make_plain_call(tokens):
        for name in rig.vary or default_names(rig.mode):
            variation = Varied(name, words_of(name))
            if text := next((text for text in rig.declared.texts if name in DECLARED.get(text, ())), ""):
                varied.leave_out(variation, f"the subject declares {text}")
                continue
            variations[variation.group](varied, variation)
            varied.note_state(variation)
    return varied.finish()


class VariedRun:
    """The rig and the run, with the means to call a layer on changed inputs and to compare the output with the oracle.

    ``layer`` is the layer that the variations share. A variation that needs one of its own calls ``fresh``.
    """

    def __init__(self, rig: Rig, batch: int) -> None:
        self.rig = rig
        self.run = rig.start(watch_state=True)
        self.layer: Any = self.run.layer
        self.counts: list[int] = []  # of the calls that this layer had
        self.alive: list[object] = []  # inputs that no later call's may take the place of in memory
        self.others: dict[str, VariedRun | None] = {}  # runs of other cases' layers, made once
        self.steady: bool | None = None
        self._state_noted = False
        self._inputs, self._expected = _largest_batch(rig, min(batch, rig.most_tokens))

    @property
    def most(self) -> int:
        """The largest number of tokens that there are inputs for."""
        return self._inputs[0].shape[0]

    def make_plain_call(self, tokens: int) -> bool:
        """The call that every variation is compared with, audited. Whether it is right."""
        call = self.rig.call(self.run, self.layer, PLAIN, tokens, 0, self.rig.recorder(audit=True))
        self.counts.append(call.tokens)
        self.look_closely(call, factors=False)  # the mode eager judges those of a plain call
        self._state_noted = self._state_changed()  # then it is the plain call that changed it
        return call.error is None and not self.is_wrong(call)

    def fresh(self) -> Any:
        """A layer that was never called."""
        return self.rig.start().layer

    def of(self, case: Case, batch: int) -> "VariedRun | None":
        """A run of its own with a layer of another case; None where the subject builds no such layer."""
        try:
            return VariedRun(replace(self.rig, case=case), batch)
        except (Skip, BuildFailed, SubjectError):
            return None

    def batch(self, tokens: int = 0) -> tuple[tuple[Tensor, ...], Any]:
        """Inputs of ``tokens`` tokens and the oracle's output: the first rows of one batch, all where ``tokens`` is 0.

        Both are made once for the whole batch.
        """
        tokens = tokens or self._inputs[0].shape[0]
        return tuple(t if t is None else t[:tokens].clone() for t in self._inputs), rows_of(
            self._expected, slice(tokens)
        )

    def call(
        self,
        variation: Varied,
        inputs: tuple[Tensor, ...],
        expected: Any = None,
        *,
        layer: Any = None,
        recorder: Recorder | None = None,
        label: str = "",
        form: Form = tuple,
        around: Around = lambda layer: layer,
    ) -> Call:
        """Call the shared layer, or another, on these inputs, and add the call to the run.

        ``expected`` is what the oracle gives for these inputs, asked anew where it is None. Where the output differs
        from it, the oracle is asked anew all the same, and a fresh layer is called on the same inputs. ``form`` gives the
        inputs another form in memory, and ``around`` turns a layer into the function that is called, such as one that
        calls the layer under grad mode.
        """
        call = Call(label or f"{CALL_WITH}{variation.words}", inputs[0].shape[0], form(inputs), varied=variation)
        self.run.calls.append(call)
        if self.rig.make(call, around(self.layer if layer is None else layer), recorder):
            call.expected = expected if expected is not None else self.rig.oracle(call.before)
            if self.is_wrong(call):
                self._look_again(call, form, around)
            if layer is None and call.fresh_differs is False:
                call.not_run = part_not_run(self.rig, call, self.layer, self.fresh())
        elif recorder is None:
            self._record_error(call, form, around)
        else:
            call.fresh_differs = self._call_again(call, form, around).error is not None
            self._note_process(call, form, around)
        if layer is None:
            self._note_count(call)
        return call

    def _note_count(self, call: Call) -> None:
        """Count a call of the shared layer. What a wrong one left must not show in the next."""
        assert call.varied is not None
        if not call.error and not self.is_wrong(call):
            self.counts.append(call.tokens)
            return
        if call.fresh_differs is False and call.varied.group == "tokens" and not self._is_wrong_after_the_first(call):
            call.earlier = tuple(self.counts)
        self.layer, self.counts = self.fresh(), []

    def _is_wrong_after_the_first(self, call: Call) -> bool:
        """Whether a layer that had the plain call alone is wrong too."""
        first, layer = self.run.calls[0], self.fresh()
        if first.varied is None:
            self.rig.make(Call(first.label, first.tokens, tuple(map(copy_of, first.before))), layer)
        again = Call(call.label, call.tokens, tuple(map(copy_of, call.before)), expected=call.expected)
        return not self.rig.make(again, layer) or self.is_wrong(again)

    def refused(self, call: Call, own: bool = False) -> bool:
        """Whether a call raised a clear error, where that is right; the call is then taken out of the run.

        ``own``: only an error that the layer raised on purpose counts.
        """
        error = call.error
        if not isinstance(error, CLEAR_ERRORS) or (own and not is_own_refusal(error)):
            return False
        self.drop(call)
        assert call.varied is not None
        self.leave_out(call.varied, raising(error))
        return True

    def drop(self, call: Call) -> None:
        """Take a call out of the run."""
        self.run.calls.remove(call)

    def leave_out(self, variation: Varied, reason: str) -> None:
        """Note that a variation is not judged, and why."""
        self.run.left_out[variation.name] = reason

    def is_wrong(self, call: Call) -> bool:
        """Whether a call returned something that is not the oracle's output. A wrong shape is the widths observer's."""
        return is_wrong_output(call, self.rig.case.hidden)

    def look_closely(self, call: Call, factors: bool = True) -> None:
        """Compare a call that is right element by element also by columns, and by factors, which costs more."""
        if (
            not self.is_wrong(call)
            and isinstance(call.snapshot, Tensor)
            and call.expected is not None
            and not call.error
        ):
            same_shape = call.snapshot.shape == (call.tokens, self.rig.case.hidden)
            difference = compare(call.snapshot, call.expected) if same_shape else None
            call.difference = (None if difference and difference.off and not factors else difference,)

    def note_state(self, variation: Varied) -> None:
        """Note the variation after which the layer's tensors are others than before."""
        if not self._state_noted and self._state_changed():
            self._state_noted, self.run.changed_by = True, variation

    def finish(self) -> Run:
        """Record the layer's state after the calls, and whether what changed reaches the output."""
        run = self.rig.finish(self.run)
        look_at_plain(self.rig, run)
        run.reads_changed_state = reads_changed_state(self.rig, run)
        return run

    def _state_changed(self) -> bool:
        now = state_of(self.run.layer)
        return any(name in now and not same_bits(old, now[name]) for name, old in self.run.state_before.items())

    def _look_again(self, call: Call, form: Form, around: Around) -> None:
        call.expected, call.difference = self.rig.oracle(call.before), None
        if self.is_wrong(call):
            again = Call(call.label, call.tokens, form(tuple(map(copy_of, call.before))), expected=call.expected)
            call.fresh_differs = not self.rig.make(again, around(self.fresh())) or self.is_wrong(again)
            call.outside = call.fresh_differs and not self._is_plain_right()
            self._note_process(call, form, around)
            if call.fresh_differs:
                call.first_nan = first_nan_of(self.rig, call, self.fresh())
                note_passed_on(self.rig, call, self.fresh())
            if call.fresh_differs and not call.outside:
                call.right_in_other_order = self._is_right_in_other_order(call, form, around)

    def _is_plain_right(self) -> bool:
        """Whether a fresh layer is still right for the inputs of the plain call."""
        first = self.run.calls[0]
        if first.varied is not None:  # this run has no plain call
            return True
        again = Call(first.label, first.tokens, tuple(map(copy_of, first.before)), expected=first.expected)
        return self.rig.make(again, self.fresh()) and not self.is_wrong(again)

    def _is_right_in_other_order(self, call: Call, form: Form, around: Around) -> bool:
        """Whether fresh layers are right for the same rows in two orders: an input's contents find nothing held then.

        With the last one first, the wrong rows may be in a place where they are right. All in turn, others are in theirs.
        """
        return call.tokens >= _ROWS_TO_MOVE and all(
            self._is_right_moved(call, moved, form, around)
            for moved in (lambda rows: rows.roll(1, 0), lambda rows: rows.flip(0))
        )

    def _is_right_moved(self, call: Call, move: Callable[[Tensor], Tensor], form: Form, around: Around) -> bool:
        moved = tuple(t if t is None else move(copy_of(t)) for t in call.before)
        other = Call(call.label, call.tokens, form(moved), expected=self.rig.oracle(moved))
        return self.rig.make(other, around(self.fresh())) and not self.is_wrong(other)

    def _record_error(self, call: Call, form: Form, around: Around) -> None:
        """Let a fresh layer raise the same error with every op recorded, so that the finding can name the op and the line.

        The recorded call may fail for a reason of its own: Dynamo compiles nothing where ops are recorded. Then the error stays
        what it is, and only whether a fresh layer raises too is noted.
        """
        again = self._call_again(call, form, around, self.rig.recorder())
        if again.error is not None and _is_another(again.error, call.error):
            again = self._call_again(call, form, around)
        call.fresh_differs = again.error is not None
        if again.error is not None and not _is_another(again.error, call.error):
            call.error, call.records = again.error, again.records
        self._note_process(call, form, around)

    def _note_process(self, call: Call, form: Form, around: Around) -> None:
        """Note a call that fails on a fresh layer too, and not where nothing else was called in the process before."""
        assert call.varied is not None
        anew = self.rig.anew() if call.fresh_differs and call.varied.group == "tokens" else None
        if anew is None:
            return
        with anew:
            again = self._call_again(call, form, around)
        again.expected = call.expected or self.rig.oracle(call.before)
        call.of_process = again.error is None and not self.is_wrong(again)
        if call.of_process:
            call.fresh_differs = call.outside = False

    def _call_again(self, call: Call, form: Form, around: Around, recorder: Recorder | None = None) -> Call:
        """The same inputs in the same form, for a fresh layer."""
        again = Call(call.label, call.tokens, form(tuple(map(copy_of, call.before))))
        self.rig.make(again, around(self.fresh()), recorder)
        return again


def raising(error: BaseException) -> str:
    """Why a variation is not judged where the layer raises."""
    return f"the layer raises {type(error).__name__}: {first_line(error)}"


def _is_another(one: BaseException, other: BaseException | None) -> bool:
    """Whether two errors differ in more than their numbers, such as an address."""
    kinds = [(type(error), _NUMBER.sub("", first_line(error))) for error in (one, other) if error is not None]
    return len(set(kinds)) > 1


def is_wrong_output(call: Call, hidden: int) -> bool:
    """Whether a call of a layer of this width returned something of the right shape that is not the oracle's output."""
    output, expected = call.snapshot, call.expected
    if not isinstance(output, Tensor) or expected is None or call.error or output.shape != (call.tokens, hidden):
        return False
    if call.difference is None and all_finite(output) and within(output, expected):
        call.difference = (None,)
    return call.difference != (None,)


def _largest_batch(rig: Rig, tokens: int) -> tuple[tuple[Tensor, ...], Any]:
    """Inputs and the oracle's output of as many tokens; a sixteenth where the subject makes none so large. Raises SubjectError."""
    try:
        return rig.inputs(tokens, 0), rig.expected(tokens, 0)
    except SubjectError:
        if tokens // _FEWER < rig.case.tokens:
            raise
    return _largest_batch(rig, tokens // _FEWER)


def rows_of(expected: Any, rows: Any) -> Any:
    """These rows of an oracle's output, whole or in parts."""
    return expected[rows] if isinstance(expected, Tensor) else {name: part[rows] for name, part in expected.items()}
