"""Two sizes that padding does not explain, or need not: attention, vocabularies, halves, shards, chance."""

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.readers.meeting.topics import speaks_of, spoken
from harness.diagnosis.readers.pairs import speaks, widths
from harness.diagnosis.widths import LARGEST, Pair, read_pair

_MOST_HEADS = 128
_HEADS = "perhaps numbers of attention heads"
# What has a width exactly that many times another.
_MULTIPLES = {
    2: "two values a byte (packed FP4), gate and up as one, or shards of 2 ranks",
    4: "four values in an int32, shards of 4 ranks, or scales of blocks of 32 and of 128",
    8: "eight values of 4 bits in an int32, shards of 8 ranks, or scales of blocks of 16 and of 128",
    16: "one scale for 16 values (NVFP4), or shards of 16 ranks",
    32: "one scale for 32 values (MXFP4, MXFP8), or shards of 32 ranks",
    128: "one scale for 128 values (FP8 in blocks)",
}
# A tensor of experts has them in dimension 0: their number may be split over ranks.
_MOST_EXPERTS = 1024
# No model has a hidden size above it.
_WIDEST = 30_000


def attended(facts: Facts, pair: Pair, dim: int | None) -> Reading:
    """Two sizes in attention, or in a dimension that no activation of a layer with experts has."""
    what = (
        "The user's line is of attention"
        if facts.in_attention
        else f"Dimension {dim} is of a tensor with heads or a batch"
    )
    if "parts" in facts.match.groups:
        what += ", and a width was split into parts"
    rounds = bool(pair.padded and pair.hidden_owners) and (dim or 0) < 3
    either = f"; or {pair.rounded()}, the padding of hidden_states that came there" if rounds else ""
    return Reading(
        verdict=UNDECIDED if rounds or (speaks(facts) and not facts.in_attention) else OTHER,
        stage="attention" if facts.in_attention else "",
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. {what}: "
        f"{_lengths(facts)}{_heads(pair)}{either}.{spoken(facts)}",
        against=() if rounds else (f"padding of an expert's width: it has no place in that line{_fits_too(pair)}",),
        look="the shapes of both at the user's line; who made the mask, the positions or the cache, and for which length",
        widths=widths(pair, padded=False),
        rule=pair.rounded() if rounds else "no rule",
        tags=frozenset(("attention",)),
    )


def _lengths(facts: Facts) -> str:
    if "parts" in facts.match.groups:
        return "queries, keys and values side by side, of other numbers of heads or ranks than the layer was made for"
    return "these may be lengths of sequences, of a mask or a cache"


def _heads(pair: Pair) -> str:
    if pair.wide <= _MOST_HEADS:
        return ", numbers of heads, or the size of a head"
    if not pair.heads:
        return ""
    few, many, size = pair.heads
    return f", or numbers of heads ({pair.narrow} = {few} x {size} and {pair.wide} = {many} x {size})"


def _fits_too(pair: Pair) -> str:
    return f", though {pair.rounded()} fits" if pair.possible else ""


def is_vocabulary(facts: Facts, pair: Pair) -> bool:
    """Whether both sizes are wider than any hidden size, and the text has words of a vocabulary."""
    return pair.narrow > _WIDEST and not pair.owners and speaks_of("vocabulary", facts)


def in_blocks(pair: Pair, size: int, of: Pair) -> Reading:
    """Two small sizes that count the blocks of a width and of that width padded."""
    return Reading(
        verdict=UNDECIDED,
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. Where they count blocks of {size}, as the scales "
        f"of quantised weights do, they are {of.narrow} and {of.wide}: {of.rounded()}. Or they are numbers of another origin.",
        against=("a fake: two real tensors meet, or two fake ones while tracing",),
        look="the shapes of both at the user's line; whether the scales were padded as the weights were",
        widths=widths(pair, padded=False),
        rule=f"blocks of {size}: {of.rounded()}",
        tags=frozenset(("blocks",)),
    )


def lacks_dimension(facts: Facts) -> bool:
    """Whether the message has two shapes of which one is the beginning of the other, so that only a dimension is missing."""
    groups = facts.match.groups
    a, b = (sizes(groups.get(name, "")) for name in ("a_shape", "b_shape"))
    short, long = sorted((a, b), key=len)
    return (
        bool(short) and len(short) < len(long) and long[: len(short)] == short and "indexing result" in facts.match.text
    )


