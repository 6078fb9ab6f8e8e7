"""A reshape that does not fit the number of elements: a width taken from the wrong place."""

import re
from dataclasses import replace
from math import prod

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.known.alignments import multiples_of_rules
from harness.diagnosis.notation import sizes
from harness.diagnosis.owners import catalogue
from harness.diagnosis.readers.elements import factor, misfit, nothing, one_off, tile
from harness.diagnosis.readers.meeting.scales import padded_parts
from harness.diagnosis.readers.meeting.topics import speaks_of, spoken
from harness.diagnosis.readers.meeting.unrelated import unrelated
from harness.diagnosis.readers.pairs import NO_FAKE, evident, evident_here, modes, names_experts, padded, speaks
from harness.diagnosis.readers.views.strided import read_strided
from harness.diagnosis.readers.weights.reshaped import STAGE, as_weight, read_reshaped, weight_stage
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import Pair, read_pair

_HEAD_DIMS = (32, 64, 80, 96, 128, 192, 256)
_SCALES = re.compile(r"scale|\bsf\b|_sf\b", re.I)
_ACTIVATIONS = re.compile(r"\ba\d?q?_scale|act\w*_scale|\b(?:x|input|hidden)\w*_scale|hidden_states")
# Names of a router's scores and of its groups of experts.
_ROUTES = re.compile(
    r"router_logits|gating_output|(?:num_)?expert_groups?\b|\bn_groups?\b|topk_group|group_scores|correction_bias"
)
_AGAINST = (
    "a tensor that is not contiguous: the number of elements is wrong whatever the strides are",
    NO_FAKE,
)


def read_reshape(facts: Facts, around: Surroundings) -> Reading:
    """The width of the tensor beside the width that is asked for."""
    groups = facts.match.groups
    if "strides" in groups:
        read = read_strided(facts, around, sizes(groups["have"]), sizes(groups["strides"]))
        return replace(read, title="a view of a tensor that is not contiguous")
    want = sizes(groups["want"])
    if _ROUTES.search(f"{facts.function} {facts.code}"):
        return _of_a_router(want, groups["elements"])
    if stage := weight_stage(facts, want):
        return _of_a_weight(facts, around, want, stage)
    return _of_any(facts, around, want)


def _of_a_weight(facts: Facts, around: Surroundings, want: tuple[str, ...], stage: str) -> Reading:
    """A reshape of a weight: by its widths where all sizes are numbers, else by the one that is left."""
    if read := read_reshaped(facts, around, want, stage, _AGAINST):
        return read
    if stage != STAGE:
        return _of_any(facts, around, want)
    all_numbers = all(size.isdigit() for size in (*want, facts.match.groups["elements"]))
    read = _unknown(facts, want, facts.match.groups["elements"]) if all_numbers else _of_any(facts, around, want)
    return as_weight(read, read.stage if "blocks" in read.tags else stage)


def _of_any(facts: Facts, around: Surroundings, want: tuple[str, ...]) -> Reading:
    """The width of the tensor beside the width that is asked for, where the one or the other is the last size."""
    groups = facts.match.groups
    found = _widths(facts, around, want, groups["elements"])
    if found and misfit(want, groups["elements"]) and not read_pair(*found).hidden_owners:
        found = None
    if found is None:
        return _unknown(facts, want, groups["elements"])
    have, wanted = found
    pair = facts.pair(have, wanted)
    heads = pair.heads and (_is_of_heads(want) or not names_experts(facts))
    if (pair.padded and not _is_of_heads(want)) or (pair.possible and (speaks(facts) or pair.beside) and not heads):
        return _padded(facts, around, pair, have, wanted)
    if not (pair.heads or pair.ratio or pair.known):
        return _unknown(facts, want, groups["elements"])
    return unrelated(
        facts,
        pair,
        f"The reshape asks for another number of elements than the tensor has.{one_off(want, groups['elements'])} If the leading "
        f"sizes agree, the width of the tensor ({have}) and the one that the reshape asks for ({wanted})",
    )


def _of_a_router(want: tuple[str, ...], elements: str) -> Reading:
    """A reshape of a router's scores: its sizes are numbers of tokens, of groups and of experts."""
    return Reading(
        verdict=OTHER,
        stage="the router",
        cause=f"A reshape of a router's scores to [{', '.join(want)}] does not fit {elements} elements. Its sizes are numbers of "
        f"tokens, of groups of experts and of experts in a group.{one_off(want, elements)}",
        against=("padding of a width: a router's scores have a column for each expert",),
        look="the number of experts and of their groups in the configuration, beside the router's weight",
        tags=frozenset(("experts",)),
    )


def _padded(facts: Facts, around: Surroundings, pair: Pair, have: int, wanted: int) -> Reading:
    asks_wide = wanted == pair.wide
    asked, is_ = ("padded", "true") if asks_wide else ("true", "padded")
    cut = "The padding is already cut off there." if asks_wide else "The padding was not cut off before it."
    return padded(
        pair,
        ("want-padded",) if asks_wide else ("have-padded",),
        sure=evident(facts, pair),
        stage="final reshape, after the routed experts"
        if evident_here(facts, pair)
        else "a reshape, as the final one after the routed experts is",
        operands=(f"the tensor is {have} wide", f"the reshape asks for {wanted}"),
        cause=f"The reshape takes the {asked} width, and the tensor has the {is_} one: {pair.rounded()}. {cut}",
        against=_AGAINST,
        look=_look(evident(facts, pair), asks_wide, pair, have),
        tries=checks(facts, around, pair, modes(facts), shared=False),
    )


