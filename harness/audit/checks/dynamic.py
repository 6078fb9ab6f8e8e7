"""Trace the fake once with a symbolic size, and compare with the real implementation at two sizes."""

from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from harness.audit.calling.calls import ERRORS, FakeCall, outputs
from harness.audit.checks.fake_errors import error_line
from harness.audit.context import AuditedOp
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.samples import Sample
from harness.audit.symbols import SymbolResolver
from harness.audit.variants.kinds import OTHER, Resize, Variant
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta


def dynamic(audited: AuditedOp) -> CheckResult:
    """Make each size that the real implementation lets vary a symbol, one at a time."""
    resized = [variant for variant in audited.accepted if variant.kind == OTHER]
    if not resized:
        return not_applicable("no size of the samples can be varied: the real implementation refuses every other size")
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
        wrong = _judge(audited, variant, base, *traced, notes)
        if wrong:
            return breaks(wrong, variant.label)
        done += 1
        _unbacked(audited, base.sample, variant, notes)
    if resized and all(audited.fake(variant).error is not None for variant in resized):
        return not_run("the fake raises at every other size; see the row `fake`")
    if not done:
        return not_applicable("no size could be made a symbol", *notes)
    return holds(f"{done} sizes as symbols, each right at two values", *dict.fromkeys(notes))


def _trace(audited: AuditedOp, sample: Sample, change: Resize, how: DimDynamic) -> tuple[FakeCall, Any] | str:
    """Call the fake with the sizes of ``change`` as one symbol; its call and the symbol, or why there can be none."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    leaves, symbol = list(sample.leaves), None
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            changes = [(place, dim) in change.dims or place in change.tables for dim in range(leaf.dim())]
            chosen = [how if moves else DimDynamic.STATIC for moves in changes]
            context: Any = StatelessSymbolicContext(dynamic_sizes=chosen)
            source = ConstantSource(f"leaf{place}")
            leaves[place] = mode.from_tensor(leaf, symbolic_context=context, source=source)
    first, dim = change.dims[0]
    symbol = leaves[first].shape[dim]
    for place in change.numbers:
        if not _takes_symbol(audited, sample, place):
            return f"argument {audited.names(sample)[place]!r} is `int` in the schema, so each size needs its own trace"
        leaves[place] = symbol
    given = sample.with_leaves(leaves)
    # As torch.compile traces: without the Python dispatcher, torch's own C++ metas turn a symbol into a number.
    with enable_python_dispatcher(), torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
        try:
            return FakeCall(audited.op(*given.args, **given.kwargs), given), symbol
        except ERRORS as error:
            return FakeCall(None, given, error), symbol


def _takes_symbol(audited: AuditedOp, sample: Sample, place: int) -> bool:
    name = audited.names(sample)[place].partition("[")[0]
    declared = next(argument for argument in audited.op._schema.arguments if argument.name == name)
    return "SymInt" in str(declared.real_type)


def _returns_number(audited: AuditedOp) -> bool:
    """Whether the schema has an output that is a plain number. torch makes a number of the symbol that a fake gives for it."""
    return any(str(one.real_type) in ("int", "List[int]") for one in audited.op._schema.returns)


def _judge(audited: AuditedOp, variant: Variant, base: Variant, faked: FakeCall, symbol: Any, notes: list[str]) -> str:
    """What is wrong with the symbolic call; empty if nothing is. Adds a note if the fake guards on the size."""
    change = variant.resize
    assert change is not None
    if faked.error is not None:
        plain = audited.fake(base).error
        return "" if plain is not None else f"with a symbolic size, the fake raises {error_line(faked.error)}"
    node = getattr(symbol, "node", None)
    if node is None or node.shape_env.replace(node.expr).is_number:
        if _returns_number(audited):
            notes.append(f"{variant.label}: an output is `int` in the schema, so each size needs its own trace")
            return ""
        return f"the fake specialises the size to {change.old}: each size needs its own trace"
    env, expr = node.shape_env, node.shape_env.replace(node.expr)
    guards = [guard.expr for guard in env.guards if guard.expr.free_symbols == {expr}]
    violated = [guard for guard in guards if guard.subs(expr, change.new) == False]  # noqa: E712
    if violated:
        notes.append(
            f"{variant.label}: the fake guards on {str(violated[0]).replace(str(expr), 'size')}: other sizes need another trace"
        )
        return ""
    for size, at in ((change.old, base), (change.new, variant)):
        if _compare(audited.fake(at), audited.real(at).out, {}):
            notes.append(f"{at.label}: also wrong without symbols; see the rows above")
            continue
        different = _compare(faked, audited.real(at).out, {expr: size} | _tables(faked, change, size))
        if different:
            return f"traced with a symbol, at size {size}: {different}"
    return ""


def _tables(faked: FakeCall, change: Resize, size: int) -> dict[Any, int]:
    """The numbers of entries of the tables of offsets, which have symbols of their own."""
    entries = [faked.given.leaves[place].shape[0] for place in change.tables]
    exprs = [entry.node.shape_env.replace(entry.node.expr) for entry in entries if not isinstance(entry, int)]
    return {expr: size + 1 for expr in exprs if expr.is_Symbol}


def _compare(faked: FakeCall, out: Any, known: dict[Any, int]) -> str:
    ours, theirs = outputs(out), outputs(faked.out)
    if len(ours) != len(theirs):
        return f"real gives {len(ours)} outputs, its fake {len(theirs)}"
    resolver = SymbolResolver(known)
    for real, fake in zip(ours, theirs, strict=True):
        if isinstance(real, Tensor) and isinstance(fake, Tensor):
            different = differs(TensorMeta.of(real), resolver.meta(fake, real))
            if different:
                return different
    return ""


def _unbacked(audited: AuditedOp, sample: Sample, variant: Variant, notes: list[str]) -> None:
    """Trace with an unbacked symbol, as export and vLLM do. A failure there is only a note."""
    assert variant.resize is not None
    if variant.resize.numbers:
        return
    mode_error = ""
    try:
        traced = _trace_unbacked(audited, sample, variant.resize)
        mode_error = error_line(traced.error) if traced.error else ""
    except ERRORS as error:
        mode_error = error_line(error)
    if mode_error:
        notes.append(f"{variant.label}: with an unbacked size, the fake raises {mode_error[:120]}")


def _trace_unbacked(audited: AuditedOp, sample: Sample, change: Resize) -> FakeCall:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    assert mode.shape_env is not None
    size = mode.shape_env.create_unbacked_symint()
    torch._check(size >= 2)
    leaves = list(sample.leaves)
    with enable_python_dispatcher(), torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                shape = [size if (place, dim) in change.dims else old for dim, old in enumerate(leaf.shape)]
                shape = [size + 1] if place in change.tables else shape
                leaves[place] = torch.empty(shape, dtype=leaf.dtype, device=leaf.device)
        given = sample.with_leaves(leaves)
        try:
            return FakeCall(audited.op(*given.args, **given.kwargs), given)
        except ERRORS as error:
            return FakeCall(None, given, error)
