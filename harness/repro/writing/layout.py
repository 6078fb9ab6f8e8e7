"""How a script is laid out: its docstring, its imports, no long lines, no more empty lines than there is room for."""

import re
from collections.abc import Iterable

from harness.repro.about import About
from harness.repro.texts.wrapping import WIDTH, wrapped
from harness.repro.writing.parts import Parts

MOST_LINES = 60
_MOST_SAID = 135  # of what the finding says, in one line


def docstring(about: About, parts: Parts, stands_in: str = "") -> str:
    """What the script shows, in which case, how it ends, and what it only emulates."""
    finding, case = about.symptom.finding, about.case
    head = f"{finding.kind} at {finding.stage}, mode {about.mode.name}"
    head += f", {case.id}" if len(head) + len(case.id) < WIDTH else f"\n{case.id}"
    what = finding.what.replace("\\", "/").replace('"""', "'''")
    ends = f"Ends with {about.symptom.expected}."
    silent = "" if about.symptom.error else " A correct layer ends in silence."
    what = what if len(what) < _MOST_SAID else f"{what[: _MOST_SAID - 3]}..."
    return f'"""{head}\n{what}\n{ends}{silent} Needs {parts.needs}.{stands_in and " "}{stands_in}"""'


def imports(lines: tuple[str, ...], text: str) -> str:
    """Import lines of what a text uses, as isort orders them: the standard library's, then torch's."""
    own = _of_what_is_used((*lines, "import torch"), text)
    torch_lines = sorted((line for line in own if "torch" in line.split()[1]), key=lambda line: (line[0] != "i", line))
    others = sorted((line for line in own if line not in torch_lines), key=lambda line: (line[0] != "i", line))
    return "\n".join((*others, *torch_lines))


def _of_what_is_used(lines: Iterable[str], text: str) -> list[str]:
    """Import lines with those of their names that a text uses, one line for each module."""
    used: dict[str, dict[str, None]] = {}
    for line in lines:
        head, _, names = line.rpartition("import ")
        for name in names.split(", "):
            if re.search(rf"\b{re.escape(name.split()[-1])}\b", text):
                used.setdefault(head or line, {})[name] = None
    return [f"{head}import {', '.join(sorted(names))}" if head[:1] == "f" else head for head, names in used.items()]


def laid_out(text: str) -> str:
    """The script with its long lines broken, and with as many empty lines as there is room for."""
    return _short(wrapped(re.sub(r"\n{3,}", "\n\n", text)))


def _short(text: str) -> str:
    """The script, without as many of its empty lines as make it longer than MOST_LINES: those before definitions go last."""
    lines = text.split("\n")
    empty = [place for place, line in enumerate(lines[:-1]) if not line]
    empty.sort(key=lambda place: (lines[place + 1].startswith(("def ", "class ")), -place))
    gone = set(empty[: max(0, len(lines) - 1 - MOST_LINES)])
    return "\n".join(line for place, line in enumerate(lines) if place not in gone)
