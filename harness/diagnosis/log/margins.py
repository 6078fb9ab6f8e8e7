"""What pytest and a table put around the lines of an error."""

import re

_PYTEST = re.compile(r"E {3,}(?=\S)|E +(?=\w+(?:\.\w+)*(?:Error|Exception))|E(?=\s*$)")
ENDS = ("│", "┃", " ")
_BORDER = re.compile(r"\s*[│┃]\s*$| {20,}\|?\s*$")


def without_margin(text: str) -> str:
    """The text without what pytest puts before an error's lines, and without a border at its end."""
    if text.startswith("E"):
        text = _PYTEST.sub("", text, count=1)
    return _BORDER.sub("", text) if text.endswith(ENDS) else text
