"""Which part of the layer a product is of, as far as the user's line and its callers name it."""

import re

from harness.diagnosis.code import operations
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.callers import part_called

_HEAD = re.compile(r"lm_head|logits|\bvocab|\bhead\b")
# Gate and up are the two halves of an expert's first product; a gate that is called, or has a weight of its own, routes.
_ROUTER = re.compile(r"router|^(?!.*(?:\bup\b|gate_up|\bw13\b)).*\bgate\b")
_EXPERT = re.compile(r"expert|\w\[(?:e|i|idx|eid|expert\w*)\]|\bw(?:1|2|3|13)\b", re.I)
_OF_ATTENTION = {
    "output projection of attention": re.compile(r"\b(?:o_proj|out_proj|wo|dense_out|c_proj)(?:\(|\.weight|\b)"),
    "qkv projection of attention": re.compile(
        r"\b(?:w?qkv\w*|[qkv]_(?:[ab]_)?proj\w*|query_key_value|in_proj\w*)(?:\(|\.weight)"
    ),
}
SECOND = "second projection"
_PROJECTIONS = {
    SECOND: re.compile(r"down_proj|\b(?:linear_)?fc2\b|\bw2(?:_(?:weight|qweight|data))?\b"),
    "first projection": re.compile(r"(?:gate_)?up_proj|\b(?:linear_)?fc1\b|\bw13(?:_(?:weight|qweight|data))?\b"),
}


def product_place(facts: Facts) -> str:
    """The part of the layer: by the names and the operation at the user's line, else by what its callers name."""
    done = operations(facts.code)
    projection = next((place for place, names in _PROJECTIONS.items() if names.search(facts.code)), "")
    if "gate_proj" in facts.code:
        return "gate projection, or a router of that name"
    if _ROUTER.search(facts.code) or (not facts.code and facts.seen("gate")):
        return "router"
    if done & {"einsum", "bmm", "baddbmm", "grouped_mm", "_grouped_mm"} or facts.said("batch2"):
        batch = "product of a batch of weights, as of the routed experts"
        return f"{projection}, a {batch}" if projection else batch
    if speaks_for("shared", f"{facts.function} {facts.code}") or (not facts.code and facts.seen("shared")):
        return "shared expert"
    if _EXPERT.search(f"{facts.function} {facts.code}"):
        return f"{projection} of an expert" if projection else "product of one expert's weight"
    if _HEAD.search(facts.code):
        return "output head"
    if projection:
        return projection
    return part_called(facts) or ("projection" if facts.code else "projection beside the routed experts")


def attention_part(facts: Facts) -> str:
    """The projection of attention that the user's line or its callers name; empty for none."""
    named = next((part for part, names in _OF_ATTENTION.items() if names.search(facts.code)), "")
    part = named or part_called(facts)
    return part if part in _OF_ATTENTION else ""
