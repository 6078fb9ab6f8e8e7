"""The fake as a function: the same answer each time, in any state of torch, and no argument changed."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from harness.audit.context import ERRORS, Audited, Faked, outputs
from harness.audit.ops import fake_function, is_composite
from harness.audit.row import Seen, breaks, holds, not_applicable, not_run
from harness.audit.tensors import filled, memory
from harness.audit.variants import GIVEN, Variant
from harness.execution.evidence import same_bits
from harness.ops.arguments import metas
from harness.ops.tensor_meta import TensorMeta


def _variants(audited: Audited) -> list[Variant]:
    return audited.accepted or [Variant(GIVEN, GIVEN, sample) for sample in audited.samples]


def _told(faked: Faked) -> object:
    """What a fake answered, in a form that can be compared; symbols of data-dependent sizes count as one."""
    if faked.error is not None:
        return type(faked.error).__name__
    known = metas(tuple(outputs(faked.out)))
    return tuple(meta and replace(meta, shape=_plain(meta.shape), stride=_plain(meta.stride)) for meta in known)


def _plain(sizes: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(size if isinstance(size, int) else "?" for size in sizes)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    kept = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(kept)


def pure(audited: Audited) -> Seen:
    """Asked again, in between other questions and real calls, and in other states of torch, the fake answers the same."""
    if is_composite(audited.op):
        return not_applicable("composite: the op has no fake of its own")
    variants = _variants(audited)
    first = {variant.label: _told(audited.run_fake(variant.sample)) for variant in variants}
    if all(isinstance(answer, str) for answer in first.values()):
        return not_run("the fake answered on no variant; see the row `fake`")
    for variant in [*reversed(variants), *variants]:  # each is asked after others than the first time
        if _told(audited.run_fake(variant.sample)) != first[variant.label]:
            return breaks("asked again, the fake gives another answer", variant.label)
    if audited.given:
        audited.call(audited.fresh(audited.given[0]))
        if _told(audited.run_fake(audited.given[0].sample)) != first[audited.given[0].label]:
            return breaks("after a real call, the fake gives another answer", audited.given[0].label)
    found = _state(audited, variants[0], first[variants[0].label])
    return found or holds(f"{len(variants)} variants, each asked three times")


def _state(audited: Audited, variant: Variant, first: object) -> Seen | None:
    """Other states of torch: a fake may follow one only where the real implementation follows it too."""
    states: dict[str, Callable[[], object]] = {
        "the default dtype float64": lambda: _default_dtype(torch.float64),
        "the deterministic mode off": lambda: filled(False),
        "gradients on": torch.enable_grad,
    }
    for name, state in states.items():
        with state():  # type: ignore[attr-defined]
            told = _told(audited.run_fake(variant.sample))
            if told == first or not audited.given:
                continue
            real = metas(tuple(outputs(audited.call(audited.fresh(variant)))))
        if told != real:
            return breaks(
                f"with {name}, the fake gives another answer and the real implementation does not", variant.label
            )
    return None


def writes(audited: Audited) -> Seen:
    """The fake's arguments have the same meta after it, and undeclared ones no new version."""
    if is_composite(audited.op):
        return not_applicable("composite: the op has no fake of its own")
    answered = 0
    for variant in _variants(audited):
        faked = audited.fake(variant)
        answered += faked.error is None
        found = _reshaped(audited, variant, faked)
        if found:
            return breaks(f"the fake changes the size, stride or dtype of its argument {found!r}", variant.label)
        found = _wrote(audited, variant)
        if found:
            return breaks(
                f"the fake writes to its argument {found!r}, which the schema does not declare", variant.label
            )
    if not answered:
        return not_run("the fake answered on no variant; see the row `fake`")
    return holds("it leaves its arguments alone")


def _reshaped(audited: Audited, variant: Variant, faked: Faked) -> str:
    names = audited.names(faked.given)
    for place, leaf in enumerate(faked.given.leaves):
        if isinstance(leaf, Tensor) and TensorMeta.of(leaf) != TensorMeta.of(variant.sample.leaves[place]):
            return names[place]
    return ""


def _wrote(audited: Audited, variant: Variant) -> str:
    """The undeclared argument that the fake writes when it is given real tensors: what a fake tensor would not show."""
    function = fake_function(audited.op)
    if function is None:
        return ""
    before, after = audited.fresh(variant), audited.fresh(variant)
    with contextlib.suppress(*ERRORS):  # one that needs torch's context of a fake cannot be asked this way
        function(*after.args, **after.kwargs)
    names, declared = audited.names(before), audited.written(before)
    for place, (old, new) in enumerate(zip(before.leaves, after.leaves, strict=True)):
        if isinstance(old, Tensor) and place not in declared and not same_bits(memory(old), memory(new)):
            return names[place]
    return ""
