"""A dynamic size that tracing fixed to a number, or tied to another."""

import re

from harness.diagnosis.diagnosis import FAMILY, OTHER, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.surroundings import Surroundings

_DIMENSION = re.compile(r"L\[['\"](?P<name>[^'\"]+)['\"]\][^ ]*?\.size\(\)\[(?P<dim>\d+)\]")


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
        return _tied(name)
    width = found is not None and found["dim"] != "0"
    return Reading(
        verdict=FAMILY,
        stage=name,
        cause=f"Tracing fixed {'a width' if width else 'the token count'} to a number: {name} became the constant {constant}. "
        "Something in the code decides on it or makes an int of it.",
        against=("padding: one size is named, and it is compared with no other",),
        look="TORCH_LOGS=+dynamic names the guard and its line; int(), a branch or a shape stored as a number there",
        widths=(Width(int(constant), False, ()),) if constant.isdigit() else (),
        tags=frozenset(("fixed",)),
        tries=("harness prove" if width else "harness check --modes fake-dynamic",),
    )


def _tied(name: str) -> Reading:
    return Reading(
        verdict=OTHER,
        stage=name,
        cause="Sizes that were to be dynamic, each on its own or over a range, are tied to each other or to a condition.",
        against=("padding: no width is compared",),
        look="'Suggested fixes' in the text: declare them as one dimension, or with the condition",
    )
