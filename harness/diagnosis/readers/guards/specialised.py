"""What fixed a size that was to be dynamic, as far as the user's line or a suggested fix shows it."""

import re

from harness.diagnosis.code import operations
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.guards.numbers import SURE, makes_number, without_numbers

_SUGGESTED = re.compile(r"Suggested fixes:.{0,400}?\b(?P<name>\w+) ?= ?(?P<step>\d+) ?\* ?_(?P=name)\b")
_DECIDES = re.compile(r"^(?:if|elif|while|assert)\b|\bif\b.*\belse\b|torch\._check")
_SHAPES = re.compile(r"\.(?:view|reshape|expand|unflatten)\(")
# Operations in which two tensors meet whose sizes have to be equal.
_MEETS = frozenset(
    ("add", "add_", "sub", "mul", "mul_", "div", "where", "cat", "stack", "lerp", "addcmul", "maximum", "minimum")
)
_EITHER = "Something in the code decides on it or makes an int of it, or a tensor of that size met it."

# A size as a guard has it, and the remainder of it, or what is missing to a multiple: the amount of a padding.
_SIZE = r"(?:L\[[^\]]{1,80}\][^ ()]{0,80}?\.size\(\)\[\d+\]|[a-z]\w{0,40})"
_COMPARED = r"\)*(?:, ?| ?(?P<how>==|<=|!=|>) ?)0(?!\d|\.\d)"
_AMOUNTS = tuple(
    re.compile(text + _COMPARED)
    for text in (
        rf"\((?:\(-1\) ?\* ?|-){_SIZE}\)* ?% ?(?P<step>\d+)",
        rf"Mod\(-(?:1 ?\* ?)?{_SIZE}, ?(?P<step>\d+)\)",
        rf"\((?P<step>\d+) ?(?:\+ ?\(-1\) ?\* ?|- ?)\({_SIZE} ?% ?(?P=step)\)\)* ?% ?(?P=step)",
        rf"Mod\((?P<step>\d+) - Mod\({_SIZE}, ?(?P=step)\), ?(?P=step)\)",
    )
)
_REMAINDERS = (
    re.compile(rf"(?<![-*+] )\({_SIZE} ?% ?(?P<step>\d+)" + _COMPARED),
    re.compile(rf"(?<!- )Mod\({_SIZE}, ?(?P<step>\d+)\)" + _COMPARED),
)


def branch_on_padding(facts: Facts, pads_under_if: bool) -> tuple[str, bool]:
    """The number that rows are filled up to a multiple of where a guard shows a branch on it; and whether the example had to be.

    ``pads_under_if`` says whether the log has code that pads under a condition: a guard on a remainder is then such a branch.
    """
    for pattern in (*_AMOUNTS, *(_REMAINDERS if pads_under_if else ())):
        for found in pattern.finditer(facts.whole):
            before = facts.whole[max(0, found.start() - 6) : found.start()].rstrip("(")[-2:]
            if found["how"] or before in ("Eq", "Ne"):
                return found["step"], found["how"] in ("!=", ">") or before == "Ne"
    return "", False


def multiple_of(facts: Facts) -> str:
    """The number that a size has to be a multiple of, by torch's own suggestion; empty where it makes none."""
    found = _SUGGESTED.search(facts.whole)
    return found["step"] if found else ""


def by_line(facts: Facts, constant: str) -> str:
    """In words, what fixed a size: what the user's line does, else what is possible."""
    code = facts.code
    done = operations(without_numbers(code))
    if not code or " ".join(code.split()) not in facts.whole.partition("User stack:")[2]:
        return _EITHER  # the line that called the compiled code, and not the one that was traced
    if "copy_" in done:
        return f"The user's line copies into a buffer that has {constant} there: it was made for one size."
    if _DECIDES.search(code):
        return "The user's line decides on a size."
    number, met = makes_number(code), f"a tensor that has {constant} there, one that was made for one size."
    if number and (number == SURE or not done & _MEETS):
        return "The user's line makes a number of a size."
    if number:
        return f"The user's line makes a number of what may be a size, or there the size meets {met}"
    if done & _MEETS:
        return f"At the user's line it meets {met}"
    if _SHAPES.search(code):
        return f"The user's line asks for a shape, in which {constant} is a number, or follows from one."
    return _EITHER
