"""Whole logs as they are pasted, of this family and of others: each failure by its kind, the padded size and the user's line."""

import io
import tomllib
from typing import Any

import pytest

from fixtures.imports import ROOT
from harness.diagnosis.diagnose import diagnose

LOGS = tomllib.loads((ROOT / "fixtures" / "failures" / "pasted" / "logs.toml").read_text("utf-8"))["log"]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log["name"])
def test_a_pasted_log_has_its_answers(log: dict[str, Any]) -> None:
    failures = diagnose(io.BytesIO(log["text"].encode()), "a log").failures
    found = [[one.kind, one.verdict, one.padded or 0, _place(one.user_line)] for one in failures]
    assert found == log["failures"]


def _place(user_line: str) -> str:
    """File and line, without the code: a drive's name has a colon too."""
    return ":".join(user_line.split(":")[: 3 if user_line[1:2] == ":" else 2])
