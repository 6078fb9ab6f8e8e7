"""A matrix product whose inner sizes do not fit."""

from dataclasses import replace

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.readers.attention.attended import attended
from harness.diagnosis.readers.latent import read_latent
from harness.diagnosis.readers.meeting.unknown import unknown_sizes
from harness.diagnosis.readers.meeting.unrelated import beyond, unrelated
from harness.diagnosis.readers.pairs import (
    NO_FAKE,
    evident,
    modes,
    names_padding,
    padded,
    pair_of,
    speaks,
    supposed,
    widths,
)
from harness.diagnosis.readers.places import attention_part, product_place
from harness.diagnosis.readers.weights.adapters import adapter_part
from harness.diagnosis.readers.weights.sides import Sides
from harness.diagnosis.statements.met import met
from harness.diagnosis.statements.names import FIRST, GATE, SECOND
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks, share_of
from harness.diagnosis.widths import Pair

_NOT_LATENT = "the latent tensor in place of hidden_states: no model here has these two as hidden and latent width"
_LONG = 1024
_CUT = {
    True: "The padding was not cut off before it.",
    False: "The activation was not padded, or that weight should not be.",
}

# Parts that the names at a line tell, and that a layer of a language model has.
_OF_A_LAYER = (FIRST, SECOND, GATE, "shared expert", "router", "output head")


def read_product(facts: Facts, around: Surroundings) -> Reading:
    """The left's columns and the right's rows differ; where an adapter's matrix is named there, the product is that one's."""
    reading, part = _read(facts, around), adapter_part(facts)
    return (
        replace(reading, stage=part if reading.stage in ("", part) else f"{part}, {reading.stage}") if part else reading
    )


def _read(facts: Facts, around: Surroundings) -> Reading:
    found = pair_of(facts)
    if found is None:
        return unknown_sizes(facts)
    a, b, _ = found
    pair = facts.pair(a, b)
    if flat := _flat(facts, b):
        return _flat_weight(pair, flat)
    attends = facts.attends(met(facts.code))
    if (attends or not _takes_hidden(facts, pair)) and (read := _of_attention(facts, pair, a)):
        return read
    if pair.latent_of and not attends:
        return read_latent(facts, around, pair, a)
    if attends:
        return attended(facts, around, pair, None)
    turned = _turned(facts, a, b)
    if turned and pair.ratio > 2:
        return _side_by_side(pair, turned)
    if turned and not (pair.padded and (pair.known or speaks(facts))):
        return _transposed(facts, pair, turned, a)
    if not pair.padded and not (
        pair.possible and (speaks(facts) or pair.beside or (pair.strong and names_padding(facts)))
    ):
        return _not_padded(facts, around, pair)
    place = product_place(facts)
    if place.startswith(SECOND) and FIRST not in place:
        return _second(facts, around, pair, a, place)
    sides = Sides.of(facts, pair, a)
    return padded(
        pair,
        sure=evident(facts, pair) or (pair.known and place.startswith(_OF_A_LAYER)),
        named=names_padding(facts),
        stage=place,
        operands=sides.operands(a, b),
        cause=f"{supposed(facts, pair)}The {sides.came} width meets a weight of the {sides.made} one at the {place}: "
        f"{pair.rounded()}. {_CUT[sides.wide_came]}",
        against=(NO_FAKE, _NOT_LATENT, *((turned,) if turned else ())),
        tries=checks(facts, around, pair, modes(facts)),
    )


def _not_padded(facts: Facts, around: Surroundings, pair: Pair) -> Reading:
    """A product whose sizes no rule explains by themselves: a rank's share, a little more than a width, or unrelated."""
    if share := share_of(facts, around, pair):
        return _shard(facts, around, pair, share)
    return beyond(facts, pair, product=True) or unrelated(facts, pair, "The inner sizes of a product")


def _takes_hidden(facts: Facts, pair: Pair) -> bool:
    """Whether padded hidden_states may have come into a projection of attention: into queries, keys and values alone."""
    return pair.padded and not attention_part(facts).startswith("output")


def _of_attention(facts: Facts, pair: Pair, left: int) -> Reading | None:
    """A projection of attention: its inner sizes are widths, and no lengths of sequences. None for products without one."""
    part = attention_part(facts)
    if not part:
        return None
    right = pair.wide if left == pair.narrow else pair.narrow
    also = f" {pair.rounded()} fits too: the padding of hidden_states may have come there." if pair.padded else ""
    turned = _turned(facts, left, right)
    also += f" Or the right one is {turned}." if turned else ""
    chance = f"padding of an expert's width: {pair.rounded()} fits by chance" if pair.possible else pair.unlikely()
    return Reading(
        verdict=UNDECIDED if pair.padded else OTHER,
        stage=part,
        operands=(f"left, {left} wide: what came in", f"right, {right} deep: the projection's weight"),
        cause=f"What came into the {part} is {left} wide, and its weight is made for {right}: a hidden size, or a number of heads "
        "(of all, or of one rank's) times the size of a head. Another tensor came there, or the weight is of other heads, ranks or "
        f"another model.{also}",
        against=() if pair.padded else (chance,),
        look="num_attention_heads x head_dim, the number of ranks, and the shape of what comes in at the user's line",
        widths=widths(pair, padded=False),
        rule=pair.rounded() if pair.padded else "no rule",
        tags=frozenset(("attention",)),
    )


