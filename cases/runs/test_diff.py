"""Two runs compared, and waivers drafted from one."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.runs import HOSTILE, finding, header, tasks, verdict, write
from harness.cli import main
from harness.findings.finding import ERROR, FINDINGS, SKIPPED, WAIVED, Verdict
from harness.runs.planned import Planned, Task
from harness.verdict.waivers import Waivers

A, B, C, D, E, F, G = tasks(3)[:7]


def run_of(file: Path, verdicts: list[Verdict], planned: list[Task] | None = None, **changed: object) -> str:
    names = planned or [Task(one.subject, one.case, one.mode) for one in verdicts]
    return str(write(file, header(Planned.whole(names), **changed), verdicts))


def compared(
    capsys: pytest.CaptureFixture[str], folder: Path, before: list[Verdict], after: list[Verdict], *options: str
) -> tuple[int, str]:
    files = run_of(folder / "a.jsonl", before), run_of(folder / "b.jsonl", after)
    capsys.readouterr()
    code = main(["diff", *files, *options])
    return code, "".join(capsys.readouterr())


def test_each_kind_of_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = finding("stale")
    before = [verdict(A), verdict(B, found=[finding()]), verdict(C, found=[finding()]), verdict(D), verdict(E)]
    before += [verdict(F, seconds=1.0), verdict(G)]
    after = [verdict(A, found=[finding()]), verdict(B, found=[other]), verdict(C), verdict(D, SKIPPED, reason="no gpu")]
    after += [verdict(F, seconds=9.0), verdict(G, seconds=0.9)]
    code, text = compared(capsys, tmp_path, before, after, "--json")
    kinds = {(one["case"], one["mode"]): one["kind"] for one in json.loads(text)["changes"]}
    wanted = {A: "new", B: "changed", C: "fixed", D: "no longer run", E: "gone", F: "slower"}
    assert code == 1
    assert kinds == {(task.case, task.mode): kind for task, kind in wanted.items()}
    text = compared(capsys, tmp_path, before, after)[1]
    assert (
        f"  {A}: ok -> findings: width-mismatch at shared add\n    reproduce  harness check --models {A.case}" in text
    )
    assert text.endswith(
        "7 tasks before, 6 after: 1 new, 1 changed, 1 fixed, 1 no longer run, 1 gone, 0 flaky, 1 slower\n"
    )


@pytest.mark.parametrize(
    "after",
    [
        verdict(A, found=[replace(finding(), what="another text")]),
        replace(verdict(A, found=[replace(finding(), waiver="a/b#1")]), status=WAIVED),
    ],
)
def test_what_is_no_new_failure(after: Verdict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(capsys, tmp_path, [verdict(A, found=[finding()])], [after])[0] == 0


def test_a_new_task_that_fails_is_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = compared(capsys, tmp_path, [verdict(A)], [verdict(A), verdict(B, ERROR, reason="broke")])
    assert code == 1
    assert "error: broke" in text
    assert compared(capsys, tmp_path, [verdict(A)], [verdict(A), verdict(B)])[0] == 0


def test_a_shard_that_died_is_no_longer_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = run_of(tmp_path / "a", [verdict(A), verdict(B)]), run_of(tmp_path / "b", [verdict(A)], [A, B])
    assert main(["diff", *files]) == 0
    text = capsys.readouterr().out
    assert "B is incomplete: harness check on cpu (ended): 1 of 2 missing" in text
    assert "no longer run: 1" in text


def test_the_environment_that_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then, now = {"torch": "2.12.0", "gpu": "H100"}, {"torch": "2.13.0", "gpu": "H100"}
    files = (
        run_of(tmp_path / "a", [verdict(A)], environment=then),
        run_of(tmp_path / "b", [verdict(A)], environment=now),
    )
    assert main(["diff", *files]) == 0
    text = capsys.readouterr().out
    assert "environment  torch: 2.12.0 -> 2.13.0" in text
    assert "H100" not in text


def test_two_results_of_one_task_are_flaky(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = run_of(tmp_path / "b", [verdict(A)])
    with Path(both).open("a") as file:
        file.write(Path(run_of(tmp_path / "c", [verdict(A, found=[finding()])])).read_text())
    assert main(["diff", run_of(tmp_path / "a", [verdict(A, found=[finding()])]), both]) == 0
    assert "flaky: 1" in capsys.readouterr().out


def test_runs_that_share_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = [verdict(task) for task in tasks(9)[-3:]]
    code, text = compared(capsys, tmp_path, [verdict(A)], other)
    assert code == 2
    assert "share no task; compare runs of the same subject and matrix" in text


def test_two_releases_are_compared_by_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = (
        verdict(A._replace(subject="vllm==0.20.1")),
        verdict(A._replace(subject="vllm==0.20.2"), found=[finding()]),
    )
    code, text = compared(capsys, tmp_path, [old], [new])
    assert code == 1
    assert "environment  subject: vllm==0.20.1 -> vllm==0.20.2" in text


def test_hostile_text_is_shown_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = compared(capsys, tmp_path, [verdict(A)], [verdict(A, ERROR, reason=HOSTILE)])[1]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31m" in text


def drafted(capsys: pytest.CaptureFixture[str], *files: str) -> tuple[int, str]:
    capsys.readouterr()
    return main(["waive", *files]), capsys.readouterr().out


def test_a_draft_waives_what_was_found_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [verdict(task, found=[finding(), finding("stale", HOSTILE)]) for task in (A, B, D)]
    every = [*wrong, verdict(E), verdict(C)]
    code, text = drafted(capsys, run_of(tmp_path / "a", every))
    assert code == 0
    file = tmp_path / "waivers.toml"
    file.write_text(text, "utf-8")
    assert [entry["issue"] for entry in tomllib.loads(text)["waiver"]] == ["", "", "", ""]
    assert main(["check", "--waivers", str(file)]) == 2  # until the issues are named
    assert "issue is ''; expected owner/repo#123" in capsys.readouterr().err
    file.write_text(text.replace('issue = ""', 'issue = "a/b#1"'), "utf-8")
    waivers = Waivers.read(file)
    assert [waivers.apply(one).status for one in every] == [WAIVED, WAIVED, WAIVED, "ok", "ok"]
    assert waivers.unmatched() == []


def test_names_with_signs_of_a_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = Task('sub"ject*', "case[1]?-\x7f\u00e9", "eager")
    made = verdict(odd, found=[finding()])
    file = tmp_path / "waivers.toml"
    file.write_text(
        drafted(capsys, run_of(tmp_path / "a", [made]))[1].replace('issue = ""', 'issue = "a/b#1"'), "utf-8"
    )
    assert Waivers.read(file).apply(made).status == WAIVED
    assert Waivers.read(file).apply(replace(made, case="case1x-\x7f\u00e9")).status == FINDINGS


def test_what_no_waiver_excuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [verdict(A, ERROR, reason="broke"), verdict(B), verdict(C, found=[finding("waived-but-passes")])]
    assert drafted(capsys, run_of(tmp_path / "a", made)) == (1, "")
