"""What lines say of a padding: two sizes of which the one was made of the other, multiples of widths, and kernels by name."""

import re
from collections.abc import Iterable

_PADS = re.compile(
    r"(?<![a-z])pad(?:s|ded|ding)?(?![a-z])|round(?:s|ed)?[ _]up|(?<![a-z])align(?:s|ed)?(?![a-z])", re.I
)
# What is no width.
_OTHERS = re.compile(
    r"token|batch|seq|request|vocab|slots?(?!\w)|position|image|length|\blen\b|bucket|cache|block[_ ]?table", re.I
)
_ROWS = re.compile(r"\brows?\b", re.I)  # of a weight, where a word of a width stands beside it
_DENIED = re.compile(r"\b(?:not|no|never|without|instead|should|would|could|if|whether|unless|cannot)\b|n't|\?", re.I)
_WIDTH = re.compile(
    r"hidden|intermediate|inter_|width|expert|moe|shared|weight|mlp|(?:nv|mx)fp\d|\bw\d{1,2}\b|_dim|columns?", re.I
)
_MULTIPLE = re.compile(
    r"(?:multiples?(?:[ _]of)?['\"]?|align(?:ed|ment)?['\"]?(?: (?:to|of|is))?|pad_to_multiple_of['\"]?"
    r"|round(?:ed|s|ing)?(?: up)? to|tiles? of|round_up\([^()]{1,60},) ?[=:(]? ?(?P<size>\d{2,4})(?![\w.])",
    re.I,
)
_PARTS = ("trtllm", "cutlass", "marlin", "nvfp4", "mxfp4", "mxfp8")
_KERNEL = re.compile(r"(?P<trtllm>trt[-_]?llm|tensorrt[-_]?llm)|cutlass|marlin|nvfp4|mxfp4|mxfp8", re.I)
# What stands behind it in a line was not taken.
_NOT_TAKEN = re.compile(r"out of|among|instead of|rather than|\bnot\b|unlike|available|potential|candidates", re.I)
_ADAPTER_RANK = re.compile(
    r"(?:\b(?:max_)?lora_?r(?:ank)?|\br|\b[Rr]ank)['\"]?(?: ?[=:] ?| (?:is |of )?)(?P<rank>\d{1,4})(?![\w.])"
)
_ADAPTERS = re.compile(r"(?<![a-z])q?lora|adapter", re.I)
_SENTENCES = re.compile(r"; |[.!] (?=[A-Z])|\| ")
_NEAR, _LONGEST = 60, 120
_MAY, _LONGEST_LINE = re.compile(r"pad|align|round|multiple|(?:nv|mx)fp|trt|tensorrt|cutlass|marlin", re.I), 1000


def telling(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines that may say something; one of many thousand letters is a whole log of its own."""
    return tuple(line for line in lines if len(line) <= _LONGEST_LINE and _MAY.search(line))


def padded_in(lines: Iterable[str], narrow: int, wide: int) -> str:
    """What a line says of a width that is padded to another, with both numbers and a word of padding; empty where none does."""
    both, numbers = re.compile(_both(narrow, wide)), (str(narrow), str(wide))
    found = ((line, both.search(line)) for line in lines if numbers[0] in line and numbers[1] in line)
    return next((said for line, sizes in found if sizes and (said := _clause(line, sizes))), "")


def _both(narrow: int, wide: int) -> str:
    first, second = rf"(?<![\w.]){narrow}(?!\w|\.\d)", rf"(?<![\w.]){wide}(?!\w|\.\d)"
    return rf"{first}[^\n]{{1,{_NEAR}}}?{second}|{second}[^\n]{{1,{_NEAR}}}?{first}"


def _clause(line: str, sizes: re.Match[str]) -> str:
    """The words from a word of padding to both sizes; empty where none is near, or where they speak of something else."""
    before = _SENTENCES.split(line[max(0, sizes.start() - _NEAR) : sizes.start()])[-1]
    near = before + sizes[0] + _SENTENCES.split(line[sizes.end() : sizes.end() + _NEAR])[0]
    pads = _PADS.search(sizes[0]) or _PADS.search(near)
    if not pads or _OTHERS.search(near) or _DENIED.search(near) or (_ROWS.search(near) and not _WIDTH.search(near)):
        return ""
    offset = 0 if _PADS.search(sizes[0]) else near.find(sizes[0])
    start, end = min(pads.start() - offset, 0), max(pads.end() - offset, len(sizes[0]))
    said = line[sizes.start() + start : sizes.start() + end]
    return said.strip() if len(said) <= _LONGEST else sizes[0].strip()


def multiples_in(lines: Iterable[str]) -> dict[int, str]:
    """The multiples that widths are rounded up to, by lines that speak of padding of a width; each with the line's words."""
    telling = [line for line in lines if _PADS.search(line) and _WIDTH.search(line) and not _OTHERS.search(line)]
    return {int(found["size"]): _around(line, found) for line in telling for found in _MULTIPLE.finditer(line)}


def _around(line: str, found: re.Match[str]) -> str:
    """The words of a line up to a multiple, from the last word of padding before it; those of one string of a JSON line."""
    before = line[: found.end()].rpartition('"')[2]
    pads = [*_PADS.finditer(before)]
    closed = ")" if line[found.end() : found.end() + 1] == ")" else ""
    return (before[pads[-1].start() :] + closed if pads else found[0])[-_LONGEST:].strip()


def kernels_in(lines: Iterable[str]) -> frozenset[str]:
    """The parts of kernels' names that lines have, as the rules of the models file are called by: trtllm, mxfp4."""
    taken = (_NOT_TAKEN.split(line)[0] for line in lines)
    return frozenset(_part(found) for line in taken for found in _KERNEL.finditer(line))


def _part(found: re.Match[str]) -> str:
    return "trtllm" if found["trtllm"] else found[0].lower()


def fits(rule: str, kernels: frozenset[str]) -> int:
    """How many parts of a rule's name are among those of kernels."""
    return sum(part in kernels for part in rule.split("-"))


def adapter_ranks_in(text: str) -> frozenset[int]:
    """The numbers that a text has as ranks of adapters; empty for one that speaks of none."""
    return (
        frozenset(int(found["rank"]) for found in _ADAPTER_RANK.finditer(text))
        if _ADAPTERS.search(text)
        else frozenset()
    )
