"""``harness repro``: what it takes, what it prints, what it refuses; the last run; the bug report."""

import getpass
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from fixtures.imports import ROOT
from harness.cli import main
from harness.commands.repro import ABOUT
from harness.findings.finding import FINDINGS, OK, Finding, Verdict
from harness.repro import last_run
from harness.repro.private import without_private
from harness.verdict.reproduce import script_command

pytestmark = pytest.mark.usefixtures("forked_scripts")
ID = "gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-narrow-tp1-tokens7"
CHOSEN = (
    "--models gpt-oss-20b --modes eager --rules trtllm-nvfp4 --kernels narrow --tp 1 --tokens 7 --subject vllm#41645"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(ROOT)


def verdict(**fields: Any) -> Verdict:
    finding = Finding(observer="contract", kind="fake-differs", stage="routed experts", what="w", cause="c")
    shared = {
        "subject": "vllm#41645",
        "case": ID,
        "model": "gpt-oss-20b",
        "hidden": 2880,
        "padded": 3072,
        "mode": "eager",
    }
    return Verdict(
        **(shared | {"status": FINDINGS, "findings": (finding,), "reproduce": f"harness check {CHOSEN}"} | fields)
    )


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["repro", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_without_a_run_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run is remembered" in refused(capsys)


def test_a_last_run_without_findings_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    last_run.remember(ROOT, "a", [verdict(status=OK, findings=())])
    assert "found nothing" in refused(capsys)


def test_a_run_replaces_the_run_before_and_adds_to_itself() -> None:
    last_run.remember(ROOT, "a", [verdict(mode="fake")])
    last_run.remember(ROOT, "b", [verdict(mode="eager")])
    last_run.remember(ROOT, "b", [verdict(mode="compiled")])
    assert [record["mode"] for record in last_run.recall(ROOT)] == ["eager", "compiled"]


def test_projects_have_runs_of_their_own(tmp_path: Path) -> None:
    last_run.remember(ROOT, "a", [verdict()])
    assert last_run.file_of(tmp_path) != last_run.file_of(ROOT)


def verdict_json(**fields: Any) -> dict[str, Any]:
    return verdict().to_json() | fields


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json", "is no file of records"),
        ('{"entry": "vllm#1"}', "1: no verdict's record"),
        ('{"status": "findings", "format": 1}', "1: a record of format 1 that cannot be read"),
        ('{"status": "findings", "format": 99, "findings": []}', "1: a record of format 99"),
        (json.dumps(verdict_json(status="ok", findings=[])), "no failing verdict in it"),
        ('{"record": "run", "format": 3}', "no failing verdict in it"),
    ],
)
def test_records_that_cannot_be_used(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(text + "\n")
    assert reason in refused(capsys, str(file))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("nowhere.jsonl", "is neither a file nor a case's id"),
        (
            ID.replace("padded3072", "padded9999"),
            "any more: with that model and rule it is gpt-oss-20b-hidden2880-padded3072",
        ),
        (ID.replace("gpt-oss-20b", "gpt-oss-20c"), "unknown model 'gpt-oss-20c'"),
        (ID.replace("trtllm-nvfp4", "old-rule"), "unknown alignment rule 'old-rule'"),
    ],
)
def test_a_case_that_does_not_exist(word: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert reason in refused(capsys, word)


def test_a_record_gives_a_script_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, script = tmp_path / "records.jsonl", tmp_path / "repro.py"
    file.write_text(json.dumps(verdict().to_json()) + "\n")
    assert main(["repro", str(file), "-o", str(script), "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["reproduced"]
    assert answer["kind"] == "fake-differs"
    assert answer["file"] == str(script)
    assert script.read_text() == answer["script"]
    assert "harness: reproduced: same check fails, fake-differs" in err


def test_a_report_names_no_place_and_no_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repro", ID, "--modes", "eager", "--subject", "vllm#41645", "--issue"]) == 0
    report = capsys.readouterr().out
    for heading in ("What happens", "Script", "Expected", "Command", "Environment"):
        assert f"\n## {heading}\n" in report
    for private in (str(ROOT), str(Path.home()), socket.gethostname(), f"/{getpass.getuser()}/"):
        assert private not in report


def test_what_is_private_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-box-7")
    monkeypatch.setattr(getpass, "getuser", lambda: "jane")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jane"))
    text = (
        f"File {ROOT}/kernels/layer/layer.py:3, /home/jane/work/secret/mine.py:4 on gpu-box-7 by jane; "
        "/usr/lib/python3/site-packages/torch/nn.py and 2688/2 of janet"
    )
    assert without_private(text) == (
        "File kernels/layer/layer.py:3, ~/.../mine.py:4 on host by user; site-packages/torch/nn.py and 2688/2 of janet"
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('File "/srv/acme corp/top secret/mine.py", line 3', 'File ".../mine.py", line 3'),
        ("--models-file /mnt/customers/acme/shapes.json", "--models-file .../shapes.json"),
        ("'/home/o'brien+x/a.py'", "'~/a.py'"),
        ("on gpu(7).corp.example by o'brien+x", "on host by user"),
        ("gpu(7) answered at 10.20.30.40:8000", "host answered at address:8000"),
        ("token hf_ABC123xyz in the log", "token secret in the log"),
        ("C:\\Users\\jane\\x.py", ".../x.py"),
        ("https://github.com/vllm-project/vllm/pull/1 and 2688/2, torch 2.13.0, [7, 16] / 2", ""),
        ('torch.library.define("a::b", "(Tensor x, Tensor(a!) y) -> ()")', ""),
        ("x = x[..., :80] // 2  # n/a", ""),
    ],
)
def test_hostile_names_are_left_out(text: str, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu(7).corp.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "o'brien+x")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/o'brien+x"))
    monkeypatch.setenv("HF_TOKEN", "hf_ABC123xyz")
    assert without_private(text) == (left or text)


def test_the_command_under_a_finding() -> None:
    assert script_command(f"harness check {CHOSEN}") == f"harness repro {CHOSEN}"
    assert script_command("harness prove --models any-plain") == "harness repro --modes proof --models any-plain"
    assert script_command("harness vllm 0.24.0") == ""
    assert script_command("harness check --models x --subject vllm==0.24.0") == ""
    assert script_command("harness check --models x --subject 'vllm#41645'") != ""


def test_help_shows_its_exit_codes() -> None:
    assert "exit code: 0 reproduced, 1 not reproduced" in ABOUT
