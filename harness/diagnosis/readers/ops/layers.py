"""Whether what failed is of a layer with experts: by the op that the text names, its schema or the user's line."""

import re
from dataclasses import replace

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import TORCHS_OWN

_DECLARED = re.compile(r"Declaration: (?P<schema>[\w:.]{1,200}\(.{0,2000}?\) ->)")
_NAME = re.compile(r"[^/\\]*$")


def of_the_layer(facts: Facts, reading: Reading) -> Reading:
    """The reading, undecided where the data file says that such a failure of a layer's op or line is one, and it is of a layer."""
    kind = facts.match.kind
    if reading.verdict != OTHER or not kind.layers or not of_a_layer(facts):
        return reading
    if kind.reader == "signature" and "fake" not in reading.tags:
        return reading  # any Python function
    return replace(reading, verdict=UNDECIDED)


def of_a_layer(facts: Facts) -> bool:
    """Whether the op, its schema or the user's line is of a layer with experts; an op of torch itself is of none."""
    op = facts.op or facts.match.groups.get("op", "")
    if facts.match.kind.id == "missing-fake" and op.replace(".", "::").partition("::")[0] in TORCHS_OWN:
        return False
    declared = _DECLARED.search(facts.whole)
    named = f"{op} {facts.match.groups.get('function', '')} {declared['schema'] if declared else ''}"
    return speaks_for("experts", named) or (not facts.in_attention and speaks_for("experts", _line(facts)))


def _line(facts: Facts) -> str:
    """The user's line, its function and the name of its file; without the directories, which a project has by its own name."""
    if not facts.users:
        return ""
    frame = facts.users[-1]
    name = _NAME.search(frame.file)
    return f"{name[0] if name else ''} {frame.function} {frame.code}"
