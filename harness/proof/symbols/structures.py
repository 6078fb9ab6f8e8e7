"""Structures: the sample sizes at which a layer has the same structure, that is the same members, flags and names.

A layer that pads only unaligned widths has two structures. Each is proven separately.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from torch import Tensor

from harness.execution.members import Path
from harness.proof.symbols.formula import Sizes

# Multiples whose divisibility may decide a layer's structure, beside the alignment rule's own.
_MULTIPLES = (16, 32, 64, 128, 256, 512)
# Fewer samples than this are too few to fit formulas to.
_MIN_SAMPLES = 3
Test = tuple[int, int, bool]
"""(axis, multiple, whether the size on that axis is a multiple of it)"""
Leaves = dict[Path, Any]
"""The leaves of one layer by path."""


class UnknownStructure(Exception):
    """The layer's structure differs from size to size, and no divisibility test of the sizes says how."""


@dataclass(frozen=True, slots=True)
class Structure:
    """The samples of one structure: the tests that all its sizes pass, its sizes, and the values of each leaf at them.

    ``shared`` are ids of objects that all layers share, such as modules of a cache.
    """

    tests: tuple[Test, ...]
    sizes: list[Sizes]
    leaves: dict[Path, list[Any]]
    shared: frozenset[int]

    @property
    def sample(self) -> Sizes:
        """The sizes to build a layer of this structure at."""
        return self.sizes[0]

    def includes(self, sizes: Sizes) -> bool:
        """Whether a layer of these sizes has this structure."""
        return all((sizes[axis] % multiple == 0) == divisible for axis, multiple, divisible in self.tests)


def category(leaf: Any) -> Any:
    """What of a leaf belongs to the structure: all but the value of an int and the sizes of a tensor."""
    if isinstance(leaf, Tensor):
        return type(leaf).__name__, leaf.dtype, leaf.dim(), leaf.device.type
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        return "int"
    return type(leaf).__name__, leaf


def group_by_structure(
    sizes: list[Sizes],
    layers: list[Leaves],
    ignored: set[Path],
    shared: frozenset[int],
    rounding: int,
) -> list[Structure]:
    """Group samples by structure: ``layers[i]`` has ``sizes[i]``, and leaves at ``ignored`` paths do not count.

    Raises UnknownStructure where neither one nor two divisibility tests of the sizes tell the structures apart.
    """
    paths = set().union(*layers) - ignored
    ignored = ignored | {path for path in paths if _differs_everywhere(path, layers)}
    signatures = [_signature(leaves, paths - ignored) for leaves in layers]
    samples = _Samples(sizes, layers, ignored, shared)
    if len(set(signatures)) == 1:
        return [samples.structure((), list(range(len(sizes))))]
    for questions in _questions(len(sizes[0]), rounding):
        answers = [tuple(at[axis] % multiple == 0 for axis, multiple in questions) for at in sizes]
        # The questions decide the structure where each combination of answers belongs to one signature only.
        if len(set(zip(answers, signatures, strict=True))) == len(set(answers)):
            return [samples.answering(questions, answer, answers) for answer in dict.fromkeys(answers)]
    raise UnknownStructure(_difference(signatures, sizes))


def _signature(leaves: Leaves, paths: set[Path]) -> tuple[Any, ...]:
    return tuple((path, category(leaves[path])) for path in sorted(paths) if path in leaves)


def _differs_everywhere(path: Path, layers: list[Leaves]) -> bool:
    """Whether a text or float differs at most sizes. It is then a name or a scale, which decides no structure."""
    values = [leaves[path] for leaves in layers if path in leaves]
    return isinstance(values[0], (str, float)) and 2 * len(set(values)) > len(layers)


def _questions(axes: int, rounding: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Sets of (axis, multiple): single questions first, then pairs."""
    single = list(product(range(axes), dict.fromkeys((rounding, *_MULTIPLES))))
    yield from ((question,) for question in single)
    yield from combinations(single, 2)


@dataclass(frozen=True, slots=True)
class _Samples:
    sizes: list[Sizes]
    layers: list[Leaves]
    ignored: set[Path]
    shared: frozenset[int]

    def answering(
        self, questions: tuple[tuple[int, int], ...], answer: tuple[bool, ...], answers: list[tuple[bool, ...]]
    ) -> Structure:
        """The structure of the samples that give this answer."""
        tests = tuple((axis, multiple, yes) for (axis, multiple), yes in zip(questions, answer, strict=True))
        return self.structure(tests, [index for index, other in enumerate(answers) if other == answer])

    def structure(self, tests: tuple[Test, ...], indices: list[int]) -> Structure:
        """The structure of the samples at these indices. Raises UnknownStructure where they are too few."""
        sizes = [self.sizes[index] for index in indices]
        if len(indices) < _MIN_SAMPLES:
            raise UnknownStructure(f"only {len(indices)} of the sizes tried have the structure of {sizes[0]}")
        paths = [path for path in self.layers[indices[0]] if path not in self.ignored]
        leaves = {path: [self.layers[index][path] for index in indices] for path in paths}
        return Structure(tests, sizes, leaves, self.shared)


def _difference(signatures: Sequence[Any], sizes: list[Sizes]) -> str:
    """The first leaf that differs between two samples, as text."""
    first = dict(signatures[0])
    for signature, at in zip(signatures, sizes, strict=True):
        for path in sorted(first.keys() | dict(signature)):
            mine, other = first.get(path, "absent"), dict(signature).get(path, "absent")
            if mine != other:
                name = ".".join(path[1:])
                return f"{name} is {mine} at {sizes[0]} and {other} at {at}, by no rule of the sizes"
    return "the layer's structure differs between sizes"
