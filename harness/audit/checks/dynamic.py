"""One symbolic trace of the fake, checked at two sizes against what the real implementation gives there."""

from typing import Any

import torch
from torch import Tensor
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from harness.audit.checks.contract import words
from harness.audit.context import ERRORS, Audited, Faked, outputs
from harness.audit.row import Seen, breaks, holds, not_applicable
from harness.audit.samples import Sample
from harness.audit.symbols import Settled
from harness.audit.variants import OTHER, Resize, Variant
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta


def dynamic(audited: Audited) -> Seen:
    """Each size that the real implementation lets vary is made a symbol, alone."""
    resized = [variant for variant in audited.accepted if variant.kind == OTHER]
    if not resized:
        return not_applicable("no size of the samples can be varied: the real implementation refuses all others")
    notes: list[str] = []
    done = 0
    for variant in resized:
        change = variant.resize
        base = audited.given[variant.base]
        if change is None or change.old < 2:  # torch never makes a symbol of 0 or 1
            continue
        if audited.fake(variant).error is not None:
            notes.append(f"{variant.label}: the fake refuses this size; see the row `fake`")
            continue
        traced = _trace(audited, base.sample, change, DimDynamic.DUCK)
        if isinstance(traced, str):
            notes.append(f"{variant.label}: {traced}")
            continue
        found = _judge(audited, variant, base, *traced, notes)
        if found:
            return breaks(found, variant.label)
        done += 1
        _unbacked(audited, base.sample, variant, notes)
    if not done:
        return not_applicable("no size could be made a symbol", *notes)
    return holds(f"{done} symbols, each right at two sizes", *dict.fromkeys(notes))


def _trace(audited: Audited, sample: Sample, change: Resize, how: DimDynamic) -> tuple[Faked, Any] | str:
    """The fake's answer with the sizes of ``change`` as one symbol, and the symbol; or why there can be none."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    leaves, symbol = list(sample.leaves), None
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            chosen = [how if (place, dim) in change.dims else DimDynamic.STATIC for dim in range(leaf.dim())]
            context: Any = StatelessSymbolicContext(dynamic_sizes=chosen)
            source = ConstantSource(f"leaf{place}")
            leaves[place] = mode.from_tensor(leaf, symbolic_context=context, source=source)
    first, dim = change.dims[0]
    symbol = leaves[first].shape[dim]
    for place in change.numbers:
        if not _takes_symbol(audited, sample, place):
            return f"argument {audited.names(sample)[place]!r} is `int`, so each size needs a trace of its own"
        leaves[place] = symbol
    given = sample.with_leaves(leaves)
    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
        try:
            return Faked(audited.op(*given.args, **given.kwargs), given), symbol
        except ERRORS as error:
            return Faked(None, given, error), symbol


def _takes_symbol(audited: Audited, sample: Sample, place: int) -> bool:
    name = audited.names(sample)[place].partition("[")[0]
    told = next(argument for argument in audited.op._schema.arguments if argument.name == name)
    return "SymInt" in str(told.real_type)


def _judge(audited: Audited, variant: Variant, base: Variant, faked: Faked, symbol: Any, notes: list[str]) -> str:
    """What is wrong with the symbolic answer; empty where nothing is. Notes what it asks of the size."""
    change = variant.resize
    assert change is not None
    if faked.error is not None:
        plain = audited.fake(base).error
        return "" if plain is not None else f"with a symbolic size the fake fails: {words(faked.error)}"
    node = getattr(symbol, "node", None)
    if node is None or node.shape_env.replace(node.expr).is_number:
        return f"the fake fixes the size to {change.old}: each size needs a trace of its own"
    env, expr = node.shape_env, node.shape_env.replace(node.expr)
    asked = [guard.expr for guard in env.guards if guard.expr.free_symbols == {expr}]
    against = [guard for guard in asked if guard.subs(expr, change.new) == False]  # noqa: E712
    if against:
        notes.append(f"{variant.label}: the fake asks for {str(against[0]).replace(str(expr), 'size')}: a trace more")
        return ""
    for size, of in ((change.old, base), (change.new, variant)):
        if _compare(audited.fake(of), audited.real(of).out, {}):
            notes.append(f"{of.label}: wrong without symbols too; see the rows above")
            continue
        found = _compare(faked, audited.real(of).out, {expr: size})
        if found:
            return f"traced with a symbol, at size {size}: {found}"
    return ""


def _compare(faked: Faked, out: Any, known: dict[Any, int]) -> str:
    ours, theirs = outputs(out), outputs(faked.out)
    if len(ours) != len(theirs):
        return f"real gives {len(ours)} outputs, its fake {len(theirs)}"
    settled = Settled(known)
    for real, fake in zip(ours, theirs, strict=True):
        if isinstance(real, Tensor) and isinstance(fake, Tensor):
            found = differs(TensorMeta.of(real), settled.meta(fake, real))
            if found:
                return found
    return ""


def _unbacked(audited: Audited, sample: Sample, variant: Variant, notes: list[str]) -> None:
    """The same with a symbol that has no hint, which export and vLLM use: what fails there is a note."""
    assert variant.resize is not None
    if variant.resize.numbers:
        return
    mode_error = ""
    try:
        traced = _trace_unbacked(audited, sample, variant.resize)
        mode_error = words(traced.error) if traced.error else ""
    except ERRORS as error:
        mode_error = words(error)
    if mode_error:
        notes.append(f"{variant.label}: unbacked, the fake fails: {mode_error[:120]}")


def _trace_unbacked(audited: Audited, sample: Sample, change: Resize) -> Faked:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    assert mode.shape_env is not None
    size = mode.shape_env.create_unbacked_symint()
    torch._check(size >= 2)
    leaves = list(sample.leaves)
    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                shape = [size if (place, dim) in change.dims else old for dim, old in enumerate(leaf.shape)]
                leaves[place] = torch.empty(shape, dtype=leaf.dtype, device=leaf.device)
        given = sample.with_leaves(leaves)
        try:
            return Faked(audited.op(*given.args, **given.kwargs), given)
        except ERRORS as error:
            return Faked(None, given, error)
