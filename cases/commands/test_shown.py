"""What a terminal, a pipe and a report show: text as it is, control characters escaped, names whole, one error once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.base.errors import BadInput
from harness.cli import main
from harness.commands import check
from harness.findings.finding import ERROR, FINDINGS, Finding, Verdict
from harness.output.report import _the, grouped
from harness.output.terminal import PIPED_WIDTH, new_console
from harness.verdict.known_bugs import known_bugs
from harness.workers.pool import Pool
from harness.workers.process import Job


def failed(case: str, reason: str) -> Verdict:
    return Verdict(subject="s", case=case, model="m", hidden=80, padded=128, mode="eager", status=ERROR, reason=reason)


def test_a_line_number_is_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    new_console().print("file.py:100: raised :warning: [bold]", markup=False)
    assert capsys.readouterr().out == "file.py:100: raised :warning: [bold]\n"


@pytest.mark.parametrize(("columns", "width"), [(None, PIPED_WIDTH), ("90", 90), ("wide", PIPED_WIDTH)])
def test_a_pipe_is_wide(columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert new_console().width == width


def test_the_ids_of_bugs_are_never_split(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["list"]) == 0
    words = capsys.readouterr().out.split()
    assert {bug.id for bug in known_bugs()} <= set(words)


def test_one_typo_is_one_text_with_its_count() -> None:
    reason = "ops() names no registered op: 'a::b' (at hidden {})"
    verdicts = [failed(f"case{hidden}", reason.format(hidden)) for hidden in (80, 160, 240)]
    (text,) = grouped(verdicts)
    assert "also        in 2 more verdicts (eager); -v shows each" in text
    assert len(grouped(verdicts, verbose=1)) == 3
    assert len(grouped([*verdicts, failed("other", "no device")])) == 2


def test_the_plainest_mode_speaks_for_a_kind_of_finding() -> None:
    def found(mode: str) -> Verdict:
        finding = Finding(observer="o", kind="raised", stage="layer", what=f"in {mode}", cause="")
        return replace(failed("case", ""), status=FINDINGS, reason="", mode=mode, findings=(finding,))

    (text,) = grouped(map(found, ("varied-caches", "proof", "compiled", "eager", "fake")))
    assert "what        in eager" in text
    assert "also        in 4 more verdicts (compiled, fake, proof, varied-caches)" in text


@pytest.mark.parametrize(
    ("call", "shown"), [("first call", "the first call"), ("a call in a thread", "a call in a thread")]
)
def test_a_call_has_one_article(call: str, shown: str) -> None:
    assert _the(call) == shown


def test_what_was_judged_before_the_disk_was_full_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def until_full(plan: Any, run: Any, change: Any) -> Iterator[Verdict]:
        case, mode = plan.selection.tasks()[0]
        yield Verdict.of("in-tree", case, mode.name, ERROR)
        raise BadInput("cannot write to the cache folder")

    monkeypatch.setattr(check, "with_progress", until_full)
    assert main(["check", "--device", "cpu", "--models", "gpt-oss-20b", "--modes", "eager"]) == 2
    shown = capsys.readouterr()
    assert "1 verdict: 0 ok, 1 error" in shown.out
    assert "cannot write to the cache folder" in shown.err


def test_a_plan_with_nothing_to_do_needs_no_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", "/dev/null/none")
    assert not [*Pool(Job("none:none", {}), [], 1)]
