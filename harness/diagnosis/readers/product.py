"""A matrix product whose inner sizes do not fit."""

from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.latent import read_latent
from harness.diagnosis.readers.pairs import NO_FAKE, modes, padded, pair_of, speaks, unknown_sizes, unrelated
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import read_pair

_NOT_LATENT = "the latent tensor in place of hidden_states: no model here has these two as hidden and latent width"
_CUT = {
    True: "The padding was not cut off before it.",
    False: "The activation was not padded, or that weight should not be.",
}


def read_product(facts: Facts, around: Surroundings) -> Reading:
    """The left's columns and the right's rows differ."""
    found = pair_of(facts)
    if found is None:
        return unknown_sizes(facts)
    a, b, _ = found
    pair = read_pair(a, b)
    if pair.latent_of:
        return read_latent(facts, pair, a)
    if not pair.padded and not (pair.possible and speaks(facts)):
        return unrelated(facts, pair, "The inner sizes of a product")
    left, right = ("padded", "true") if a == pair.wide else ("true", "padded")
    place = _place(facts)
    return padded(
        pair,
        stage=place,
        operands=(
            f"left, {a} wide: an activation at the {left} width",
            f"right, {b} deep: a weight at the {right} width",
        ),
        cause=f"The {left} width meets a weight of the {right} one at the {place}: {pair.rounded()}. {_CUT[a == pair.wide]}",
        against=(NO_FAKE, _NOT_LATENT),
        tries=checks(facts, around, pair, modes(facts)),
    )


def _place(facts: Facts) -> str:
    if facts.seen("gate"):
        return "router"
    return "shared expert" if facts.seen("shared") else "projection beside the routed experts"
