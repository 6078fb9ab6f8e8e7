"""A projection of attention whose line does not say so: the nearest caller calls attention."""

import re

from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import names_experts
from harness.diagnosis.readers.weights.named import weights_at

_OUT = 4  # how many frames out from the innermost one attention may be called
_ATTENTION = re.compile(
    r"(?:(?:self|cross|linear|flash|causal|sliding|full|local|global|latent|multi_?head)_)*(?:attn|attention|mha)\d*(?:_layer|_block)?"
)
# What is called beside it, around its input or its output.
_BESIDE = re.compile(r"\w*(?:norm|drop|ln)\w*")
_CALLEE = re.compile(r"\b(?:self|s|m|mod|module|layer|block|blk)\.(?:\w+(?:\[\w+\])?\.)*(?P<name>\w+)\(")
# A module that only passes on what it was given, and what a projection may be called by any layer.
_PASSES = re.compile(
    r"_?(?:forward|apply|call|linear|impl|quant_method|kernel|func|fn|op|run)(?:_\w+)?|(?:to_|c_|w)?(?:q|k|v|kv|qkv|o|out|dense|proj|attn|fc)(?:_proj)?"
)
_OUTPUT, _INPUT = (
    re.compile(r"(?:to_|w)?(?:o|out)(?:_proj)?|dense"),
    re.compile(r"(?:to_|w)?(?:q|k|v|kv|qkv)(?:_proj)?"),
)
_OWN = re.compile(r"\bself\.(\w+)")


def attention_called(facts: Facts) -> str:
    """The projection of attention at the user's line, where the nearest caller that names a part calls attention; else empty."""
    users = facts.users[-_OUT:]
    if not users or names_experts(facts) or weights_at(facts.code) or not _passes(_names(users[-1].code)):
        return ""
    for frame in reversed(users[:-1]):
        names = _names(frame.code)
        if _attends(names):
            return _part(_OWN.findall(users[-1].code))
        if not names or not _passes(names):
            return ""
    return ""


def _names(code: str) -> list[str]:
    return [found["name"] for found in _CALLEE.finditer(code)]


def _passes(names: list[str]) -> bool:
    return all(map(_PASSES.fullmatch, names))


def _attends(names: list[str]) -> bool:
    """Whether a line calls attention, and beside it norms alone: another part may be what was running."""
    named = [name for name in names if not _BESIDE.fullmatch(name)]
    return bool(named) and all(map(_ATTENTION.fullmatch, named))


def _part(names: list[str]) -> str:
    """Its projection, by what the user's line calls or takes of the module."""
    if any(map(_OUTPUT.fullmatch, names)):
        return "output projection of attention"
    return "qkv projection of attention" if any(map(_INPUT.fullmatch, names)) else "projection of attention"
