"""What two sizes that padding does not explain are to each other: heads, factors, shares of ranks, a vocabulary, nothing."""

import re

from harness.diagnosis.code import is_activation
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.topics import speaks_of
from harness.diagnosis.readers.pairs import names_experts, pair_of
from harness.diagnosis.readers.weights.multiples import MULTIPLES, likely
from harness.diagnosis.readers.weights.side_by_side import side_by_side, told
from harness.diagnosis.widths import LARGEST, Pair, read_pair

SIDE_BY_SIDE = "side-by-side"
_HEADS = "perhaps numbers of attention heads"
# From here on a multiple is of scales more than of anything else, and no product takes those; no more parts are joined in one.
_SCALES, _MOST_PARTS = 16, 64
# A tensor of experts has them in dimension 0: their number may be split over ranks.
_MOST_EXPERTS = 1024
# Of one expert's weight it has as many rows, and no fewer.
_FEWEST_ROWS = 64
_ONE_EXPERT = re.compile(r"expert_data|_load_w\d|expert_id|\[(?:e|i|idx|eid|expert\w*)\]")
_VOCABULARY, _LARGEST_VOCABULARY = "of a vocabulary, which may be padded itself", 1_000_000
# Sizes up to here are counts more than widths.
_COUNTS = 128
# The least share of a vocabulary that a rank has.
_SHARE = 4000
_OF_VOCABULARY = re.compile(r"vocab|lm_head|embed_tokens|word_embeddings")
# No model has a hidden size above it.
_WIDEST = 30_000


def relation(facts: Facts, pair: Pair, dim: int | None) -> tuple[str, str]:
    """The kind of a relation, which is a tag, and the relation in words. ``dim`` is where the sizes meet, None if unknown."""
    found = _experts(facts, pair, dim) or _embedded(facts, pair, dim) or _split_rows(facts, pair, dim)
    if found:
        return found
    if joined := side_by_side(facts, pair):
        return SIDE_BY_SIDE, told(joined)
    kind, says = _otherwise(facts, pair)
    return kind, f"{says}{_two_models(facts, pair)}"


def is_vocabulary(facts: Facts, pair: Pair) -> bool:
    """Whether both sizes are wider than any hidden size, and the text has words of a vocabulary."""
    return pair.narrow > _WIDEST and not pair.owners and speaks_of("vocabulary", facts)


def _experts(facts: Facts, pair: Pair, dim: int | None) -> tuple[str, str] | None:
    """Numbers of experts, all of them and a rank's own, in dimension 0 of a weight that is loaded; None elsewhere."""
    if dim != 0 or pair.wide > _MOST_EXPERTS or not pair.ratio or not (facts.loads_weights and facts.seen("moe")):
        return None
    near = f"{facts.function} {facts.code}" if facts.frames else facts.whole
    if pair.narrow >= _FEWEST_ROWS and _ONE_EXPERT.search(near):
        return None  # dimension 0 of one expert's weight counts its rows
    return (
        "experts",
        f"{pair.wide} is {pair.ratio} x {pair.narrow}. In dimension 0 of a weight of experts these are most likely all "
        f"experts and those of one of {pair.ratio} ranks: {_split_over(facts, pair)} (expert parallelism)",
    )


def _embedded(facts: Facts, pair: Pair, dim: int | None) -> tuple[str, str] | None:
    """Hidden sizes of two models, in dimension 1 of a vocabulary's weight that is loaded; None elsewhere."""
    if dim != 1 or not facts.loads_weights or not _OF_VOCABULARY.search(f"{facts.user_line} {facts.function}"):
        return None
    packed = "; or one of the two is packed, as a quantised one is" if pair.ratio in MULTIPLES else ""
    return (
        "other-width",
        "Dimension 1 of a vocabulary's weight is the hidden size, which no ranks share: the checkpoint's tensor is of another "
        f"hidden size than the layer was made for (another model or configuration, or a head with a size of its own){packed}",
    )


def _split_over(facts: Facts, pair: Pair) -> str:
    """In words, which side has one rank's experts. The message of a copy names its destination first."""
    found = pair_of(facts)
    if found is None or not facts.said("copying a param"):
        return "the checkpoint's were not split" if found and found[0] == pair.narrow else "one side has a rank's own"
    return "the checkpoint has one rank's own" if found[0] == pair.wide else "the checkpoint's were not split"


def _split_rows(facts: Facts, pair: Pair, dim: int | None) -> tuple[str, str] | None:
    """Sizes of dimension 0 of which the one is a whole number of times the other, and nothing is loaded; None elsewhere."""
    if dim != 0 or pair.ratio not in MULTIPLES or facts.loads:
        return None
    return (
        "halves",
        f"{pair.wide} is {pair.ratio} x {pair.narrow}: in dimension 0 perhaps rows that one side has split over {pair.ratio} ranks; "
        f"or {likely(facts, pair)}",
    )


