"""The part of the layer that the user's frames call, where the innermost line is a helper's and names none."""

import ast
import re

from harness.diagnosis.facts import Facts
from harness.diagnosis.frames import Frame
from harness.diagnosis.readers.weights.named import weight_given
from harness.diagnosis.statements.factors import named
from harness.diagnosis.statements.names import GATE, projection_of
from harness.diagnosis.statements.parts import parsed

# How many frames out from the innermost one a part may be named.
_OUT = 4
_CALLEE = re.compile(r"\b(?:self|s|m|mod|module|layer|block|mlp)\.(?:\w+\.)*(?P<name>\w+)\(")
# Calls that pass on what they were given, whatever the part is.
_HELPERS = re.compile(r"_?(?:forward|apply|call|linear|impl|quant_method|kernel|func|fn|op|run|_call_impl)(?:_\w+)?")
_SHARED = re.compile(r"(?<![a-z])shared_?(?:experts?|mlp)|shared_output|sharedexpert", re.I)
_ROUTED = re.compile(r"rout(?:ed|er)|fused_(?:moe|experts)|self\.experts\(", re.I)
_FAR = 6  # how far out a caller may name the shared expert: modules of a linear layer stand between
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
    """The part that the nearest caller names, past helpers; empty where the user's line is no helper's or none is known.

    A caller names it by what it calls (``self.down_proj(x)``), or by the weight that it gives to a helper.
    """
    users = facts.users[-_OUT:]
    for place in reversed(range(len(users))):
        frame = _leading(users[place], users[place + 1].function) if place + 1 < len(users) else users[place]
        names = [found["name"] for found in _CALLEE.finditer(frame.code)]
        if part := _part(frame, names):
            return part
        if place + 1 < len(users) and any(not _HELPERS.fullmatch(name) for name in names):
            return ""
    return ""


def in_shared_expert(facts: Facts) -> bool:
    """Whether a caller names the shared expert, by its function or by all that it calls, and not the routed ones beside it."""
    users = facts.users[-_FAR:]
    led = (
        _leading(frame, users[place + 1].function) if place + 1 < len(users) else frame
        for place, frame in enumerate(users)
    )
    return any(_is_shared(frame.function) or _calls_shared(frame.code) for frame in led)


def _is_shared(text: str) -> bool:
    return bool(_SHARED.search(text)) and not _ROUTED.search(text)


def _calls_shared(code: str) -> bool:
    calls = [found[0] for found in _CALLEE.finditer(code)]
    return _is_shared(code) and all(map(_SHARED.search, calls))


def _leading(frame: Frame, function: str) -> Frame:
    """A frame with the call alone that led to a function, where its line has one of that name: its arguments came before it."""
    tree = parsed(frame.code)
    calls = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    of = [call for call in calls if named(call) == function.rpartition(".")[2]]
    if len(of) != 1:
        return frame
    held = [
        arg
        for arg in (*of[0].args, *(keyword.value for keyword in of[0].keywords))
        if not _CALLEE.match(ast.unparse(arg))
    ]
    return frame._replace(code=ast.unparse(ast.Call(of[0].func, held, [])))


def _part(frame: Frame, names: list[str]) -> str:
    """The part that one line names, by those of its calls or by a weight that it gives; empty for none."""
    known = [part for part, words in _PARTS if any(words.fullmatch(name) for name in names)]
    if known:
        return known[0]
    projections = {part for name in names if (part := projection_of(name, attribute=False))}
    if len(projections) == 1:
        part = projections.pop()
        return f"{part}, or a router of that name" if part == GATE else part
    return weight_given(frame)
