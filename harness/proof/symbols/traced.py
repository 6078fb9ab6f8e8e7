"""Traced: one run of a layer, symbolic or at plain sizes, and whether what came out of it is what should."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext, StrictMinMaxConstraint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from harness.base.source import SourceLine
from harness.execution.rig import LAYER_ERRORS
from harness.findings.exception_text import first_line
from harness.ops.collectives import is_collective
from harness.proof.symbols.contract import differs, shown
from harness.proof.symbols.sampled import Sampled

SMALLEST = 2
FAKE_DIFFERS = "fake-differs"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: ``kind`` is empty where all is well, else what is wrong, which ``text`` says in one line."""

    kind: str = ""
    text: str = ""
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.kind


@dataclass(frozen=True, slots=True)
class Trace:
    """A symbolic run: its outcome, and the guards under which every size takes the same way through the layer."""

    hint: tuple[int, ...]
    symbols: tuple[sympy.Symbol, ...]
    guards: tuple[Any, ...]
    lines: tuple[SourceLine | None, ...]
    outcome: Outcome


class _Env(ShapeEnv):
    """Notes the user's line of each guard; torch's own note of it ends at nn.Module."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.lines: list[SourceLine | None] = []

    def evaluate_expr(self, *arguments: Any, **named: Any) -> Any:
        """As ever, and note who asked."""
        answer = super().evaluate_expr(*arguments, **named)
        self.lines += [SourceLine.here()] * (len(self.guards) - len(self.lines))
        return answer


class _StridedReduce(RuntimeError):
    """A tensor that is not contiguous entered an all-reduce."""


class _Watch(TorchDispatchMode):
    """Refuses a strided tensor at an all-reduce, and a fake that is not as the real op; notes which ops ran."""

    def __init__(self, contracts: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.contracts = contracts
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        self.seen.add(name)
        if is_collective(name) and not dense(args[0]):
            raise _StridedReduce(f"{name} is given a tensor that is not contiguous: {shown(args[0])}")
        out = func(*args, **(kwargs or {}))
        if name in self.contracts and isinstance(out, FakeTensor) and (text := differs(name, out, args, kwargs or {})):
            raise _FakeDiffers(text)
        return out


class _FakeDiffers(RuntimeError):
    """A fake implementation and the real one, traced over the same symbols, give different tensors."""


def dense(tensor: Tensor) -> bool:
    """Whether a tensor is contiguous; on symbolic sizes each comparison is a guard."""
    expected: Any = 1
    for size, step in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if size == 0:
            return True
        if size != 1 and step != expected:
            return False
        expected = expected * size
    return True


def run(layer: Any, inputs: Sequence[Tensor], ops: Sequence[str], contracts: Sequence[str] = ()) -> Outcome:
    """Call the layer and judge what it gives: [tokens, hidden] of the input's dtype, contiguous, no error on the way.

    ``ops`` must have been dispatched; of ``contracts`` the real implementations are traced beside the fakes.
    """
    try:
        with torch.no_grad(), _Watch(contracts) as watch:
            out = layer(*inputs)
            absent = [op for op in ops if op not in watch.seen]
            return Outcome("bypassed", f"{absent[0]} was never dispatched") if absent else _judged(out, inputs[0])
    except _StridedReduce as error:
        return Outcome("strided-reduce", str(error), error)
    except _FakeDiffers as error:
        return Outcome(FAKE_DIFFERS, str(error), error)
    except LAYER_ERRORS as error:  # whatever a layer raises is the finding
        return Outcome("raises", f"{type(error).__name__}: {first_line(error)}", error)


def _judged(out: Any, given: Tensor) -> Outcome:
    if not isinstance(out, Tensor):
        return Outcome("not-a-tensor", f"the layer gave a {type(out).__name__}; expected one tensor")
    wanted = f"expected {shown(given)}"
    if out.dim() != given.dim() or any(mine != other for mine, other in zip(out.shape, given.shape, strict=True)):
        return Outcome("wrong-shape", f"the output is {shown(out)}; {wanted}")
    if out.dtype != given.dtype:
        return Outcome("wrong-dtype", f"the output is {shown(out)}; {wanted}")
    return Outcome() if dense(out) else Outcome("strided-output", f"the output is {shown(out)}; expected contiguous")


def trace(sampled: Sampled, place: int, hint: tuple[int, ...]) -> Trace:
    """Run the layer of one piece over symbols, deciding each condition as it is at ``hint`` and noting it as a guard."""
    env = _Env(duck_shape=False, assume_static_by_default=False)
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)
    mode.cache_enabled = False  # an answer out of the cache would leave no guard
    sizes = _symbols(mode, hint)
    symbols = tuple(size.node.expr for size in sizes)
    with mode, enable_python_dispatcher():
        layer, inputs = sampled.symbolic(place, sizes)
        outcome = run(layer, inputs, sampled.builder.ops, sampled.builder.ops)
    guards = tuple(guard.expr for guard in env.guards)
    return Trace(hint, symbols, guards, tuple(env.lines), outcome)


def _symbols(mode: FakeTensorMode, hint: tuple[int, ...]) -> list[Any]:
    """A symbol for each axis, of 2 or more and without an upper bound, which would decide conditions beyond it."""
    anything = StrictMinMaxConstraint(warn_only=False, vr=ValueRanges(SMALLEST, int_oo))
    context: Any = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC], constraint_sizes=[anything])
    named = [torch.empty(size, device="meta") for size in hint]
    return [mode.from_tensor(tensor, symbolic_context=context).shape[0] for tensor in named]


def concrete(sampled: Sampled, sizes: Sequence[int]) -> Outcome:
    """A real layer, built and called at these sizes."""
    try:
        layer, inputs = sampled.builder.build(sizes)
    except LAYER_ERRORS as error:
        return Outcome("not-built", f"{type(error).__name__}: {first_line(error)}", error)
    return run(layer, inputs, sampled.builder.ops)
