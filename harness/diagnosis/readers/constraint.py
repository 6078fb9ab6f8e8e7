"""A dynamic size that tracing fixed to a number, or tied to another."""

import re
from dataclasses import dataclass

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import counts_no_tokens, counts_tokens, nameless, speaks
from harness.diagnosis.surroundings import Surroundings

# Names of tensors that have sequences in a later dimension, and of those that have a width in the last one.
_SEQUENCES = re.compile(r"ids?$|position|mask|label|token|seq|cache|key|value|query", re.I)
_ACTIVATIONS = re.compile(r"hidden|state|residual|embed|logits|activation|^(?:x|h|hs|inp(?:ut)?s?)$", re.I)
_DIMENSION = re.compile(r"L\[['\"](?P<name>[^'\"]+)['\"]\][^ ]*?\.size\(\)\[(?P<dim>\d+)\]")

_GUARD = re.compile(
    r"satisfy the generated guard (?P<condition>(?:L\['\w+'\]\.size\(\)\[\d+\]|\band\b|\bMod\b|\bEq\b|[()<>=!%*+/,\d -])+?)"
    r"\.?(?: Suggested| - | The error|$)"
)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What became a constant, in words, and whether that is of this family."""

    size: str
    verdict: str
    command: str = "harness check --modes fake-dynamic"


def read_constraint(facts: Facts, around: Surroundings) -> Reading:
    """Which dimension became which constant."""
    found = _DIMENSION.search(facts.whole)
    name = (
        f"dimension {found['dim']} of {found['name']}"
        if found
        else facts.match.groups.get("dimension", "a dynamic size")
    )
    constant = next((m.groups["constant"] for m in facts.texts.every(facts.match) if "constant" in m.groups), "")
    if not constant:
        return _tied(facts, name)
    what = _what(facts, found["name"], int(found["dim"])) if found else _unplaced(name)
    return Reading(
        verdict=what.verdict,
        stage=name,
        cause=f"Tracing fixed {what.size} to a number: {name} became the constant {constant}. "
        "Something in the code decides on it or makes an int of it.",
        against=("padding: one size is named, and it is compared with no other",),
        look="TORCH_LOGS=+dynamic names the guard and its line; int(), a branch or a shape stored as a number there",
        widths=(Width(int(constant), False, ()),) if constant.isdigit() else (),
        tags=frozenset(("fixed",)),
        tries=(what.command,) if what.verdict != OTHER else (),
    )


def _unplaced(name: str) -> _Fixed:
    """What a dynamic size counts whose dimension the text leaves out: tokens where its own name says so."""
    return _Fixed("the token count", FAMILY) if re.search(r"tok|\bbatch", name, re.I) else _Fixed("a size", UNDECIDED)


def _what(facts: Facts, name: str, dim: int) -> _Fixed:
    """What a dimension counts, by the tensor's name: tokens in the first one, a sequence in later ones of ids and masks."""
    named = speaks(facts)
    if dim == 0 and counts_no_tokens(name):
        return _Fixed("a size, which is no token count by the tensor's name,", UNDECIDED if named else OTHER)
    if dim == 0 and (nameless(facts, name) or not counts_tokens(name)):
        return _Fixed("a count of rows (of tokens, if it is a layer's activation)", UNDECIDED)
    if dim == 0:
        return _Fixed("the token count", FAMILY)
    if _SEQUENCES.search(name):
        return _Fixed("the length of a sequence", FAMILY if named else OTHER)
    if _ACTIVATIONS.search(name):
        says = "a width, or the length of a sequence where the tensor has a batch before it,"
        return _Fixed(says, FAMILY if named else UNDECIDED, "harness prove")
    return _Fixed("a size", UNDECIDED if named else OTHER)


def _tied(facts: Facts, name: str) -> Reading:
    """Sizes that are tied, with the condition where the text has it."""
    guard = _GUARD.search(facts.whole)
    condition = f" The code was traced for {guard['condition']}, and other sizes take another path." if guard else ""
    return Reading(
        verdict=OTHER,
        title="a dynamic size that is tied to another or to a condition",
        stage=name,
        cause="Sizes that were to be dynamic, each on its own or over a range, are tied to each other or to a condition."
        + condition,
        against=("padding: no width is compared",),
        look="'Suggested fixes' in the text: declare them as one dimension, or with the condition",
    )
