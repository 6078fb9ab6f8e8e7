"""Whether lines quantise: a row is viewed as blocks that have one scale each."""

import re

from harness.diagnosis.facts import Facts

_NEAR, _NAMED = 3, 2
_QUANTISES = re.compile(
    r"(?<![A-Za-z0-9])\w*(?:nvfp4|mxfp[48]|quant(?:i[sz]e)?(?=_|\b|\d)|quanti[sz]|amax|absmax|block_?(?:scale|amax|max|size)|group_?(?:size|scale)"
    r"|per_(?:token_)?(?:group|block)|(?:weight|input|act|[aw]\d?)_scales?(?![a-z]))\w*"
)


def quantises(facts: Facts) -> str:
    """The names at the user's line, its function and the nearest callers that are of quantisation; empty for none or attention."""
    if facts.in_attention:
        return ""
    near = " ".join(f"{frame.function} {frame.code}" for frame in reversed(facts.users[-_NEAR:]))
    names = dict.fromkeys(found[0] for found in _QUANTISES.finditer(near))
    return ", ".join([*names][:_NAMED])


def viewed(facts: Facts, checked: bool) -> str:
    """What is done with a tensor that is not contiguous: a view, as of a row in blocks, or where ``checked`` a kernel's check."""
    if checked:
        return facts.called or "a kernel's check of an input"
    return "a view of rows as blocks (quantisation)" if quantises(facts) else facts.called or "a view"


def blocks(facts: Facts, checked: bool) -> str:
    """In words, that the lines quantise; empty where they do not, and for a kernel's own check."""
    names = "" if checked else quantises(facts)
    return (
        f" By its names the line is of quantisation ({names}): rows are viewed as blocks with one scale each."
        if names
        else ""
    )
