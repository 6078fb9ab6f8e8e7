"""Contract: an op's real implementation, traced over the same symbols as its fake, gives a tensor of the same form."""

from typing import Any

import sympy
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves

from harness.ops.registry import registered
from harness.ops.tensor_meta import bracket

Answer = tuple[tuple[sympy.Symbol, ...], tuple[Any, ...], str]
# An op is the same one in every layer that calls it: what was found under some guards holds wherever they do.
_answers: dict[Any, list[Answer]] = {}


def differs(name: str, fake: FakeTensor, args: Any, kwargs: Any) -> str:
    """How an op's real output differs from its fake one at the sizes of this trace, in words; empty where it does not.

    Empty too where the real implementation is no plain torch: real runs then compare it, at some sizes.
    """
    env = fake.fake_mode.shape_env
    real = registered()[name].reals.get(fake.device.type) if name in registered() else None
    if real is None or env is None:
        return ""
    symbols, form = _form((args, kwargs, fake))
    known = _answers.setdefault((name, registered()[name].fake, real, form), [])
    for theirs, guards, text in known:
        mine = dict(zip(theirs, symbols, strict=True))
        here = [guard.xreplace(mine) for guard in guards]
        if all(_so_here(env, guard) for guard in here):
            for guard in here:
                env.evaluate_expr(guard)  # which notes it
            return _renamed(text, mine)
    text = _compared(name, real, fake, args, kwargs)
    asked = tuple(guard.expr for guard in env.guards)
    if all(guard.free_symbols <= set(symbols) for guard in asked):
        known.append((symbols, asked, text))
    return text


def _so_here(env: ShapeEnv, guard: Any) -> bool:
    """Whether a guard holds at the sizes that this trace is decided by; asking the environment would make it a guard."""
    values: Any = env.backed_var_to_val if hasattr(env, "backed_var_to_val") else env.var_to_val  # torch 2.11
    return bool(guard.xreplace({symbol: values[symbol] for symbol in guard.free_symbols}))


def _compared(name: str, real: Any, fake: FakeTensor, args: Any, kwargs: Any) -> str:
    try:
        out = real(*args, **kwargs)
    except Exception:  # a kernel of another kind, or one that reads its data
        return ""
    if isinstance(out, Tensor) and out.dtype == fake.dtype and same_form(out, fake):
        return ""
    return f"{name} gives {shown(out)}, its fake implementation {shown(fake)}"


def _form(arguments: Any) -> tuple[tuple[sympy.Symbol, ...], Any]:
    """The symbols in arguments in the order in which they come, and the arguments' form with numbered symbols."""
    leaves = [_leaf(leaf) for leaf in tree_leaves(arguments)]
    sizes = [size.node.expr for leaf in leaves for size in leaf if hasattr(size, "node")]
    ordered = (symbol for expr in sizes for symbol in sorted(expr.free_symbols, key=str))
    symbols = tuple(dict.fromkeys(ordered))
    numbered = {symbol: sympy.Symbol(f"x{place}") for place, symbol in enumerate(symbols)}
    told = [[s.node.expr.subs(numbered) if hasattr(s, "node") else s for s in leaf] for leaf in leaves]
    return symbols, str(told)


def _leaf(leaf: Any) -> list[Any]:
    return [*leaf.shape, *leaf.stride(), leaf.dtype, leaf.device] if isinstance(leaf, Tensor) else [leaf]


def _renamed(text: str, names: dict[sympy.Symbol, sympy.Symbol]) -> str:
    for theirs, mine in names.items():
        text = text.replace(str(theirs), str(mine))
    return text


def same_form(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors have the same shape and, where it means something, the same strides; each question a guard."""
    if left.dim() != right.dim() or any(mine != other for mine, other in zip(left.shape, right.shape, strict=True)):
        return False
    steps = zip(left.shape, left.stride(), right.stride(), strict=True)
    return all(size == 1 or mine == other for size, mine, other in steps)


def shown(tensor: Any) -> str:
    """Dtype, shape and stride, symbols as they are."""
    if not isinstance(tensor, Tensor):
        return f"a {type(tensor).__name__}"
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind}{bracket([str(s) for s in tensor.shape])} stride {bracket([str(s) for s in tensor.stride()])}"
