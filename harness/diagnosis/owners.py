"""The models that have a width: as it stands, or as a shard, a half or packed."""

from dataclasses import dataclass
from functools import cache

from harness.matrix.shapes import BUILT_IN, Catalogue, Shape, load

_SHARDS = (2, 4, 8, 16)
_LEAST = 256  # what is smaller may be a number of tokens or of experts
_STEPS = (16, 32, 64, 128, 256, 512, 768, 1024)  # what widths are rounded up to


@dataclass(frozen=True, slots=True)
class Owner:
    """A model that has a width, and as what; ``ranks`` are those that it is split over, 0 where it is whole."""

    model: str
    part: str
    ranks: int = 0

    @property
    def whole(self) -> bool:
        """Whether the model has the width as it stands."""
        return "/" not in self.part and not self.part.startswith("2 x")

    def __str__(self) -> str:
        return f"{self.part} of {self.model}"


@cache
def catalogue() -> Catalogue:
    """The models and rules of the package."""
    return load(BUILT_IN)


@cache
def published() -> tuple[Shape, ...]:
    """The models that somebody runs: a log never names a synthetic one."""
    return tuple(shape for shape in catalogue().shapes.values() if not shape.name.startswith("synthetic"))


@cache
def owners(width: int) -> tuple[Owner, ...]:
    """The models that have this width: as it stands, else as a shard, a half or packed."""
    exact = tuple(Owner(s.name, part) for s in published() for part, size in _parts(s) if size == width)
    return exact if exact or width < 64 else _made_of(width)


@cache
def _made_of(width: int) -> tuple[Owner, ...]:
    """The models that have this width as a shard, a half or packed."""
    return tuple(Owner(s.name, *part) for s in published() for part, size in _derived(s) if size == width)


@cache
def _shares(width: int, ranks: int) -> tuple[Owner, ...]:
    """The models of which this width is what one of so many ranks has: of an intermediate size, or of gate and up as one."""
    return tuple(Owner(s.name, *part) for s in published() for part, size in _split(s, ranks) if size == width)


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
            shares = (owner for owner in _shares(width, self.ranks) if self._surely(owner))
            found = tuple(dict.fromkeys((*found, *shares)))
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


def widths_of(shape: Shape) -> frozenset[int]:
    """The widths that a model has as they stand."""
    return frozenset(size for _, size in _parts(shape) if size)


def _parts(shape: Shape) -> list[tuple[str, int | None]]:
    return [
        ("hidden size", shape.hidden),
        ("latent size", shape.latent),
        ("intermediate size", shape.intermediate),
        ("shared expert's intermediate size", shape.shared_intermediate),
    ]


def _derived(shape: Shape) -> list[tuple[tuple[str, int], float]]:
    """Shards, halves and packed sizes: in words and with the number of ranks, and the size."""
    found: list[tuple[tuple[str, int], float]] = []
    for part, size in _parts(shape):
        if size and part.endswith("intermediate size"):
            found += [((f"{part} / {ranks} ranks", ranks), size / ranks) for ranks in _SHARDS]
            found += [((f"2 x {part} (gate and up)", 0), 2 * size)] if shape.gated else []
        if size:
            found += [((f"{part} / 2 (packed FP4)", 0), size / 2), ((f"{part} / 16 (NVFP4 scales)", 0), size / 16)]
    return found


def _split(shape: Shape, ranks: int) -> list[tuple[tuple[str, int], float]]:
    """What one of so many ranks has, as ``_derived`` has it."""
    found: list[tuple[tuple[str, int], float]] = []
    for part, size in _parts(shape):
        if size and part.endswith("intermediate size"):
            found += [((f"{part} / {ranks} ranks", ranks), size / ranks)]
            joined = shape.gated and ranks > 2  # of two ranks it has the whole size's number
            found += [((f"2 x {part} / {ranks} ranks (gate and up)", ranks), 2 * size / ranks)] if joined else []
    return found


def _others(shape: tuple[int, ...], width: int) -> list[int]:
    """The other sizes of a shape, but for those that may count tokens or experts."""
    return [size for n, size in enumerate(shape) if n != shape.index(width) and size >= _LEAST]


@cache
def _is_beside(owner: Owner, size: int) -> bool:
    """Whether a weight with this part of a model in one dimension may have a size in another: whole, packed, split or padded."""
    shape = catalogue().shapes[owner.model]
    outer = [width for width in (shape.hidden, shape.latent) if width]
    inner = [width for width in (shape.intermediate, shape.shared_intermediate) if width]
    inner += [width // ranks for width in inner for ranks in _SHARDS] + [2 * width for width in inner]
    of = outer if "intermediate" in owner.part else [*inner, *(width for width in outer if len(outer) > 1)]
    packed = [width // few for width in of for few in (2, 16)]
    return any(width <= size and (size == width or _rounds(width, size)) for width in (*of, *packed))


def _rounds(width: int, size: int) -> bool:
    """Whether a size is a width that was rounded up, by a sixth at most."""
    return size - width <= width / 6 and any(-(-width // step) * step == size for step in _STEPS)
