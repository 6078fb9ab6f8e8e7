"""The quick start of a pull request, step by step as it is written, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.imports import ROOT
from harness.base.options import SELECTION
from harness.cli import main

pytestmark = pytest.mark.usefixtures("forked_python")

PAGE = (ROOT / "docs" / "quickstart" / "pull-request.md").read_text("utf-8")
# The page runs everything; one case in one mode shows that the steps fit together.
PART = "padding and gpt-oss-20b and hidden2880 and wide and tp1 and tokens7 and eager"


def saved(folder: Path, name: str) -> None:
    """Write the block of the page that begins with ``# NAME``."""
    block = re.search(rf"^```\w+\n# {re.escape(name)}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert block, name
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(block[1], "utf-8")


def test_the_steps_end_in_a_test_that_passes_and_fails_once_the_layer_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-subject", "my_engine"]) == 0
    saved(tmp_path, "pyproject.toml")
    saved(tmp_path, "tests/test_padding.py")
    assert ran(tmp_path).returncode == 0, ran(tmp_path).stdout
    source = (tmp_path / "my_engine.py").read_text("utf-8")
    broken = source.replace("out = out[:, : case.width].contiguous()", "out = out[:, : case.width] * 2")
    assert broken != source
    (tmp_path / "my_engine.py").write_text(broken, "utf-8")
    assert "scaled at output" in ran(tmp_path).stdout


def ran(folder: Path) -> subprocess.CompletedProcess[str]:
    """The page's pytest command, for one case."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", PART]
    return subprocess.run(code, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False)


def test_every_option_of_pytest_is_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text("utf-8")
    names = [option.removeprefix("--") for option in SELECTION] + ["subject", "full", "waivers"]
    assert [name for name in names if f"`--padding-{name}" not in page] == []
