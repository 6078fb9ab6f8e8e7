"""Columns that were cut off before a view, as lines of the text show it."""

import ast
import re

from harness.diagnosis.facts import Facts
from harness.diagnosis.statements.parts import parsed

# x[..., :width] and x[:, :width]
CUT = re.compile(r"\[\.\.\., ?: ?\w|\[:, ?: ?\w")
_LINE, _CALLERS = 120, 4
# The name whose view failed.
VIEWED = re.compile(r"\b(?P<name>[A-Za-z_]\w*)\.(?:view|flatten|view_as)\(")


def made_by_cut(facts: Facts) -> str:
    """The last assignment in the text of what is viewed, where it cuts columns off; pytest prints the lines before.

    What is viewed may have another name in the function that called the user's line's.
    """
    viewed = VIEWED.search(facts.code)
    given = (name for frame in reversed(facts.users[-_CALLERS:-1]) for name in _given(frame.code))
    names = (viewed["name"], *given) if viewed else ()
    return next((value for name in names if (value := _cut_of(name, facts.whole))), "")


def _given(code: str) -> list[str]:
    """The names that a line gives to calls."""
    tree = parsed(code)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
    return [given.id for call in calls for given in call.args if isinstance(given, ast.Name)]


def _cut_of(name: str, text: str) -> str:
    """The last assignment of a name in a text, its value as pytest prints it aside, where it cuts columns off."""
    made = [*re.finditer(rf"(?<![\w.]){name} = (?!{name}\.(?:view|flatten)|tensor\((?:\[|\.\.\.))", text)]
    value = text[made[-1].start() :][:_LINE].partition(" > ")[0] if made else ""
    cut = CUT.search(value)
    return value if cut and re.fullmatch(rf"{name} = [\w.]+(?:\([^()]*\))?", value[: cut.start()]) else ""
