"""What a text says beside a width, and the models that have the width in an order by it."""

from dataclasses import dataclass
from functools import cache

from harness.diagnosis.owners import SHARDS, Owner, catalogue, made_of, owners, published, shares

_LEAST = 256  # what is smaller may be a number of tokens or of experts
_STEPS = (16, 32, 64, 128, 256, 512, 768, 1024)  # what widths are rounded up to


@dataclass(frozen=True, slots=True)
class Context:
    """What a text says beside a width: models that it names, and those alike by name; ranks, 0 where it names none; other sizes.

    ``most`` is the most ranks that a weight may be split over, 0 where it is not said. ``shapes`` are those of weights, as numbers.
    ``differ`` are the sizes that do not fit each other, ``joined`` says that their weight is gate and up as one by its name.
    ``foreign`` says that the text names a model which is not known here: no width is told as another's.
    """

    named: tuple[str, ...]
    alike: frozenset[str]
    ranks: int
    sizes: frozenset[int]
    most: int = 0
    shapes: tuple[tuple[int, ...], ...] = ()
    differ: frozenset[int] = frozenset()
    joined: bool = False
    foreign: bool = False

    def ordered(self, width: int) -> tuple[Owner, ...]:
        """The owners of a width that the text allows, the likeliest first; of a whole width and of this many ranks' share alike."""
        if self.foreign:
            return ()
        found = tuple(owner for owner in owners(width) if self.allows(owner, width))
        split = self._split(width, refused=not found and bool(owners(width))) if width >= 64 else ()
        return self._stated(sorted(dict.fromkeys((*found, *split)), key=self._rank))

    def _stated(self, ordered: list[Owner]) -> tuple[Owner, ...]:
        """Those of the models that the text names, whole or as one of the stated ranks has them, where any is so; else all."""
        own = [
            owner for owner in ordered if owner.model in self.named and (owner.whole or 0 < owner.ranks == self.ranks)
        ]
        return tuple(own or ordered)

    def _split(self, width: int, refused: bool) -> tuple[Owner, ...]:
        """Those of which a width is a share: on the stated ranks, else on any where its weight shows whose it is."""
        if self.ranks > 1:
            return tuple(one for one in shares(width, self.ranks) if self._surely(one) and self.allows(one, width))
        if self.ranks or not (refused or self.joined):
            return ()
        every = (*made_of(width), *(one for ranks in SHARDS for one in shares(width, ranks)))
        return tuple(one for one in every if self._surely(one) and self.allows(one, width))

    def own(self, width: int) -> tuple[Owner, ...]:
        """The owners of a width that the text names."""
        return tuple(owner for owner in self.ordered(width) if owner.model in self.named)

    def names(self, width: int) -> bool:
        """Whether the text names a model that has a width as it stands, or as what one of the stated ranks has."""
        return any(owner.whole or 0 < owner.ranks == self.ranks for owner in self.own(width))

    def allows(self, owner: Owner, width: int) -> bool:
        """Whether the text allows that a width is what it is of this owner: by the ranks, and by the other size of its weight.

        A width of the model's own is refused only where that other size is the hidden one of a model, and not of this.
        """
        if owner.whole and (owner.model in self.named or "intermediate" not in owner.part):
            return True
        if owner.ranks > self.most > 0:
            return False
        beside = [size for size in self._beside(width) if size]
        if owner.whole:
            beside = [found for sizes in beside if (found := [size for size in sizes if size in _outer()])]
        return all(any(_is_beside(owner, size) for size in sizes) for sizes in beside)

    def _beside(self, width: int) -> list[list[int]]:
        """The other sizes of each weight that has a width, or the size that does not fit it, in one of its dimensions."""
        found = [_others(shape, width) for shape in self.shapes if width in shape]
        other = self.differ - {width} if width in self.differ else frozenset()
        return found + [
            _others(shape, size) for shape in self.shapes if width not in shape for size in other & {*shape}
        ]

    def _surely(self, owner: Owner) -> bool:
        """Whether the text names the model, or has another size of it."""
        return owner.model in self.named or self._fits(owner)

    def _fits(self, owner: Owner) -> bool:
        shape = catalogue().shapes[owner.model]
        return not self.sizes.isdisjoint({shape.hidden, shape.latent} - {None})

    def _rank(self, owner: Owner) -> tuple[int, ...]:
        """Sorts owners: those that the text names, those that most of what it says fits, those whose names are alike."""
        split = 0 if not (owner.ranks and self.ranks) else 1 if owner.ranks == self.ranks else -1
        says = split + self._fits(owner) + (self.joined and owner.part.startswith("2 x"))
        named = owner.model in self.named
        place = self.named.index(owner.model) if named else 0
        return not named, -says, place, owner.model not in self.alike


def _others(shape: tuple[int, ...], width: int) -> list[int]:
    """The other sizes of a shape, but for those that may count tokens or experts."""
    return [size for n, size in enumerate(shape) if n != shape.index(width) and size >= _LEAST]


@cache
def _outer() -> frozenset[int]:
    """The hidden and latent sizes of the models."""
    return frozenset(size for shape in published() for size in (shape.hidden, shape.latent) if size)


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
