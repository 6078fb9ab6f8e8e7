"""Waivers: what they cover, when they fail a run, when they only warn, and what is wrong with a file, in both front ends."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures.recorded import results
from harness.base.errors import BadInput
from harness.base.project import find
from harness.cli import main
from harness.findings.finding import ERROR, FINDINGS, OK, SKIPPED, WAIVED, Finding, Verdict
from harness.output.report import grouped, issues_of, summary, verdict_text, waived
from harness.verdict.waivers import Waivers

pytestmark = pytest.mark.usefixtures("forked_python")

ROOT = Path(__file__).parents[2]
NANO = "nemotron-3-nano-30b-a3b"
# Two verdicts of the fault: in eager, and in a static trace.
TWO = ("--models", NANO, "--modes", "eager,fake-static", "--tokens", "3")
HEAD = '[[waiver]]\nissue = "vllm#35949"\nreason = "known"\n'


def waivers(folder: Path, *entries: str) -> Waivers:
    return Waivers.read(written(folder, *entries))


def written(folder: Path, *entries: str) -> Path:
    file = folder / "waivers.toml"
    file.write_text("\n".join(HEAD + entry for entry in entries), "utf-8")
    return file


def finding(observer: str = "widths", kind: str = "width-mismatch") -> Finding:
    return Finding(observer=observer, kind=kind, stage="shared add", what="add of 3 and 4", cause="No unpad.")


def verdict(*findings: Finding, case: str = "m-tp1-tokens7", mode: str = "eager", **more: Any) -> Verdict:
    made = Verdict(
        subject="in-tree",
        case=case,
        model="m",
        hidden=3,
        padded=4,
        mode=mode,
        status=OK,
        checks=("widths",),
        reproduce="run",
    )
    return replace(made, **{"status": FINDINGS if findings else OK, "findings": findings} | more)


@pytest.mark.parametrize(
    ("patterns", "covered"),
    [
        ('cases = "*"', True),
        ('cases = "*-tp1-*"', True),
        ('cases = "*-tp2-*"', False),
        ('cases = ["*-tp2-*", "m-*"]', True),
        ('models = "m"', True),
        ('models = "M"', False),
        ('modes = ["fake*", "eager"]', True),
        ('modes = "compiled*"', False),
        ('subjects = "in-*"', True),
        ('subjects = "vllm#*"', False),
        ('observers = "widths"\nkinds = "width-*"', True),
        ('models = "m"\nmodes = "fake"', False),
    ],
)
def test_patterns(patterns: str, covered: bool, tmp_path: Path) -> None:
    applied = waivers(tmp_path, patterns).apply(verdict(finding()))
    assert applied.status == (WAIVED if covered else FINDINGS)
    assert [each.waiver for each in applied.findings] == ["vllm#35949" if covered else ""]
    assert applied.reason == ("vllm#35949: known" if covered else "")


def test_json_keeps_findings_and_their_waiver(tmp_path: Path) -> None:
    applied = waivers(tmp_path, 'models = "m"').apply(verdict(finding(), finding("values", "scaled")))
    restored = Verdict.from_json(json.loads(json.dumps(applied.to_json())))
    assert restored == applied
    assert [each.waiver for each in restored.findings] == ["vllm#35949"] * 2
    assert not restored.ok


def test_uncovered_findings_alone_are_printed_and_the_waived_counted(tmp_path: Path) -> None:
    applied = waivers(tmp_path, 'kinds = "width-mismatch"').apply(verdict(finding(), finding("values", "scaled")))
    assert applied.status == FINDINGS
    for text in (verdict_text(applied), *grouped([applied])):
        assert "scaled at shared add" in text
        assert "width-mismatch" not in text
        assert "  waived      1 more of this case (vllm#35949)" in text
    assert len(grouped([applied])) == 1
    assert waived([applied]) == []


@pytest.mark.parametrize(
    ("found", "kind", "message"),
    [
        ((), "waived-but-passes", "waived but passes: vllm#35949, "),
        ((finding("values", "scaled"),), "waived-but-not-seen", "waived but not seen: vllm#35949, "),
    ],
    ids=["passes", "other-finding"],
)
def test_a_waiver_whose_case_does_not_show_it_fails(
    found: tuple[Finding, ...], kind: str, message: str, tmp_path: Path
) -> None:
    loaded = waivers(tmp_path, 'models = "m"\nobservers = "widths"')
    applied = loaded.apply(verdict(*found))
    assert applied.status == FINDINGS
    assert applied.findings[:-1] == found
    stale = applied.findings[-1]
    assert (stale.observer, stale.kind) == ("waivers", kind)
    assert message in stale.what
    assert stale.what.endswith(f"{applied.case}, {applied.mode}: remove or narrow the waiver")
    assert stale.stage == "waiver 1"
    assert applied.reproduce.endswith(f" --waivers {tmp_path / 'waivers.toml'}")


def test_a_stale_waiver_fails_although_another_covers_every_finding(tmp_path: Path) -> None:
    loaded = waivers(tmp_path, 'kinds = "width-mismatch"', 'kinds = "scaled"')
    applied = loaded.apply(verdict(finding()))
    assert applied.status == FINDINGS
    assert [(each.kind, each.waiver) for each in applied.findings] == [
        ("width-mismatch", "vllm#35949"),
        ("waived-but-not-seen", ""),
    ]
    assert applied.findings[1].stage == "waiver 2"


def test_a_pattern_over_many_cases_is_right_for_each_or_fails_where_it_is_not(tmp_path: Path) -> None:
    loaded = waivers(tmp_path, 'cases = "*-tp*"')
    statuses = [loaded.apply(each).status for each in (verdict(finding()), verdict(case="m-tp2-tokens7"))]
    assert statuses == [WAIVED, FINDINGS]
    assert loaded.unmatched() == []


def test_what_was_not_judged_matches_nothing(tmp_path: Path) -> None:
    loaded = waivers(tmp_path, 'models = "m"')
    for status in (SKIPPED, ERROR):
        given = verdict(status=status)
        assert loaded.apply(given) == given
    assert loaded.unmatched() == []  # nothing was judged, so nothing is known
    loaded.apply(verdict(model="another"))
    assert loaded.unmatched() == [
        f"{tmp_path / 'waivers.toml'}: waiver 1 (vllm#35949) matches nothing that was judged in this run"
    ]


def test_what_another_shard_judges_is_not_needless_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A waiver of a case that the other shard has is named in neither; one that matches nothing at all is, in both."""
    asked = ("check", *TWO[:2], "--modes", "eager", "--tokens", "7", "--tp", "1", "--rules", "trtllm-nvfp4", "-j", "1")
    asked += ("--subject", "vllm#35949", "--device", "cpu", "--json", str(tmp_path / "run.jsonl"))
    file = written(tmp_path, 'cases = "*-wide-*"\nkinds = "width-mismatch"', 'cases = "none"')
    shards = []
    for number in (1, 2):
        assert main([*asked, "--waivers", str(file), "--shard", f"{number}/2"]) == 0
        shards.append({one["case"].split("-wide-")[0] for one in results(tmp_path / "run.jsonl")})
        named = [line for line in capsys.readouterr().err.splitlines() if "matches nothing" in line]
        assert [re.search(r"waiver (\d)", line)[1] for line in named] == ["2"]  # type: ignore[index]
    assert all(shards)
    assert not shards[0] & shards[1]


