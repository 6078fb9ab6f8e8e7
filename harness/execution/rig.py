"""The rig: one subject, one case and one device, with the means to build layers, make inputs, call layers and record that."""

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.base.errors import DeviceLost, Skip
from harness.execution.device import loss
from harness.execution.evidence import Call, Run, same_bits, state_of
from harness.execution.memory.fresh_memory import call_filled, copy_of
from harness.execution.recorder import Recorder
from harness.execution.stages import SUBMODULES
from harness.execution.state.global_state import GlobalState
from harness.matrix.case import Case
from harness.matrix.shapes import Alignment
from harness.ops.fake_call import FakeCallMode
from harness.subjects.checked import CheckedSubject, SubjectError
from harness.subjects.declared import Declared, declared
from harness.subjects.subject import Subject, plain_names, routed_output

if TYPE_CHECKING:
    from harness.subjects.subject import Oracle

EAGER_AUDIT = "eager audit"
# Whatever a layer raises is a finding. SystemExit too: a layer that exits must not end the run.
LAYER_ERRORS = (Exception, SystemExit)
_ORACLE_CACHE_SIZE = 32
_ANY_ALIGNMENT = Alignment("", 16, 16, 16)
_oracle_cache: OrderedDict[Any, tuple[Subject, "Oracle"]] = OrderedDict()


class BuildFailed(Exception):
    """The subject could not build a layer; ``__cause__`` says why."""