def _second(facts: Facts, around: Surroundings, pair: Pair, left: int, place: str) -> Reading:
    """The second projection takes what the first one gave: the width between them is the intermediate one."""
    sides = Sides.of(facts, pair, left)
    wide = sides.wide_came
    where = "in the activation and not in the weight" if wide else "in the weight and not in the activation"
    why = (
        "The first projection was padded and this weight was not, or the padding was not cut off between them."
        if wide
        else "This weight was padded and the first projection was not, or the padding was cut off between them."
    )
    return padded(
        pair,
        sure=evident(facts, pair) or pair.known,
        named=names_padding(facts),
        stage=place,
        operands=sides.of_second(left, place.endswith("shared expert")),
        cause=f"{supposed(facts, pair)}The intermediate width is padded {where}, at the {place}: "
        f"{pair.rounded()}. {why}",
        against=(NO_FAKE, "the add of routed and shared output: it comes after this product"),
        look="how the weights of both projections are padded when they are loaded",
        tries=checks(facts, around, pair, modes(facts)),
    )


def _flat(facts: Facts, deep: int) -> str:
    """In words, that the right side is one row or one column; empty where it is a matrix or not known."""
    n = facts.match.groups.get("n", "")
    if not n.isdigit() or 1 not in (deep, int(n)) or max(deep, int(n)) < _LONG:
        return ""
    return f"a single row of {n}" if deep == 1 else f"a single column of {deep}"


def _flat_weight(pair: Pair, flat: str) -> Reading:
    return Reading(
        verdict=OTHER,
        cause=f"The inner sizes of a product do not fit, {pair.narrow} and {pair.wide}. The right one is {flat}, no matrix: a "
        "quantised weight is stored flat in such a shape, and would have to be unpacked first; or it is a vector.",
        against=("padding: a width that was rounded up leaves a matrix",),
        look="whether the weight's own quantised method is called at the user's line, or a plain product",
        widths=widths(pair, padded=False),
        rule="no rule",
        tags=frozenset(("flat",)),
    )


def _turned(facts: Facts, a: int, b: int) -> str:
    """In words, that the right side fits once it is transposed; empty where it does not."""
    groups = facts.match.groups
    n = groups.get("n", "")
    if not n and facts.match.kind.id == "matmul" and "b_shape" in groups:
        n = (sizes(groups["b_shape"]) or ("",))[-1]
    return f"a weight that is not transposed: {b} x {a} fits as {a} x {b}" if n == str(a) != str(b) else ""


def _transposed(facts: Facts, pair: Pair, turned: str, left: int) -> Reading:
    """The right side fits once it is transposed: it is stored the other way, or what comes out of it was given to it."""
    stored = f"The right one does once it is transposed: {turned.partition(': ')[2]}."
    result = f"what comes out of such a weight ({left} wide, as logits are) was given to it in place of what goes in"
    cause = (
        f"{stored} The code at the user's line transposes it already, so that most likely {result}."
        if facts.code and speaks_for("transposed", facts.code)
        else f"{stored} So it may be stored the other way, or {result}; or only what came in has another size than the weight was "
        "made for, and fits what comes out by chance."
    )
    return Reading(
        verdict=OTHER,
        cause=f"The inner sizes of a product do not fit, {pair.narrow} and {pair.wide}. {cause}",
        against=(pair.unlikely(),),
        look="how the weight is stored, [out, in] as nn.Linear has it or [in, out]; what comes in from the left, at the user's line",
        widths=widths(pair, padded=False),
        rule=f"fits transposed: {turned.partition(': ')[2]}",
        tags=frozenset(("transposed",)),
    )


def _side_by_side(pair: Pair, turned: str) -> Reading:
    """The one is a whole number of times the other, and a transposed weight would fit as well."""
    return Reading(
        verdict=OTHER,
        cause=f"The inner sizes of a product do not fit, {pair.narrow} and {pair.wide} = {pair.ratio} x {pair.narrow}. Perhaps the "
        f"weight is for {pair.ratio} tensors side by side (concatenated) and one of them came, or is split over {pair.ratio} ranks; "
        f"or it is {turned.removeprefix('a weight that is ')}.",
        against=(pair.unlikely(),),
        look="what is concatenated before the user's line; how the weight is stored, [out, in] or [in, out]",
        widths=widths(pair, padded=False),
        rule=f"{pair.wide} is {pair.ratio} x {pair.narrow}",
        tags=frozenset(("halves",)),
    )


def _shard(facts: Facts, around: Surroundings, pair: Pair, share: str) -> Reading:
    """The narrow size is a rank's share of a model's intermediate size, and a rule pads it to the other."""
    return padded(
        pair,
        stage="a product",
        operands=(f"{pair.narrow}: a rank's share of an intermediate size", f"{pair.wide}: that share, padded"),
        cause=f"The inner sizes of a product do not fit. {pair.rounded()}, and {pair.narrow} is {share}; nothing beside "
        "the numbers says whether it is padding or chance.",
        against=(NO_FAKE,),
        look="the shapes of both at the user's line: of which model and for how many ranks the weight was made",
        tries=checks(facts, around, pair, modes(facts)),
    )