def test_what_other_processes_matched_counts(tmp_path: Path) -> None:
    worker, controller = (waivers(tmp_path, 'models = "m"', 'models = "n"') for _ in range(2))
    worker.apply(verdict(finding()))
    controller.add(json.loads(json.dumps(worker.tally())))
    assert [line.partition(": ")[2][:8] for line in controller.unmatched()] == ["waiver 2"]


def test_summary_names_the_issues(tmp_path: Path) -> None:
    applied = waivers(tmp_path, 'models = "m"').apply(verdict(finding()))
    assert issues_of([applied]) == "vllm#35949"
    assert summary([applied], 1.0).startswith("1 verdict: 0 ok, 1 waived (vllm#35949); ")
    assert waived([applied, applied]) == ["waived 2 (eager) for vllm#35949: known"]


@pytest.mark.parametrize(
    "issue",
    [
        "vllm#35949",
        "vllm-project/vllm#35949",
        "https://github.com/vllm-project/vllm/issues/35949",
        "https://github.com/vllm-project/vllm/pull/40794#issuecomment-1",
        "https://gitlab.example.org/group/sub/project/-/merge_requests/7",
    ],
)
def test_issues(issue: str, tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text(f'[[waiver]]\nissue = "{issue}"\nreason = "known"\nmodels = "m"\n')
    assert Waivers.read(file).waivers[0].issue == issue


FORMS = "expected owner/repo#123, project#123 or the https address"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[waiver", "cannot read waivers"),
        ("\0", "cannot read waivers"),
        ("waiver = 3", "waiver is not a list of tables"),
        ("waiver = [3]", "waiver is not a list of tables"),
        ('[[waivers]]\nissue = "a#1"', "unknown key 'waivers'; did you mean waiver?"),
        ('[[waiver]]\nreason = "x"\nmodels = "m"', f"waiver 1: issue is missing; {FORMS}"),
        ('[[waiver]]\nissue = 35949\nreason = "x"\nmodels = "m"', f"waiver 1: issue is 35949; {FORMS}"),
        (
            HEAD + 'models = "m"\n[[waiver]]\nissue = "soon"\nreason = "x"\nmodels = "m"',
            f"waiver 2: issue is 'soon'; {FORMS}",
        ),
        ('[[waiver]]\nissue = "a#0"\nreason = "x"\nmodels = "m"', "waiver 1: issue is 'a#0'"),
        ('[[waiver]]\nissue = "https://example.org"\nreason = "x"\nmodels = "m"', "waiver 1: issue is"),
        ('[[waiver]]\nissue = "http://github.com/a/b/issues/1"\nreason = "x"\nmodels = "m"', "waiver 1: issue is"),
        ('[[waiver]]\nissue = "a#1"\nmodels = "m"', "waiver 1: reason is missing; expected a short text"),
        ('[[waiver]]\nissue = "a#1"\nreason = " "\nmodels = "m"', "waiver 1: reason is ' '"),
        (
            HEAD + 'kinds = "width-mismach"\n',
            "waiver 1: no kind of finding matches 'width-mismach'; did you mean width-mismatch",
        ),
        (HEAD, "waiver 1: has no pattern; expected at least one of cases, models, modes, subjects, observers, kinds"),
        (HEAD + 'model = "m"', "waiver 1: unknown key 'model'; did you mean models"),
        (HEAD + "models = 3", "waiver 1: models is 3; expected a glob or a list of globs"),
        (HEAD + "models = []", "waiver 1: models is []"),
        (HEAD + 'models = ["m", 3]', "waiver 1: models is ['m', 3]"),
        (HEAD + 'models = ""', "waiver 1: models is ''"),
        (HEAD + 'modes = "compield"', "waiver 1: no mode matches 'compield'; did you mean compiled"),
    ],
)
def test_bad_file(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text(text)
    with pytest.raises(BadInput) as raised:
        Waivers.read(file)
    assert message in str(raised.value)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", ["/nowhere/waivers.toml", "/", ""])
def test_unreadable_file(path: str) -> None:
    with pytest.raises(BadInput, match="cannot read waivers"):
        Waivers.read(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="cannot read waivers"):
        Waivers.read(tmp_path / "w.toml")


def test_the_project_names_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.harness]\nwaivers = "known/waivers.toml"\n')
    assert find(tmp_path).waivers == tmp_path / "known" / "waivers.toml"


