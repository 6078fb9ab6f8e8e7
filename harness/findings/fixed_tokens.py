"""A number of tokens that a trace fixes or limits: in whose code, the layer's or that of an op's fake, and how."""

import re

from harness.base.source import SourceLine
from harness.execution.evidence import Record

OTHERS = "So other batch sizes compile again or take the wrong branch."
# What makes a plain number of a symbolic one, by its name in the line.
_CONVERTS = re.compile(r"\b(int|len)\(")


def fixes(op: str, line: SourceLine | None) -> str:
    """How the fake of ``op``, or the layer where that is empty, decides on the token count in a line."""
    who = f"The fake of {op}" if op else "The layer"
    if line and (found := _CONVERTS.search(line.text)):
        instead = ": take the shape" if found[1] == "len" else ""
        return f"{who} calls {found[1]}(), which turns the symbolic token count into a number{instead}. {OTHERS}"
    return f"{who} depends on the token count, by a Python branch or a fixed size. {OTHERS}"


def stage_of(op: str, records: list[Record]) -> str:
    """The stage of the op whose fake it is; ``layer`` where it is none's."""
    return next((record.stage for record in records if op and record.op == op), "layer")
