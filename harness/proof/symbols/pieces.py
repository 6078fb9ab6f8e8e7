"""Pieces: sizes at which a layer has the same structure, the same flags and names; each is proven by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from torch import Tensor

from harness.execution.members import Path
from harness.proof.symbols.fit import Sizes

_MULTIPLES = (16, 32, 64, 128, 256, 512)
_FEWEST = 3
Test = tuple[int, int, bool]
"""(axis, multiple, whether the size is a multiple of it)"""


class Unknown(Exception):
    """Leaves that differ from size to size in no way that is known."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The samples of one structure: where it is (all tests hold), and what each leaf is at each of its sizes."""

    tests: tuple[Test, ...]
    sizes: list[Sizes]
    leaves: dict[Path, list[Any]]
    shared: frozenset[int]

    @property
    def sample(self) -> Sizes:
        """The size to build a layer of this piece at."""
        return self.sizes[0]


def category(leaf: Any) -> Any:
    """What of a leaf cannot be a formula: all but the value of a number and the sizes of a tensor."""
    if isinstance(leaf, Tensor):
        return type(leaf).__name__, leaf.dtype, leaf.dim(), leaf.device.type
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        return "int"
    return type(leaf).__name__, leaf


def pieces(
    sizes: list[Sizes],
    held: list[dict[Path, Any]],
    erratic: set[Path],
    shared: frozenset[int],
    rounding: int,
) -> list[Piece]:
    """Group the samples by structure. Raises Unknown where it depends on the sizes in an unknown way."""
    paths = set().union(*held) - erratic
    carried = {path for path in paths if _own_value_each(path, held)}
    signatures = [
        tuple((path, category(leaves[path])) for path in sorted(paths - carried) if path in leaves) for leaves in held
    ]
    groups = {signature: place for place, signature in reversed(list(enumerate(signatures)))}
    if len(groups) == 1:
        return [_piece((), list(range(len(sizes))), sizes, held, erratic | carried, shared)]
    for asked in _tests(len(sizes[0]), rounding):
        answers = [tuple(at[axis] % multiple == 0 for axis, multiple in asked) for at in sizes]
        if len(set(zip(answers, signatures, strict=True))) == len(set(answers)):
            return [
                _piece(
                    tuple((axis, multiple, yes) for (axis, multiple), yes in zip(asked, answer, strict=True)),
                    [place for place, other in enumerate(answers) if other == answer],
                    sizes,
                    held,
                    erratic | carried,
                    shared,
                )
                for answer in dict.fromkeys(answers)
            ]
    raise Unknown(_difference(signatures, sizes))


def _own_value_each(path: Path, held: list[dict[Path, Any]]) -> bool:
    """Whether a text or fraction is another one at nearly every size: a name or a scale, which decides no structure."""
    values = [leaves[path] for leaves in held if path in leaves]
    return isinstance(values[0], (str, float)) and 2 * len(set(values)) > len(held)


def _tests(axes: int, rounding: int) -> Iterator[tuple[tuple[int, int], ...]]:
    single = list(product(range(axes), dict.fromkeys((rounding, *_MULTIPLES))))
    yield from ((test,) for test in single)
    yield from combinations(single, 2)


def _piece(
    tests: tuple[Test, ...],
    places: list[int],
    sizes: list[Sizes],
    held: list[dict[Path, Any]],
    without: set[Path],
    shared: frozenset[int],
) -> Piece:
    if len(places) < _FEWEST:
        raise Unknown(f"only {len(places)} of the sizes tried have the structure of {sizes[places[0]]}")
    leaves = {path: [held[place][path] for place in places] for path in held[places[0]] if path not in without}
    return Piece(tests, [sizes[place] for place in places], leaves, shared)


def _difference(signatures: Sequence[Any], sizes: list[Sizes]) -> str:
    first = dict(signatures[0])
    for signature, at in zip(signatures, sizes, strict=True):
        for path in sorted(first.keys() | dict(signature)):
            mine, other = first.get(path, "absent"), dict(signature).get(path, "absent")
            if mine != other:
                name = ".".join(path[1:])
                return f"{name} is {mine} at {sizes[0]} and {other} at {at}, by no rule of the sizes"
    return "the layer's structure differs between sizes"
