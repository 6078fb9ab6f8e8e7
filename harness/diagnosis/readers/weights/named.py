"""The weight that a product is with, by the names at the user's line and at the lines that call it."""

import ast
import re

from harness.diagnosis.facts import Facts
from harness.diagnosis.frames import Frame
from harness.diagnosis.statements.factors import factors
from harness.diagnosis.statements.names import GATE
from harness.diagnosis.statements.parts import parsed
from harness.diagnosis.statements.weights import is_of_one, is_weight, weight_named

# What the routed experts gave, by its name.
_ROUTED = re.compile(r"rout(?:ed|er_out)|expert\w*_out|moe_out|fused_out")
_OF_ONE = re.compile(r"^(?:first|second|gate) projection$")


def weights_at(code: str) -> tuple[str, ...]:
    """The parts whose weights stand in products at a line, each once; of a product the right factor before the left."""
    found = [place_of(right) or (place_of(left) if is_weight(left) else "") for left, right in factors(code)]
    return tuple(dict.fromkeys(filter(None, found)))


def weight_given(frame: Frame) -> str:
    """The part whose weight a line gives to a function that it calls; empty for none, and for those of several parts."""
    tree = parsed(frame.code)
    calls = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = [arg for call in calls for arg in (*call.args, *(keyword.value for keyword in call.keywords))]
    found = {
        place for arg in given if is_weight(arg) and weight_named(arg, in_place=False) and (place := place_of(arg))
    }
    return found.pop() if len(found) == 1 else ""


def place_of(weight: ast.expr) -> str:
    """The part of the layer that a weight is of, in words; empty where its name does not tell."""
    part = weight_named(weight)
    if part and is_of_one(weight) and _OF_ONE.match(part):
        return f"{part} of an expert"
    return f"{GATE}, or a router of that name" if part == GATE else part


def is_of_routed(facts: Facts) -> bool:
    """Whether what goes into the product at the user's line is what the routed experts gave, by its name."""
    return any(_ROUTED.search(ast.unparse(left)) for left, _ in factors(facts.code))
