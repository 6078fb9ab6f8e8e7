"""A slice that begins beyond a tensor's end: a rank's share that was padded counts the offset, and the tensor was not."""

from dataclasses import dataclass

from harness.diagnosis.diagnosis import FAMILY, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import NO_FAKE, as_data, speaks
from harness.diagnosis.widths import Pair, read_pair

_RANKS = (2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Share:
    """The share of one rank out of ``ranks``, true and padded, in a dimension of ``whole`` elements; ``rank`` asked for it."""

    pair: Pair
    whole: int
    ranks: int
    rank: int

    @property
    def rule(self) -> str:
        """How the padded share comes of the whole."""
        return f"{self.pair.rounded()}; {self.pair.narrow} is {self.whole} / {self.ranks} ranks"


def padded_share(facts: Facts) -> Share | None:
    """The reading of ``start (1536) + length (256) exceeds dimension size (1536)`` by ranks; None where none fits.

    The offset is a whole number of padded shares, and a number of ranks divides the dimension into shares that an alignment
    makes the padded one. By half at most, as more is no padding; the fewest ranks that have such a rank are taken.
    """
    groups = facts.match.groups
    if not {"start", "a", "b"} <= groups.keys() or not all(groups[name].isdigit() for name in ("start", "a", "b")):
        return None
    start, length, whole = int(groups["start"]), int(groups["b"]), int(groups["a"])
    if not start or not length or start % length:
        return None
    rank = start // length
    found = (
        Share(read_pair(whole // n, length), whole, n, rank) for n in _RANKS if whole % n == 0 and whole // n < length
    )
    return next((share for share in found if share.rank < share.ranks and _is_padding(share.pair)), None)


def _is_padding(pair: Pair) -> bool:
    return bool(pair.alignments) and pair.extra <= 0.5


def read_share(facts: Facts, share: Share) -> Reading:
    """A padded share that was taken for the checkpoint's: the last ranks read beyond its end, or nothing."""
    pair, load = share.pair, facts.loads_weights or facts.loads
    source = "the checkpoint" if load else "the tensor that is sliced"
    return Reading(
        verdict=FAMILY if load or speaks(facts) else UNDECIDED,
        stage="load of the weights, a rank's slice" if load else "a rank's slice",
        operands=(f"{pair.wide}: a rank's share, padded", f"{share.whole}: {source}, not padded"),
        cause=f"A rank's slice counts with the padded share, and {source} is not padded: rank {share.rank} begins at "
        f"{share.rank} x {pair.wide} = {share.rank * pair.wide}, where it should at {share.rank} x {pair.narrow} = "
        f"{share.rank * pair.narrow}. {share.rule}.",
        against=("the add of routed and shared output: a slice of one tensor is asked for", NO_FAKE),
        look="the offset of the slice: the size of the dimension divided by the ranks, and not the size of the parameter's shard",
        widths=(
            Width(pair.narrow, False, tuple(map(str, pair.owners))),
            Width(pair.wide, True, ()),
            Width(share.whole, False, ()),
        ),
        rule=share.rule,
        alignments=as_data(pair),
        tags=frozenset(("padded", "share")),
    )