@pytest.mark.parametrize("value", ["3", '""', '["a"]'])
def test_the_project_names_no_file(value: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.harness]\nwaivers = {value}\n")
    with pytest.raises(BadInput, match=r'expected waivers = "waivers.toml"'):
        find(tmp_path)


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return ran("harness", "check", "--device", "cpu", "--kernels", "wide", "--tp", "1", *TWO, *arguments)


def in_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = ("cases/padding/test_padding.py", "-p", "no:cacheprovider", "-q", "-rx", "-k", "padding and wide")
    ours = [re.sub("^--(?=models|modes|tokens|subject|waivers)", "--padding-", word) for word in (*TWO, *arguments)]
    return ran("pytest", *found, *ours)


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name and name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200
    )


FAULT = ("--subject", "vllm#35949")


def test_check_counts_waived_as_ok(tmp_path: Path) -> None:
    file, records = written(tmp_path, 'subjects = "vllm#35949"', 'models = "nobody"'), tmp_path / "out.jsonl"
    done = harness(*FAULT, "--waivers", str(file), "--json", str(records))
    assert done.returncode == 0, done.stdout + done.stderr
    # On a slow machine lines of progress come before it.
    assert (
        done.stderr.splitlines()[-1]
        == f"harness: {file}: waiver 2 (vllm#35949) matches nothing that was judged in this run"
    )
    lines = done.stdout.splitlines()
    assert "waived 2 (eager, fake) for vllm#35949: known" in lines
    assert lines[-1].startswith("2 verdicts: 0 ok, 2 waived (vllm#35949); ")
    found = results(records)
    assert [record["status"] for record in found] == [WAIVED] * 2
    assert {each["waiver"] for record in found for each in record["findings"]} == {"vllm#35949"}


