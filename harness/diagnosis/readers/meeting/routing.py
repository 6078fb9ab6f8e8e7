"""Two sizes at a router's line: numbers of experts, or of those that a token chooses."""

import re

from harness.diagnosis.diagnosis import OTHER, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import widths
from harness.diagnosis.widths import Pair

_ROUTES = re.compile(
    r"correction_bias|router_logits|gating_output|routing_(?:logits|weights|bias)|topk_(?:weights|ids|indices)"
    r"|expert_(?:map|mask|ids|scores)|selected_experts|e_score"
)
# A kernel's check names what it counts.
_CHECKED = re.compile(r"top_?k|expert_(?:ind|id|map)|num_(?:local_|global_)?experts|n_group|routing", re.I)
_MOST = 1024


def of_experts(facts: Facts, pair: Pair) -> bool:
    """Whether the user's line is of routing, and neither size is a model's width."""
    checked = facts.message if "heck" in facts.match.text or "CHECK" in facts.match.text else ""
    return pair.wide <= _MOST and bool(_ROUTES.search(facts.code) or _CHECKED.search(checked)) and not facts.loads


def read_experts(facts: Facts, pair: Pair) -> Reading:
    """Numbers of experts that differ."""
    return Reading(
        verdict=OTHER,
        stage="the router",
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. The text is of routing: they may be numbers "
        "of experts (all of them, a rank's own, with redundant, shared or filled-up ones), of groups of them, or of those that a "
        "token chooses; or numbers of tokens.",
        against=("padding of a width: no width of an activation meets there",),
        look="the shapes of both at the user's line; num_experts, its share of a rank, and top_k of the configuration",
        widths=widths(pair, padded=False),
        rule="no rule",
        tags=frozenset(("experts",)),
    )
