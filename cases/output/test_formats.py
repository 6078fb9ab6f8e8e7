"""JUnit, CTRF, SARIF and GitHub: valid by their schemas, at the user's line, and safe whatever a finding says."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema

from fixtures.imports import ROOT
from fixtures.runs import HOSTILE, finding, header, tasks, verdict
from harness.base.errors import BadInput
from harness.cli import main
from harness.findings.finding import ERROR, LATENT, SKIPPED, WAIVED, Verdict
from harness.output.formats.ctrf import ctrf
from harness.output.formats.github import annotations, summary
from harness.output.formats.items import Item, items
from harness.output.formats.junit import junit
from harness.output.formats.sarif import sarif
from harness.output.formats.writing import Output, check, output, write
from harness.runs.planned import Planned
from harness.runs.results import Result, result

TASKS = tasks()
HEADER = header(Planned.whole(TASKS))
ROWS = [
    {"record": "audit", "op": "mylib::gemm", "row": "stride", "status": "breaks", "what": HOSTILE, "reproduce": "x"},
    {"record": "selftest", "id": "vllm#1", "survived": ["missed"], "trials": [], "false_alarms": []},
]


def made() -> list[Result]:
    verdicts = [
        verdict(TASKS[0]),
        verdict(TASKS[1], found=[finding(), finding("stale", HOSTILE, file="/elsewhere/a layer.py")]),
        verdict(TASKS[2], SKIPPED, reason=HOSTILE),
        verdict(TASKS[3], WAIVED, reason="a/b#1"),
        verdict(TASKS[4], LATENT),
        verdict(TASKS[5], ERROR, reason=HOSTILE),
    ]
    return [*map(recorded, verdicts), *map(result, ROWS)]


def recorded(one: Verdict) -> Result:
    return result({"record": "verdict", "run": HEADER.run, "started": HEADER.started, **one.to_json()})


def every() -> list[Item]:
    return items(made())


@pytest.mark.parametrize(("text", "name"), [(ctrf, "ctrf-0.0"), (sarif, "sarif-2.1.0")], ids=["ctrf", "sarif"])
@pytest.mark.parametrize("results", [[], None], ids=["empty", "every status"])
def test_valid_by_the_published_schema(text: Any, name: str, results: list[Item] | None) -> None:
    schema = json.loads((ROOT / f"fixtures/schemas/{name}.json").read_text("utf-8"))
    data = json.loads(text(every() if results is None else results, HEADER))
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(data)] == []
    data["surprise"] = data.pop("results" if name.startswith("ctrf") else "runs")
    assert [*validator.iter_errors(data)]


def test_ctrf_counts_and_places() -> None:
    data = json.loads(ctrf(every(), HEADER))["results"]
    assert data["summary"] | {"start": 0, "stop": 0} == {
        "tests": 8, "passed": 1, "failed": 4, "skipped": 1, "pending": 0, "other": 2, "start": 0, "stop": 0,
    }  # fmt: skip
    (failed,) = [test for test in data["tests"] if test["name"] == f"{TASKS[1].case}[{TASKS[1].mode}]"]
    assert (failed["filePath"], failed["line"]) == ("mymoe/layer.py", 12)


@pytest.mark.parametrize("results", [[], None], ids=["empty", "every status"])
def test_junit_is_valid_by_the_published_schema(results: list[Item] | None) -> None:
    schema = xmlschema.XMLSchema(ROOT / "fixtures/schemas/junit-10.xsd")
    text = junit(every() if results is None else results, HEADER)
    assert [str(error) for error in schema.iter_errors(text)] == []
    assert [*schema.iter_errors(text.replace("<testsuite ", "<testsuite surprise='' "))]


def test_junit_is_as_pytest_writes_it() -> None:
    suites = ElementTree.fromstring(junit(every(), HEADER))
    (suite,) = suites
    assert (suites.tag, suite.tag) == ("testsuites", "testsuite")
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "8", "failures": "3", "errors": "1", "skipped": "3"}
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    failed = cases[f"{TASKS[1].case}[{TASKS[1].mode}]"]
    assert [child.tag for child in failed] == ["failure", "system-out"]
    assert "line        mymoe/layer.py:12: return shared + routed" in (failed[0].text or "")
    facts = dict(re.findall(r"\[\[PROPERTY\|(\w+)=(.*)\]\]", failed[1].text or ""))
    assert (facts["padded"], facts["verdict"], facts["kind"]) == ("2816", "findings", "width-mismatch, stale")
    skipped = cases[f"{TASKS[3].case}[{TASKS[3].mode}]"][0]
    assert (skipped.tag, skipped.get("type"), skipped.get("message")) == ("skipped", "pytest.xfail", "a/b#1")


def test_sarif_names_the_line_and_a_fingerprint_that_stays() -> None:
    runs = [json.loads(sarif(every(), one))["runs"][0] for one in (HEADER, header(Planned.whole(TASKS)))]
    marks = [[one["partialFingerprints"] for one in run["results"]] for run in runs]
    assert marks[0] == marks[1]
    assert len({mark["finding/v1"] for mark in marks[0]}) == len(marks[0])
    (place, *_) = [p["physicalLocation"] for r in runs[0]["results"] for p in r["locations"] if "physicalLocation" in p]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("mymoe/layer.py", 12)
    assert "file:///elsewhere/a%20layer.py" in json.dumps(runs[0])


def test_sarif_of_very_many_says_what_is_left_out() -> None:
    many = items([recorded(verdict(task, found=[finding()])) for task in tasks(400)])
    (run,) = json.loads(sarif(many, HEADER))["runs"]
    assert len(run["results"]) == 1000
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"].startswith("200 more results are left out")


def test_annotations_name_the_users_line_once_a_kind() -> None:
    wrong = items([recorded(verdict(task, found=[finding()])) for task in tasks(3)])
    (line,) = annotations(wrong, HEADER).splitlines()
    assert line.startswith(
        "::error file=mymoe/layer.py,line=12,title=width-mismatch at shared add%3A model-0-tokens7%2C "
    )
    assert "%0Aalso in 8 more results%0Areproduce: harness check --models model-0-tokens7" in line
    assert annotations(items([recorded(verdict(TASKS[0]))]), HEADER) == ""


def test_hostile_text_stays_text() -> None:
    lines = annotations(every(), HEADER).splitlines()
    assert all(re.match(r"::(error|notice) ", line) for line in lines)
    for text in (annotations, summary, junit, ctrf, sarif):
        shown = text(every(), HEADER)
        assert not set("\x1b\x00\u202e\ufffe\ud800\r") & set(shown), text.__name__
        shown.encode("utf-8")
    assert "</script>" not in summary(every(), HEADER)
    rows = [line for line in summary(every(), HEADER).splitlines() if line.startswith("| ")]
    assert all(line.count("|") == 5 for line in rows)


def test_under_github_actions_without_being_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    write([], made(), HEADER)
    assert "\n::error file=mymoe/layer.py,line=12," in capsys.readouterr().out
    write([Output("sarif")], made(), HEADER)
    output, errors = capsys.readouterr()
    assert json.loads(output)["version"] == "2.1.0"
    assert errors.startswith("::error ")
    assert (tmp_path / "summary.md").read_text().count("### harness check on cpu") == 2
    monkeypatch.setenv("GITHUB_ACTIONS", "")
    write([], made(), HEADER)
    assert capsys.readouterr() == ("", "")


def test_a_run_writes_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "--models", "qwen3-30b-a3b", "--modes", "eager", "--tp", "1", "--kernels", "wide"]
    files = {name: tmp_path / name for name in ("json", "junit", "ctrf", "sarif", "github", "text")}
    assert main([*arguments, "--device", "cpu", *(f"--output={name}={file}" for name, file in files.items())]) == 0
    assert all(file.is_file() for file in files.values())
    assert ElementTree.parse(files["junit"]).getroot()[0].get("tests") == "1"
    assert "1 verdict: 1 ok" in files["text"].read_text()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["", "xml", "junit=", "=x"])
def test_a_format_that_there_is_not(text: str) -> None:
    with pytest.raises(Exception, match="expected FORMAT or FORMAT=FILE"):
        output(text)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [([Output("junit"), Output("json")], "both go to standard output"), ([Output("junit", "/no/x")], "cannot write")],
)
def test_outputs_that_do_not_go(outputs: list[Output], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check(outputs)
