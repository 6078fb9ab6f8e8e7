"""A subject of one's own: the template and the worked example of the docs run as they stand, outside the checkout."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main

pytestmark = pytest.mark.usefixtures("forked_python")

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "own-engine.md"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    start = f"import sys; sys.path.append({str(ROOT)!r}); from harness.cli import main; sys.exit(main())"
    code = [sys.executable, "-c", start, *arguments]
    return subprocess.run(code, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False)


def example() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def judged(folder: Path, subject: str, *more: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "check", "--subject", subject, "--models", "gpt-oss-20b", "--tokens", "7", *more)


def test_the_worked_example_has_fewer_than_30_lines_of_code() -> None:
    assert sum(bool(line.strip()) for line in example().splitlines()) < 30


def test_the_worked_example_is_ok_and_red_once_it_is_broken(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text(example())
    right = judged(tmp_path, "engine:Engine", "--modes", "eager")
    assert right.returncode == 0, right.stdout + right.stderr
    broken = example().replace("new_empty(x.shape[0], width)", "new_empty(x.shape[0], weight.shape[1])")
    assert broken != example()
    (tmp_path / "engine.py").write_text(broken)
    wrong = judged(tmp_path, "engine:Engine", "--modes", "eager", "--rules", "trtllm-nvfp4", "--kernels", "narrow")
    assert wrong.returncode == 1
    assert "real gives shape [7, 2880], its fake [7, 3072]" in wrong.stdout
    assert "vllm#41645" in wrong.stdout


def test_the_template_gives_verdicts_as_it_stands(tmp_path: Path) -> None:
    written = run(tmp_path, "new-subject", "my_engine")
    assert written.returncode == 0
    assert "harness check --subject my_engine:MyEngine --models gpt-oss-20b --modes eager" in written.stdout
    right = judged(tmp_path, "my_engine:MyEngine", "--modes", "eager")
    assert right.returncode == 0, right.stdout + right.stderr
    source = (tmp_path / "my_engine.py").read_text()
    faulty = source.replace("out = out[:, : case.width].contiguous()", "out = out[:, : case.width]")
    assert faulty != source
    (tmp_path / "my_engine.py").write_text(faulty)  # a strided view goes to the all-reduce
    wrong = judged(tmp_path, "my_engine:MyEngine", "--modes", "eager", "--tp", "2")
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr


def test_the_template_holds_what_the_audit_looks_at(tmp_path: Path) -> None:
    run(tmp_path, "new-subject", "mine")
    rows = "schema,mutation,alias,fake,shape,stride,dtype,poisoned memory,second call"
    done = run(tmp_path, "audit", "mine::experts", "--import", "mine", "--rows", rows)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("engine", "engine.py exists and was not changed"),
        ("engine.py", "engine.py exists and was not changed"),
        ("my-engine", "cannot be the name of a module"),
        ("class", "cannot be the name of a module"),
        ("torch", "is a module already"),
        ("no/such/folder/my_layer", "give a folder that exists"),
    ],
)
def test_a_name_that_cannot_be_written_is_one_line(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "engine.py").write_text("kept")
    assert main(["new-subject", name]) == 2
    message = capsys.readouterr().err.strip()
    assert words in message
    assert len(message.splitlines()) == 1
    assert (tmp_path / "engine.py").read_text() == "kept"
    assert [entry.name for entry in tmp_path.iterdir()] == ["engine.py"]
