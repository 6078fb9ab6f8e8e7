"""The walk of docs/how-to/walk.md: every step, on the layer and the log of the page, to the fixed layer."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.imports import ROOT

PAGE = (ROOT / "docs" / "how-to" / "walk.md").read_text("utf-8")


def block(name: str) -> str:
    """The file that the page shows under its name."""
    found = re.search(rf"`{re.escape(name)}`[:.]\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found, name
    return found[1]


def steps() -> list[tuple[str, str]]:
    """Each command of the page, and what the page shows of its output."""
    found = re.findall(r"```bash\n(harness .*?)\n```\n(?:.(?!```bash))*?```text\n(.*?)```", PAGE, re.DOTALL)
    return [(command, shown) for command, shown in found]


def run(command: str, folder: Path) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "harness", *shlex.split(command)[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "160"},
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.slow
def test_the_walk(tmp_path: Path) -> None:
    layer = tmp_path / "walk_layer.py"
    layer.write_text(block("walk_layer.py"), "utf-8")
    (tmp_path / "walk.log").write_text(block("walk.log"), "utf-8")
    codes = []
    for command, shown in steps():
        code, output = run(command, tmp_path)
        codes.append(code)
        assert shown.strip() in output, output
    assert codes == [0, 1, 1, 0]
    small = (tmp_path / "small.py").read_text("utf-8")
    assert not re.search(r"^(import|from) (?!torch)", small, re.MULTILINE)
    (error,) = re.findall(r"^RuntimeError: .*", PAGE, re.MULTILINE)[-1:]
    ended = subprocess.run(
        [sys.executable, "-I", "small.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, error)
    (diagnose, tried), (check, _), *_ = steps()
    assert diagnose == "harness diagnose walk.log"
    assert tried.split("try")[1].strip() in check  # the command that it gave is the one that is run
    fix = re.findall(r"```python\n( +return .*?)\n```", PAGE)[-1]
    text = layer.read_text("utf-8")
    assert text.count("        return x\n") == 1
    layer.write_text(text.replace("        return x\n", f"{fix}\n"), "utf-8")
    code, output = run(check, tmp_path)
    assert (code, "findings" in output) == (0, False), output
