"""The records that pytest writes, whole or in shards, with workers or without; annotations under GitHub, once."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from fixtures.plugin_subjects import NO_UNPAD
from fixtures.recorded import lines
from harness.cli import main

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("forked_python")
ROOT = Path(__file__).parents[2]
TESTS = """
def test_layer(padding_case, mode, hold):
    hold(padding_case, mode)


def test_plain():
    pass
"""
# Four cases of which one has a finding.
FOUR = ("--padding-models", "nemotron-3-nano-30b-a3b", "--padding-modes", "eager", "--padding-tokens", "3")
WRONG = (*FOUR, "--padding-subject", "theirs:NoUnpad")


@pytest.fixture
def outside(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Somebody else's folder, on no CI engine."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_RUN_ID", "HARNESS_RUNNER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HARNESS_BATCH", "one")
    pytester.makepyfile(test_theirs=TESTS, theirs=NO_UNPAD)
    return pytester


def run(folder: pytest.Pytester, *arguments: str) -> str:
    return folder.runpytest_subprocess("-q", "-p", "no:cacheprovider", *arguments, timeout=200).stdout.str()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_records_and_annotations(
    workers: tuple[str, ...], outside: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = outside.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    output = run(
        outside, *WRONG, *workers, "--padding-json", "out.jsonl", "--padding-runner", "mine", "--junitxml=j.xml"
    )
    assert re.search(r"^1 failed, 4 passed", output, re.MULTILINE), output
    first, *results, last = lines(outside.path / "out.jsonl")
    assert (first["record"], first["tool"], first["runner"], last["record"]) == ("run", "pytest", "mine", "end")
    assert first["command"].startswith("pytest ")
    planned = {(one["case"], mode) for one in first["planned"]["cases"] for mode in one["modes"]}
    assert {(one["case"], one["mode"]) for one in results} == planned
    assert sorted(one["status"] for one in results) == ["findings", "ok", "ok", "ok"]
    assert (last["counts"], last["interrupted"]) == ({"findings": 1, "ok": 3}, False)
    (annotation,) = re.findall(r"^::error .*", output, re.MULTILINE)
    assert "width-mismatch at shared add" in annotation
    assert summary.read_text("utf-8").count("### pytest on mine\n") == 1
    names = {one.get("name") for one in ElementTree.parse(outside.path / "j.xml").iter("property")}
    assert "kind" in names
    assert not [name for name in names if name and "record" in name]


def test_shards_of_pytest_are_merged_and_a_lost_one_is_missed(
    outside: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        run(outside, *FOUR, "--padding-subject", "kernels.layer.subject:InTree", f"--padding-shard={number}/2",
            "--padding-json", f"{number}.jsonl")  # fmt: skip
    files = [str(outside.path / f"{number}.jsonl") for number in (1, 2)]
    assert main(["merge", *files]) == 0
    assert "2 runs, 4 results: 4 ok" in capsys.readouterr().out
    assert main(["merge", files[0]]) == 2
    assert "incomplete: shard 2/2 of pytest on " in capsys.readouterr().out


def test_tests_that_were_deselected_are_not_owed(outside: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("-k", "wide and tp1", "--padding-subject", "kernels.layer.subject:InTree")
    for number in (1, 2):
        run(outside, *FOUR, *chosen, f"--padding-shard={number}/2", "--padding-json", f"{number}.jsonl")
    files = [name for number in (1, 2) if Path(name := str(outside.path / f"{number}.jsonl")).is_file()]
    assert main(["merge", *files]) == 0
    assert ", 1 results: 1 ok" in capsys.readouterr().out.replace("1 runs", "")


def test_a_session_without_padding_tests_writes_nothing(
    outside: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    output = run(outside, "-k", "test_plain", "--padding-json", "out.jsonl")
    assert "1 passed" in output
    assert "::" not in output
    assert not (outside.path / "out.jsonl").exists()


def test_a_file_that_cannot_be_written_is_one_line(outside: pytest.Pytester) -> None:
    result = outside.runpytest_subprocess("-q", *FOUR, "--padding-json", "none/out.jsonl")
    assert result.ret == 2
    shown = [line for line in (result.outlines + result.errlines) if "harness: " in line]
    assert len(shown) == 1
    assert "cannot write --padding-json none/out.jsonl" in shown[0]
