"""The models that have a width: as it stands, or as a shard, a half or packed."""

from dataclasses import dataclass
from functools import cache

from harness.matrix.shapes import BUILT_IN, Catalogue, Shape, load

SHARDS = (2, 4, 8, 16)


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
    return exact if exact or width < 64 else made_of(width)


@cache
def made_of(width: int) -> tuple[Owner, ...]:
    """The models that have this width as a shard, a half or packed."""
    return tuple(Owner(s.name, *part) for s in published() for part, size in _derived(s) if size == width)


@cache
def shares(width: int, ranks: int) -> tuple[Owner, ...]:
    """The models of which this width is what one of so many ranks has: of an intermediate size, or of gate and up as one."""
    return tuple(Owner(s.name, *part) for s in published() for part, size in _split(s, ranks) if size == width)


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
            found += [((f"{part} / {ranks} ranks", ranks), size / ranks) for ranks in SHARDS]
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
