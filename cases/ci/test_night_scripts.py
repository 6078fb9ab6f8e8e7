"""The scripts of a night: records are put together machine by machine, and one issue takes what is new."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from fixtures.imports import ROOT
from fixtures.runs import finding, header, tasks, verdict, write
from fixtures.workflows import Shell, read
from harness.runs.planned import Planned

NAMES = ("cpu-torch211", "cpu-torch213")
GH = """#!/bin/bash
(IFS=$'\\x1f'; printf '%s\\n' "gh\x1f$*") >> "$CALLS"
[ "$1 $2" != "issue list" ] || echo "$OPEN"
while [ $# -gt 0 ]; do [ "$1" != --body-file ] || cat "$2"; shift; done
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A folder with the real harness and a stand-in of GitHub's command line."""
    made = Shell(tmp_path)
    command = (
        f'#!/bin/bash\nexec env PYTHONPATH={shlex.quote(str(ROOT))} {shlex.quote(sys.executable)} -m harness "$@"\n'
    )
    made.put("harness", command)
    made.put("gh", GH)
    (tmp_path / ".ci").unlink()
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    runners = tmp_path / ".ci" / "runners.toml"  # with two lanes: each costs two calls of the harness a night
    runners.write_text(
        re.sub(r"^lanes = .*", 'lanes = ["torch211", "torch213"]', runners.read_text(), flags=re.MULTILINE)
    )
    return made


def records(shell: Shell, night: int, failing: dict[str, int], left_out: tuple[str, ...] = (), lost: str = "") -> None:
    """A night's records of every machine and lane: ``failing`` of them has as many findings; ``lost`` is cut short."""
    for name in NAMES:
        folder = shell.folder / f"records-{night}" / name / "1"
        if name in left_out:
            continue
        folder.mkdir(parents=True)
        planned = tasks(3)
        run = header(Planned.whole(planned), runner=name, batch=str(night), started=f"2026-11-2{night}T01:30:00.000Z")
        wrong = failing.get(name, 0)
        verdicts = [verdict(task, found=[finding()] if number < wrong else []) for number, task in enumerate(planned)]
        write(folder / "check.jsonl", run, verdicts[: 4 if name == lost else None], ended=name != lost)


def publish(shell: Shell, night: int, code: int) -> tuple[str, str]:
    """Publish a night; its status, and what is new in it."""
    shell.run(f".ci/publish records-{night} night", code, RUNNERS="cpu")
    return tuple((shell.folder / "night" / name).read_text().strip() for name in ("status", "new.txt"))  # type: ignore[return-value]


def issue(shell: Shell, number: str = "") -> list[str]:
    """What the issue script did, in the words of GitHub's command line."""
    before = len(shell.calls)
    shell.run(".ci/issue night https://ci.example/runs/1", OPEN=number)
    return [" ".join(words[1:4]) for words in shell.calls[before:]]


def test_three_nights_green_red_and_the_same_red(shell: Shell) -> None:
    records(shell, 1, {})
    assert publish(shell, 1, 0) == ("green", "")
    assert issue(shell) == ["issue list --label"]
    records(shell, 2, {"cpu-torch213": 1})
    status, new = publish(shell, 2, 1)
    assert status == "red"
    assert new.startswith("cpu-torch213\n")
    assert "new: 1 (fails now and did not before)" in new
    assert not [name for name in NAMES if name != "cpu-torch213" and name in new]
    assert issue(shell) == ["issue list --label", "label create nightly", "issue create --title"]
    assert issue(shell, "12") == ["issue list --label", "issue comment 12"]
    records(shell, 3, {"cpu-torch213": 1})
    assert publish(shell, 3, 1) == ("red", "")
    assert issue(shell, "12") == ["issue list --label"]
    records(shell, 4, {})
    assert publish(shell, 4, 0) == ("green", "")
    assert issue(shell, "12") == ["issue list --label", "issue close 12"]
    page = (shell.folder / "night" / "page.html").read_text("utf-8")
    assert all(name in page for name in NAMES)


def test_what_sent_no_records_or_half_of_them_is_incomplete(shell: Shell) -> None:
    records(shell, 1, {}, left_out=("cpu-torch211",), lost="cpu-torch213")
    status, new = publish(shell, 1, 2)
    assert status == "incomplete"
    assert "cpu-torch211: no records: its jobs did not start" in new
    assert "cpu-torch213: incomplete: " in new
    assert "5 of 9 missing" in new


def test_findings_of_the_first_night_are_news(shell: Shell) -> None:
    records(shell, 1, {"cpu-torch211": 2})
    status, new = publish(shell, 1, 1)
    assert status == "red"
    assert new.startswith("cpu-torch211, the first night\n")
    shown = shell.run(".ci/issue night https://ci.example/runs/1", OPEN="")
    assert all(line.startswith("    ") for line in shown.splitlines()[5:])  # a block of code, whatever it holds
    assert "https://ci.example/runs/1" in shown


def action_step(name: str) -> dict[str, object]:
    (step,) = [step for step in read(ROOT / "action" / "action.yml")["runs"]["steps"] if step.get("id") == name]
    return step


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("subject", "code", "verdict"), [("", 0, "ok"), ("vllm#35949", 1, "findings"), ("none", 2, "error")]
)
def test_the_action_checks_a_subject(subject: str, code: int, verdict: str, shell: Shell, tmp_path: Path) -> None:
    output, records = tmp_path / "output", tmp_path / "out of the way"
    inputs = {name: str(one["default"]) for name, one in read(ROOT / "action" / "action.yml")["inputs"].items()}
    inputs |= {"subject": subject, "models": "nemotron-3-nano-30b-a3b", "modes": "eager", "records": str(records)}
    inputs |= {"python": sys.executable, "kernels": "wide", "arguments": "--tp 1 --tokens 7 -j 1 --device cpu"}
    step = action_step("check")
    filled = {name: value.strip("${} ") for name, value in step["env"].items()}  # type: ignore[attr-defined]
    env = {name: inputs.get(key.removeprefix("inputs."), str(ROOT / "action")) for name, key in filled.items()}
    env |= {"GITHUB_OUTPUT": str(output), "PYTHONPATH": str(ROOT), "HARNESS_CACHE": str(tmp_path / "cache")}
    shell.run(str(step["run"]), code, **env)
    assert output.read_text().splitlines() == [f"verdict={verdict}", f"records={records}/check.jsonl"]
    assert (records / "junit.xml").is_file() == (code < 2)
