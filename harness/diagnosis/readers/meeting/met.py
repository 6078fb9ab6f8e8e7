"""A padded width and the true one that meet: in which operation, and which operand of the user's line is the padded one."""

import re

from harness.diagnosis.code import is_activation, operands, operations
from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.adds import not_heads, read_add, read_product_bias, read_update
from harness.diagnosis.readers.meeting.writes import WRITES, read_write
from harness.diagnosis.readers.pairs import NO_FAKE, evident, modes, padded
from harness.diagnosis.statements.factors import adds_a_tensor
from harness.diagnosis.statements.halves import ends_of
from harness.diagnosis.statements.parts import ends_open, is_part
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import Pair

# What a message is of where Dynamo does not name the call: a piece of torch's text, and what raises it.
_RAISED_BY = {
    "normalized_shape": "norm",
    "exceeds dimension size": "slice",
    "plit": "split",
    "tensors must match except": "cat",
    "stack expects": "stack",
    "expanded size": "copy or expand",
    "attempting to expand": "copy or expand",
    "indexing result": "indexed write",
    "ExpandView": "broadcast",
    "source tensor shape": "index_add",
    "Expected index": "scatter",
    "slice shapes": "index_copy",
    "of the mask": "a mask",
    "inconsistent tensor": "dot",
    "operands could not": "an operation of numpy",
    "attribute 'shape'": "a test's comparison",
    "invalid tensor size": "collective",
    "outputShape[i]": "collective",
    "CHECK_": "a kernel's check of its arguments",
    "heck failed": "a kernel's check of its arguments",
    "multiply up": "unflatten",
}
_ADDS = frozenset(("", "add", "add_", "iadd", "__add__", "__iadd__"))
_WITH_BIAS = frozenset(("addmm", "linear", "baddbmm"))
_TRAINING = re.compile(r"\bgrads?\b|exp_avg|momentum|optim|\bema\b|\.grad\b|beta[12]?\b")
_BIAS = "the bias of a product"
_ACTIVATION = "the activation, gate times up"
_NORM = "the weight of a norm"
_NORMS = re.compile(r"norm", re.I)
_OF_A_NORM = re.compile(r"\b(?:weight|gamma|scale)\b")
# What the routed experts gave, by its name.
_ROUTED = re.compile(r"rout(?:ed|er_out)|expert|\bmoe|fused_out|final_hidden")
_NOT_SHOWN = "an elementwise operation that the user's line does not show"
_PART = " The text has only a part of that statement, and what it leaves out may be where they meet."
_EITHER = "The padding was not cut off before it, or is asked for where it is gone."


def read_met(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    """Two widths of which one is the other padded; ``first`` is the first one's in the message."""
    by = _by(facts)
    if _TRAINING.search(facts.code) or facts.in_optimizer:
        return read_update(facts, pair)
    if by in _ADDS:
        return read_add(facts, around, pair, first)
    if by == _BIAS and facts.said("existing size"):
        return (read_add if adds_a_tensor(facts.code) else read_product_bias)(facts, around, pair, first)
    if by in WRITES:
        return read_write(facts, around, pair, first, by)
    no_fake = () if "comparison" in by else (NO_FAKE,)
    narrow, wide = _names(facts, pair, first)
    return padded(
        pair,
        sure=evident(facts, pair),
        stage=by,
        operands=(f"{pair.narrow}: at the true width{_shown(narrow)}", f"{pair.wide}: padded{_shown(wide)}"),
        cause=f"A padded width and the true one meet in {by}: {pair.rounded()}. {_why(facts, by, narrow, wide, first == pair.wide)}"
        + (_PART if is_part(facts.code) and not facts.called else ""),
        against=(*no_fake, *not_heads(pair)),
        look="which of the two sizes is the model's own and which the kernel's, at the user's line",
        tries=checks(facts, around, pair, modes(facts)),
    )


def _why(facts: Facts, by: str, narrow: str, wide: str, wide_first: bool) -> str:
    """In words, what was left out, where the names or the slices at the user's line tell; else both ways."""
    left, right = ends_of(facts.code)
    ends = (left, right) if wide_first else (right, left)
    if by == _ACTIVATION and ends[0] == "open":
        side = "first" if wide_first else "second"
        return f"The {side} factor is a slice that runs to the end of its tensor, and so keeps the padding."
    if by == _ACTIVATION and ends == ("", "cut"):
        return "The narrow factor is cut at the user's line and the wide one is not: its padding was not cut off."
    if by == _NORM and _OF_A_NORM.search(narrow):
        return "The weight has the true width: the padding of what comes into the norm was not cut off."
    if wide and _ROUTED.search(wide):
        return f"The padding of {wide} was not cut off before it."
    return _EITHER


def _shown(name: str) -> str:
    return f" ({name})" if name else ""


def _names(facts: Facts, pair: Pair, first: int) -> tuple[str, str]:
    """The operands at the user's line that have the narrow and the wide size; empty where the line does not tell."""
    widths = [size[-1] for size in facts.fakes if size] or [str(first), str(pair.wide + pair.narrow - first)]
    names = operands(facts.code, len(widths))
    of = dict(zip(widths, names, strict=False)) if len(set(widths)) == len(widths) else {}
    return of.get(str(pair.narrow), ""), of.get(str(pair.wide), "")


def _by(facts: Facts) -> str:
    """What the two sizes meet in: what Dynamo called, what raises such a message, what the user's line does; empty for an add."""
    named = facts.called or next((name for text, name in _RAISED_BY.items() if facts.said(text)), "")
    done = operations(facts.code)
    if is_activation(facts.code) and named in ("", "mul"):
        return _ACTIVATION
    if named in ("", "mul") and done == {"mul"} and _of_a_norm(facts):
        return _NORM
    if named == "copy or expand" and done & _WITH_BIAS:
        return _BIAS
    if not named and is_part(facts.code) and (not done or (len(done) > 1 and not ends_open(facts.code))):
        return " or ".join(sorted(done)) or _NOT_SHOWN
    return named or ("" if done & _ADDS else " or ".join(sorted(done)))


def _of_a_norm(facts: Facts) -> bool:
    """Whether the user's line multiplies by a weight in a norm, by its own names or those of the lines that call it."""
    near = " ".join(f"{frame.function} {frame.code}" for frame in facts.users[-3:])
    return bool(_OF_A_NORM.search(facts.code) and _NORMS.search(near))
