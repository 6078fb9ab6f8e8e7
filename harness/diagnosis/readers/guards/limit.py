"""How often a function was compiled: once more, again and again, or up to the recompile limit, and what became of it there."""

import re

from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import LIMIT_INSIDE, LIMIT_IS_HARD, LIMIT_MET, RECOMPILING

# Only the warning of a limit has a last reason.
_LIMIT = re.compile(r"last reason|(?:recompile|cache)_?(?:size_)?[ _]?limit|Limit(?:Hit|Exceeded)", re.I)
# What raises at the first recompilation.
_ONCE = re.compile(r"RecompileError|error_on_recompile|[Dd]etected recompile when torch\.compile stance")
_HARD = re.compile(LIMIT_IS_HARD + r"\b(?P<fullgraph>[^|]{0,80}?(?:fullgraph|one_graph)=True)?")
_INSIDE = re.compile(LIMIT_INSIDE)


def outcome(facts: Facts) -> str:
    """A sentence, with a space before it; empty where the text shows no limit, or not what became of it."""
    if found := _HARD.search(facts.whole):
        why = "fullgraph=True makes it an error" if found["fullgraph"] else "a setting makes it an error"
        return f" At the limit Dynamo raised: {why}."
    if LIMIT_MET not in facts.whole or _INSIDE.search(facts.whole):
        return ""
    return " No exception of the limit is told with it: without one Dynamo runs each further variant uncompiled."


def often(facts: Facts, beyond: str) -> str:
    """What the text says of how often it was compiled: beyond a limit, or once more."""
    if _LIMIT.search(facts.whole):
        return f"{beyond} than the recompile limit"
    return "is compiled again and again" if facts.whole.count(RECOMPILING) > 1 else "is compiled once more"


def variants(facts: Facts) -> str:
    """What compiles in any case, so that it speaks against an error of the layer."""
    up_to = " up to the limit" if _LIMIT.search(facts.whole) else ""
    return f"an error of the layer: each variant{up_to} compiles"


def title(facts: Facts) -> str:
    """The heading where no limit was met: one more compilation, which a setting may make an error."""
    if _LIMIT.search(facts.whole) or facts.whole.count(RECOMPILING) > 1:
        return ""
    if _ONCE.search(facts.whole):
        return "a function that would be compiled once more, where a setting makes that an error"
    return "a function that is compiled once more" if RECOMPILING in facts.whole else ""
