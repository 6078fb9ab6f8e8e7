"""A run that was killed goes on where it stopped, and does nothing twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.recorded import lines, results
from harness.cli import main
from harness.commands.recorded.options import note_nothing_to_do
from harness.output.recording import Recording
from harness.runs.header import RunHeader
from harness.runs.planned import Planned
from harness.runs.shards import Shard

pytestmark = pytest.mark.usefixtures("forked_python")
ONE = ["check", "--models", "qwen3-30b-a3b", "--modes", "eager,fake", "--kernels", "wide", "--device", "cpu", "-j", "1"]
AUDIT = ["audit", "cases_audit::fake_stride", "--import", "fixtures.audit_ops", "--rows", "schema,dtype"]
AUDIT += ["--samples", "fixtures.audit_ops:samples", "-j", "1"]
SELF = ["selftest", "--faults", "vllm#35949,vllm#45037", "--modes", "eager", "--device", "cpu", "-j", "1"]


def killed(file: Path, keep: int, half: bool = True) -> list[str]:
    """Cut a finished file as a kill would: ``keep`` lines stay, and half of the next. Returns the lines that stayed."""
    every = file.read_text("utf-8").splitlines(keepends=True)
    file.write_text("".join(every[:keep]) + (every[keep][:40] if half else ""), "utf-8")
    return every[:keep]


def keys(records: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    names = ("case", "mode", "op", "row", "id")
    return [tuple(str(one[name]) for name in names if name in one) for one in records]


@pytest.mark.parametrize("arguments", [ONE, AUDIT, SELF], ids=["check", "audit", "selftest"])
def test_it_does_what_is_missing(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "records.jsonl"
    assert main([*arguments, "--json", str(file)]) == 0
    whole = keys(results(file))
    before = killed(file, 2)
    capsys.readouterr()
    assert main([*arguments, "--resume", str(file)]) == 0
    assert "the last line is cut off" in capsys.readouterr().err
    assert file.read_text("utf-8").startswith("".join(before))  # and was not done again
    assert sorted(keys(results(file))) == sorted(whole)
    kinds = [line["record"] for line in lines(file)]
    assert (kinds[0], kinds[2], kinds[-1]) == ("run", "resume", "end")
    assert sum(lines(file)[-1]["counts"].values()) == len(whole)
    size = file.stat().st_size
    assert main([*arguments, "--resume", str(file)]) == 0
    assert "nothing is left to do" in capsys.readouterr().err
    assert keys(results(file)) == keys(results(file))[: len(whole)]
    assert file.stat().st_size > size  # the second end


def test_where_no_task_was_chosen_nothing_is_said_of_resuming(capsys: pytest.CaptureFixture[str]) -> None:
    note_nothing_to_do(Recording(RunHeader.new("check", Planned.whole([]), Shard(), ""), None))
    assert capsys.readouterr().err == ""


def test_a_last_line_without_its_newline_counts(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    assert main([*ONE, "--json", str(file)]) == 0
    killed(file, 3, half=False)
    file.write_text(file.read_text("utf-8").rstrip("\n"))
    assert main([*ONE, "--resume", str(file)]) == 0
    assert len(set(keys(results(file)))) == len(results(file))


def test_findings_before_the_kill_fail_the_run(tmp_path: Path) -> None:
    wrong = ["check", "--subject", "vllm#35949", "--models", "nemotron-3-nano-30b-a3b", "--modes", "eager"]
    wrong += ["--rules", "trtllm-nvfp4", "--kernels", "wide,narrow", "--tp", "1", "--device", "cpu", "-j", "1"]
    file = tmp_path / "records.jsonl"
    assert main([*wrong, "--json", str(file)]) == 1
    bad = next(number for number, line in enumerate(lines(file)) if line.get("status") == "findings")
    every = file.read_text("utf-8").splitlines(keepends=True)
    file.write_text(every[0] + every[bad])
    assert main([*wrong, "--resume", str(file)]) == 1


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    return errors


def test_what_cannot_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "records.jsonl"
    assert main([*ONE, "--tp", "1", "--json", str(file)]) == 0
    assert "this command plans other tasks" in refused(capsys, *ONE, "--resume", str(file))
    assert "give the options that it began with: harness" in refused(capsys, *ONE, "--resume", str(file))
    assert "it is of `harness check`" in refused(capsys, *SELF, "--resume", str(file))
    assert "it is shard 1/1, and --shard is 1/2" in refused(
        capsys, *ONE, "--tp", "1", "--resume", str(file), "--shard", "1/2"
    )
    assert "appends to that file" in refused(capsys, *ONE, "--resume", str(file), "--json", str(tmp_path / "other"))
    file.write_text(file.read_text() * 2)
    assert "it holds 2 runs" in refused(capsys, *ONE, "--tp", "1", "--resume", str(file))
    file.write_text(json.dumps({"case": "old"}) + "\n")
    assert "it holds 0 runs" in refused(capsys, *ONE, "--resume", str(file))
    assert "No such file" in refused(capsys, *ONE, "--resume", str(tmp_path / "none"))


def test_shards_are_the_run_and_one_can_be_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "whole.jsonl"
    few = [*ONE, "--tp", "1"]
    assert main([*few, "--json", str(whole)]) == 0
    files = [tmp_path / f"{number}.jsonl" for number in range(1, 6)]
    for number, file in enumerate(files, 1):
        assert main([*few, "--shard", f"{number}/5", "--json", str(file)]) == 0
    assert "has no task: there are fewer tasks than shards" in capsys.readouterr().err
    shards = [one for file in files for one in keys(results(file))]
    assert sorted(shards) == sorted(keys(results(whole)))
    assert len({lines(file)[0]["planned"]["hash"] for file in files}) == 1
