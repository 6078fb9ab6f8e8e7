"""Where a failure happened, as the text of its traceback tells: what tells two failures with one message apart."""

import re
from collections.abc import Iterable

from harness.diagnosis.log.forms import LIBRARY

_PLACE = re.compile(
    r'.{0,300}?File ?"(?P<file>[^"]+)", ?line ?(?P<line>\d+)'
    r"|\s*(?P<told>[^\s\"':,()]+\.py):(?P<number>\d+): ?(?:in [\w.<>]+\s*$|[A-Z]\w*(?:Error|Exception)(?:: |\s*$)|[A-Z]\w*\s*$|$)"
)


def place_in(below: Iterable[str]) -> str:
    """The innermost place that is not torch's or Python's own, as file:line, of lines from the last one on; empty for none."""
    library = ""
    for text in below:
        if ".py" not in text and "File" not in text:
            continue
        found = _PLACE.match(text)
        if found is None:
            continue
        file = (found["file"] or found["told"]).replace("\\", "/")
        place = f"{file}:{found['line'] or found['number']}"
        if not LIBRARY.search(file):
            return place
        library = library or place
    return library
