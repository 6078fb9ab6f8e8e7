"""Whether the tensors that meet at a line have positions, heads or places of a cache in each dimension, and no hidden width."""

import re

from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.ops.padding import fills_up
from harness.diagnosis.statements.sums import is_residual

_ROTARY = re.compile(
    r"(?<![a-z])m?rope(?![a-z])|rotary|rotate_(?:half|every_two|queries|keys|qk?|k)(?![a-z])|freqs?_(?:cis|cos|sin)|cos_sin",
    re.I,
)
_TABLE = re.compile(r"(?<![A-Za-z])(?:cos|sin)(?:_?(?:cached?|table|emb|half|pos)|_[qk])?(?![A-Za-z_(])")
_SCORES = re.compile(
    r"(?:attn|attention|causal|window|key_padding|padding)_?(?:mask|bias)|(?:attn|attention)_(?:weights?|scores?|probs?)"
    r"|alibi|position_bias|rel_pos|softmax",
    re.I,
)
_BIASES = re.compile(r"(?<![A-Za-z])alibi|(?:position|rel_pos|relative)_bias", re.I)
_CACHE = re.compile(
    r"(?<![A-Za-z])(?:past_)?(?:kv|keys?|values?|k|v)_?(?:caches?|pool|buffer)(?![a-z])|past_(?:keys?|values?|kv|k|v)(?![a-z])"
    r"|(?<![A-Za-z])caches?[_.](?:k|v|kv|keys?|values?)(?![a-z])",
    re.I,
)
_HEADS = re.compile(r"(?<![\w.])(?:x?[qkv]|quer(?:y|ies)|keys?|values?)(?:_states?|_rot|_pe|_out)?(?!\w)")
# Tensors of attention that are as wide as hidden_states.
_HIDDEN = re.compile(
    r"hidden|resid|skip|(?:attn|attention)_?out(?:put)?s?(?![a-z])|\bout(?:put)?s?\b|_proj\b|norm", re.I
)
_TARGET = re.compile(r"^[\w.,\s\[\]:]{1,80} = ")
_CALL = re.compile(r"(?P<name>[A-Za-z_][\w.]*)\(")
_ANY = frozenset(("", "forward", "__call__", "call", "apply", "_forward"))


def is_rotary(facts: Facts) -> bool:
    """Whether the user's line turns queries or keys by their positions: by its names, its function's, or the call that led to it."""
    if not facts.users or "hidden" in facts.code:
        return False
    if _ROTARY.search(f"{facts.function} {facts.code}") or _TABLE.search(facts.code):
        return True
    return _called_for_rotation(facts)


def is_of_a_cache(facts: Facts) -> bool:
    """Whether the user's line or its function names a cache of keys and values."""
    return bool(_CACHE.search(f"{facts.function} {facts.code}"))


def has_no_width(facts: Facts) -> bool:
    """Whether nothing that meets at the user's line is as wide as hidden_states: rotary tables, scores, masks, caches, heads.

    A line that speaks of padding, or of a tensor with a hidden width, is none.
    """
    if not facts.code or fills_up(facts.code):
        return False
    if is_rotary(facts) or is_of_a_cache(facts) or _BIASES.search(facts.code):
        return True
    scored = _SCORES.search(facts.code) or _HEADS.search(facts.code)
    return facts.in_attention and bool(scored) and not names_hidden(facts.code)


def names_hidden(code: str) -> bool:
    """Whether a line of attention names a tensor that is as wide as hidden_states; where it is assigned to does not count."""
    return bool(_HIDDEN.search(_TARGET.sub("", code))) or is_residual(code)


def _called_for_rotation(facts: Facts) -> bool:
    """Whether the line above calls something rotary, and by its name it is the function of the user's line."""
    code, function = (facts.users[-2].code if len(facts.users) > 1 else ""), facts.function.rpartition(".")[2]
    names = [found["name"] for found in _CALL.finditer(code)]
    if function not in _ANY:
        names = [name for name in names if name.rpartition(".")[2] == function]
    return bool(names) and all(_ROTARY.search(name) for name in names)
