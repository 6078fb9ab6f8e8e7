"""A line that ends the failure before it, whatever that is: of another test, of another rank, in pytest's one line for each."""

from collections.abc import Sequence

from harness.diagnosis.log.forms import ENDED, FRAME, RANK, SUMMARY, TEST, TRACEBACK, in_one_line
from harness.diagnosis.log.lines import Line

_BEGINS = (TRACEBACK, "torch._dynamo hit config")


def begins_another(text: str, anchor: bool) -> bool:
    """Whether a line without its indentation begins another failure, or ends a run of pytest's."""
    first = text[:1]  # most lines begin as none of these does
    if first == "_":
        return bool(TEST.match(text))
    if first == "=" or first.isdigit():
        return bool(ENDED.match(text))
    return text.startswith(_BEGINS) or (anchor and bool(SUMMARY.match(text)))


def is_of_another(text: str, lines: Sequence[Line], raised: bool) -> bool | None:
    """Whether an anchor is of another failure than the lines before it; None where its form does not tell."""
    own = RANK.search(text) if "[Rank" in text else None
    last = next((found for line in reversed(lines) if (found := RANK.search(line.text))), None) if own else None
    if own and last and own[1] != last[1]:
        return True
    told = in_one_line(text)
    return raised and lines[-1].text.strip() != told if told else None


def is_in_traceback(lines: Sequence[Line]) -> bool:
    """Whether the last lines are frames, so that an exception's line below them is theirs."""
    last = next((line.text for line in reversed(lines) if line.text.strip()), "")
    return not in_one_line(last) and (bool(FRAME.match(last)) or last.startswith(("    ", "\t\t")))
