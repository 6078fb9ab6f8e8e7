"""A dynamic size that tracing fixed to a number, or tied to another."""

import re
from dataclasses import dataclass

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.guards.specialised import branch_on_padding, by_line, multiple_of
from harness.diagnosis.readers.pairs import counts_no_tokens, counts_tokens, nameless, speaks
from harness.diagnosis.surroundings import Surroundings

# Names of tensors that have sequences in a later dimension, and of those that have a width in the last one.
_SEQUENCES = re.compile(r"ids?$|position|mask|label|token|seq|cache|key|value|query", re.I)
_ACTIVATIONS = re.compile(r"hidden|state|residual|embed|logits|activation|^(?:x|h|hs|inp(?:ut)?s?)$", re.I)
_DIMENSION = re.compile(r"L\[['\"](?P<name>[^'\"]+)['\"]\][^ ]*?\.size\(\)\[(?P<dim>\d+)\]")

_EQUAL = re.compile(r"The values of (.{1,80}?) and (.{1,80}?) must always be equal")
_GUARD = re.compile(
    r"satisfy the generated guard (?P<condition>(?:L\['\w+'\]\.size\(\)\[\d+\]|\band\b|\bMod\b|\bEq\b|[()<>=!%*+/,\d -])+?)"
    r"\.?(?: (?=(?!L\[|Mod\(|Eq\()[A-Z]|- )|$)"
)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What became a constant, in words, and whether that is of this family."""

    size: str
    verdict: str
    command: str = "harness check --modes fake-dynamic"
    rows: bool = False


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
        return _tied(facts, around, name)
    what = _what(facts, found["name"], int(found["dim"])) if found else _unplaced(name)
    return Reading(
        verdict=what.verdict,
        stage=name,
        cause=f"Tracing fixed {what.size} to a number: {name} became the constant {constant}. {by_line(facts, constant)}",
        against=("padding: one size is named, and it is compared with no other",),
        look="TORCH_LOGS=+dynamic names the guard and its line; int(), a branch or a shape stored as a number there",
        widths=(Width(int(constant), False, (), rows=what.rows, counted=not (what.rows or "width" in what.size)),)
        if constant.isdigit()
        else (),
        tags=frozenset(("fixed",)),
        tries=(what.command,) if what.verdict != OTHER else (),
    )


def _unplaced(name: str) -> _Fixed:
    """What a dynamic size counts whose dimension the text leaves out: tokens where its own name says so."""
    named = re.search(r"tok|\bbatch", name, re.I)
    return _Fixed("the token count", FAMILY, rows=True) if named else _Fixed("a size", UNDECIDED)


def _what(facts: Facts, name: str, dim: int) -> _Fixed:
    """What a dimension counts, by the tensor's name: tokens in the first one, a sequence in later ones of ids and masks."""
    named = speaks(facts)
    if dim == 0 and counts_no_tokens(name):
        return _Fixed("a size, which is no token count by the tensor's name,", UNDECIDED if named else OTHER)
    if dim == 0 and (nameless(facts, name) or not counts_tokens(name)):
        return _Fixed("a count of rows (of tokens, if it is a layer's activation)", UNDECIDED, rows=True)
    if dim == 0:
        return _Fixed("the token count", FAMILY, rows=True)
    if _SEQUENCES.search(name):
        return _Fixed("the length of a sequence", FAMILY if named else OTHER)
    if _ACTIVATIONS.search(name):
        says = "a width, or the length of a sequence where the tensor has a batch before it,"
        return _Fixed(says, FAMILY if named else UNDECIDED, "harness prove")
    return _Fixed("a size", UNDECIDED if named else OTHER)


def _tied(facts: Facts, around: Surroundings, name: str) -> Reading:
    """Sizes that are tied, with the condition where the text has it."""
    step, filled = branch_on_padding(facts, around.pads_under_if)
    if step:
        return _branched(facts, name, step, filled)
    if step := multiple_of(facts):
        return _stepped(facts, name, step)
    if equal := _EQUAL.search(facts.whole):
        return _equal(name, *equal.groups())
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


def _stepped(facts: Facts, name: str, step: str) -> Reading:
    """A size that has to be a multiple of a number, as rows are that the code takes in blocks."""
    found = _DIMENSION.search(facts.whole)
    what = _what(facts, found["name"], int(found["dim"])) if found else _unplaced(name)
    return Reading(
        verdict=UNDECIDED if what.verdict == FAMILY else what.verdict,
        title="a dynamic size that has to be a multiple of a number",
        stage=name,
        cause=f"The code was traced for a multiple of {step} in {name}, which was declared to take any number: the suggested fix in "
        f"the text says so. Either rows are taken in blocks of {step} and nothing fills them up to one, or a branch asks for it.",
        against=("padding of a width: no width is compared",),
        look=f"the line that divides by {step}: fill the rows up to a multiple of {step} before it and cut them off after it, or "
        "declare the dimension so",
        tags=frozenset(("multiple",)),
        tries=(what.command,) if what.verdict == FAMILY else (),
    )


def _branched(facts: Facts, name: str, step: str, filled: bool) -> Reading:
    """A branch on the amount of a padding of rows, of which the trace has one side."""
    found = _DIMENSION.search(facts.whole)
    what = _what(facts, found["name"], int(found["dim"])) if found else _unplaced(name)
    amount, trace, fails = ("more than 0", "the pad", "multiples") if filled else ("0", "no pad", "other sizes")
    return Reading(
        verdict=what.verdict,
        title="a branch on the amount of a padding",
        stage=name,
        cause=f"The code fills {name} up to a multiple of {step} and asks first whether anything is missing, as `if pad:` does: a "
        f"guard in the text compares that amount with 0. It was traced at a size where the amount is {amount}: the trace has "
        f"{trace}, and does not hold for {fails}.",
        against=(
            "padding of a width: no width is compared",
            "rows that nothing fills up: the code does, on the other side",
        ),
        look=f"the branch: pad without one (a pad of 0 rows changes nothing), and declare no range (Dim.AUTO), as torch refuses a "
        f"view in blocks of {step} over a range still; or put pad, blocks and cut into one custom op. Another example takes the "
        "other side, and no more",
        tags=frozenset(("multiple",)),
        tries=(what.command,) if what.verdict != OTHER else (),
    )


def _equal(name: str, one: str, other: str) -> Reading:
    """Two sizes that were declared each on its own, and that the code needs to be the same."""
    return Reading(
        verdict=OTHER,
        title="a dynamic size that is tied to another or to a condition",
        stage=name,
        cause=f"Two sizes were declared each on its own, and the code works only where they are equal: {one} and {other}. They "
        "count the same rows, or one tensor is to have as many as the other.",
        against=("padding: no width is compared",),
        look="'Suggested fixes' in the text: declare them as one dimension",
    )
