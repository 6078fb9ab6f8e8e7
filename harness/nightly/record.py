"""What a line of a records file is, of any format that was ever written, and whether it can be used."""

import re
from dataclasses import dataclass
from typing import Any

from harness.base.errors import BadInput

NEWEST = 3
STATUSES = ("ok", "skipped", "latent", "waived", "findings", "error")
RUN, END, RESUME, REFUSED = "run", "end", "resume", "refused"
VERDICT, AUDIT, SELFTEST, BENCH = "verdict", "audit", "selftest", "bench"
# The texts that each kind of line must have. Formats 1 and 2 have no `record`: these keys tell their lines apart.
_TEXTS = {
    RUN: ("run",),
    END: ("run",),
    RESUME: ("run",),
    VERDICT: ("subject", "case", "mode", "status"),
    AUDIT: ("op", "row", "status"),
    SELFTEST: ("id", "kind"),
    BENCH: ("shape",),
    REFUSED: ("subject", "reason"),
}
_TOLD_APART_BY = {
    VERDICT: ("case", "mode", "status"),
    AUDIT: ("op", "row", "status"),
    SELFTEST: ("id", "marks"),
    BENCH: ("shape", "times"),
    REFUSED: ("subject", "status", "reason"),
}
_FORMER_KEYS = {"again": "reproduce", "guilty": "blame", "bugs": "similar_to"}
_CASE = re.compile(
    r"(?P<model>.+?)-hidden\d+(?:-latent\d+)?-padded\d+-(?P<rule>.+)-(?P<kernel>wide|narrow)-tp\d+-tokens\d+(?:-full)?"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case stands in the matrix: a row is a model and a backend (``rule, kernel``); a column is a mode."""

    subject: str
    model: str
    mode: str
    backend: str


def kind_of(record: Any) -> str:
    """The kind of a line. Raises BadInput, with what is wrong in words, for one that the harness did not write."""
    if not isinstance(record, dict):
        raise BadInput("it is not a JSON object")
    form = record.get("format", 1)
    if isinstance(form, int) and form > NEWEST:
        raise BadInput(f"it has format {form}, and this version of the harness reads formats 1 to {NEWEST}")
    kind = record.get("record") or next(
        (kind for kind, keys in _TOLD_APART_BY.items() if all(key in record for key in keys)), ""
    )
    if not isinstance(kind, str) or kind not in _TEXTS:
        raise BadInput("the harness writes no such record")
    _check(kind, record)
    return kind


def _check(kind: str, record: dict[str, Any]) -> None:
    for key in _TEXTS[kind]:
        if not isinstance(record.get(key), str):
            raise BadInput(f"{key!r} is missing from a record of kind {kind!r}, or is not a text")
    if kind == VERDICT and record["status"] not in STATUSES:
        raise BadInput(f"status {record['status']!r} is unknown; expected one of {', '.join(STATUSES)}")
    if not isinstance(record.get("seconds", 0.0), int | float):
        raise BadInput("'seconds' is not a number")


def place(subject: str, case: str, mode: str, model: str = "") -> Place:
    """The place of a case, read from its id. An id of another form is a row of its own."""
    match = _CASE.fullmatch(case)
    if not match:
        return Place(subject, model or case, mode, "")
    return Place(subject, model or match["model"], mode, f"{match['rule']}, {match['kernel']}")


def findings(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings of a verdict by today's names. What is not an object is left out."""
    given = record.get("findings")
    rows = [row for row in given if isinstance(row, dict)] if isinstance(given, list) else []
    return [renamed(row) for row in rows]


def renamed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the keys of format 1 by today's names."""
    return {_FORMER_KEYS.get(key, key): value for key, value in record.items()}
