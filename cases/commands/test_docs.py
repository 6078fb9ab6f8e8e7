"""``harness docs``: pages, and the entry of one kind of finding."""

import pytest

from harness.cli import main
from harness.findings.kinds import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_of_a_kind_is_printed_alone(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", kind]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"### {kind}\n")
    assert text.count("\n### ") == 0
    assert "**Means.**" in text
    assert "**Fix.**" in text


def test_a_page_that_is_not_there_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", "findins"]) == 2
    assert "did you mean" in capsys.readouterr().err
