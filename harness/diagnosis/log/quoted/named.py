"""An exception whose line no logger began: it is named in the middle of a line."""

import re

from harness.diagnosis.log.texts import Texts

_OTHER_LANGUAGE = re.compile(r"\([\w$]+\.(?:java|kt|scala):\d+\)|\.cs:line \d+")  # its exceptions have such names too
_NAMED = re.compile(
    r"(?<![\w.])(?:[A-Za-z_]\w{0,80}\.){0,9}[A-Z]\w{0,80}(?:Error|Exception): "
    r"(?:(?!\.\.\. ?(?:FAILED|ERROR) )[^\n]){1,300}"  # up to the next of pytest's lines that are cut
)


def named_in(texts: Texts) -> re.Match[str] | None:
    """An exception with its message anywhere in a text: behind a prefix that is not known, or in a line that was broken."""
    return None if _OTHER_LANGUAGE.search(texts.whole.text) else _NAMED.search(texts.messages.text)