def test_check_fails_a_waiver_whose_case_passes(tmp_path: Path) -> None:
    done = harness("--waivers", str(written(tmp_path, f'models = "{NANO}"\nmodes = "eager"')))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "waived but passes: vllm#35949, " in done.stdout
    assert "2 verdicts: 1 ok, 1 findings" in done.stdout


@pytest.mark.parametrize("front", [harness, in_pytest], ids=["check", "pytest"])
def test_bad_file_is_one_line(front: Any, tmp_path: Path) -> None:
    done = front("--waivers", str(written(tmp_path, 'model = "m"')))
    assert done.returncode == 2, done.stdout + done.stderr
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if "harness: " in line]
    assert "waiver 1: unknown key 'model'; did you mean models or modes?" in line


@pytest.mark.sampled(2)
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_pytest_xfails_what_is_waived_and_names_what_matches_nothing(workers: list[str], tmp_path: Path) -> None:
    file, report = written(tmp_path, 'kinds = "width-mismatch"', 'models = "nobody"'), tmp_path / "out.xml"
    done = in_pytest(*FAULT, "--waivers", str(file), f"--junitxml={report}", *workers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 xfailed" in done.stdout
    assert "vllm#35949: known" in done.stdout
    idle = [line for line in done.stdout.splitlines() if "matches nothing" in line]
    assert idle == [f"harness: {file}: waiver 2 (vllm#35949) matches nothing that was judged in this run"]
    noted = [entry.attrib for entry in ElementTree.parse(report).iter("property")]
    assert noted.count({"name": "waiver", "value": "vllm#35949"}) == 4
    assert noted.count({"name": "verdict", "value": WAIVED}) == 4


def test_pytest_fails_a_waiver_whose_case_passes(tmp_path: Path) -> None:
    done = in_pytest("--waivers", str(written(tmp_path, 'modes = "eager"')))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "waived but passes: vllm#35949, " in done.stdout
    assert "2 failed, 2 passed" in done.stdout


def test_the_project_file_is_used_and_an_option_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.harness]\nwaivers = "w.toml"\n[tool.harness.subjects]\nin-tree = "kernels.layer.subject:InTree"\n'
    )
    (tmp_path / "w.toml").write_text("oops")
    (tmp_path / "none.toml").write_text("")
    command = [sys.executable, "-m", "harness", "check", *TWO, "--tp", "1", "--kernels", "wide", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for more, code in (([], 2), (["--waivers", "none.toml"], 0)):
        done = subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert ("w.toml: Expected" in done.stderr or "cannot read waivers" in done.stderr) == bool(code)
