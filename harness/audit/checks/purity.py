"""The fake as a pure function: the same result each time, in any state of torch, and no argument changed."""

import contextlib
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from harness.audit.calling.calls import ERRORS, FakeCall, outputs
from harness.audit.checks.fake_errors import no_fake
from harness.audit.context import AuditedOp
from harness.audit.ops import fake_function, is_composite
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.tensors import deterministic_fill, memory
from harness.audit.variants.kinds import GIVEN, Variant
from harness.execution.evidence import same_bits
from harness.execution.state.global_state import default_dtype
from harness.ops.arguments import metas
from harness.ops.tensor_meta import TensorMeta


def _variants(audited: AuditedOp) -> list[Variant]:
    return audited.accepted or [Variant(GIVEN, GIVEN, sample) for sample in audited.samples]


def _answer_of(faked: FakeCall) -> object:
    """The result of a fake, in a form that can be compared. All data-dependent sizes count as equal."""
    if faked.error is not None:
        return type(faked.error).__name__
    outputs_meta = metas(tuple(outputs(faked.out)))
    return tuple(meta and replace(meta, shape=_plain(meta.shape), stride=_plain(meta.stride)) for meta in outputs_meta)


def _plain(sizes: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(size if isinstance(size, int) else "?" for size in sizes)


def pure(audited: AuditedOp) -> CheckResult:
    """The fake gives the same result after other fake calls, after real calls, and in other states of torch."""
    if is_composite(audited.op):
        return not_applicable("composite: the op has no fake of its own")
    variants = _variants(audited)
    first = {variant.label: _answer_of(audited.run_fake(variant.sample)) for variant in variants}
    if all(isinstance(answer, str) for answer in first.values()):
        return not_run(no_fake(audited))
    # In another order than the first time: a fake that remembers its last call would else answer the same.
    for variant in [*reversed(variants), *variants]:
        if _answer_of(audited.run_fake(variant.sample)) != first[variant.label]:
            return breaks("a second call of the fake gives another result", variant.label)
    if audited.given:
        audited.call(audited.fresh(audited.given[0]))
        if _answer_of(audited.run_fake(audited.given[0].sample)) != first[audited.given[0].label]:
            return breaks("after a real call, the fake gives another result", audited.given[0].label)
    depends = _state(audited, variants[0], first[variants[0].label])
    return depends or holds(f"{len(variants)} variants, each called three times")


def _state(audited: AuditedOp, variant: Variant, first: object) -> CheckResult | None:
    """Other states of torch. The fake may depend on a state only if the real implementation does too."""
    states: dict[str, Callable[[], object]] = {
        "default dtype float64": lambda: default_dtype(torch.float64),
        "deterministic mode off": lambda: deterministic_fill(False),
        "gradients enabled": torch.enable_grad,
    }
    for name, state in states.items():
        with state():  # type: ignore[attr-defined]
            answer = _answer_of(audited.run_fake(variant.sample))
            if answer == first or not audited.given:
                continue
            real = _real(audited, variant)
        usual = _real(audited, variant)
        if real == usual:
            return breaks(
                f"with {name}, the fake gives another result, and the real implementation does not", variant.label
            )
        if answer != real and first == usual:
            return breaks(f"with {name}, the fake and the real implementation give two other results", variant.label)
    return None


def _real(audited: AuditedOp, variant: Variant) -> object:
    """The metadata of the real outputs."""
    return metas(tuple(outputs(audited.call(audited.fresh(variant)))))


def writes(audited: AuditedOp) -> CheckResult:
    """The fake leaves the metadata of its arguments alone, and writes only what the schema declares."""
    if is_composite(audited.op):
        return not_applicable("composite: the op has no fake of its own")
    answered = 0
    for variant in _variants(audited):
        faked = audited.fake(variant)
        answered += faked.error is None
        argument = _reshaped(audited, variant, faked)
        if argument:
            return breaks(f"the fake changes the size, stride or dtype of its argument {argument!r}", variant.label)
        argument = _wrote(audited, variant)
        if argument:
            return breaks(
                f"the fake writes to its argument {argument!r}, which the schema does not declare", variant.label
            )
    if not answered:
        return not_run(no_fake(audited))
    return holds("it does not change its arguments")


def _reshaped(audited: AuditedOp, variant: Variant, faked: FakeCall) -> str:
    names = audited.names(faked.given)
    for place, leaf in enumerate(faked.given.leaves):
        if isinstance(leaf, Tensor) and TensorMeta.of(leaf) != TensorMeta.of(variant.sample.leaves[place]):
            return names[place]
    return ""


def _wrote(audited: AuditedOp, variant: Variant) -> str:
    """The undeclared argument that the fake writes, or empty. Called with real tensors: fake ones have no data to change."""
    function = fake_function(audited.op)
    if function is None:
        return ""
    before, after = audited.fresh(variant), audited.fresh(variant)
    with contextlib.suppress(*ERRORS):  # a fake that needs torch's fake context cannot be called this way
        function(*after.args, **after.kwargs)
    names, declared = audited.names(before), audited.written(before)
    for place, (old, new) in enumerate(zip(before.leaves, after.leaves, strict=True)):
        if isinstance(old, Tensor) and place not in declared and not same_bits(memory(old), memory(new)):
            return names[place]
    return ""
