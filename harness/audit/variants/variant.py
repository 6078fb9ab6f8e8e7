"""A variant of a sample: the same call with other strides, sizes, dtypes or settings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from harness.audit.hints import Hints
from harness.audit.samples import Sample

GIVEN, ZERO, OTHER = "as given", "zero rows", "other size"
NAMED, GUARD, MULTIPLE = "named size", "guard rows", "multiple"


@dataclass(frozen=True, slots=True)
class Resize:
    """Sizes that change together: the dimensions (leaf, dimension) and int arguments (leaf) of size ``old`` become ``new``.

    ``tables`` are leaves of one dimension with one entry more, such as offsets: they get ``new`` + 1 entries.
    """

    old: int
    new: int
    dims: tuple[tuple[int, int], ...]
    numbers: tuple[int, ...]
    tables: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """A changed sample. ``label`` is unique in the audit of an op.

    Where it has a tensor that is made up, ``plainer`` is the same call with one number there.
    """

    label: str
    kind: str
    sample: Sample
    base: int = 0
    resize: Resize | None = None
    plainer: Sample | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """A sample to vary: its number, the leaves that the op writes, the name of each leaf, and what the source names."""

    number: int
    sample: Sample
    written: frozenset[int]
    names: dict[int, str]
    op: torch._ops.OpOverload
    hints: Hints


Maker = Callable[[Base], Iterator[Variant]]
