"""A kernel's own check of hidden_states against its first weight."""

import re

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import modes, padded, pair_of, widths
from harness.diagnosis.readers.weights.multiples import multiple
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import Pair, read_pair

_PADDING = 128  # what the variables below add
# The padding of weights is AMD's: of its variables, its devices, and of a check that takes it off.
_OF_PADDING = re.compile(
    r"_MOE_PADDING|- ?(?:self\.)?pad(?:ding|ded)?(?:_size)?\b|rocm|\bfp8\b|\bamd\b|\bhip\b|MI\d{3}|gfx9", re.I
)
_OR_VARIABLE = (
    " Or the weights were padded by 128 elements (VLLM_MOE_PADDING, SGLANG_MOE_PADDING), which that check leaves on."
)
_NO_FAKE = "a wrong fake: the check compares real tensors"
_NO_ADD = "the add of routed and shared output: it comes after this kernel"


def read_checked(facts: Facts, around: Surroundings) -> Reading:
    """By the two sizes, else by words beside the check: a padding that is taken off, a packed weight, or nothing known."""
    found = pair_of(facts)
    pair = facts.pair(found[0], found[1]) if found else None
    if pair is None:
        return _padded_weight(facts, around, None) if _OF_PADDING.search(facts.whole) else _unknown(None)
    if pair.padded and pair.hidden_owners and found and not _OF_PADDING.search(facts.whole):
        return _one_padded(facts, around, pair, found[0])
    if pair.wide - pair.narrow == _PADDING:
        return _padded_weight(facts, around, pair)
    return _packed(pair) if pair.ratio in (2, 4, 8) else _unknown(pair)


def _padded_weight(facts: Facts, around: Surroundings, pair: Pair | None) -> Reading:
    """A padding is taken off that was not added."""
    model = around.models[0] if around.models else None
    named = (
        f" For {model.name} these are {model.hidden} and {model.hidden} - 128 = {model.hidden - 128}." if model else ""
    )
    if pair is None and model:
        pair = read_pair(model.hidden, model.hidden - _PADDING)
    return Reading(
        verdict=FAMILY,
        stage="routed experts, the kernel's check of its first weight",
        cause="The width of hidden_states is not that of the weight less its padding. The padding of the weights"
        f" (VLLM_MOE_PADDING or SGLANG_MOE_PADDING, 128) is taken off a weight that was loaded without it.{named}",
        against=(_NO_FAKE, _NO_ADD),
        look="the weight's last dimension beside hidden_states.shape[-1]; the same run with that variable set to 0",
        widths=widths(pair, padded=False) if pair else (),
        rule="the weights' padding of 128 elements",
        alignments=((_PADDING, ()),),
        tags=frozenset(("padded-weight",)),
        tries=(f"harness check --models {model.name if model else 'mixtral-8x7b'} --modes eager",),
    )


def _one_padded(facts: Facts, around: Surroundings, pair: Pair, left: int) -> Reading:
    """One of hidden_states and the weight has the padded width, and the other the true one."""
    came, made = ("true", "padded") if left == pair.narrow else ("padded", "true")
    why = (
        "The caller did not pad hidden_states for this kernel, or the weight should not be padded."
        if came == "true"
        else "The weight was not padded, or hidden_states should not be."
    )
    return padded(
        pair,
        stage="routed experts, the kernel's check of its first weight",
        operands=(f"hidden_states, {left} wide: at the {came} width", f"the weight: at the {made} width"),
        cause=f"hidden_states come at the {came} width and the weight has the {made} one: {pair.rounded()}. {why}"
        + (_OR_VARIABLE if pair.wide - pair.narrow == _PADDING else ""),
        against=(_NO_FAKE, _NO_ADD),
        look="who pads hidden_states before the kernel, and who the weight when it is loaded",
        tries=checks(facts, around, pair, modes(facts), shared=False),
    )


def _packed(pair: Pair) -> Reading:
    return Reading(
        verdict=OTHER,
        stage="routed experts, the kernel's check of its first weight",
        cause=f"The width of hidden_states and that of the weight do not fit, {pair.narrow} and {pair.wide}. {pair.wide} is "
        f"{pair.ratio} x {pair.narrow}{multiple(pair.ratio)}. A kernel for plain weights may have been given packed ones.",
        against=(pair.unlikely(), _NO_FAKE, _NO_ADD),
        look="the weight's dtype and shape there; which quantised method the layer was made with",
        widths=widths(pair, padded=False),
        rule=f"{pair.wide} is {pair.ratio} x {pair.narrow}",
        tags=frozenset(("halves",)),
    )


def _unknown(pair: Pair | None) -> Reading:
    sizes = f", {pair.narrow} and {pair.wide}" if pair else ""
    fits = f" {pair.rounded()}: perhaps one of the two is padded." if pair and pair.possible else ""
    return Reading(
        verdict=UNDECIDED,
        stage="routed experts, the kernel's check of its first weight",
        cause=f"The width of hidden_states is not the one that the weight is made for{sizes}.{fits} The weight may be packed (two "
        "or eight values of 4 bits in one), padded where the check takes no padding off or the other way round (VLLM_MOE_PADDING, "
        "SGLANG_MOE_PADDING), or of another model.",
        against=(_NO_FAKE, _NO_ADD),
        look="hidden_states.shape[-1] beside the weight's shape and dtype",
        widths=widths(pair, padded=False) if pair else (),
        tags=frozenset(() if pair else ("padded-weight",)),
        tries=("harness check --models mixtral-8x7b --modes eager",),
    )