def other_dimensions(facts: Facts) -> Reading:
    """A tensor of rows and one of a value for each row: no width is compared, one of them is the wrong tensor."""
    a, b = (sizes(facts.match.groups[name]) for name in ("a_shape", "b_shape"))
    short, long = sorted((a, b), key=len)
    missing = ", ".join(long[len(short) :])
    return Reading(
        verdict=OTHER,
        stage="indexed write",
        cause=f"The number of dimensions differs: [{', '.join(short)}] has the rows of [{', '.join(long)}] and no dimension of "
        f"{missing}. One of the two is another tensor than the code takes it for, such as token ids in place of embeddings.",
        against=("padding and widths: the rows agree, and a dimension is missing",),
        look="which tensor the user's line writes into, and on which rank or stage it holds that",
        tags=frozenset(("dimensions",)),
    )


def unrelated(facts: Facts, pair: Pair, what: str = "Two sizes that meet", dim: int | None = None) -> Reading:
    """Two sizes that padding does not explain: what else the numbers say. ``dim`` is where they meet, None if unknown."""
    kind, says = _experts(facts, pair, dim) or _otherwise(facts, pair)
    return Reading(
        verdict=OTHER,
        stage="load of the weights" if facts.loads_weights else "",
        cause=f"{what} do not fit, {pair.narrow} and {pair.wide}. {says}.{'' if kind == 'vocabulary' else spoken(facts)}",
        against=(_not_padding(pair, kind),),
        look="the shapes of both at the user's line; the model's configuration (heads, ranks, quantisation)",
        widths=widths(pair, padded=False),
        rule="no rule" if kind == "nothing" else says,
        tags=frozenset((kind,)),
    )


def _experts(facts: Facts, pair: Pair, dim: int | None) -> tuple[str, str] | None:
    """Numbers of experts, all of them and a rank's own, in dimension 0 of a weight that is loaded; None elsewhere."""
    if dim != 0 or pair.wide > _MOST_EXPERTS or not pair.ratio or not (facts.loads_weights and facts.seen("moe")):
        return None
    return (
        "experts",
        f"{pair.wide} is {pair.ratio} x {pair.narrow}. In dimension 0 of a weight of experts these are most likely all "
        f"experts and those of one of {pair.ratio} ranks: the checkpoint's were not split (expert parallelism)",
    )


def rank_share(pair: Pair) -> str:
    """In words, of how many ranks the narrow size is a share of a model's width, padded by a sixth at most; empty for none."""
    if not any("/" not in owner.part for owner in pair.wide_owners):
        return ""
    for ranks in _MULTIPLES:
        share = read_pair(pair.wide // ranks, pair.narrow) if pair.wide % ranks == 0 else None
        if share and share.wide == pair.narrow and share.alignments and share.extra <= 1 / 6:
            is_share = (
                f"{share.narrow} is {pair.wide} / {ranks}: perhaps one of {ranks} ranks' padded share, and the whole"
            )
            return f"{share.rounded()}, and {is_share}"
    return ""


def _otherwise(facts: Facts, pair: Pair) -> tuple[str, str]:
    if pair.heads and (not pair.ratio or facts.seen("attention")):
        few, many, size = pair.heads
        return (
            "heads",
            f"{pair.narrow} = {few} x {size} and {pair.wide} = {many} x {size}, "
            + (_HEADS if facts.seen("attention") else f"{_HEADS} or two sizes of the model's own"),
        )
    spoken_of = is_vocabulary(facts, pair)
    if spoken_of or (pair.wide > LARGEST and pair.ratio not in _MULTIPLES):
        return (
            "vocabulary",
            f"Sizes as large are those of a vocabulary, which may be padded itself or have added tokens{_rounds(pair)}",
        )
    if pair.narrow > _WIDEST and not pair.owners and pair.ratio not in _MULTIPLES:
        return (
            "vocabulary",
            f"Sizes as large are those of a vocabulary, which may be padded itself, or of a sequence{_rounds(pair)}",
        )
    if pair.ratio in _MULTIPLES:
        return "halves", f"{pair.wide} is {pair.ratio} x {pair.narrow}: perhaps {_MULTIPLES[pair.ratio]}"
    if pair.possible:
        return "chance", f"{pair.rounded()}, which may be chance: nothing beside the numbers speaks for padding"
    if share := rank_share(pair):
        return "share", share
    loaded = ": the checkpoint may be of another model, configuration or quantisation" if facts.loads_weights else ""
    return "nothing", f"Neither is the other rounded up, halved or sharded{loaded}"


def _rounds(pair: Pair) -> str:
    multiples = ", or to ".join(str(alignment.multiple) for alignment in pair.alignments)
    return f": {pair.wide} = {pair.narrow} rounded up to {multiples}" if pair.possible else ""


def _not_padding(pair: Pair, kind: str) -> str:
    if kind == "vocabulary":
        return "padding of an expert's width: none is as large"
    if kind == "chance":
        return "padding of an expert's width: the text names no layer with experts"
    if kind == "share":
        return "padding alone: no alignment makes one of the other"
    if pair.possible:
        return f"padding: {pair.rounded()} fits too, and is the less likely"
    return "padding: no alignment makes one of the other"
