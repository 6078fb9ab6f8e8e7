"""Hidden states side by side: a size that is some times a hidden size, as the weight of a draft model takes several at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.owners import catalogue, owners, published
from harness.diagnosis.widths import Pair
from harness.matrix.shapes import Shape

_MOST, _USUAL = 8, 3  # how many are joined at most; and how many are where nothing but the number says it
_LEAST = 512


@dataclass(frozen=True, slots=True)
class Joined:
    """A size that is ``times`` a hidden size, and the models that have that; none where it is the other size of the weight."""

    size: int
    times: int
    hidden: int
    models: tuple[str, ...]

    def __str__(self) -> str:
        of = f"hidden size of {', '.join(self.models)}" if self.models else "the other size of the same weight"
        return f"{self.size} = {self.times} x {self.hidden} ({of})"

    @property
    def owners(self) -> tuple[str, ...]:
        """The size as a width's line tells it."""
        return tuple(f"{self.times} x hidden size of {model}" for model in self.models) or (
            f"{self.times} x {self.hidden}",
        )


def side_by_side(facts: Facts, pair: Pair) -> tuple[Joined, ...]:
    """Both sizes or the one of a pair that are some times a hidden size: of models that the text names, else of any.

    Empty where a model that the text names has one as it stands, and where the pair says more by itself.
    """
    every = [owner for size in (pair.narrow, pair.wide) for owner in owners(size) if owner.whole]
    if pair.padded or pair.ratio or any(owner.model in facts.named for owner in every):
        return ()
    named = [catalogue().shapes[name] for name in facts.named]
    found = [one for size in (pair.wide, pair.narrow) if (one := _of(size, named, range(2, _MOST + 1)))]
    if not found and not named:
        lone = [size for size in (pair.wide, pair.narrow) if not any(owner.whole for owner in owners(size))]
        found = [one for size in lone if (one := _of(size, published(), (_USUAL,)))]
    return (*found, *_beside(facts, pair, found[0])) if len(found) == 1 else tuple(found)


def _of(size: int, of: Sequence[Shape], times: Iterable[int]) -> Joined | None:
    known = {shape.hidden for shape in of}
    few = next((n for n in times if size % n == 0 and size // n in known), 0)
    models = [shape.name for shape in of if few and shape.hidden == size // few]
    return Joined(size, few, size // few, tuple(models)) if few else None


def _beside(facts: Facts, pair: Pair, one: Joined) -> tuple[Joined, ...]:
    """The other size, where it is as many times the other size of its weight."""
    other = pair.narrow if one.size == pair.wide else pair.wide
    hidden, rest = divmod(other, one.times)
    shape = sizes(facts.match.groups.get("b_shape", "")) or (facts.match.groups.get("n", ""),)
    return (Joined(other, one.times, hidden, ()),) if not rest and hidden >= _LEAST and str(hidden) in shape else ()


def told(found: tuple[Joined, ...]) -> str:
    """In words, what the sizes are, and what follows where they are hidden states side by side."""
    times = " and ".join(dict.fromkeys(str(one.times) for one in found))
    made = ": those of one model came, and the weight is made for those of another" if len(found) > 1 else ""
    return (
        f"{' and '.join(map(str, found))}, perhaps {times} tensors of a hidden size side by side (concatenated){made}"
    )
