"""Two sizes that meet in an add, a copy or a kernel's check, and do not fit."""

import re
from dataclasses import replace

from harness.diagnosis.code import is_activation, operations
from harness.diagnosis.diagnosis import FAMILY, UNDECIDED, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.latent import read_latent
from harness.diagnosis.readers.pairs import (
    NO_FAKE,
    modes,
    other_pairs,
    padded,
    pair_of,
    rows_alone,
    speaks,
    unknown_sizes,
    widths,
)
from harness.diagnosis.readers.rows import rows
from harness.diagnosis.readers.topics import speaks_of
from harness.diagnosis.readers.unrelated import attended, in_blocks, is_vocabulary, unrelated
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks, model_for
from harness.diagnosis.widths import Pair, blocks_of, read_pair

# What a message is of where Dynamo does not name the call: a piece of torch's text, and what raises it.
_RAISED_BY = {
    "normalized_shape": "norm",
    "exceeds dimension size": "slice",
    "plit": "split",
    "tensors must match except": "cat",
    "stack expects": "stack",
    "expanded size": "copy or expand",
    "attempting to expand": "copy or expand",
    "indexing result": "indexed write",
    "ExpandView": "broadcast",
    "source tensor shape": "index_add",
    "Expected index": "scatter",
    "slice shapes": "index_copy",
    "of the mask": "a mask",
    "inconsistent tensor": "dot",
    "operands could not": "an operation of numpy",
    "attribute 'shape'": "a test's comparison",
    "invalid tensor size": "collective",
    "multiply up": "unflatten",
}
_ADDS = frozenset(("", "add", "add_", "iadd", "__add__", "__iadd__"))
_WITH_BIAS = frozenset(("addmm", "linear", "baddbmm"))
_TRAINING = re.compile(r"\bgrads?\b|exp_avg|momentum|optim|\bema\b|\.grad\b|beta[12]?\b")
_NO_LOAD = "a checkpoint of another width: the text has no copy_ and no load of weights"


def read_sizes(facts: Facts, around: Surroundings) -> Reading:
    """Two tensors that do not broadcast, or a copy between them."""
    found = pair_of(facts)
    if found is None:
        return unknown_sizes(facts)
    a, b, dim = found
    pair = read_pair(a, b)
    if is_vocabulary(facts, pair):
        return unrelated(facts, pair)
    if dim == 0 and (not pair.exact_owners or rows_alone(facts)) and not facts.loads_weights:
        return rows(facts, a, b)
    if not facts.loads and (facts.in_attention or (dim or 0) > 2):
        return attended(facts, pair, dim)
    if pair.latent_of and not facts.loads:
        return read_latent(facts, pair, a)
    if (blocks := blocks_of(pair)) and speaks_of("scales", facts):
        return in_blocks(pair, *blocks)
    if not pair.padded and not (pair.possible and speaks(facts) and not (pair.heads and facts.seen("attention"))):
        what = (
            "A checkpoint's tensor and the parameter it is copied to" if facts.loads_weights else "Two sizes that meet"
        )
        return unrelated(facts, pair, what)
    return _load(facts, around, pair, a) if facts.loads else _meeting(facts, around, pair, a)


def _by(facts: Facts) -> str:
    """What the two sizes meet in: what Dynamo called, what raises such a message, what the user's line does; empty for an add."""
    named = facts.called or next((name for text, name in _RAISED_BY.items() if text in facts.match.text), "")
    done = operations(facts.code)
    if is_activation(facts.code) and named in ("", "mul"):
        return "the activation, gate times up"
    if named == "copy or expand" and done & _WITH_BIAS:
        return "the bias of a product"
    return named or ("" if done & _ADDS else " or ".join(sorted(done)))


