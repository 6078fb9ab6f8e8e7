"""What an assertion in a kernel says of itself: which of torch's kernels it is, and whether the user's line launches one."""

import re
from dataclasses import dataclass
from functools import cache

from harness.diagnosis.facts import Facts
from harness.diagnosis.known.kinds import data

_ON_AN_INDEX = re.compile(r"out of bounds|[Ii]ndex\w* ?[<>]|\bind ?[<>]|idx|IndexKernel|Indexing\.cu|ScatterGather")
_ASSERTION = re.compile(r"Assertion `(.{1,160}?)` failed")
# An assertion with its kernel and its condition, the last perhaps cut off.
_PLACE = re.compile(r"(?P<file>[^\s:`]{1,200}\.(?:cuh?|py)):\d+: [^`]{0,200}Assertion `.{0,160}?(?=` failed|$)")
# What a text has of assertions, also where the place or the condition is missing: not the user's code beside it.
_SAID = re.compile(
    rf"{_PLACE.pattern}|{_ASSERTION.pattern}|\S{{1,200}}\.cuh?:\d+: .{{1,80}}, thread: \[|out of bounds: 0 <=.{{1,60}}"
)
_BOUND = re.compile(r"index out of bounds: 0 <= .{1,60}? < (?P<bound>[^`]{1,60})` failed")
_WAITS = re.compile(r"\.(?:item|tolist|cpu|numpy)\(|\bsynchronize\(|\.to\(['\"]cpu|\bnonzero\(|\bprint\(")
_OTHERS = (
    (
        "probability tensor",
        "A sampler was given probabilities that are negative, infinite or no numbers.",
        "the first layer whose output is no number; the logits, the temperature and the dtype",
    ),
    (
        "n_classes",
        "A loss was given a label that is no class.",
        "the least and the greatest label against the number of classes; ignore_index; the vocabulary of tokenizer and model",
    ),
    (
        "totalElements <= srcSize",
        "masked_scatter was given fewer elements than its mask has places.",
        "the number of places in the mask against the rows that are put there, such as image tokens against image embeddings",
    ),
    (
        "_val >= zero",
        "A loss between probabilities (binary_cross_entropy) was given a number below 0, above 1, or none.",
        "the least and the greatest of what goes into the loss; binary_cross_entropy_with_logits for what is no probability",
    ),
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One of torch's kernels that assert on an index: what it does, and the calls that launch it.

    ``asserts`` is the kernel's name or its condition, where the kernels of a file do different things.
    """

    file: re.Pattern[str]
    asserts: re.Pattern[str]
    does: str
    line: re.Pattern[str]


@cache
def _kernels() -> tuple[Kernel, ...]:
    entries = data("kernels.toml")["kernel"]
    return tuple(
        Kernel(re.compile(one["file"]), re.compile(one.get("asserts", "")), one["does"], re.compile(one["line"]))
        for one in entries
    )


def asserted(facts: Facts) -> str:
    """What an assertion is on, in words: an index only where the text has it, and in which kernel where it names one."""
    said = " ".join(found[0] for found in _SAID.finditer(facts.whole))
    if not _ON_AN_INDEX.search(said):
        condition = _ASSERTION.search(facts.whole)
        if condition:
            return f"An assertion in a kernel failed: {condition[1]}."
        return "An assertion in a kernel failed, and these lines do not have it: most often an index is out of range."
    bound = _BOUND.search(facts.whole)
    limit = f" It has to be below {bound['bound']}." if bound else ""
    kernel = _kernel(facts)
    return f"An index was out of range in {kernel.does if kernel else 'a kernel'}.{limit}"


def launched(facts: Facts) -> str:
    """The call at the user's line that launches the kernel which the assertion names; empty where it is none or not known."""
    kernel = _kernel(facts)
    found = kernel.line.search(facts.code) if kernel else None
    return re.sub(r"\[$", "[...]", found["call"]) if found else ""


def waits(facts: Facts) -> str:
    """In words, that the user's line waits for the device; empty where it does not."""
    found = _WAITS.search(facts.code)
    if not found:
        return ""
    call = found[0].strip(".( ")
    return f" The line in the text waits for the device ({call}), and so reports what was launched before."


def told(facts: Facts) -> tuple[str, str] | None:
    """What the assertion itself says, and where to look; None for one on an index of any kind."""
    found = _ASSERTION.search(facts.whole)
    text = found[1] if found else ""
    return next(((says, look) for words, says, look in _OTHERS if words in text), None)


def _kernel(facts: Facts) -> Kernel | None:
    place = _PLACE.search(facts.whole)
    if place is None:
        return None
    fitting = (kernel for kernel in _kernels() if kernel.file.search(place["file"]) and kernel.asserts.search(place[0]))
    return next(fitting, None)
