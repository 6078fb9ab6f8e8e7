"""A copy of one width into another: a checkpoint's weight into a parameter, or an activation into a buffer."""

import re

from harness.diagnosis.diagnosis import OTHER, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.relations import is_vocabulary
from harness.diagnosis.readers.pairs import NO_FAKE, evident, modes, other_pairs, padded, widths
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import Pair

_NAMED = 3
_EITHER = "a copy, at load of the weights or in the layer"
_SLICED = re.compile(r"(?P<name>\w[\w.]*(?:\[\w*\])?)\.narrow\(")
# A copy whose source is called as activations are, into nothing that is called as a weight is.
_COPIED = re.compile(r"(?P<into>[\w.\[\]:, ()-]{1,80})\.copy_\((?P<source>[^()]{1,60})")
_ACTIVATION = re.compile(r"hidden|states?\b|embeds?\b|activation|resid|\binputs?\b|routed|logits|^x\b", re.I)
_WEIGHT = re.compile(r"weight|param|bias|shard|expert_data|loaded|\bw\d", re.I)
_DESTINATION = re.compile(r"dst|dest|param|self\.|target|slot|buf|\bout\b")


def read_copy(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    """A copy. Where the text has no word of weights, the answer names the buffer of a running layer too."""
    others = [each for each in other_pairs(facts, pair) if not is_vocabulary(facts, each)]
    more = "".join(f" So do {each.narrow} and {each.wide}: {each.rounded()}." for each in others)
    weights, into_wide = facts.loads_weights, _into_wide(facts, pair, first)
    made, came = ("padded", "true") if into_wide else ("true", "padded")
    meets = f"A checkpoint's width meets a parameter that was made at the {made} one"
    running = not weights and (facts.runs_layer or _takes_activation(facts))
    if running:
        meets = f"A copy takes a tensor of the {came} width into a buffer of the {made} width while the layer runs"
    elif not weights:
        meets = (
            f"A copy takes a tensor of the {came} width into one of the {made} width. "
            "At load that is a checkpoint's weight and a parameter, in a running layer an activation and a buffer"
        )
    source, target = ("checkpoint's", "parameter's") if weights else ("source's", "destination's")
    sides = (f"the {source}", f"the {target}, made at the {made} width")
    return padded(
        pair,
        ("load",) if weights or (facts.phase in ("", "eager") and not running) else (),
        sure=evident(facts, pair),
        stage="load of the weights" if weights else "a copy in the layer" if running else _EITHER,
        operands=tuple(
            f"{size}: {side}"
            for size, side in zip((pair.narrow, pair.wide), sides if into_wide else sides[::-1], strict=True)
        ),
        cause=f"{meets}: {pair.rounded()}.{more}",
        against=("the add of routed and shared output: the text stands in a copy", NO_FAKE),
        look="whoever makes the parameters: pad after loading, or copy into a slice of them"
        if weights
        else "who made the destination and at which width; a slice of it, or a source that is padded as well",
        tries=checks(facts, around, pair, modes(facts)),
    )


def _takes_activation(facts: Facts) -> bool:
    """Whether the user's line copies an activation, by the names of both sides."""
    found = _COPIED.search(facts.code)
    return bool(found and _ACTIVATION.search(found["source"]) and not _WEIGHT.search(f"{facts.function} {found[0]}"))


def read_other_model(facts: Facts, pair: Pair, others: list[Pair]) -> Reading:
    """A load that names several tensors that do not fit, of which padding explains some alone: no padding of one width."""
    named = " and ".join(f"{other.narrow} with {other.wide}" for other in others[:_NAMED])
    return Reading(
        verdict=OTHER,
        stage="load of the weights" if facts.loads_weights else "a copy",
        cause=f"Several sizes do not fit, {pair.narrow} with {pair.wide} and {named}, and no padding makes the one of the other in "
        "all of them. The checkpoint is most likely of another model or another configuration than the layer was made for.",
        against=(f"padding: {pair.rounded()} fits, but explains that one alone" if pair.possible else pair.unlikely(),),
        look="the configuration that the layer was made with beside the checkpoint's own",
        widths=widths(pair, padded=False),
        rule="no rule",
        tags=frozenset(("other-model",)),
    )


def _into_wide(facts: Facts, pair: Pair, first: int) -> bool:
    """Whether the destination is the wide one. A slice that is too long may be of either; its own name tells."""
    if facts.said("exceeds dimension size"):
        sliced = _SLICED.search(facts.code)
        return not (sliced and _DESTINATION.search(sliced["name"]))
    first_is_destination = any(
        facts.said(words)
        for words in ("must match the", "attempting to expand", "copying a param", "to load weight", "parameter has")
    )
    return first == pair.wide or not first_is_destination