def _meeting(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    by = _by(facts)
    if _TRAINING.search(facts.code):
        return _update(facts, pair)
    if by in _ADDS:
        return _add(facts, around, pair, first)
    no_fake = () if "comparison" in by else (NO_FAKE,)
    return padded(
        pair,
        sure=pair.known or speaks(facts),
        stage=by,
        operands=(f"{pair.narrow}: at the true width", f"{pair.wide}: padded"),
        cause=f"A padded width and the true one meet in {by}: {pair.rounded()}. "
        "The padding was not cut off before it, or is asked for where it is gone.",
        against=(*no_fake, *_not_heads(pair)),
        look="which of the two sizes is the model's own and which the kernel's, at the user's line",
        tries=checks(facts, around, pair, modes(facts)),
    )


def _update(facts: Facts, pair: Pair) -> Reading:
    """A step of training: a state at one width, and a gradient or a weight at the other."""
    reading = padded(
        pair,
        stage="an update in training",
        operands=(f"{pair.narrow}: one of state, weight and gradient", f"{pair.wide}: another of them"),
        cause=f"A state was made at one width, and the weight or its gradient has the other: {pair.rounded()}, where a weight was "
        "padded after the state was made, or the state is of another checkpoint.",
        against=(NO_FAKE,),
        look="when the weights were padded, and from which weights the state was made",
    )
    return replace(reading, verdict=UNDECIDED)


def _add(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    """An add. A bare message whose first operand is the padded one may be a copy at load, which reads the same."""
    model = model_for(around, pair)
    where = _which_add(facts, facts.seen("shared") or (model is not None and model.shared_intermediate is not None))
    shared = where == "shared add"
    sure = bool(facts.frames) or facts.phase == "traced" or first == pair.narrow
    cause = f"The padding was not cut off before the {where}: {pair.rounded()}."
    either = f"{pair.rounded()}. In an add, the padding was not cut off before it; at load, a checkpoint's width meets a parameter"
    return padded(
        pair,
        sure=pair.known or speaks(facts),
        tags=("add",) if sure else ("add", "load-or-add"),
        stage=where
        if sure
        else f"{where}; or the load of the weights, where copy_ or load_weights stands above this line",
        operands=_operands(pair, first, shared),
        cause=cause if sure else f"{either} made at the padded one.",
        against=(NO_FAKE, *((_NO_LOAD,) if sure else ()), *_not_heads(pair)),
        tries=checks(facts, around, pair, modes(facts), shared),
    )


def _which_add(facts: Facts, has_shared: bool) -> str:
    """The add at the user's line, as far as its names tell; without the line, by whether the model has a shared expert."""
    if not facts.code:
        return "shared add" if has_shared else "add after the routed experts, the shared one or the residual's"
    if speaks_for("shared", facts.code):
        return "shared add"
    if re.search(r"resid|skip", facts.code, re.I):
        return "residual add"
    return "add at the user's line, the shared one or the residual's"


def _operands(pair: Pair, first: int, shared: bool) -> tuple[str, str]:
    narrow, wide = ("second", "first") if first == pair.wide else ("first", "second")
    of, routed = (" (the shared expert's output)", " (the routed experts' output)") if shared else ("", "")
    return (
        f"{narrow}, {pair.narrow}: at the true width{of}",
        f"{wide}, {pair.wide}: still padded{routed}",
    )


def _not_heads(pair: Pair) -> tuple[str, ...]:
    if not pair.heads:
        return ()
    few, many, size = pair.heads
    return (f"attention heads ({few} and {many} of {size}): a rule for padding fits, and the line is not of attention",)


def _load(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    """A copy. Where the text has no word of weights, the answer names the buffer of a running layer too."""
    more = "".join(f" So do {each.narrow} and {each.wide}: {each.rounded()}." for each in other_pairs(facts, pair))
    weights, into_wide = facts.loads_weights, first == pair.wide or not _names_destination(facts)
    made, came = ("padded", "true") if into_wide else ("true", "padded")
    meets = f"A checkpoint's width meets a parameter that was made at the {made} one"
    if not weights:
        meets = (
            f"A copy takes a tensor of the {came} width into one of the {made} width. "
            "At load that is a checkpoint's weight and a parameter, in a running layer an activation and a buffer"
        )
    source, target = ("checkpoint's", "parameter's") if weights else ("source's", "destination's")
    sides = (f"the {source}", f"the {target}, made at the {made} width")
    return padded(
        pair,
        ("load",) if weights or facts.phase == "eager" else (),
        stage="load of the weights" if weights else "a copy, at load of the weights or in the layer",
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


def _names_destination(facts: Facts) -> bool:
    """Whether the first size of the message is the destination's, as it is in a copy."""
    return any(words in facts.match.text for words in ("must match the", "attempting to expand", "copying a param"))


def read_checked(facts: Facts, around: Surroundings) -> Reading:
    """A kernel's own check of hidden_states against its first weight: a padding is taken off that was not added."""
    found, model = pair_of(facts), around.models[0] if around.models else None
    pair = read_pair(found[0], found[1]) if found else read_pair(model.hidden, model.hidden - 128) if model else None
    named = (
        f" For {model.name} these are {model.hidden} and {model.hidden} - 128 = {model.hidden - 128}." if model else ""
    )
    return Reading(
        verdict=FAMILY,
        stage="routed experts, the kernel's check of its first weight",
        cause="The width of hidden_states is not that of the weight less its padding. The padding of the weights"
        f" (VLLM_MOE_PADDING or SGLANG_MOE_PADDING, 128) is taken off a weight that was loaded without it.{named}",
        against=(
            "a wrong fake: the check compares real tensors",
            "the add of routed and shared output: it comes after this kernel",
        ),
        look="the weight's last dimension beside hidden_states.shape[-1]; the same run with that variable set to 0",
        widths=widths(pair, padded=False) if pair else (),
        rule="the weights' padding of 128 elements",
        alignments=((128, ()),),
        tags=frozenset(("padded-weight",)),
        tries=(f"harness check --models {model.name if model else 'mixtral-8x7b'} --modes eager",),
    )
