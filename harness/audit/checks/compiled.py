"""The op compiled alone, by aot_eager and by Inductor: eager's values, strides and writes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.audit.checks.contract import words
from harness.audit.context import ERRORS, Audited, any_tensor
from harness.audit.row import Seen, breaks, holds, not_applicable, not_run
from harness.audit.tensors import difference, tensors
from harness.audit.variants import Variant
from harness.execution import pinned
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta

_VIEWS = "output has alias annotations", "outputs do not have alias annotations", "alias annotation"


def aot_eager(audited: Audited) -> Seen:
    """Functionalised: through AOTAutograd, then eagerly."""
    return _judge(audited, "aot_eager")


def inductor(audited: Audited) -> Seen:
    """Through Inductor, with its size asserts."""
    pinned.trust_instruction_set(pinned.cache_folder())

    def backend(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:  # a partial would print every sample
        # The op's name too: an audited op of torch's own leaves no trace in a fingerprint of custom ops.
        return pinned.inductor(module, inputs, also=f" {audited.op}")

    return _judge(audited, backend)


def _judge(audited: Audited, backend: str | Callable[..., Any]) -> Seen:
    variants = audited.one_of_each()
    if not any_tensor(audited.real(variants[0]).out) and audited.op._schema.returns:
        return not_applicable("Dynamo takes no op that returns a number into its graph")
    for variant in variants:
        for inside in (False, True)[: 1 + (variant is variants[0])]:  # copies need kernels of Inductor's own
            try:
                found = _compare(audited, variant, backend, inside)
            except ERRORS as error:
                if any(text in str(error) for text in _VIEWS):
                    if any(told.alias_info for told in audited.op._schema.returns):
                        return not_run("torch functionalises no custom op whose output is declared a view of its input")
                    return breaks(f"torch compiles no op that {writes_and_lists(audited.op._schema)}", variant.label)
                return breaks(f"compiling it raises {_cause(error)}", variant.label)
            if found:
                where = " on a copy made in the graph" if inside else ""
                return breaks(f"compiled{where}: {found}", variant.label)
    return holds(f"{len(variants)} variants")


def writes_and_lists(schema: Any) -> str:
    """What of a schema torch's functionalisation cannot express although no output is declared a view."""
    written = [told.name for told in schema.arguments if told.alias_info and told.alias_info.is_write]
    kinds = ", ".join(str(told.type) for told in schema.returns)
    return f"writes its argument {', '.join(map(repr, written))} and returns {kinds}; a tuple of tensors would do"


def _cause(error: BaseException) -> str:
    """The innermost error that torch wrapped, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return words(getattr(error, "inner_exception", None) or error)


def _compare(audited: Audited, variant: Variant, backend: Any, inside: bool) -> str:
    """Eager against compiled; ``inside`` gives the op copies made in the graph and compares those afterwards too."""
    torch._dynamo.reset()
    op = audited.op

    def function(*leaves: Any) -> Any:
        given = variant.sample.with_leaves([x.clone() if inside and isinstance(x, Tensor) else x for x in leaves])
        out = op(*given.args, **given.kwargs)
        return (out, given.leaves) if inside else out

    mine, theirs = audited.fresh(variant), audited.fresh(variant)
    torch.manual_seed(0)
    eager = function(*mine.leaves)
    compiled = torch.compile(function, backend=backend, fullgraph=True, dynamic=False)
    torch.manual_seed(0)
    got = compiled(*theirs.leaves)
    found = difference(eager, got)
    if found:
        return f"eager and compiled give {found}"
    if difference(mine.leaves, theirs.leaves):
        return f"the arguments end up otherwise: {difference(mine.leaves, theirs.leaves)}"
    return "" if inside else _layout(eager, got)


def _layout(eager: Any, got: Any) -> str:
    for one, other in zip(tensors(eager), tensors(got), strict=True):
        found = differs(TensorMeta.of(one), TensorMeta.of(other))
        if found and "stride" in found:
            return f"eager gives stride {list(one.stride())}, compiled {list(other.stride())}"
    return ""
