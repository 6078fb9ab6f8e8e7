"""What two sizes that do not fit are to each other: one padded from the other, heads, halves, shards, or nothing known."""

from dataclasses import dataclass

from harness.diagnosis.known.alignments import Alignment, alignments
from harness.diagnosis.owners import Owner, owners, published
from harness.matrix.shapes import NVFP4_BLOCK

_BLOCKS, _MOST_BLOCKS = (128, 64, 32, 16), 1024
HEAD_DIMS = (128, 64)
# How many attention heads models have. 21 = 2688 / 128 is not among them.
_HEADS = frozenset((*range(1, 9), 10, 12, 14, 16, 18, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96, 112, 128))
LARGEST = 65_536  # what is wider is a vocabulary


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sizes. ``alignments`` are all that make ``wide`` of ``narrow``, the least first; ``owners`` have ``narrow``.

    ``named`` are the models that the text names: where one of them has ``narrow``, its alignments are told alone. ``said`` are the
    text's own words of that padding; ``beside`` are words of padding or experts that it has elsewhere with one of the two.
    """

    narrow: int
    wide: int
    alignments: tuple[Alignment, ...]
    owners: tuple[Owner, ...]
    wide_owners: tuple[Owner, ...]
    heads: tuple[int, int, int] | None  # heads of narrow, heads of wide, head dimension
    ratio: int  # wide is exactly that many times narrow; 0 where it is not
    latent_of: str  # the model whose hidden and latent widths these are
    named: tuple[str, ...] = ()
    said: str = ""
    beside: str = ""

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules of the models file that fit, and the dispatchers that do and that the log names."""
        return tuple(rule for one in self.alignments for rule in (one.names if one.told else one.rules))

    @property
    def told(self) -> bool:
        """Whether the log names a dispatcher that makes one of the other."""
        return any(alignment.told for alignment in self.alignments)

    @property
    def extra(self) -> float:
        """How much of ``narrow`` the padding would be."""
        return (self.wide - self.narrow) / self.narrow

    @property
    def padded(self) -> bool:
        """Whether a rule of the models file makes one of the other and nothing about the numbers speaks for chance.

        Chance: odd or small sizes (63 and 64 meet in any image model), padding of more than a sixth, numbers of heads, sizes
        of a vocabulary. A dispatcher that the log names is none, however much it rounds up. Nor is what the log says in words.
        """
        if self.said:
            return True
        if not self.rules or self.latent_of or self.narrow % NVFP4_BLOCK or self.wide > LARGEST:
            return False
        if self.extra > 1 / 6 or self.narrow < 512 or self.heads:
            return self.told or (self.extra <= 1 / 6 and bool(self.hidden_owners))
        return True

    @property
    def known(self) -> bool:
        """Whether a model known here has ``narrow``, as it stands."""
        return bool(self.exact_owners)

    @property
    def sharded(self) -> str:
        """Of which model ``narrow`` is a rank's share, where a rule pads it to ``wide`` by a sixth at most; empty elsewhere."""
        if not self.rules or self.extra > 1 / 6 or self.narrow < 256 or self.heads:
            return ""
        return next((str(owner) for owner in self.owners if owner.part.endswith(" ranks")), "")

    @property
    def ranked_owners(self) -> tuple[tuple[str, int], ...]:
        """The models of which ``narrow`` is a rank's share, each with the number of ranks."""
        return tuple((owner.model, owner.ranks) for owner in self.owners if owner.ranks)

    @property
    def possible(self) -> bool:
        """Whether an alignment makes one of the other, by chance perhaps, and does not double it; less than a block is no width."""
        return bool(self.alignments) and self.extra < 1 and self.narrow >= NVFP4_BLOCK

    @property
    def strong(self) -> bool:
        """Whether words that name padding make it that: a known width, whole or a rank's share, that an alignment rounds up."""
        shared = self.known or bool(self.ranked_owners)
        if self.said:
            return True
        return self.possible and bool(self.rules) and shared and not (self.latent_of or self.narrow % NVFP4_BLOCK)

    @property
    def exact_owners(self) -> tuple[Owner, ...]:
        """The models that have ``narrow`` as it stands, not halved or sharded."""
        return tuple(owner for owner in self.owners if owner.whole)

    @property
    def hidden_owners(self) -> tuple[Owner, ...]:
        """The models that have ``narrow`` as their hidden or latent size."""
        return tuple(owner for owner in self.exact_owners if owner.part in ("hidden size", "latent size"))

    def by_halves(self) -> tuple[str, ...]:
        """In words, the halves of two sizes of which the narrow one is gate and up as one; empty elsewhere."""
        if self.wide % 2 or not any(owner.part.startswith("2 x") for owner in self.owners):
            return ()
        half = read_pair(self.narrow // 2, self.wide // 2, self.named)
        return (f"Where it is gate and up as one, each half is padded: {half.rounded()}.",) if half.alignments else ()

    def unlikely(self) -> str:
        """In words, why the two are not, or are hardly, one width and that width padded."""
        if self.possible:
            return f"padding: {self.rounded()} fits too, and is the less likely"
        if self.narrow < NVFP4_BLOCK:
            return f"padding: no model known here has a width as small as {self.narrow}"
        if self.alignments:
            return f"padding: {self.rounded()} fits, and would be at least as wide as the rest"
        return "padding: no rule known here makes one of the other"

    def rounded(self) -> str:
        """How ``wide`` comes of ``narrow``, every way, the least multiple first."""
        return f"{self.wide} = {self.narrow} rounded up to {', or to '.join(map(str, self.alignments))}"


def read_pair(a: int, b: int, named: tuple[str, ...] = (), told: tuple[str, ...] = (), foreign: bool = False) -> Pair:
    """What ``a`` and ``b`` are to each other, in a text that names these models and is ``told`` of these dispatchers.

    Of a ``foreign`` model, one that is not known here, no other has its sizes. They differ and are positive.
    """
    narrow, wide = sorted((a, b))
    of, wide_of = ((), ()) if foreign else (owners(narrow), owners(wide))
    return Pair(
        narrow=narrow,
        wide=wide,
        alignments=alignments(narrow, wide, of, named, told),
        owners=of,
        wide_owners=wide_of,
        heads=_heads(narrow, wide),
        ratio=wide // narrow if narrow and wide % narrow == 0 else 0,
        latent_of="" if foreign else next((s.name for s in published() if {s.hidden, s.latent} == {narrow, wide}), ""),
        named=named,
    )


def blocks_of(pair: Pair) -> tuple[int, Pair] | None:
    """The size of a block, and the widths that the two sizes are where they count such blocks; None for no model's width.

    Scales of quantised weights have one value for a block.
    """
    if pair.wide > _MOST_BLOCKS:
        return None
    for size in _BLOCKS:
        of = read_pair(pair.narrow * size, pair.wide * size)
        if of.padded and of.hidden_owners:
            return size, of
    return None


def _heads(narrow: int, wide: int) -> tuple[int, int, int] | None:
    for size in HEAD_DIMS:
        if narrow % size == wide % size == 0 and wide > 2 * size and {narrow // size, wide // size} <= _HEADS:
            return narrow // size, wide // size, size
    return None
