"""The rig: one subject, case and device, with what a mode needs to make calls and leave evidence."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.base.errors import DeviceLost, Skip
from harness.execution.device import loss
from harness.execution.evidence import Call, Run, same_bits, state_of
from harness.execution.global_state import GlobalState
from harness.execution.recorder import Recorder
from harness.matrix.case import Case
from harness.matrix.shapes import Alignment
from harness.ops.fake_call import FakeCallMode
from harness.subjects.subject import Subject, plain_names, routed_output

if TYPE_CHECKING:
    from harness.subjects.subject import Oracle

EAGER_AUDIT = "eager audit"
# SystemExit too: a layer that exits must not end the run.
LAYER_ERRORS = (Exception, SystemExit)
_EXPECTED_KEPT = 32
_ANY = Alignment("", 16, 16, 16)
_expected: OrderedDict[Any, tuple[Subject, "Oracle"]] = OrderedDict()


class BuildFailed(Exception):
    """The subject could not build a layer; ``__cause__`` says why."""


@dataclass
class Rig:
    """Makes layers, inputs and calls for one verdict. A fresh layer each: no verdict sees another's state."""

    subject: Subject
    case: Case
    device: torch.device
    mode: str = ""
    ops: tuple[str, ...] = field(init=False)
    _routed: int | None = field(init=False)
    _fakes: FakeCallMode = field(init=False, default_factory=FakeCallMode)

    def __post_init__(self) -> None:
        named = self.subject.ops(self.case)
        self.ops, self._routed = plain_names(named), routed_output(named)

    @property
    def experts(self) -> str:
        """The routed experts' op, ``namespace::name``."""
        return self.ops[0] if self.ops else ""

    def start(self, watch_state: bool = False, **notes: Any) -> Run:
        """A new layer and an empty run; ``watch_state`` keeps a copy of every tensor that the layer holds."""
        try:
            layer = self.subject.build(self.case, self.device)
        except Skip:
            raise
        except LAYER_ERRORS as error:
            raise BuildFailed(str(error)) from error
        run = Run(case=self.case, mode=self.mode, ops=self.ops, layer=layer, **notes)
        if watch_state:
            run.state_before = {name: tensor.clone() for name, tensor in state_of(layer).items()}
        return run

    def finish(self, run: Run) -> Run:
        """Note the layer's state; the last thing a mode does."""
        run.state_after = now = state_of(run.layer)
        run.changed_state = tuple(n for n, old in run.state_before.items() if n in now and not same_bits(old, now[n]))
        return run

    def inputs(self, tokens: int, seed: int) -> tuple[Tensor, ...]:
        """Fresh inputs of the layer."""
        return tuple(self.subject.inputs(self.case, tokens, seed, self.device))

    def audit(self, run: Run) -> None:
        """After a failed trace: an eager call that compares each custom op with its fake, to tell a layer's fault from a fake's."""
        layer = self.subject.build(self.case, self.device)
        self.call(run, layer, EAGER_AUDIT, self.case.tokens, 0, self.recorder(audit=True))

    def recorder(self, **options: bool) -> Recorder:
        """A recorder that knows this case's stages."""
        return Recorder(self.case, self.experts, fakes=self._fakes, routed=self._routed, **options)

    def expected(self, tokens: int, seed: int) -> "Oracle":
        """The oracle's answer for ``inputs(tokens, seed)``; the inputs are made anew, so no layer can have touched them."""
        case = self.case  # an oracle knows no padding, so cases that differ in it alone share its answer
        same = replace(case, alignment=_ANY, kernel="", tokens=0, overridden=False)
        key = (id(self.subject), same, tokens, seed, self.device)
        if key not in _expected:
            # The subject is kept too: while it lives no other one gets its id.
            _expected[key] = self.subject, self.subject.oracle(self.case, self.inputs(tokens, seed))
            if len(_expected) > _EXPECTED_KEPT:
                _expected.popitem(last=False)
        return _expected[key][1]

    def call(
        self,
        run: Run,
        function: Callable[..., Any],
        label: str,
        tokens: int,
        seed: int,
        recorder: Recorder | None = None,
        with_oracle: bool = True,
    ) -> Call:
        """Call the layer once on fresh inputs, and add what happened to the run. An exception is evidence, not an error.

        Without the oracle's answer, the values of this call are no evidence, and what becomes of its output is.
        Raises DeviceLost where nothing more can be asked of the device.
        """
        inputs = self.inputs(tokens, seed)
        call = Call(label, tokens, inputs, before=tuple(tensor.clone() for tensor in inputs))
        run.calls.append(call)
        try:
            if recorder is None:
                call.output = function(*inputs)
            else:
                call.records = recorder.records
                with recorder, GlobalState() as state:
                    call.output = function(*inputs)
                call.left = state.left
                call.routed = recorder.is_routed(call.output) if isinstance(call.output, Tensor) else None
        except LAYER_ERRORS as error:  # whatever a layer raises is the finding
            call.error = error
            if lost := loss(self.device):  # whatever is asked of the device from here on raises too
                raise DeviceLost(lost) from error
            return call
        if isinstance(call.output, Tensor) and call.output.device.type == self.device.type:
            call.snapshot = call.output.clone()
        call.expected = self.expected(tokens, seed) if tokens and with_oracle else None
        return call
