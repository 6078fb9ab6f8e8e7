"""Variants of a sample: the same call with other strides, sizes or dtypes."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from harness.audit.tensors import plain
from harness.audit.variants.choices import BOOL, OPTIONAL, UNNAMED, VALUE, flipped, named, optionals, unnamed
from harness.audit.variants.resizes import multiples, named_sizes, other_sizes, sized
from harness.audit.variants.variant import GIVEN, GUARD, MULTIPLE, NAMED, OTHER, ZERO, Base, Maker, Resize, Variant
from harness.execution.memory.fresh_memory import call_filled

__all__ = [
    "DTYPE",
    "GIVEN",
    "GUARD",
    "LAYOUTS",
    "MAKERS",
    "MULTIPLE",
    "OTHER",
    "Base",
    "Resize",
    "Variant",
    "candidates",
]

_EXTRA = 3  # columns outside the slice
_GARBAGE = 12345.0  # their content; not NaN, which would hide that an op writes NaN there
_OFFSET_BYTES = 64
_GUARD_ROWS = 128
DTYPE = "other dtype"
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_WHOLE = (torch.int32, torch.int64)


def _with_layout(kind: str, change: Callable[[Tensor], Tensor | None], of: str = "any") -> Maker:
    """Make variants in which one tensor has another layout, with the same values (or one row repeated).

    ``of`` limits them to the ``read`` or to the ``written`` arguments.
    """
    wrong = {False: of == "written", True: of == "read"}  # by whether the op writes the argument

    def make(base: Base) -> Iterator[Variant]:
        leaves = base.sample.leaves
        for place, leaf in enumerate(leaves):
            if not isinstance(leaf, Tensor) or not plain(leaf) or wrong[place in base.written]:
                continue
            changed = _changed(leaf, change)
            if changed is not None:
                sample = base.sample.with_leaves([*leaves[:place], changed, *leaves[place + 1 :]])
                yield Variant(f"{kind} {base.names[place]}", kind, sample, base.number)

    return make


def _changed(leaf: Tensor, change: Callable[[Tensor], Tensor | None]) -> Tensor | None:
    """The tensor in another form; None too where torch cannot make it, as of floats of four bits."""
    try:
        changed: Tensor | None = call_filled(change, leaf)
    except NotImplementedError:
        return None
    return changed


def _permuted(x: Tensor) -> Tensor | None:
    """A dense tensor with the strides of its last two dimensions exchanged."""
    if x.dim() < 2 or min(x.shape[-2:]) < 2:
        return None
    return x.transpose(-1, -2).contiguous().transpose(-1, -2)


def _channels_last(x: Tensor) -> Tensor | None:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 and x.numel() else None


def _sliced(x: Tensor) -> Tensor | None:
    """The first columns of a wider tensor, whose other columns contain garbage."""
    if not x.dim() or not x.numel():
        return None
    wide = x.new_empty(*x.shape[:-1], x.shape[-1] + _EXTRA)
    _fill_with_garbage(wide)
    wide[..., : x.shape[-1]] = x
    return wide[..., : x.shape[-1]]


def _broadcast(x: Tensor) -> Tensor | None:
    return x[:1].clone().expand(x.shape) if x.dim() and x.shape[0] > 1 else None


def _offset(x: Tensor) -> Tensor | None:
    if not x.numel():
        return None
    skip = max(1, _OFFSET_BYTES // x.element_size())
    flat = x.new_empty(skip + x.numel())
    _fill_with_garbage(flat)
    flat[skip:] = x.reshape(-1)
    return flat[skip:].view(x.shape)


def _fill_with_garbage(x: Tensor) -> None:
    if x.is_floating_point() or x.is_complex():
        x.fill_(_GARBAGE if x.element_size() > 1 else torch.nan)
    elif x.dtype != torch.bool:
        x.fill_(torch.iinfo(x.dtype).max)


def _guarded(x: Tensor) -> Tensor | None:
    """The tensor between rows of garbage, which an op that writes whole tiles overwrites."""
    if not x.dim() or not x.numel() or not x.is_contiguous():
        return None
    guard = _GUARD_ROWS * (x.numel() // x.shape[0])
    flat = x.new_empty(2 * guard + x.numel())
    _fill_with_garbage(flat)
    middle = flat[guard : guard + x.numel()].view(x.shape)
    middle.copy_(x)
    return middle


def _guard(base: Base) -> Iterator[Variant]:
    """Written arguments between rows of garbage, at the sample's sizes and at others."""
    make = _with_layout(GUARD, _guarded, of="written")
    yield from make(base)
    for other in other_sizes()(base) if base.written else ():
        for variant in make(replace(base, sample=other.sample)):
            yield replace(variant, label=f"{variant.label}, {other.label.partition(': ')[2]}")


def _given(base: Base) -> Iterator[Variant]:
    label = GIVEN if not base.number else f"{GIVEN}, sample {base.number + 1}"
    yield Variant(label, GIVEN, base.sample, base.number)


def _dtyped(base: Base) -> Iterator[Variant]:
    """Convert all tensors of one dtype to another: floats to floats, int32 to int64 and back."""
    given = base.sample.leaves
    used = dict.fromkeys(leaf.dtype for leaf in given if isinstance(leaf, Tensor) and plain(leaf))
    for old in used:
        for new in FLOATS if old in FLOATS else _WHOLE if old in _WHOLE else ():
            if new == old:
                continue
            leaves = [x.to(new) if isinstance(x, Tensor) and x.dtype == old else x for x in given]
            label = f"dtype {str(old).removeprefix('torch.')} to {str(new).removeprefix('torch.')}"
            yield Variant(label, DTYPE, base.sample.with_leaves(leaves), base.number)


LAYOUTS = ("permuted", "channels last", "sliced", "broadcast", "storage offset")
MAKERS: dict[str, Maker] = {
    GIVEN: _given,
    "permuted": _with_layout("permuted", _permuted),
    "channels last": _with_layout("channels last", _channels_last),
    "sliced": _with_layout("sliced", _sliced),
    "broadcast": _with_layout("broadcast", _broadcast, of="read"),
    "storage offset": _with_layout("storage offset", _offset),
    GUARD: _guard,
    ZERO: sized(ZERO, lambda _: (0,), rows=True),
    "one row": sized("one row", lambda _: (1,), rows=True),
    OTHER: other_sizes(),
    DTYPE: _dtyped,
    BOOL: flipped,
    OPTIONAL: optionals,
    VALUE: named,
    UNNAMED: unnamed,
    NAMED: named_sizes,
    MULTIPLE: multiples,
}


def candidates(kind: str, bases: list[Base]) -> list[Variant]:
    """Every variant of a kind, in the order to try them. Variants with one label are alternatives for one change."""
    made: list[Variant] = []
    for base in bases:
        if base.number and kind not in (GIVEN, OTHER):
            continue  # the other kinds of variants would repeat those of the first sample
        for variant in MAKERS[kind](base):
            label = variant.label if not base.number or kind == GIVEN else f"{variant.label}, sample {base.number + 1}"
            made.append(replace(variant, label=label))
    return made
