"""Contract: an op's real implementation, traced over the same symbols as its fake, returns a tensor of the same form."""

from typing import Any

import sympy
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves

from harness.ops.registry import registered
from harness.ops.tensor_meta import bracket

Result = tuple[tuple[sympy.Symbol, ...], tuple[Any, ...], str]
"""(symbols of the arguments, guards of the comparison, the difference as text)"""
# A comparison does not depend on the layer that calls the op, so its result is reused wherever the same guards hold.
_results: dict[Any, list[Result]] = {}
# Ops, and their real implementations, that make a number of a size, as they may: what an op does is no part of a trace through the
# layer. Another op may have the same real implementation, and be given other sizes.
_of_numbers: set[tuple[str, Any]] = set()
# Sizes so much larger leave the same remainders.
_FURTHER = tuple(1024 * factor for factor in (1, 3, 15, 105))


class MakesNumbers(BaseException):  # no layer is to catch it
    """A real implementation has fixed the sizes of this trace, which is void. No later one traces it for that op."""


def differs(name: str, fake: FakeTensor, args: Any, kwargs: Any) -> str:
    """How an op's real output differs from its fake one at the sizes of this trace, as text; empty where it does not.

    It is empty too where the real implementation cannot be traced. The real runs then compare it, at some sizes. Raises
    MakesNumbers.
    """
    env = fake.fake_mode.shape_env
    real = registered()[name].reals.get(fake.device.type) if name in registered() else None
    if real is None or env is None or (name, real) in _of_numbers:
        return ""
    symbols, form = _form((args, kwargs, fake))
    known = _results.setdefault((name, registered()[name].fake, real, form), [])
    for known_symbols, guards, text in known:
        renaming = dict(zip(known_symbols, symbols, strict=True))
        renamed = [guard.xreplace(renaming) for guard in guards]
        if all(_holds_here(env, guard) for guard in renamed):
            for guard in renamed:
                env.evaluate_expr(guard)  # adds it to the guards of this trace
            return _renamed(text, renaming)
    before = len(env.guards)
    out = _out(real, fake, args, kwargs)
    # A fake may fix a size as well, which the comparison shows: the real implementation's own guards alone speak of it.
    if _hold_here_alone(env, [guard.expr for guard in env.guards[before:]]):
        _of_numbers.add((name, real))
        raise MakesNumbers
    text = "" if _is_alike(out, fake) else f"{name} gives {shown(out)}, its fake implementation {shown(fake)}"
    guards = tuple(guard.expr for guard in env.guards)
    if all(guard.free_symbols <= set(symbols) for guard in guards):
        known.append((symbols, guards, text))
    return text


def _holds_here(env: ShapeEnv, guard: Any, more: int = 0) -> bool:
    """Whether a guard holds at the hints of this trace, or at ``more``. Evaluating it in the ShapeEnv would add it to the guards."""
    values: Any = env.backed_var_to_val if hasattr(env, "backed_var_to_val") else env.var_to_val  # torch 2.11
    return bool(guard.xreplace({symbol: values[symbol] + more for symbol in guard.free_symbols}))


def _hold_here_alone(env: ShapeEnv, guards: list[Any]) -> bool:
    """Whether guards hold at none of the larger sizes that leave the same remainders."""
    return bool(guards) and not any(all(_holds_here(env, guard, more) for guard in guards) for more in _FURTHER)


def _out(real: Any, fake: FakeTensor, args: Any, kwargs: Any) -> Any:
    """What the real implementation returns; the fake's output where it is no plain torch, or reads its data."""
    try:
        return real(*args, **kwargs)
    except Exception:
        return fake


def _is_alike(out: Any, fake: FakeTensor) -> bool:
    return isinstance(out, Tensor) and out.dtype == fake.dtype and same_form(out, fake)


def _form(arguments: Any) -> tuple[tuple[sympy.Symbol, ...], Any]:
    """The symbols in the arguments in order, and the arguments' form as text with the symbols numbered."""
    leaves = [_leaf(leaf) for leaf in tree_leaves(arguments)]
    sizes = [size.node.expr for leaf in leaves for size in leaf if hasattr(size, "node")]
    ordered = (symbol for expr in sizes for symbol in sorted(expr.free_symbols, key=str))
    symbols = tuple(dict.fromkeys(ordered))
    numbered = {symbol: sympy.Symbol(f"x{index}") for index, symbol in enumerate(symbols)}
    numbered_leaves = [[s.node.expr.subs(numbered) if hasattr(s, "node") else s for s in leaf] for leaf in leaves]
    return symbols, str(numbered_leaves)


def _leaf(leaf: Any) -> list[Any]:
    return [*leaf.shape, *leaf.stride(), leaf.dtype, leaf.device] if isinstance(leaf, Tensor) else [leaf]


def _renamed(text: str, names: dict[sympy.Symbol, sympy.Symbol]) -> str:
    for old, new in names.items():
        text = text.replace(str(old), str(new))
    return text


def same_form(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors have the same shape and the same strides where these matter. Each comparison adds a guard."""
    if left.dim() != right.dim() or any(size != other for size, other in zip(left.shape, right.shape, strict=True)):
        return False
    strides = zip(left.shape, left.stride(), right.stride(), strict=True)
    return all(size == 1 or stride == other for size, stride, other in strides)


def shown(tensor: Any) -> str:
    """Dtype, shape and stride as text, with symbols."""
    if not isinstance(tensor, Tensor):
        return f"a {type(tensor).__name__}"
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind}{bracket([str(s) for s in tensor.shape])} stride {bracket([str(s) for s in tensor.stride()])}"
