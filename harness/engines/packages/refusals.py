"""What pip's output says when it cannot have a package: one reason, in one line."""

import re
from collections.abc import Sequence

from harness.engines.released.environment import complaint

_RAISED = re.compile(r"\s*((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Unavailable)): ?(.*)")
_COMPILER = re.compile(r"\S*: (?:fatal )?error: .+")
_SKIPPED = re.compile(r"Skipping link: (none of the wheel's tags|No sources|.*Requires-Python)")
_TAGS = re.compile(r"none of the wheel's tags \(([^)]*)\)")
_MOST = 300


def another_torch(lines: Sequence[str]) -> bool:
    """Whether pip failed since the package and the constraint, or a thing that is installed, ask for different releases."""
    text = "\n".join(lines)
    return (
        "ResolutionImpossible" in text
        or "conflicting dependencies" in text
        or "No matching distribution found for torch" in text
    )


def no_backend(lines: Sequence[str]) -> bool:
    """Whether a source could not be built because its build backend, or what its build needs, is not in this Python."""
    text = "\n".join(lines)
    return (
        "BackendUnavailable" in text
        or "Cannot import '" in text
        or bool(re.search(r"No module named '(?!torch')", text))
    )


def reason(lines: Sequence[str], detail: Sequence[str]) -> str:
    """Why pip failed. ``detail`` is what it says, asked with -vv, of each file that the index has."""
    if any("No matching distribution found" in line for line in lines):
        return _none_fits(lines, detail)
    raised = [match for line in lines if (match := _RAISED.match(line))]
    compiler = [match[0] for line in lines if (match := _COMPILER.match(line.strip()))]
    if compiler:
        return f"its source does not build here: {compiler[0]:.{_MOST}}"
    if raised:
        return f"its source does not build here: {raised[-1][1]}: {raised[-1][2]:.{_MOST}}"
    return complaint(list(lines))


def _none_fits(lines: Sequence[str], detail: Sequence[str]) -> str:
    """No release at all, none of that number, or none for this Python."""
    versions = next((match[1] for line in lines if (match := re.search(r"\(from versions: (.*)\)", line))), "none")
    tags = dict.fromkeys(tag for line in detail if (match := _TAGS.search(line)) for tag in match[1].split(", "))
    if versions != "none":
        near = ", ".join(versions.split(", ")[-3:])
        return f"the index has no such release for this Python; the newest that it has are {near}"
    if tags:
        return f"the index has no wheel for this Python and machine, and no source; it has wheels for {', '.join(list(tags)[-4:])}"
    if any(_SKIPPED.search(line) or "Requires-Python" in line for line in detail):
        return "the index has no release for this Python"
    return "the package index has no project of this name; look for a typing error in the name"
