"""Weights that a text shows: shapes under their names, inputs of compiled code, and the tensor that a line reshapes."""

import ast
import re
from functools import lru_cache

from harness.diagnosis.statements.factors import given_to, named
from harness.diagnosis.statements.names import projection_of, words_of
from harness.diagnosis.statements.parts import parsed

_JOINED = re.compile(r"(?<![a-z0-9])w(?:13|31)(?![0-9])|gate_?(?:and_?)?up", re.I)
_SHAPE = r"[\[(](?P<sizes>\d{1,7}(?:, ?\d{1,7}){1,2})[\])]"
# A weight's name with its shape behind it, as a print or a listing has it.
_NAMED = re.compile(
    r"(?:weight|(?<![a-z0-9])w(?:13|31|2)|gate_up_proj|down_proj|up_proj)(?:_(?:weight|data))?(?:\.data)?(?:\.weight)?"
    rf"(?:\.shape|\.size\(\))?['\"]?(?: ?[:=]| is| has shape| of shape)? ?(?:torch\.Size\()?{_SHAPE}",
    re.I,
)
_INPUT = re.compile(rf"assert_size_stride\((?:arg|primals_)\w{{1,12}}, ?{_SHAPE}")
_RESHAPES = frozenset(("view", "reshape", "view_", "reshape_as", "unflatten"))
# Functions that load or prepare weights, and the words of a weight's name.
_LOADS = re.compile(
    r"(?:^|[._])(?:load|loads|loader)(?:_|$)|weight_loader|(?:^|[._])w(?:13|31|1|2|3)(?:_|$)"
    r"|(?:process|prepare|shuffle|pad|pack|unpack|swizzle|convert|shard|split|stack|fuse|repack)_(?:\w{1,40}_)?(?:weights?|params?)",
    re.I,
)
_WEIGHT_WORDS = frozenset(("weight", "weights", "qweight", "param", "params", "shard", "loaded", "checkpoint", "ckpt"))
_OF_WEIGHTS = re.compile(r"weight|param|shard|expert|(?<![a-z0-9])w(?:13|31|1|2|3)(?![0-9])", re.I)
_ACTIVATIONS = re.compile(
    r"hidden|states?|act(?:ivation)?s?|out(?:put)?s?|x|hs?|y|tokens?|rows|inputs?|residual|cache|intermediate|buf(?:fer)?|workspace"
    r"|topk|router|routing|scores?|logits|weighted"
)
# What a first product gave may be called by these words alone.
_OUTPUTS = frozenset(("gate", "up", "down", "gate_up", "gateup"))
_EXPERTS = frozenset(("experts", "expert", "e", "n_experts", "num_experts"))


def is_joined(names: str) -> bool:
    """Whether names are of the weight that holds gate and up as one."""
    return bool(_JOINED.search(names))


@lru_cache(maxsize=4)
def shown_weights(text: str, differ: frozenset[int]) -> tuple[tuple[int, ...], ...]:
    """The shapes that a text shows under a weight's name, or as inputs of compiled code, and that have one of these sizes.

    Of an input, the last size is no sign: an activation ends with its width as well.
    """
    if not differ:
        return ()
    called = (_numbers(found) for found in _NAMED.finditer(text))
    inputs = (_numbers(found) for found in _INPUT.finditer(text))
    shapes = (*called, *(shape for shape in inputs if shape[-1] not in differ))
    return tuple(dict.fromkeys(shape for shape in shapes if not differ.isdisjoint(shape)))


def _numbers(found: re.Match[str]) -> tuple[int, ...]:
    return tuple(map(int, found["sizes"].split(",")))


@lru_cache(maxsize=4)
def reshapes_weight(function: str, code: str) -> bool:
    """Whether what a line reshapes is a weight: by its name, else by the function that loads or prepares one."""
    source = _source(code)
    words = _words(source)
    if activation_reshaped(code):
        return False
    alone = len(source) == 1 and words <= _OUTPUTS
    if words & _WEIGHT_WORDS or (not alone and any(projection_of(name, len(source) > 1) for name in source)):
        return True
    return loads_weight(function) or _takes_a_shard(code)


def loads_weight(function: str, surely: bool = False) -> bool:
    """Whether a function loads or prepares a weight, by its name; ``surely`` where the name says of what."""
    found = _LOADS.search(function)
    return found is not None and (not surely or bool(_OF_WEIGHTS.search(function)))


def activation_reshaped(code: str) -> bool:
    """Whether what a line reshapes is an activation, or a router's score, by its name."""
    return any(map(_ACTIVATIONS.fullmatch, _words(_source(code))))


def _words(names: tuple[str, ...]) -> set[str]:
    """The words of names, as they are written and as parts of a layer's names are."""
    return {word for name in names for word in (*words_of(name), *name.lower().split("_"))}


@lru_cache(maxsize=4)
def _source(code: str) -> tuple[str, ...]:
    """The names of the tensor that a line reshapes; empty where it shows none."""
    for call in _reshapes(code):
        given = given_to(call)
        if given:
            return tuple(str(getattr(n, "attr", getattr(n, "id", ""))) for n in ast.walk(given[0]) if _is_name(n))
    return ()


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute | ast.Name)


def _reshapes(code: str) -> list[ast.Call]:
    tree = parsed(code)
    calls = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if named(call) in _RESHAPES]


def sizes_named(code: str) -> list[str]:
    """What a line's reshape takes as sizes, each as it is written; empty where it shows none."""
    for call in _reshapes(code):
        given = call.args[-1:] if call.args and isinstance(call.args[-1], ast.Tuple | ast.List) else call.args
        parts = [part for arg in given for part in (arg.elts if isinstance(arg, ast.Tuple | ast.List) else [arg])]
        return [ast.unparse(part) for part in parts]
    return []


def _takes_a_shard(code: str) -> bool:
    """Whether a line's shape is of experts and of a shard: ``t.view(experts, 2 * shard, hidden)``."""
    for call in _reshapes(code):
        words = [word for arg in call.args for n in ast.walk(arg) if isinstance(n, ast.Name) for word in words_of(n.id)]
        if "shard" in words and not _EXPERTS.isdisjoint(words):
            return True
    return False
