"""Whether a line makes a number of a size: calls of builtins, as int(x.shape[0]), and no methods of tensors, as idx.int()."""

import re
from collections.abc import Iterator

SURE, PERHAPS, NO = "sure", "perhaps", ""
# A name after a dot is a method of its own: idx.int() and logits.float() cast a tensor.
_CALL = re.compile(r"(?<![\w.])(?:(?:builtins\.)?(?:int|float|range|round|str|bool|hash)|math\.\w{1,20})\(")
_ITEM = re.compile(r"\.item\(")
_FORMATTED = re.compile(r"(?<![\w.])[rR]?[fF][rR]?(?P<quote>['\"])(?P<text>.*?)(?P=quote)")
_FIELD = re.compile(r"\{([^{}]{1,200})\}")
# A size of a tensor; its last dimension is a width, and counts no tokens.
_SIZED = re.compile(r"\.shape\b(?!\[-1\])|\.size\((?!(?:dim ?= ?)?-1\))|\.numel\(|\.nelement\(|(?<![\w.])len\(")
# Names alone, which may hold a size or not: n, tokens // 8. Attributes and results of other calls rather do not.
_NAMES = re.compile(r"[\w\s+*/%,()-]{1,200}")
_NAME, _OF_A_CALL = re.compile(r"(?<![\w.])[A-Za-z_]\w*"), re.compile(r"\w\(")


def makes_number(code: str) -> str:
    """Whether a line makes a number of a size: SURE, PERHAPS where a name alone may hold one, or NO."""
    texts = [code[start:end] for start, end in _arguments(code)]
    if any(_SIZED.search(text) for text in (*texts, *_measured(code))):
        return SURE
    return PERHAPS if any(map(_may_hold_size, texts)) else NO


def without_numbers(code: str) -> str:
    """The line with 0 for each call of a builtin that gives a number: such an operand is no tensor."""
    for found in reversed(list(_CALL.finditer(code))):
        code = f"{code[: found.start()]}0{code[_end(code, found.end()) + 1 :]}"
    return code


def _arguments(code: str) -> Iterator[tuple[int, int]]:
    """Where the arguments of each such call begin and end."""
    return ((found.end(), _end(code, found.end())) for found in _CALL.finditer(code))


def _end(code: str, start: int) -> int:
    """Where the bracket closes that opened before a place; the end of the line where it does not."""
    depth = 1
    for place in range(start, len(code)):
        depth += (code[place] in "([{") - (code[place] in ")]}")
        if not depth:
            return place
    return len(code)


def _measured(code: str) -> Iterator[str]:
    """What is taken out of a tensor with item(), and what an f-string writes."""
    yield from (code[: found.start()] for found in _ITEM.finditer(code))
    for found in _FORMATTED.finditer(code):
        yield from _FIELD.findall(found["text"])


def _may_hold_size(text: str) -> bool:
    return bool(_NAMES.fullmatch(text) and _NAME.search(text)) and not _OF_A_CALL.search(text)
