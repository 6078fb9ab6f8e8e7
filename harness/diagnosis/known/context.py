"""What a text says beside a width, and the models that have the width in an order by it."""

from dataclasses import dataclass
from functools import cache

from harness.diagnosis.owners import SHARDS, Owner, catalogue, owners, shares

_LEAST = 256  # what is smaller may be a number of tokens or of experts
_STEPS = (16, 32, 64, 128, 256, 512, 768, 1024)  # what widths are rounded up to


@dataclass(frozen=True, slots=True)
class Context:
    """What a text says beside a width: models that it names, and those alike by name; ranks, 0 where it names none; other sizes.

    ``most`` is the most ranks that a weight may be split over, 0 where it is not said. ``shapes`` are those of weights, as numbers.
    """

    named: tuple[str, ...]
    alike: frozenset[str]
    ranks: int
    sizes: frozenset[int]
    most: int = 0
    shapes: tuple[tuple[int, ...], ...] = ()

    def ordered(self, width: int) -> tuple[Owner, ...]:
        """The owners of a width that the text allows, the likeliest first; of a whole width and of this many ranks' share alike."""
        found = tuple(owner for owner in owners(width) if self.allows(owner, width))
        if self.ranks > 1 and width >= 64:
            split = (owner for owner in shares(width, self.ranks) if self._surely(owner))
            found = tuple(dict.fromkeys((*found, *split)))
        return tuple(sorted(found, key=self._rank))

    def own(self, width: int) -> tuple[Owner, ...]:
        """The owners of a width that the text names."""
        return tuple(owner for owner in self.ordered(width) if owner.model in self.named)

    def names(self, width: int) -> bool:
        """Whether the text names a model that has a width as it stands, or as what one of the stated ranks has."""
        return any(owner.whole or 0 < owner.ranks == self.ranks for owner in self.own(width))

    def allows(self, owner: Owner, width: int) -> bool:
        """Whether the text allows that a width is what it is of this owner; always so where it is the model's own."""
        if owner.whole:
            return True
        if owner.ranks > self.most > 0:
            return False
        beside = [_others(shape, width) for shape in self.shapes if width in shape]
        return all(any(_is_beside(owner, size) for size in others) for others in beside if others)

    def _surely(self, owner: Owner) -> bool:
        """Whether the text names the model, or has another size of it."""
        return owner.model in self.named or self._fits(owner)

    def _fits(self, owner: Owner) -> bool:
        shape = catalogue().shapes[owner.model]
        return not self.sizes.isdisjoint({shape.hidden, shape.latent} - {None})

    def _rank(self, owner: Owner) -> tuple[int, ...]:
        """Sorts owners: those that the text names, those that most of what it says fits, those whose names are alike."""
        split = 0 if not (owner.ranks and self.ranks) else 1 if owner.ranks == self.ranks else -1
        says = split + self._fits(owner)
        named = owner.model in self.named
        place = self.named.index(owner.model) if named else 0
        return not named, -says, place, owner.model not in self.alike


def _others(shape: tuple[int, ...], width: int) -> list[int]:
    """The other sizes of a shape, but for those that may count tokens or experts."""
    return [size for n, size in enumerate(shape) if n != shape.index(width) and size >= _LEAST]


@cache
def _is_beside(owner: Owner, size: int) -> bool:
    """Whether a weight with this part of a model in one dimension may have a size in another: whole, packed, split or padded."""
    shape = catalogue().shapes[owner.model]
    outer = [width for width in (shape.hidden, shape.latent) if width]
    inner = [width for width in (shape.intermediate, shape.shared_intermediate) if width]
    inner += [width // ranks for width in inner for ranks in SHARDS] + [2 * width for width in inner]
    of = outer if "intermediate" in owner.part else [*inner, *(width for width in outer if len(outer) > 1)]
    packed = [width // few for width in of for few in (2, 16)]
    return any(width <= size and (size == width or _rounds(width, size)) for width in (*of, *packed))


def _rounds(width: int, size: int) -> bool:
    """Whether a size is a width that was rounded up, by a sixth at most."""
    return size - width <= width / 6 and any(-(-width // step) * step == size for step in _STEPS)
