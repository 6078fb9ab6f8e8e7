"""The part of the layer that the user's frames call, where the innermost line is a helper's and names none."""

import re

from harness.diagnosis.facts import Facts

# How many frames out from the innermost one a part may be named.
_OUT = 4
_CALLEE = re.compile(r"\b(?:self|s|m|mod|module|layer|block|mlp)\.(?:\w+\.)*(?P<name>\w+)\(")
# Calls that pass on what they were given, whatever the part is.
_HELPERS = re.compile(r"_?(?:forward|apply|call|linear|impl|quant_method|kernel|func|fn|op|run|_call_impl)(?:_\w+)?")
_PARTS = (
    ("router", re.compile(r"gate|router|(?:gate|router)_(?:linear|proj_moe)|_?router_gate")),
    ("shared expert", re.compile(r"_?shared_(?:expert|mlp|output)s?\w*")),
    ("second projection", re.compile(r"down_proj|w2|(?:linear_)?fc2|dense_4h_to_h")),
    ("first projection", re.compile(r"(?:gate_)?up_proj|gate_up|w1|w3|w13|(?:linear_)?fc1|dense_h_to_4h")),
    (
        "qkv projection of attention",
        re.compile(r"(?:w?qkv|query_key_value|[qkv]|in)(?:_(?:proj|linear|a_proj|b_proj))?"),
    ),
    ("output projection of attention", re.compile(r"(?:o|out)_proj|wo|dense_out")),
    ("output head", re.compile(r"lm_head|output_layer")),
)


def part_called(facts: Facts) -> str:
    """The part that the nearest caller names, past helpers; empty where the user's line is no helper's or none is known."""
    for frame in reversed(facts.users[-_OUT:]):
        names = [found["name"] for found in _CALLEE.finditer(frame.code)]
        for part, known in _PARTS:
            if any(known.fullmatch(name) for name in names):
                return part
        if frame is not facts.users[-1] and any(not _HELPERS.fullmatch(name) for name in names):
            return ""
    return ""
