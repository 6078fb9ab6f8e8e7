"""Variants of a sample: the same call with other strides, sizes or dtypes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.audit.samples import Sample
from harness.audit.tensors import plain

GIVEN, ZERO, OTHER = "as given", "zero rows", "other size"
_EXTRA = 3  # columns outside the slice
_GARBAGE = 12345.0  # their content; not NaN, which would hide that an op writes NaN there
_OFFSET_BYTES = 64
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_WHOLE = (torch.int32, torch.int64)


@dataclass(frozen=True, slots=True)
class Resize:
    """Sizes that change together: the dimensions (leaf, dimension) and int arguments (leaf) of size ``old`` become ``new``."""

    old: int
    new: int
    dims: tuple[tuple[int, int], ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """A changed sample. ``label`` is unique in the audit of an op."""

    label: str
    kind: str
    sample: Sample
    base: int = 0
    resize: Resize | None = None


Maker = Callable[[int, Sample, frozenset[int], dict[int, str]], Iterator[Variant]]


def _with_layout(kind: str, change: Callable[[Tensor], Tensor | None], mutable: bool = True) -> Maker:
    """Make variants in which one tensor has another layout, with the same values (or one row repeated)."""

    def make(base: int, sample: Sample, written: frozenset[int], names: dict[int, str]) -> Iterator[Variant]:
        for place, leaf in enumerate(sample.leaves):
            if not isinstance(leaf, Tensor) or not plain(leaf) or (place in written and not mutable):
                continue
            changed = change(leaf)
            if changed is not None:
                leaves = [*sample.leaves[:place], changed, *sample.leaves[place + 1 :]]
                yield Variant(f"{kind} {names[place]}", kind, sample.with_leaves(leaves), base)

    return make


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


def _given(base: int, sample: Sample, written: frozenset[int], names: dict[int, str]) -> Iterator[Variant]:
    yield Variant(GIVEN if not base else f"{GIVEN}, sample {base + 1}", GIVEN, sample, base)


def _dims(sample: Sample) -> dict[int, list[tuple[int, int]]]:
    """For each size, the (leaf, dimension) pairs of that size."""
    by_size: dict[int, list[tuple[int, int]]] = {}
    for place, leaf in enumerate(sample.leaves):
        if isinstance(leaf, Tensor) and plain(leaf):
            for dim, size in enumerate(leaf.shape):
                by_size.setdefault(size, []).append((place, dim))
    return by_size


def _sized(kind: str, sizes: Callable[[int], tuple[int, ...]], rows: bool) -> Maker:
    """Make variants in which all dimensions of one size get another size, and variants in which only leading ones do.

    The variants of one change share a label and are tried in this order. The first one that the op accepts counts.
    """

    def make(base: int, sample: Sample, written: frozenset[int], names: dict[int, str]) -> Iterator[Variant]:
        for old, dims in _dims(sample).items():
            front = [pair for pair in dims if pair[1] == 0]
            if not old or (rows and not front):
                continue
            numbers = [p for p, leaf in enumerate(sample.leaves) if type(leaf) is int and leaf == old]
            groups = [(dims, []), (dims, numbers), (front, [])] if numbers else [(dims, []), (front, [])]
            where = " and ".join(dict.fromkeys(f"{names[place]}.shape[{dim}]" for place, dim in dims[:3]))
            for new in sizes(old):
                for group, ints in groups:
                    if new == old or not group:
                        continue
                    change = Resize(old, new, tuple(group), tuple(ints))
                    resized = _resized(sample, change)
                    if resized is not None:
                        yield Variant(f"{kind}: {where} {old} to {new}", kind, resized, base, change)

    return make


def _resized(sample: Sample, change: Resize) -> Sample | None:
    """The sample at another size, with indices reduced to the new range; None if no index is left in range."""
    leaves = sample.leaves
    for place, dim in change.dims:
        index = torch.arange(change.new, device=leaves[place].device) % change.old
        leaves[place] = leaves[place].index_select(dim, index)
    for place in change.numbers:
        leaves[place] = change.new
    if change.new < change.old:
        if change.new == 0 and any(isinstance(x, Tensor) and _indices(x, change).any() for x in leaves):
            return None
        leaves = [_in_range(x, change) if isinstance(x, Tensor) else x for x in leaves]
    return sample.with_leaves(leaves)


def _indices(x: Tensor, change: Resize) -> Tensor:
    """For each column, whether its numbers may be indices into a shrinking dimension, with some out of the new range."""
    small = x.is_floating_point() and x.element_size() == 1  # float8 is not used for indices, and torch has no % for it
    if small or not plain(x) or not x.numel() or not x.dim() or x.dtype == torch.bool or x.is_complex():
        return torch.zeros(0, dtype=torch.bool)
    columns = x.double().reshape(-1, x.shape[-1])
    if not x.is_floating_point():
        columns = columns.reshape(-1, 1)
    whole = (columns == columns.floor()).all(0) & (columns.amin(0) >= 0)
    top = columns.amax(0)
    return whole & (top >= max(change.new, 1 if x.is_floating_point() else 0)) & (top < change.old)


def _in_range(x: Tensor, change: Resize) -> Tensor:
    indices = _indices(x, change)
    if not indices.any():
        return x
    return torch.where(indices if x.is_floating_point() else indices[0], x % change.new, x)


def _dtyped(base: int, sample: Sample, written: frozenset[int], names: dict[int, str]) -> Iterator[Variant]:
    """Convert all tensors of one dtype to another: floats to floats, int32 to int64 and back."""
    used = dict.fromkeys(leaf.dtype for leaf in sample.leaves if isinstance(leaf, Tensor) and plain(leaf))
    for old in used:
        for new in FLOATS if old in FLOATS else _WHOLE if old in _WHOLE else ():
            if new == old:
                continue
            leaves = [x.to(new) if isinstance(x, Tensor) and x.dtype == old else x for x in sample.leaves]
            label = f"dtype {str(old).removeprefix('torch.')} to {str(new).removeprefix('torch.')}"
            yield Variant(label, "other dtype", sample.with_leaves(leaves), base)


LAYOUTS = ("permuted", "channels last", "sliced", "broadcast", "storage offset")
MAKERS: dict[str, Maker] = {
    GIVEN: _given,
    "permuted": _with_layout("permuted", _permuted),
    "channels last": _with_layout("channels last", _channels_last),
    "sliced": _with_layout("sliced", _sliced),
    "broadcast": _with_layout("broadcast", _broadcast, mutable=False),
    "storage offset": _with_layout("storage offset", _offset),
    ZERO: _sized(ZERO, lambda _: (0,), rows=True),
    "one row": _sized("one row", lambda _: (1,), rows=True),
    OTHER: _sized(OTHER, lambda old: (2 * old + 1, 2 * old), rows=False),
    "other dtype": _dtyped,
}


def candidates(kind: str, samples: list[Sample], written: frozenset[int], names: list[dict[int, str]]) -> list[Variant]:
    """Every variant of a kind, in the order to try them. Variants with one label are alternatives for one change."""
    made: list[Variant] = []
    for base, sample in enumerate(samples):
        if base and kind not in (GIVEN, OTHER):
            continue  # the other kinds of variants would repeat those of the first sample
        for variant in MAKERS[kind](base, sample, written, names[base]):
            label = variant.label if not base or kind == GIVEN else f"{variant.label}, sample {base + 1}"
            made.append(replace(variant, label=label))
    return made
