"""Variants with other sizes: all dimensions of one size change together, then only the leading ones."""

from collections.abc import Callable, Collection, Iterator, Sequence

from torch import Tensor

from harness.audit.samples import Sample
from harness.audit.tensors import plain
from harness.audit.variants.tables import is_offsets, refit, resized
from harness.audit.variants.variant import MULTIPLE, NAMED, OTHER, Base, Maker, Resize, Variant

_MOST_ELEMENTS = 1 << 22
POWERS = (2, 4, 8, 16, 32, 64, 128)


def _dims(sample: Sample) -> dict[int, list[tuple[int, int]]]:
    """For each size, the (leaf, dimension) pairs of that size. A table of n + 1 offsets changes with the groups, not alone."""
    leaves = sample.leaves
    by_size: dict[int, list[tuple[int, int]]] = {}
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and plain(leaf):
            for dim, size in enumerate(leaf.shape):
                by_size.setdefault(size, []).append((place, dim))
    return {size: own for size, dims in by_size.items() if (own := _own(leaves, size, dims, by_size))}


def _own(
    leaves: Sequence[object], size: int, dims: list[tuple[int, int]], by_size: Collection[int]
) -> list[tuple[int, int]]:
    return [pair for pair in dims if not (is_offsets(leaves[pair[0]]) and size - 1 in by_size)]


def _tables(sample: Sample, old: int) -> tuple[int, ...]:
    """The tables of offsets with one entry more than this size."""
    return tuple(
        place
        for place, leaf in enumerate(sample.leaves)
        if isinstance(leaf, Tensor) and is_offsets(leaf) and leaf.numel() == old + 1
    )


def sized(kind: str, sizes: Callable[[int], Sequence[int]], rows: bool) -> Maker:
    """A maker of variants in which dimensions of one size get another size.

    The variants of one change share a label and are tried in this order. The first one that the op accepts counts.
    """

    def make(base: Base) -> Iterator[Variant]:
        for old, dims in _dims(base.sample).items():
            if old and not (rows and all(dim for _, dim in dims)):
                yield from _of_size(base, kind, old, dims, sizes(old))

    return make


def _of_size(base: Base, kind: str, old: int, dims: list[tuple[int, int]], sizes: Sequence[int]) -> Iterator[Variant]:
    front = [pair for pair in dims if pair[1] == 0]
    numbers = [place for place, leaf in enumerate(base.sample.leaves) if type(leaf) is int and leaf == old]
    groups = [(dims, []), (dims, numbers), (front, [])] if numbers else [(dims, []), (front, [])]
    for new in dict.fromkeys(sizes):
        for group, ints in groups:
            change = Resize(old, new, tuple(group), tuple(ints), _tables(base.sample, old))
            sample = (
                _resized(base.sample, change) if group and new != old and not _is_no_table(base, group, new) else None
            )
            if sample is not None:
                yield Variant(f"{kind}: {where(base, dims)} {old} to {new}", kind, sample, base.number, change)


def _is_no_table(base: Base, group: Sequence[tuple[int, int]], new: int) -> bool:
    """Whether tables of offsets alone would be left without an entry. A table of no groups has one."""
    return not new and all(is_offsets(base.sample.leaves[place]) for place, _ in group)


def where(base: Base, dims: Sequence[tuple[int, int]]) -> str:
    """The dimensions in words: ``x.shape[0] and y.shape[1]``."""
    return " and ".join(dict.fromkeys(f"{base.names[place]}.shape[{dim}]" for place, dim in dims[:3]))


def _resized(sample: Sample, change: Resize) -> Sample | None:
    """The sample at another size, its indices and tables fitted; None if they cannot be, or if it gets too large."""
    leaves = list(sample.leaves)
    sizes = {size for leaf in leaves if isinstance(leaf, Tensor) for size in leaf.shape}
    for place, dim in (*change.dims, *((place, 0) for place in change.tables)):
        extra = int(place in change.tables)
        leaves[place] = resized(leaves[place], dim, change.old + extra, change.new + extra, sizes)
        if leaves[place] is None or leaves[place].numel() > _MOST_ELEMENTS:
            return None
    for place in change.numbers:
        leaves[place] = change.new
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            leaves[place] = refit(leaf, change.old, change.new)
            if leaves[place] is None:
                return None
    return sample.with_leaves(leaves)


def named_sizes(base: Base) -> Iterator[Variant]:
    """Each size at those that the user asks for, and at those that the op's source names."""
    asked = (size for size in base.hints.asked)
    sizes = tuple(dict.fromkeys([*asked, *base.hints.sizes]))
    yield from sized(NAMED, lambda _: sizes, rows=False)(base)


def multiples(base: Base) -> Iterator[Variant]:
    """Each size at a power of two, twice and three times that, and beside them, to see what the op demands of it."""
    sizes = [size for m in POWERS for size in (m, 2 * m, m + 1, 2 * m + 1, _half_more(m), 3 * m)]
    yield from sized(MULTIPLE, lambda _: sizes, rows=False)(base)


def _half_more(power: int) -> int:
    """A multiple of half of it, and not of it: what an op refuses that needs the whole."""
    return power + power // 2


def demand(accepted: set[int], refused: set[int], old: int) -> str:
    """Which multiple an op needs, from the sizes that it accepts and refuses; empty if that does not show.

    ``old`` is the size in the sample, which is named if it is refused. Three times a power of two tells a multiple from a power.
    """
    for m in POWERS:
        odd = sorted(size for size in refused if size % m)
        if _half_more(m) not in accepted and {m, 2 * m} <= accepted and odd and {m + 1, 2 * m + 1} <= refused:
            shown = sorted({old if old in odd else m + 1, 2 * m + 1})
            if 3 * m in accepted:
                return f"takes {m} and {2 * m}, refuses {' and '.join(map(str, shown))}: needs a multiple of {m}"
            if 3 * m in refused:
                return f"takes {m} and {2 * m}, refuses {m + 1} and {3 * m}: a power of two, or one of some sizes"
    return ""


def other_sizes() -> Maker:
    """One larger odd size, and twice the size."""
    return sized(OTHER, lambda old: (2 * old + 1, 2 * old), rows=False)
