"""A run of a varied mode: a plain call of the layer, and then one variation after the other."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from harness.base.errors import Skip
from harness.base.exception_text import first_line, raised_by_user
from harness.execution.difference import within
from harness.execution.evidence import Call, Run, Varied, all_finite, same_bits, state_of
from harness.execution.modes.eager import reads_changed_state
from harness.execution.recorder import Recorder
from harness.execution.rig import BuildFailed, Rig
from harness.matrix.case import Case
from harness.matrix.variations import LARGEST_BATCH, names_of, words_of
from harness.subjects.checked import SubjectError

PLAIN = "first call"
# What a layer raises that says what it does not take.
CLEAR_ERRORS = (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError, IndexError)
Variation = Callable[["VariedRun", Varied], None]


def run_varied(rig: Rig, variations: Mapping[str, Variation]) -> Run:
    """A plain call, then every variation of the mode, or those that the rig names. ``variations`` has a function for each group.

    Where the plain call is wrong or raises there is nothing to compare a variation with, and it is the only call.
    """
    varied = VariedRun(rig)
    if varied.make_plain_call():
        for name in rig.vary or names_of(rig.mode):
            variation = Varied(name, words_of(name))
            variations[variation.group](varied, variation)
            varied.note_state(variation)
    return varied.finish()


class VariedRun:
    """The rig and the run, with the means to call a layer on changed inputs and to compare the output with the oracle.

    ``layer`` is the layer that the variations share. A variation that needs one of its own calls ``fresh``.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.run = rig.start(watch_state=True, emulated=rig.device.type != "cuda")
        self.layer: Any = self.run.layer
        self.alive: list[object] = []  # inputs that no later call's may take the place of in memory
        self.steady: bool | None = None
        count = min(LARGEST_BATCH, rig.most_tokens)
        self._inputs, self._expected = rig.inputs(count, 0), rig.expected(count, 0)

    def make_plain_call(self) -> bool:
        """The call that every variation is compared with: the case's tokens, audited. Whether it is right."""
        call = self.rig.call(self.run, self.layer, PLAIN, self.rig.case.tokens, 0, self.rig.recorder(audit=True))
        return call.error is None and not self.is_wrong(call)

    def fresh(self) -> Any:
        """A layer that was never called."""
        return self.rig.start().layer

    def of(self, case: Case) -> "VariedRun | None":
        """A run of its own with a layer of another size; None where the subject builds none of that size."""
        try:
            rig = replace(self.rig, case=case)
            return VariedRun(rig)
        except (Skip, BuildFailed, SubjectError):
            return None

    def batch(self, tokens: int) -> tuple[tuple[Tensor, ...], Any]:
        """Inputs of ``tokens`` tokens and the oracle's output: the first rows of one large batch, so that both are made once."""
        return tuple(tensor[:tokens].clone() for tensor in self._inputs), rows_of(self._expected, slice(tokens))

    def call(
        self,
        variation: Varied,
        inputs: tuple[Tensor, ...],
        expected: Any = None,
        *,
        layer: Any = None,
        recorder: Recorder | None = None,
        label: str = "",
    ) -> Call:
        """Call the shared layer, or another, on these inputs, and add the call to the run.

        ``expected`` is what the oracle gives for these inputs, asked anew where it is None. Where the output differs
        from it, the oracle is asked anew all the same, and a fresh layer is called on the same inputs.
        """
        call = Call(label or variation.words, inputs[0].shape[0], inputs, varied=variation)
        self.run.calls.append(call)
        if self.rig.make(call, self.layer if layer is None else layer, recorder):
            call.expected = expected if expected is not None else self.rig.oracle(call.before)
            if self.is_wrong(call):
                self._look_again(call)
        elif recorder is None:
            self._record_error(call)
        if (call.error or self.is_wrong(call)) and layer is None:
            self.layer = self.fresh()  # what this call left must not show in the next
        return call

    def refused(self, call: Call, own: bool = False) -> bool:
        """Whether a call raised a clear error, where that is right; the call is then taken out of the run.

        ``own``: only an error that a statement of the layer raised counts.
        """
        error = call.error
        if not isinstance(error, CLEAR_ERRORS) or (own and not raised_by_user(error)):
            return False
        self.run.calls.remove(call)
        assert call.varied is not None
        self.run.refused[call.varied.name] = f"{type(error).__name__}: {first_line(error)}"
        return True

    def is_wrong(self, call: Call) -> bool:
        """Whether a call returned something that is not the oracle's output. A wrong shape is the widths observer's."""
        output, expected = call.snapshot, call.expected
        if not isinstance(output, Tensor) or expected is None or call.error:
            return False
        if output.shape != (call.tokens, self.rig.case.hidden):
            return False
        if call.difference is None and all_finite(output) and within(output, expected):
            call.difference = (None,)
        return call.difference is None

    def note_state(self, variation: Varied) -> None:
        """Note the variation after which the layer's tensors are others than before."""
        if self.run.changed_by is None and self.layer is self.run.layer and self._state_changed():
            self.run.changed_by = variation

    def finish(self) -> Run:
        """Record the layer's state after the calls, and whether what changed reaches the output."""
        run = self.rig.finish(self.run)
        run.reads_changed_state = reads_changed_state(self.rig, run)
        return run

    def _state_changed(self) -> bool:
        now = state_of(self.layer)
        return any(name in now and not same_bits(old, now[name]) for name, old in self.run.state_before.items())

    def _look_again(self, call: Call) -> None:
        call.expected, call.difference = self.rig.oracle(call.before), None
        if self.is_wrong(call):
            again = Call(call.label, call.tokens, tuple(t.clone() for t in call.before), expected=call.expected)
            call.fresh_differs = not self.rig.make(again, self.fresh()) or self.is_wrong(again)

    def _record_error(self, call: Call) -> None:
        """Let a fresh layer raise the same error with every op recorded, so that the finding can name the op and the line."""
        again = Call(call.label, call.tokens, tuple(t.clone() for t in call.before))
        if not self.rig.make(again, self.fresh(), self.rig.recorder()):
            call.error, call.records, call.fresh_differs = again.error, again.records, True
        else:
            call.fresh_differs = False


def rows_of(expected: Any, rows: Any) -> Any:
    """These rows of an oracle's output, whole or in parts."""
    return expected[rows] if isinstance(expected, Tensor) else {name: part[rows] for name, part in expected.items()}
