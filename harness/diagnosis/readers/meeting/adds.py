"""An add of two widths, and an update in training, which reads the same."""

import re
from dataclasses import replace

from harness.diagnosis.code import operands
from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import NO_FAKE, evident, modes, names_padding, padded, widths
from harness.diagnosis.statements.sums import is_residual
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks, model_for
from harness.diagnosis.widths import Pair

_OF_BIAS, _RESIDUAL = "add of a bias", "residual add"
_ANY_ADD = "add, such as the shared one or the residual's"
_NO_LOAD = "a checkpoint of another width: these lines have no copy_ and no load of weights"


def read_update(facts: Facts, pair: Pair) -> Reading:
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


def read_state(pair: Pair) -> Reading:
    """A step of an optimiser whose state is of another size than the weight, and padding does not say why."""
    return Reading(
        verdict=OTHER,
        stage="a step of the optimiser",
        cause=f"A state of the optimiser and the weight or its gradient do not fit, {pair.narrow} and {pair.wide}. The state was "
        "made for a weight of another size: it was loaded from a checkpoint of another model or another sharding, or the weight was "
        "replaced after the state was made.",
        against=("padding of an activation: no layer runs in a step of the optimiser",),
        look="which checkpoint the state is from; whether a weight was resized, merged or sharded after the optimiser was made",
        widths=widths(pair, padded=False),
        rule="no rule",
        tags=frozenset(("state",)),
    )


def read_add(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    """An add. A bare message whose first operand is the padded one may be a copy at load, which reads the same."""
    model, known = model_for(around, pair), evident(facts, pair)
    has_shared = model is not None and model.shared_intermediate is not None
    where = _which_add(facts, facts.seen("shared") or (known and has_shared))
    if where == _OF_BIAS:
        return _read_bias(facts, around, pair, first)
    shared = where == "shared add"
    beside = _shared_place(facts) if shared else None
    if beside is not None and beside == (first != pair.wide):  # the wide one is the shared expert's
        return _read_shared(facts, around, pair, first)
    sure = bool(facts.frames) or facts.phase == "traced" or first == pair.narrow
    cause = f"The padding was not cut off before the {where}: {pair.rounded()}."
    either = f"{pair.rounded()}. In an add, the padding was not cut off before it; at load, a checkpoint's width meets a parameter"
    return padded(
        pair,
        sure=known,
        named=names_padding(facts),
        tags=_tags(facts, where, sure),
        stage=where
        if sure
        else f"{where}; or the load of the weights, where copy_ or load_weights stands above this line",
        operands=_operands(pair, first, shared and (beside is not None or not facts.code)),
        cause=cause if sure else f"{either} made at the padded one.",
        against=(NO_FAKE, *((_NO_LOAD,) if sure else ()), *not_heads(pair)),
        tries=checks(facts, around, pair, modes(facts), shared),
    )


def _shared_place(facts: Facts) -> int | None:
    """Which of the two operands at the user's line is the shared expert's, 0 or 1; None where the line does not tell."""
    named = [speaks_for("shared", name) for name in operands(facts.code, 2)]
    return named.index(True) if sum(named) == 1 else None


def _read_shared(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    """The shared expert's output is the wide one: what is told of the routed one elsewhere is of it here."""
    narrow, wide = ("second", "first") if first == pair.wide else ("first", "second")
    return padded(
        pair,
        sure=evident(facts, pair),
        named=names_padding(facts),
        stage="shared add",
        operands=(
            f"{narrow}, {pair.narrow}: at the true width",
            f"{wide}, {pair.wide}: the shared expert's output, padded",
        ),
        cause=f"The shared expert's output is the padded one: {pair.rounded()}. Its padding was not cut off before the shared add.",
        against=(
            NO_FAKE,
            _NO_LOAD,
            "the routed experts' padding: the wide operand is the other one",
            *not_heads(pair),
        ),
        look="the shared expert's last projection: how its weight is padded, and who cuts that off",
        tries=checks(facts, around, pair, modes(facts)),
    )


def read_product_bias(facts: Facts, around: Surroundings, pair: Pair, product: int) -> Reading:
    """The bias of a product, which has another width than the product; ``product`` is the product's."""
    bias = pair.narrow if product == pair.wide else pair.wide
    why = (
        "The bias was not padded where the weight was."
        if bias == pair.narrow
        else "The bias was padded and the weight was not."
    )
    return padded(
        pair,
        sure=evident(facts, pair),
        named=names_padding(facts),
        stage="the bias of a product",
        operands=(f"the product, {product} wide", f"the bias, {bias} wide"),
        cause=f"The bias has one of the widths, and the product that it is added to has the other: {pair.rounded()}. {why}",
        against=(NO_FAKE, *not_heads(pair)),
        look="how the bias is made and loaded, beside the weights of the same product",
        tries=checks(facts, around, pair, modes(facts), shared=False),
    )


def _read_bias(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    return padded(
        pair,
        sure=evident(facts, pair),
        named=names_padding(facts),
        tags=(),
        stage=_OF_BIAS,
        operands=(f"first: {first}", f"second: {pair.wide if first == pair.narrow else pair.narrow}"),
        cause=f"The bias has one of the widths, and the rows that it is added to have the other: {pair.rounded()}. The bias was not "
        "padded where the weights were, or the padding was not cut off before it.",
        against=(NO_FAKE, *not_heads(pair)),
        look="how the bias is made and loaded, beside the weights of the same product",
        tries=checks(facts, around, pair, modes(facts), shared=False),
    )


def _tags(facts: Facts, where: str, sure: bool) -> tuple[str, ...]:
    """What public bugs are matched by; those of an add are of vLLM's shared one.

    The text has a word of vLLM or of a shared expert; or it is a message alone, at the width of a model with such an expert.
    """
    if where == _RESIDUAL:
        return ()
    alone = where == "shared add" and not facts.code
    shared = ("add",) if alone or facts.seen("vllm") or facts.seen("shared") else ()
    return shared if sure else (*shared, "load-or-add")


def _which_add(facts: Facts, has_shared: bool) -> str:
    """The add at the user's line, as far as its names tell; without the line, by whether the model has a shared expert."""
    if not facts.code:
        return "shared add" if has_shared else _ANY_ADD
    if speaks_for("shared", facts.code):
        return "shared add"
    if re.search(r"bias", facts.code, re.I):
        return _OF_BIAS
    if re.search(r"resid|skip", facts.code, re.I) or is_residual(facts.code):
        return _RESIDUAL
    return "add at the user's line, such as the shared one or the residual's"


def _operands(pair: Pair, first: int, shared: bool) -> tuple[str, str]:
    narrow, wide = ("second", "first") if first == pair.wide else ("first", "second")
    of, routed = (" (the shared expert's output)", " (the routed experts' output)") if shared else ("", "")
    return (
        f"{narrow}, {pair.narrow}: at the true width{of}",
        f"{wide}, {pair.wide}: still padded{routed}",
    )


def not_heads(pair: Pair) -> tuple[str, ...]:
    """What speaks against numbers of attention heads, where the two sizes could be such."""
    if not pair.heads:
        return ()
    few, many, size = pair.heads
    return (f"attention heads ({few} and {many} of {size}): a rule for padding fits, and the line is not of attention",)
