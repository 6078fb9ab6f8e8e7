"""The op compiled alone, by aot_eager and by Inductor. Values, strides and writes must be those of eager."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.audit.calling.calls import ERRORS, any_tensor
from harness.audit.checks.fake_errors import error_line
from harness.audit.context import AuditedOp
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.tensors import difference, tensors
from harness.audit.variants.kinds import Variant
from harness.execution import pinned
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta

_VIEWS = "output has alias annotations", "outputs do not have alias annotations", "alias annotation"


def aot_eager(audited: AuditedOp) -> CheckResult:
    """Functionalised by AOTAutograd, then run eagerly."""
    return _judge(audited, "aot_eager")


def inductor(audited: AuditedOp) -> CheckResult:
    """Compiled by Inductor, with its size asserts."""
    return _judge(audited, inductor_backend(audited))


def inductor_backend(audited: AuditedOp) -> Callable[..., Any]:
    """A backend for ``torch.compile``: Inductor with the harness's settings and cache."""
    pinned.trust_instruction_set(pinned.cache_folder())

    def backend(
        module: torch.fx.GraphModule, inputs: Sequence[Any]
    ) -> Any:  # not a partial, whose repr would print every sample
        # The cache key also needs the op's name: the fingerprint covers custom ops only, and this may be one of torch's.
        return pinned.inductor(module, inputs, also=f" {audited.op}")

    return backend


def traced(audited: AuditedOp, variant: Variant) -> bool:
    """Whether torch.compile traces the op as one node, and gives what eager gives."""
    try:
        return not _compare(audited, variant, "eager", False)
    except ERRORS:
        return False


def _judge(audited: AuditedOp, backend: str | Callable[..., Any]) -> CheckResult:
    variants = audited.one_of_each()
    if not any_tensor(audited.real(variants[0]).out) and audited.op._schema.returns:
        return not_applicable("Dynamo does not put an op that returns a number into a graph")
    beside = ""
    for variant in variants:
        # Once: the copies make Inductor generate kernels of its own.
        for on_copies in (False, True)[: 1 + (variant is variants[0])]:
            try:
                different = _compare(audited, variant, backend, on_copies)
            except ERRORS as error:
                if any(text in str(error) for text in _VIEWS):
                    if any(output.alias_info for output in audited.op._schema.returns):
                        return not_run(
                            "torch does not functionalise a custom op whose output is declared as a view of an input"
                        )
                    return breaks(
                        f"torch does not compile an op that {writes_and_lists(audited.op._schema)}", variant.label
                    )
                if on_copies and not _copies_compile(audited, variant, backend):
                    beside = "; not on copies made in the graph, which the compiler cannot take"
                    continue  # it is not the op
                return breaks(f"compiled, it raises {cause(error)}", variant.label)
            if different:
                where = " on a copy made in the graph" if on_copies else ""
                return breaks(f"compiled{where}: {different}", variant.label)
    return holds(f"{len(variants)} variants{beside}")


def writes_and_lists(schema: Any) -> str:
    """Why torch cannot functionalise this schema although no output is declared as a view."""
    written = [argument.name for argument in schema.arguments if argument.alias_info and argument.alias_info.is_write]
    kinds = ", ".join(str(output.type) for output in schema.returns)
    return f"writes its argument {', '.join(map(repr, written))} and returns {kinds}; return a tuple of tensors instead"


_WRAPPED = re.compile(r"got (\w+)\(((?:'|\"))(.*?)\2\)")
ALIASES = "may not alias any inputs"  # in torch's error
SHARES = "an error of torch: an output shares memory with an argument or another output; see the row `alias`"


def cause(error: BaseException) -> str:
    """The innermost error that torch wrapped, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    if ALIASES in str(error):
        return SHARES
    inner = getattr(error, "inner_exception", None) or error
    wrapped = _WRAPPED.search(str(inner))  # torch keeps only the text of an error that a fake raises
    return f"{wrapped[1]}: {wrapped[3]}" if wrapped else error_line(inner)


def _compare(audited: AuditedOp, variant: Variant, backend: Any, on_copies: bool) -> str:
    """How eager and compiled differ. With ``on_copies`` the graph first copies the arguments, and the copies are compared too."""
    torch._dynamo.reset()  # without it, a variant could run code that was compiled for another one
    op = audited.op

    def function(*leaves: Any) -> Any:
        given = variant.sample.with_leaves([x.clone() if on_copies and isinstance(x, Tensor) else x for x in leaves])
        out = op(*given.args, **given.kwargs)
        return (out, given.leaves) if on_copies else out

    for_eager, for_compiled = audited.fresh(variant), audited.fresh(variant)
    torch.manual_seed(0)
    eager = function(*for_eager.leaves)
    compiled = torch.compile(function, backend=backend, fullgraph=True, dynamic=False)
    torch.manual_seed(0)
    got = compiled(*for_compiled.leaves)
    different = difference(eager, got)
    if different:
        return f"eager and compiled give {different}"
    if difference(for_eager.leaves, for_compiled.leaves):
        return f"eager and compiled leave different values in the arguments: {difference(for_eager.leaves, for_compiled.leaves)}"
    return "" if on_copies else _layout(eager, got)


def _copies_compile(audited: AuditedOp, variant: Variant, backend: Any) -> bool:
    """Whether a graph of nothing but copies of the arguments compiles. Inductor's C++ has no name for some dtypes."""
    torch._dynamo.reset()

    def copies(*leaves: Any) -> Any:
        return [x.clone() for x in leaves if isinstance(x, Tensor)]

    try:
        torch.compile(copies, backend=backend, fullgraph=True, dynamic=False)(*audited.fresh(variant).leaves)
    except ERRORS:
        return False
    return True


def _layout(eager: Any, got: Any) -> str:
    for one, other in zip(tensors(eager), tensors(got), strict=True):
        different = differs(TensorMeta.of(one), TensorMeta.of(other))
        if different and "stride" in different:
            return f"eager gives stride {list(one.stride())}, compiled {list(other.stride())}"
    return ""
