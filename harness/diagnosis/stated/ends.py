"""The exception that another one led to, where it says in words what the first is of."""

import re
from collections.abc import Sequence

from harness.diagnosis.log.forms import chains, is_exception
from harness.diagnosis.log.lines import Line

_SAYS = re.compile(r"[\w.]+: (?P<words>.+)")
# Exceptions of torch that wrap another, and sentences that tell no more than that something ended.
_WRAPS = re.compile(
    r"torch\.|(?:\w+\.)*(?:BackendCompilerFailed|TorchRuntimeError|InternalTorchDynamoError|Unsupported|SystemExit)\b"
    r"|(?:\w+\.)*(?:Actor\w*|RayTask)Error\b|.*root cause|.*\b(?:see|check) (?:\w+ ){0,3}(?:above|log|trace)"
    r"|.*\b(?:worker|engine|process|rank|child|job|task|server)\w* (?:\w+ ){0,3}(?:fail|die|exit|crash|terminat|dead)\w*",
    re.I,
)
_NUMBER = re.compile(r"(?<![\w.])\d{2,}(?![\w.]\d)")
_FEWEST_WORDS, _LONGEST = 4, 240


def led_to(lines: Sequence[Line], number: int) -> str:
    """What the last exception says that the one at a line led to, in its own words; empty for none, and for no more words.

    It speaks of the same where it has a number of two or more digits from the first one's line.
    """
    message = next((line.text for line in lines if line.number == number), "")
    found, chained = "", False
    for line in lines:
        if line.number <= number:
            continue
        text = line.text.lstrip("E ").strip() if line.text.startswith("E ") else line.text
        chained = chained or chains(text)
        if chained and is_exception(text):
            found = text
    return _words(found, message)


def _words(text: str, message: str) -> str:
    said = _SAYS.match(text)
    if said is None or _WRAPS.match(text):
        return ""
    words, told = said["words"].strip(), _SAYS.search(message.strip())
    repeats = told is not None and told["words"][:40] in words
    same = {*_NUMBER.findall(words)} & {*_NUMBER.findall(message)}
    if repeats or not same or len(re.findall(r"[A-Za-z]{2,}", words)) < _FEWEST_WORDS:
        return ""
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
