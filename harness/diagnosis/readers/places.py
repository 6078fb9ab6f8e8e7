"""Which part of the layer a product is of, as far as the user's line and its callers name it."""

import re

from harness.diagnosis.code import operations
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.attention.called import attention_called
from harness.diagnosis.readers.callers import in_shared_expert, part_called
from harness.diagnosis.readers.weights.adapters import adapter_part
from harness.diagnosis.readers.weights.called import by_sizes
from harness.diagnosis.readers.weights.named import is_of_routed, weights_at
from harness.diagnosis.statements.einsum import equation_of
from harness.diagnosis.statements.met import met
from harness.diagnosis.statements.names import FIRST, GATE, SECOND
from harness.diagnosis.statements.weights import left_is_weight

_HEAD = re.compile(r"lm_head|logits|\bvocab|\bhead\b")
# Gate and up are the two halves of an expert's first product; a gate that is called, or has a weight of its own, routes.
_ROUTER = re.compile(r"router|^(?!.*(?:\bup\b|gate_up|\bw13\b)).*\bgate\b")
_EXPERT = re.compile(r"expert|\w\[(?:e|i|idx|eid|expert\w*)\]|\bw(?:1|2|3|13)\b", re.I)
_OF_ATTENTION = {
    "output projection of attention": re.compile(r"\b(?:o_proj|out_proj|wo|dense_out|c_proj)(?:\(|\.weight|\b)"),
    "qkv projection of attention": re.compile(
        r"\b(?:w?qkv\w*|[qkv]_(?:[ab]_)?proj\w*|query_key_value|in_proj\w*)(?:\(|\.weight)"
        r"|\bself\.w(?:qkv\w*|[qkv])\b"
    ),
}
# Names that attention alone has. Others, as out_proj, wo and in_proj, are of mixers and experts too.
_ATTENTIONS_OWN = re.compile(
    r"\b(?:o_proj|\w*qkv\w*|[qkv]_(?:[ab]_)?proj\w*|kv_[ab]_proj\w*|w[qkv]|query_key_value)(?:\(|\.weight|\b)"
)
_CALLS_ATTENTION, _NEAR = re.compile(r"\b\w*(?:attn|attention|mha)\w*\("), 4
_PROJECTIONS = {
    FIRST: re.compile(r"(?:gate_)?up_proj|\b(?:linear_)?fc1\b|\bw13(?:_(?:weight|qweight|data))?\b"),
    SECOND: re.compile(r"down_proj|\b(?:linear_)?fc2\b|\bw2(?:_(?:weight|qweight|data))?\b"),
}
_BATCHES = frozenset(("bmm", "baddbmm", "grouped_mm", "_grouped_mm"))
_BATCH = "product of a batch of weights, as of the routed experts"
_OF_ONE, _OF_SHARED = " of an expert", " of the shared expert"
_OF_AN_EXPERT = frozenset((FIRST, SECOND, GATE, "projection"))


def product_place(facts: Facts) -> str:
    """The part of the layer: by the names and the operation at the user's line, else by what its callers name.

    What is only added to the product, as the first argument of addmm is, names no part of it.
    """
    if adapter := adapter_part(facts):
        return adapter
    code, parts = met(facts.code), weights_at(facts.code)
    part = " or ".join(parts)
    if part.startswith(GATE) or len(parts) > 1:
        return part
    if several := by_sizes(facts, code):
        return f"{several}{_OF_SHARED}" if in_shared_expert(facts) else several
    if "gate_proj" in code:
        return f"{GATE}, or a router of that name"
    if not part and (_ROUTER.search(code) or (not facts.code and facts.seen("gate"))):
        return "router"
    projection = part.removesuffix(_OF_ONE) or _projection(code)
    if _is_batch(facts):
        return f"{projection}, a {_BATCH}" if projection else _BATCH
    if "latent" in part:
        return part
    if speaks_for("shared", _near(facts, code)) or (not facts.code and facts.seen("shared")):
        return f"{projection}{_OF_SHARED}" if projection else "shared expert"
    if part.endswith(_OF_ONE) or _EXPERT.search(_near(facts, code)):
        return f"{projection}{_OF_ONE}" if projection else "product of one expert's weight"
    place = "output head" if _HEAD.search(code) else projection or _unnamed(facts)
    return f"{place}{_OF_SHARED}" if place in _OF_AN_EXPERT and in_shared_expert(facts) else place


def _unnamed(facts: Facts) -> str:
    """The part of a product whose line does not name it."""
    if called := part_called(facts) or attention_called(facts):
        return called
    if is_of_routed(facts):
        return "projection of what the routed experts gave"
    return "projection" if facts.code else "projection, as one beside the routed experts is"


def _projection(code: str) -> str:
    """The projections that a line names; of a line that names both, as one that calls a kernel of both does, either."""
    return " or ".join(place for place, names in _PROJECTIONS.items() if names.search(code))


def _near(facts: Facts, code: str) -> str:
    """The line's product and the function that it stands in; without that where it may be named after what is added."""
    added = code != facts.code and speaks_for("shared", facts.code) and not speaks_for("shared", code)
    return code if added else f"{facts.function} {code}"


def _is_batch(facts: Facts) -> bool:
    """Whether each matrix of a batch meets one of another: by the operation, of an einsum by its indices."""
    done = operations(facts.code)
    if done & _BATCHES or facts.said("batch2") or facts.said("for bmm"):
        return True
    equation = equation_of(facts.code, facts.whole) if "einsum" in done or facts.said("einsum") else None
    return equation is not None and equation.is_of_a_batch(left_is_weight(facts.code))


def attention_part(facts: Facts) -> str:
    """The projection of attention that the user's line or its callers name; empty for none.

    A name that others have too counts where the line is of attention, or a line that led to it calls attention.
    """
    named = next((part for part, names in _OF_ATTENTION.items() if names.search(met(facts.code))), "")
    part = named or part_called(facts)
    if part and part not in _OF_ATTENTION:
        return ""
    return part if part and _is_attentions(facts) else attention_called(facts)


def _is_attentions(facts: Facts) -> bool:
    """Whether the lines of a projection are of attention, by their names or by what they call."""
    if facts.attends(met(facts.code)):
        return True
    codes = [frame.code for frame in facts.users[-_NEAR:]]
    return bool(_ATTENTIONS_OWN.search(codes[-1])) or any(map(_CALLS_ATTENTION.search, codes)) if codes else False