@dataclass
class Rig:
    """Builds layers, makes inputs and calls layers for one verdict. Each run gets a fresh layer, so none sees another's state."""

    subject: Subject
    case: Case
    device: torch.device
    mode: str = ""
    vary: tuple[str, ...] = ()
    ops: tuple[str, ...] = field(init=False)
    declared: Declared = field(init=False)
    _checked: CheckedSubject = field(init=False)
    _routed_output: int | None = field(init=False)
    _fakes: FakeCallMode = field(init=False, default_factory=FakeCallMode)

    def __post_init__(self) -> None:
        self._checked = CheckedSubject(self.subject)
        names = self._checked.ops(self.case)
        self.ops, self._routed_output = plain_names(names), routed_output(names)
        self.declared = declared(self.subject, self.case)
        if self.case.tokens > self.most_tokens:
            raise Skip(f"the subject declares tokens<={self.most_tokens}, and this case has {self.case.tokens}")

    @property
    def experts_op(self) -> str:
        """The routed experts' op, ``namespace::name``; empty where the subject names none."""
        return self.ops[0] if self.ops else ""

    @property
    def routed_output(self) -> int | None:
        """Which output of that op is the routed experts'; None where all are."""
        return self._routed_output

    def parts_of(self, outputs: frozenset[int], count: int) -> frozenset[str]:
        """The parts of the layer that these of ``count`` outputs of the routed experts' op are: of two, one is the shared part."""
        routed = self._routed_output or 0
        names = {index: "routed" if index == routed else "shared" for index in range(count)} if count < 3 else {}
        return frozenset(names[index] for index in outputs if index in names)

    @property
    def most_tokens(self) -> int:
        """The largest batch that the subject takes."""
        return self.declared.most_tokens

    def start(self, watch_state: bool = False, **fields: Any) -> Run:
        """A fresh layer and a run without calls. ``watch_state`` copies the layer's tensors. Raises Skip and BuildFailed."""
        try:
            layer = self._checked.build(self.case, self.device)
        except (Skip, SubjectError):
            raise
        except LAYER_ERRORS as error:
            raise BuildFailed(str(error)) from error
        if self.declared.repacks_weights:
            self._first_call(layer)
        about: dict[str, Any] = {"ops": self.ops, "routed_output": self._routed_output, "declared": self.declared}
        run = Run(case=self.case, mode=self.mode, layer=layer, **about, **fields)
        run.built_memory = frozenset(tensor.untyped_storage().data_ptr() for tensor in state_of(layer).values())
        if watch_state:
            run.state_before = {name: copy_of(tensor) for name, tensor in state_of(layer).items()}
        return run

    def _first_call(self, layer: Any) -> None:
        """Let a layer repack its weights, as the subject declares. Where it raises, so does the mode's first call."""
        with contextlib.suppress(*LAYER_ERRORS):
            layer(*self.inputs(self.case.tokens, 0))

    def finish(self, run: Run) -> Run:
        """Record the layer's state after the calls; a mode does this last."""
        run.state_after = now = state_of(run.layer)
        run.changed_state = tuple(n for n, old in run.state_before.items() if n in now and not same_bits(old, now[n]))
        return run

    def check_ops_registered(self) -> None:
        """Raise SubjectError where the subject names an op that does not exist: it would look like one that never ran."""
        self._checked.check_registered(self.case)

    def inputs(self, tokens: int, seed: int) -> tuple[Tensor, ...]:
        """Fresh inputs of the layer."""
        return self._checked.inputs(self.case, tokens, seed, self.device)

    def anew(self) -> AbstractContextManager[object] | None:
        """What the subject gives to run a layer as a new process would, with nothing held for all layers; None for nothing."""
        give = getattr(self.subject, "anew", None)
        made: AbstractContextManager[object] | None = give() if give else None
        return made

    def audit(self, run: Run) -> None:
        """Add an eager call to a run whose trace failed, with each custom op compared with its fake.

        It tells a fault of the layer, which fails here too, from a fault of a fake, which does not.
        """
        layer = self._checked.build(self.case, self.device)
        self.call(run, layer, EAGER_AUDIT, self.case.tokens, 0, self.recorder(audit=True))

    def recorder(self, **options: bool) -> Recorder:
        """A recorder for this case and its routed experts' op."""
        settings: dict[str, Any] = {"routed_output": self._routed_output, "reduces_by": self.declared.reduces_by}
        settings["submodules"] = {path: SUBMODULES[part] for part, path in self.declared.submodules}
        return Recorder(self.case, self.experts_op, fakes=self._fakes, **(settings | options))

    def expected(self, tokens: int, seed: int) -> "Oracle":
        """The oracle's output for ``inputs(tokens, seed)``, from a cache.

        The inputs are made anew, so that no layer can have changed them.
        """
        # The oracle knows no padding: cases that differ only in padding share its output.
        unpadded = replace(self.case, alignment=_ANY_ALIGNMENT, kernel="", tokens=0, overridden=False, collective="")
        key = (id(self.subject), unpadded, tokens, seed, self.device)
        if key not in _oracle_cache:
            # The entry holds the subject, because an id is unique only while its object lives.
            _oracle_cache[key] = self.subject, self._checked.oracle(self.case, self.inputs(tokens, seed))
            if len(_oracle_cache) > _ORACLE_CACHE_SIZE:
                _oracle_cache.popitem(last=False)
        return _oracle_cache[key][1]

    def oracle(self, inputs: tuple[Tensor, ...]) -> "Oracle":
        """The oracle's output for these inputs, computed anew. Raises SubjectError."""
        return self._checked.oracle(self.case, tuple(map(copy_of, inputs)))

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
        """Call the layer once on fresh inputs and add the call to the run. An exception is evidence and is stored in it.

        Without ``with_oracle`` the call's values are not compared with anything; later calls still show whether its output
        is overwritten. Raises DeviceLost where the device can run nothing more.
        """
        call = Call(label, tokens, self.inputs(tokens, seed), seed=seed)
        run.calls.append(call)
        if self.make(call, function, recorder):
            call.expected = self.expected(tokens, seed) if tokens and with_oracle else None
        return call

    def make(self, call: Call, function: Callable[..., Any], recorder: Recorder | None = None) -> bool:
        """Call the layer on the call's inputs. False where it raised, which is evidence and stored. Raises DeviceLost."""
        call.before = call.before or tuple(map(copy_of, call.inputs))
        try:
            _invoke(call, function, recorder)
        except SubjectError:
            raise
        except LAYER_ERRORS as error:
            call.error = error
            if lost := loss(self.device):
                raise DeviceLost(lost) from error
            return False
        if isinstance(call.output, Tensor) and call.output.device.type == self.device.type:
            call.snapshot = call.output.clone()
        return True


def _invoke(call: Call, function: Callable[..., Any], recorder: Recorder | None) -> None:
    """Call the function on the call's inputs. What it returns, dispatches and changes goes into the call."""
    if recorder is None:
        call.output = call_filled(function, *call.inputs)
        return
    call.records = recorder.records
    # GlobalState is the outer one, so that the recorder does not take its comparison of generators for the layer's last op.
    with GlobalState() as state, recorder:
        call.output = function(*call.inputs)
    if recorder.higher_order:
        # In eager mode torch compiles the functions of torch.cond, and what it compiled under a mode fails without one.
        torch._dynamo.reset()
    call.changed_global_state, call.poisoned = state.changed, recorder.poisoned
    if isinstance(call.output, Tensor):
        call.routed, call.memory_of = recorder.is_routed(call.output), recorder.memory_of(call.output)
