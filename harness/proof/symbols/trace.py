"""Trace: one run of a layer, over symbols or at plain sizes, and whether its output has the right form."""

from collections.abc import Sequence
from contextlib import suppress
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

from harness.base.exception_text import first_line
from harness.base.source import SourceLine
from harness.execution.rig import LAYER_ERRORS
from harness.ops.collectives import is_collective
from harness.ops.higher_order import call_inside, is_higher_order
from harness.proof.symbols.contract import MakesNumbers, differs, shown
from harness.proof.symbols.symbolic_layer import SymbolicLayer

SMALLEST = 2
FAKE_DIFFERS = "fake-differs"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: ``kind`` says what is wrong and ``text`` says it in one line; both are empty where nothing is."""

    kind: str = ""
    text: str = ""
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.kind


@dataclass(frozen=True, slots=True)
class Trace:
    """A symbolic run: its outcome, and its guards. Every size at which the guards hold takes the same path to that outcome.

    ``hint`` are the sizes that conditions were decided by; ``lines[i]`` is the user's line that caused ``guards[i]``.
    """

    hint: tuple[int, ...]
    symbols: tuple[sympy.Symbol, ...]
    guards: tuple[Any, ...]
    lines: tuple[SourceLine | None, ...]
    outcome: Outcome


class _Env(ShapeEnv):
    """A ShapeEnv that records the user's line of each guard: torch's own record stops at nn.Module."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.lines: list[SourceLine | None] = []

    def evaluate_expr(self, *arguments: Any, **named: Any) -> Any:
        """Evaluate as usual, and record the user's line for each guard that this added."""
        answer = super().evaluate_expr(*arguments, **named)
        self.lines += [SourceLine.here()] * (len(self.guards) - len(self.lines))
        return answer


class _StridedReduce(RuntimeError):
    """A tensor that is not contiguous was given to an all-reduce."""


class _Watch(TorchDispatchMode):
    """A dispatch mode that raises on a strided tensor at an all-reduce and on a wrong fake, and records which ops ran."""

    supports_higher_order_operators = True

    def __init__(self, contracts: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.contracts = contracts
        self.dispatched: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_higher_order(func):
            return call_inside(self, func, args, kwargs or {})
        name = func._schema.name
        self.dispatched.add(name)
        if is_collective(name) and not dense(args[0]):
            raise _StridedReduce(f"{name} is given a tensor that is not contiguous: {shown(args[0])}")
        out = func(*args, **(kwargs or {}))
        if name in self.contracts and isinstance(out, FakeTensor) and (text := differs(name, out, args, kwargs or {})):
            raise _FakeDiffers(text)
        return out


class _FakeDiffers(RuntimeError):
    """A fake implementation and the real one, traced over the same symbols, return different tensors."""


def dense(tensor: Tensor) -> bool:
    """Whether a tensor is contiguous. On symbolic sizes each comparison adds a guard."""
    expected: Any = 1
    for size, step in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if size == 0:
            return True
        if size != 1 and step != expected:
            return False
        expected = expected * size
    return True


def run_layer(layer: Any, inputs: Sequence[Tensor], ops: Sequence[str], contracts: Sequence[str] = ()) -> Outcome:
    """Call the layer and check its output: one contiguous tensor of the first input's shape and dtype.

    Every op in ``ops`` must be dispatched. For ops in ``contracts`` the real implementation is traced too and compared with
    the fake.
    """
    try:
        with torch.no_grad(), _Watch(contracts) as watch:
            out = layer(*inputs)
            absent = [op for op in ops if op not in watch.dispatched]
            return Outcome("bypassed", f"{absent[0]} was never dispatched") if absent else _checked(out, inputs[0])
    except _StridedReduce as error:
        return Outcome("strided-reduce", str(error), error)
    except _FakeDiffers as error:
        return Outcome(FAKE_DIFFERS, str(error), error)
    except LAYER_ERRORS as error:
        return Outcome("raises", f"{type(error).__name__}: {first_line(error)}", error)


def _checked(out: Any, given: Tensor) -> Outcome:
    if not isinstance(out, Tensor):
        return Outcome("not-a-tensor", f"the layer returned a {type(out).__name__}; expected one tensor")
    expected = f"expected {shown(given)}"
    if out.dim() != given.dim() or any(size != other for size, other in zip(out.shape, given.shape, strict=True)):
        return Outcome("wrong-shape", f"the output is {shown(out)}; {expected}")
    if out.dtype != given.dtype:
        return Outcome("wrong-dtype", f"the output is {shown(out)}; {expected}")
    return Outcome() if dense(out) else Outcome("strided-output", f"the output is {shown(out)}; expected contiguous")


def trace_layer(symbolic: SymbolicLayer, structure: int, hint: tuple[int, ...]) -> Trace:
    """Run the layer of one structure over symbols. Each condition is decided as it is at ``hint``, and becomes a guard."""
    while True:
        with suppress(MakesNumbers):  # once for each op
            return _traced(symbolic, structure, hint)


def _traced(symbolic: SymbolicLayer, structure: int, hint: tuple[int, ...]) -> Trace:
    env = _Env(duck_shape=False, assume_static_by_default=False)
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)
    mode.cache_enabled = False  # a result from the cache would add no guards
    sizes = _symbols(mode, hint)
    symbols = tuple(size.node.expr for size in sizes)
    with mode, enable_python_dispatcher():
        layer, inputs = symbolic.over(structure, sizes)
        outcome = run_layer(layer, inputs, symbolic.builder.ops, symbolic.builder.ops)
    guards = tuple(guard.expr for guard in env.guards)
    return Trace(hint, symbols, guards, tuple(env.lines), outcome)


def _symbols(mode: FakeTensorMode, hint: tuple[int, ...]) -> list[Any]:
    """A symbol of 2 or more for each axis. It has no upper bound, since one would decide conditions without a guard."""
    anything = StrictMinMaxConstraint(warn_only=False, vr=ValueRanges(SMALLEST, int_oo))
    context: Any = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC], constraint_sizes=[anything])
    tensors = [torch.empty(size, device="meta") for size in hint]
    return [mode.from_tensor(tensor, symbolic_context=context).shape[0] for tensor in tensors]


def run_at(symbolic: SymbolicLayer, sizes: Sequence[int]) -> Outcome:
    """Build a real layer at these sizes and call it."""
    try:
        layer, inputs = symbolic.builder.build(sizes)
    except LAYER_ERRORS as error:
        return Outcome("not-built", f"{type(error).__name__}: {first_line(error)}", error)
    return run_layer(layer, inputs, symbolic.builder.ops)
