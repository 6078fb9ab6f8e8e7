"""Numbers of rows: batches filled up to a captured size, token counts that were fixed, functions compiled too often."""

import re

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.sizes import as_data, is_bucket, rows, widths
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.widths import read_pair

_DIMENSION = re.compile(r"L\[['\"](?P<name>[^'\"]+)['\"]\](?P<path>[^ ]*?)\.size\(\)\[(?P<dim>\d+)\]")
_TOKENS = re.compile(r"input_ids|positions|token|batch|hidden_states|num_|rows|seq|\bx\b", re.I)
_NAME_GUARD = re.compile(r"layer_name|prefix|(?:==|!=) ?['\"][\w.]*(?:layer|expert|mlp)[\w.]*['\"]|model\.layers")


def read_rows(facts: Facts, around: Surroundings) -> Reading:
    """A kernel's check of the number of rows against metadata."""
    groups = next(
        (m.groups for m in (facts.match, *facts.texts.every(facts.match)) if {"want", "got"} <= m.groups.keys()), {}
    )
    if not (groups.get("want", "").isdigit() and groups.get("got", "").isdigit()):
        return Reading(
            verdict=UNDECIDED,
            cause="A kernel counts other rows than its metadata says.",
            look="the numbers in the message",
        )
    want, got = int(groups["want"]), int(groups["got"])
    if want == got or not is_bucket(*sorted((want, got))):
        return Reading(
            verdict=UNDECIDED,
            stage="rows of a batch",
            cause=f"A kernel expects {want} rows and is given {got}. That is not what a batch of {min(want, got)} is filled up to.",
            against=("padding of widths: these are rows",),
            look="who made the metadata, and for which batch",
            widths=(Width(want, False, ()), Width(got, False, ())),
        )
    few, many = sorted((want, got))
    graph = facts.seen("replay")
    return Reading(
        verdict=FAMILY,
        stage=("replay" if graph else "a batch that is filled up") + ", metadata per token",
        operands=(f"{many} rows: the batch, filled up", f"{few} rows: the metadata of the real tokens"),
        cause=f"The rows are filled up to the captured size, {many} for a batch of {few}, and the metadata is of the {few} real ones.",
        against=(
            "padding of widths: dimension 0 counts tokens",
            "an error of the capture: the sizes are compared before anything is captured or run",
        ),
        look="metadata made for the filled batch, or a kernel that is told the real number of rows",
        widths=(Width(few, False, ()), Width(many, True, ())),
        rule=f"{many} = bucket of {few}",
        tags=frozenset(("bucket", *(("replay",) if graph else ()))),
        tries=(f"harness check --modes cudagraph-dynamic --tokens {few}",),
    )


def read_constraint(facts: Facts, around: Surroundings) -> Reading:
    """A dynamic size that tracing fixed to a number, or tied to another."""
    found = _DIMENSION.search(facts.whole)
    name = (
        f"dimension {found['dim']} of {found['name']}"
        if found
        else facts.match.groups.get("dimension", "a dynamic size")
    )
    constant = next((m.groups["constant"] for m in facts.texts.every(facts.match) if "constant" in m.groups), "")
    if not constant:
        return _tied(facts, name)
    width = found is not None and found["dim"] != "0"
    what = "a width" if width else "the token count"
    return Reading(
        verdict=FAMILY,
        stage=name,
        cause=f"Tracing fixed {what} to a number: {name} became the constant {constant}. Something in the code decides on it or makes an int of it.",
        against=("padding: one size is named, and it is compared with no other",),
        look="TORCH_LOGS=+dynamic names the guard and its line; int(), a Python branch or a shape stored as a number there",
        widths=(Width(int(constant), False, ()),) if constant.isdigit() else (),
        tags=frozenset(("fixed",)),
        tries=("harness prove" if width else "harness check --modes fake-dynamic",),
    )


def _tied(facts: Facts, name: str) -> Reading:
    return Reading(
        verdict=OTHER,
        stage=name,
        cause="Two sizes that were to be dynamic each on its own, or over a range, are tied to each other or to a condition by the code.",
        against=("padding: no width is compared",),
        look="'Suggested fixes' in the text: declare them as one dimension, or with the condition",
    )


def read_recompile(facts: Facts, around: Surroundings) -> Reading:
    """A function that is compiled again and again: by the guard in the text, what changes from call to call."""
    sized = next(
        (m.groups for m in facts.texts.every(facts.match) if {"want", "got", "index"} <= m.groups.keys()), None
    )
    if _NAME_GUARD.search(facts.whole) and not sized:
        return _named_layer()
    if sized and sized["want"].isdigit() and sized["got"].isdigit():
        return _resized(facts, sized["guarded"], int(sized["index"]), int(sized["want"]), int(sized["got"]))
    return Reading(
        verdict=OTHER,
        stage=facts.match.groups.get("guarded", ""),
        cause="One compiled function was given more variants than the recompile limit. The text does not say that a token count or a width is what changes.",
        against=("padding: no two widths meet", "an error of the layer: each variant compiles"),
        look="TORCH_LOGS=recompiles: the guard that fails each time",
    )


def _resized(facts: Facts, name: str, index: int, want: int, got: int) -> Reading:
    pair = read_pair(want, got) if want != got and want and got else None
    if pair is not None and pair.padded:
        return Reading(
            verdict=FAMILY,
            stage=f"dimension {index} of {name}",
            cause=f"{name} comes at the true width in one call and padded in another: {pair.rounded()}.",
            against=("the token count: the guard is on a width",),
            widths=widths(pair),
            rule=pair.rounded(),
            alignments=as_data(pair),
            look="who pads it, and where that is left out",
            tags=frozenset(("padded",)),
            tries=("harness check --modes compiled-dynamic",),
        )
    sizes = (Width(want, False, ()), Width(got, False, ()))
    activation = index == 0 and "parameter" not in facts.whole and _TOKENS.search(name)
    if activation:
        return Reading(
            verdict=FAMILY,
            stage=f"dimension 0 of {name}",
            cause=f"The token count is a constant in the compiled code: {want} in one call, {got} in another, and each batch size compiles again.",
            against=("padding: dimension 0 counts tokens",),
            look="mark that dimension as dynamic; TORCH_LOGS=recompiles names what fixes it",
            widths=sizes,
            rule="no rule",
            tags=frozenset(("fixed",)),
            tries=("harness check --modes compiled-dynamic",),
        )
    return Reading(
        verdict=OTHER,
        stage=f"dimension {index} of {name}",
        cause=f"One compiled function is called with more shapes than the recompile limit: dimension {index} of {name} was {want} and is {got}.",
        against=(
            f"padding: no rule makes {max(want, got)} of {min(want, got)}",
            "the token count: the guard is not on a batch's rows",
        ),
        look="TORCH_LOGS=recompiles; torch._dynamo.mark_dynamic, or one compiled function for each group of shapes",
        widths=sizes,
        rule="no rule",
        tags=frozenset(("shapes",)),
    )


def _named_layer() -> Reading:
    return Reading(
        verdict=FAMILY,
        stage="an argument that names the layer",
        cause="A string that differs from layer to layer is a guard, so each layer compiles again.",
        against=("padding and token counts: the guard is on a name",),
        look="keep the layer's name out of what is traced, or make it part of the op's state",
        tags=frozenset(("name-guard",)),
        tries=("harness check --modes compiled-dynamic",),
    )


__all__ = ["read_constraint", "read_recompile", "read_rows", "rows"]