def rank_share(pair: Pair) -> str:
    """In words, of how many ranks the narrow size is a share of a model's width, padded by a sixth at most; empty for none."""
    if not any("/" not in owner.part for owner in pair.wide_owners):
        return ""
    for ranks in MULTIPLES:
        share = read_pair(pair.wide // ranks, pair.narrow) if pair.wide % ranks == 0 else None
        if share and share.wide == pair.narrow and share.alignments and share.extra <= 1 / 6:
            is_share = (
                f"{share.narrow} is {pair.wide} / {ranks}: perhaps one of {ranks} ranks' padded share, and the whole"
            )
            return f"{share.rounded()}, and {is_share}"
    return ""


def _otherwise(facts: Facts, pair: Pair) -> tuple[str, str]:
    if pair.ratio == 2 and is_activation(facts.code):
        joined = "most likely gate and up side by side, of which one half was to come there (both or one of them was not split)"
        return "halves", f"{pair.wide} is 2 x {pair.narrow}, and the user's line multiplies gate by up: {joined}"
    if pair.heads and not names_experts(facts) and (not pair.ratio or facts.seen("attention")):
        few, many, size = pair.heads
        return (
            "heads",
            f"{pair.narrow} = {few} x {size} and {pair.wide} = {many} x {size}, "
            + (_HEADS if facts.seen("attention") else f"{_HEADS} or two sizes of the model's own"),
        )
    if large := _large(facts, pair):
        return large
    if pair.ratio in MULTIPLES and pair.wide <= _COUNTS and not facts.loads:
        counts = "perhaps numbers of heads, of experts or of groups, ranks of adapters"
        return "counts", f"{pair.wide} is {pair.ratio} x {pair.narrow}: {counts}, or shards of {pair.ratio} ranks"
    if pair.ratio in MULTIPLES and (
        pair.ratio < _SCALES or facts.match.kind.id != "matmul" or speaks_of("scales", facts)
    ):
        return "halves", f"{pair.wide} is {pair.ratio} x {pair.narrow}: perhaps {likely(facts, pair)}"
    if pair.possible:
        alone = "" if pair.beside else ": nothing beside the numbers speaks for padding"
        return "chance", f"{pair.rounded()}, which may be chance{alone}"
    if share := rank_share(pair):
        return "rank-share", share
    if 2 < pair.ratio <= _MOST_PARTS and not facts.loads_weights:
        parts = f"perhaps {pair.ratio} parts side by side (joined or flattened), of which the other has one"
        return "parts", f"{pair.wide} is {pair.ratio} x {pair.narrow}: {parts}"
    loaded = ": the checkpoint may be of another model, configuration or quantisation" if facts.loads_weights else ""
    return "nothing", f"Neither is the other rounded up by a rule known here, halved or sharded{loaded}"


def _two_models(facts: Facts, pair: Pair) -> str:
    """In words, that both sizes of a product are hidden sizes of models known here; empty where one is not."""
    wide = any(owner.part == "hidden size" for owner in pair.wide_owners)
    if facts.match.kind.id != "matmul" or not wide or not any(owner.part == "hidden size" for owner in pair.owners):
        return ""
    return "; perhaps they are hidden sizes of two models, such as a draft and its target, or a part that was made for another model"


def _large(facts: Facts, pair: Pair) -> tuple[str, str] | None:
    """Sizes that no hidden width has: of a vocabulary, a sequence or a weight that is stored flat; None for others."""
    if is_vocabulary(facts, pair):
        return "vocabulary", f"{_large_as(facts, pair)} or have added tokens{_rounds(pair)}{_split(pair)}"
    if facts.loads and pair.narrow > _SHARE and _OF_VOCABULARY.search(f"{facts.user_line} {facts.function}"):
        return (
            "vocabulary",
            f"The user's line is of a vocabulary, which is padded before ranks share it{_rounds(pair)}{_split(pair)}",
        )
    if pair.wide > _LARGEST_VOCABULARY:
        rows = f" ({pair.wide} = {pair.ratio} x {pair.narrow})" if pair.ratio else ""
        return (
            "vocabulary",
            "No width is as large: the larger is of a flat tensor, such as a quantised or sharded weight, or an activation of which "
            f"the rows were made one{rows}",
        )
    factor = pair.ratio in MULTIPLES and pair.narrow > _WIDEST
    if pair.wide > LARGEST and not factor:
        return (
            "vocabulary",
            f"{_large_as(facts, pair)} or have added tokens{_rounds(pair)}{_split(pair)}{_flat(facts, pair)}",
        )
    if pair.narrow > _WIDEST and not pair.owners and not factor:
        return "vocabulary", f"{_large_as(facts, pair)}, or of a sequence{_rounds(pair)}{_flat(facts, pair)}"
    return None


def _large_as(facts: Facts, pair: Pair) -> str:
    return f"Sizes as large {'are those' if _is_sure(facts, pair) else 'may be'} {_VOCABULARY}"


def _is_sure(facts: Facts, pair: Pair) -> bool:
    """Whether the text has words of a vocabulary, or one size is the other rounded up, as a weight's flat size is not."""
    return speaks_of("vocabulary", facts) or pair.possible


def _flat(facts: Facts, pair: Pair) -> str:
    """In words, that the larger may be of a packed or flat weight, where no more speaks for a vocabulary."""
    times = f" ({pair.wide} = {pair.ratio} x {pair.narrow})" if pair.ratio else ""
    return "" if _is_sure(facts, pair) else f"; or of a weight that is packed, or flattened to one dimension{times}"


def _split(pair: Pair) -> str:
    return (
        f"; {pair.wide} is {pair.ratio} x {pair.narrow}, so one may be of {pair.ratio} ranks"
        if pair.ratio in MULTIPLES
        else ""
    )


def _rounds(pair: Pair) -> str:
    multiples = ", or to ".join(alignment.to for alignment in pair.alignments)
    return f": {pair.wide} = {pair.narrow} rounded up to {multiples}" if pair.possible else ""
