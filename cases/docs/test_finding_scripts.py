"""The scripts of the findings: each stands alone, and shows that a real op and its fake differ."""

import ast
import contextlib
import io
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "docs" / "findings" / "scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_needs_no_harness(script: Path) -> None:
    text = script.read_text("utf-8")
    assert len(ast.parse(text).body) <= 10
    assert "harness" not in text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_shows_two_sides_that_differ(script: Path) -> None:
    package = script.stem.partition("_")[0]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(script.read_text("utf-8"), str(script), "exec"), {"__name__": "__main__"})
    real, fake = shown.getvalue().strip().splitlines()[-2:]
    assert real.partition(" ")[0] == "real"
    assert fake.partition(" ")[0] == "fake"
    assert real.partition(" ")[2] != fake.partition(" ")[2]