def _look(known: bool, asks_wide: bool, pair: Pair, have: int) -> str:
    """Where to look: for the cut that is missing where the tensor is padded, else for the width that is asked for."""
    if not known:
        return f"the tensor's shape at that line: whether its last size is {have}, and what made it so"
    if asks_wide:
        return "where the reshape has its width from: the model's hidden size, not the experts' own"
    return f"what cuts the padding off between the routed experts and this reshape (x[..., :{pair.narrow}]), and why it did not run"


def _widths(facts: Facts, around: Surroundings, want: tuple[str, ...], elements: str) -> tuple[int, int] | None:
    """The width of the tensor and the width that is asked for, in elements."""
    if not want or not want[-1].isdigit():
        return None
    wanted, leading = int(want[-1]), want[:-1]
    if _is_of_heads(want):
        wanted, leading = wanted * int(want[-2]), want[:-2]
    count, rest = _known(elements, leading)
    if count and rest:
        return (count // rest, wanted) if count % rest == 0 and count // rest not in (1, wanted) else None
    shown = [int(size[-1]) for size in facts.fakes if size and size[-1].isdigit()]
    if count and shown and count % shown[0] == 0 and shown[0] != wanted:
        return shown[0], wanted
    known = prod(int(size) for size in leading if size.isdigit())
    return _guessed(count // known, wanted, around) if count and known and count % known == 0 else None


def _is_of_heads(want: tuple[str, ...]) -> bool:
    """Whether a shape ends with a number of heads and their size."""
    return len(want) > 2 and want[-1].isdigit() and int(want[-1]) in _HEAD_DIMS and want[-2].isdigit()


def _known(elements: str, leading: tuple[str, ...]) -> tuple[int, int]:
    """The elements, and the product of the leading sizes, each 0 where it is not known; a common symbol is left out of both."""
    number, _, symbol = elements.partition("*")
    if not number.isdigit():
        number, symbol = symbol, number
    if not number.isdigit():
        return 0, 0
    known = prod(int(size) for size in leading if size.isdigit())
    unknown = [size for size in leading if not size.isdigit()]
    return int(number), known if unknown == ([symbol] if symbol else []) else 0


def _guessed(count: int, wanted: int, around: Surroundings) -> tuple[int, int] | None:
    """With -1 tokens: the width that divides the elements and is ``wanted`` before or after padding, one of the two a model's."""
    shapes = [*around.models, *catalogue().shapes.values()]
    every = dict.fromkeys(size for s in shapes for size in (s.hidden, s.latent, s.intermediate) if size)
    wider = [-(-wanted // m) * m for m in multiples_of_rules()] if wanted in every else []
    for size in (*every, *wider):
        if count % size == 0 and size != wanted and any(a.rules for a in read_pair(size, wanted).alignments):
            return size, wanted
    return None


def _of_parts(facts: Facts, want: tuple[str, ...], elements: str, parts: list[str]) -> Reading:
    """A shape of scales, or of gate and up as one, in which one size may be a padded model's."""
    return Reading(
        verdict=FAMILY if speaks(facts) or speaks_of("scales", facts) or _SCALES.search(facts.code) else UNDECIDED,
        stage=f"a reshape of {_whose(facts)}",
        cause=f"A reshape to [{', '.join(want)}] does not fit {elements} elements. If one size alone is wrong, the numbers are "
        f"those of padding: {'; or '.join(parts)}. {_side(want, elements)}",
        against=(*_AGAINST, "chance: a model known here has the width, and a rule rounds it so"),
        look="who rounds the rows or the columns of the scales up, and which shape the caller takes for them",
        rule="; or ".join(parts),
        tags=frozenset(("blocks",)),
    )


def _whose(facts: Facts) -> str:
    """In words, whose scales they are, by the names at the user's line."""
    if not _SCALES.search(facts.code):
        return "weights or of their scales"
    return "an activation's scales" if _ACTIVATIONS.search(facts.code) else "scales"


def _side(want: tuple[str, ...], elements: str) -> str:
    """In words, on which side the padding is: more elements than are asked for are those of a padded width."""
    if int(elements) > prod(map(int, want)):
        return "The tensor was made for the padded width, and the reshape takes the model's own."
    return "The reshape takes the padded width, and the tensor was made for the model's own."


def _unknown(facts: Facts, want: tuple[str, ...], elements: str) -> Reading:
    if parts := padded_parts(want, elements):
        return _of_parts(facts, want, elements, parts)
    says = nothing(elements) or factor(want, elements) or misfit(want, elements)
    if elements == "1":
        says += " It is a single value, as the one scale of a whole tensor is."
    in_tiles = tile(want, elements)
    also = f"{one_off(want, elements)}{in_tiles}{spoken(facts)}"
    return Reading(
        verdict=UNDECIDED if (in_tiles and speaks(facts)) or (facts.seen("pad") and not says) else OTHER,
        stage="attention" if facts.in_attention else "",
        cause=f"A reshape to [{', '.join(want)}] does not fit {elements} elements.{says}{also}",
        against=("padding of a hidden width: no width of a model known here gives these numbers",),
        look="the tensor's shape at the user's line",
        tags=frozenset(("halves",)) if says else frozenset(),
    )
