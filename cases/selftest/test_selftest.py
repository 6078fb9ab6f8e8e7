"""``harness selftest`` says what survives and what is a false alarm, on corpora made for it."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fixtures.planting import SMALL
from fixtures.recorded import results
from harness.base.errors import BadInput
from harness.cli import main
from harness.execution import stages
from harness.findings.finding import FINDINGS, Finding, Verdict
from harness.selftest.corpus import Correct, Fault, load_corpus
from harness.selftest.score import Scored
from harness.selftest.show import matrix
from harness.selftest.trials import Answer, Trial, Trials
from harness.subjects.load import load_subject
from kernels.layer.subject import InTree

ROOT = Path(__file__).parents[2]
CORPUS = '''\
"""A corpus with entries that are not what they say."""
import os
import time
from dataclasses import replace
from fixtures.planting import ALIGNED, SMALL, correct, fault
from harness.execution import stages
from kernels.layer.layer import PaddedMoELayer


class Nothing(PaddedMoELayer):
    """No fault at all."""


class Doubled(PaddedMoELayer):
    def dense(self, x):
        return super().dense(x) * 2


class Dies(PaddedMoELayer):
    def dense(self, x):
        os._exit(7)


class Hangs(PaddedMoELayer):
    def dense(self, x):
        time.sleep(600)


VALUES = {("values", stages.SCALING)}
AT = {"trigger": "always", "cases": (SMALL,), "modes": ("eager",), "seen": VALUES}
FAULTS = (
    fault("mine#seen", "doubled", Doubled, **AT),
    fault("mine#nothing", "a change that changes nothing", Nothing, **AT),
    fault("mine#elsewhere", "doubled, expected at another stage", Doubled, **(AT | {"seen": {("alias", "layer")}})),
    fault("mine#unheard", "an observer that must and does not", Doubled, must=("values", "widths"), **AT),
    fault("mine#silent", "an observer that must not and does", Doubled, never=("values",), **AT),
    fault("mine#not-absent", "shows everywhere", Doubled, shows=lambda c: c is SMALL, **(AT | {"cases": (SMALL, ALIGNED)})),
    fault("mine#dies", "ends the process", Dies, **AT),
    fault("mine#hangs", "never returns", Hangs, **AT),
)
CORRECT = (
    replace(correct("fine", "the layer itself", cases=(SMALL,)), modes=("eager", "fake")),
    replace(correct("wrong", "twice the output", Doubled, cases=(SMALL,)), modes=("eager",)),
)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("corpus")
    (made / "pyproject.toml").write_text('[tool.harness]\ncorpus = "mine_corpus"\n', "utf-8")
    (made / "mine_corpus.py").write_text(CORPUS, "utf-8")
    return made


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def everything(
    folder: Path, forked_python: None
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, object]]]:
    done = harness(folder, "selftest", "--json", "out.jsonl", "--seconds", "30", "-j", "2")
    records = results(folder / "out.jsonl")
    return done, {record["id"]: record for record in records}


def test_a_survivor_is_named_and_the_exit_code_is_one(everything: tuple[object, dict[str, dict[str, object]]]) -> None:
    done, records = everything
    assert done.returncode == 1, done.stderr  # type: ignore[attr-defined]
    assert "survivor: mine#nothing: a change that changes nothing\n  eager: not found" in done.stdout  # type: ignore[attr-defined]
    assert records["mine#nothing"]["survived"] == ["eager: not found"]
    assert records["mine#nothing"]["killed"] is False


def test_what_is_seen_is_killed(everything: tuple[object, dict[str, dict[str, object]]]) -> None:
    _, records = everything
    seen = records["mine#seen"]
    assert (seen["killed"], seen["survived"], seen["false_alarms"]) == (True, [], [])
    assert seen["observers"][0] == "values"  # type: ignore[index]
    assert seen["tools"]["inductor"] == {"seen": False, "says": "", "silent": True, "not_run": ""}  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mine#elsewhere", "only reported by values at routed scaling; expected alias"),
        ("mine#unheard", "never reported by widths, which must report it"),
        ("mine#dies", "the worker process died (exit code 7)"),
        ("mine#hangs", "a trial gets 30 s"),
    ],
)
def test_other_survivors(name: str, why: str, everything: tuple[object, dict[str, dict[str, object]]]) -> None:
    _, records = everything
    assert why in " ".join(records[name]["survived"])  # type: ignore[arg-type]
    assert records[name]["killed"] is False


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mine#silent", "values must not report it"),
        ("mine#not-absent", "small-aligned"),
        ("right#wrong", "values: scaled"),
    ],
)
def test_false_alarms(name: str, why: str, everything: tuple[object, dict[str, dict[str, object]]]) -> None:
    done, records = everything
    assert why in " ".join(records[name]["false_alarms"])  # type: ignore[arg-type]
    assert f"false alarm: {name}: " in done.stdout  # type: ignore[attr-defined]


def test_the_rest_of_an_entry_is_left_out_where_a_worker_died(
    everything: tuple[object, dict[str, dict[str, object]]],
) -> None:
    done, records = everything
    (first, *_) = records["mine#dies"]["trials"]  # type: ignore[misc]
    assert (first["status"], first["mode"]) == ("died", "eager")  # type: ignore[index]
    assert "torch's tools could not run on mine#dies: the worker process died (not tried after" in done.stdout  # type: ignore[attr-defined]


def test_totals_and_what_observers_are_for(everything: tuple[object, dict[str, dict[str, object]]]) -> None:
    done, _ = everything
    assert "killed: harness 3 of 8; opcheck 0," in done.stdout  # type: ignore[attr-defined]
    assert "correct variants without a finding: 1 of 2" in done.stdout  # type: ignore[attr-defined]
    assert "found by values alone: " in done.stdout  # type: ignore[attr-defined]
    assert "found nothing here: " in done.stdout  # type: ignore[attr-defined]
    assert "left out: 1 of the trials of correct variants; --whole does them" in done.stdout  # type: ignore[attr-defined]


def test_a_run_does_a_part_of_the_trials_of_correct_variants_and_all_of_faults() -> None:
    corpus = load_corpus("fixtures.corpus", (str(ROOT),))
    run, whole = (Trials(corpus, [*corpus.entries.values()], whole=whole) for whole in (False, True))
    done, every = ({entry.id: one.of(entry) for entry in one.entries} for one in (run, whole))
    correct = {entry.id for entry in run.entries if isinstance(entry, Correct)}
    assert all(done[name] == every[name] for name in every.keys() - correct)
    assert all(done[name] and {*done[name]} <= {*every[name]} for name in correct)
    modes = [{trial.mode for name in correct for trial in one[name]} for one in (done, every)]
    assert modes[0] == modes[1]
    count, most = (sum(len(one[name]) for name in correct) for one in (done, every))
    assert most / 9 < count < most / 5


def test_a_correct_variant_has_a_trial_where_any_of_its_modes_runs() -> None:
    corpus = load_corpus("fixtures.corpus", (str(ROOT),))
    one = next(entry for entry in corpus.entries.values() if isinstance(entry, Correct))
    counts = {("cudagraph-compiled",): 0, ("eager",): 1, ("eager", "fake"): 1}
    for modes, count in counts.items():
        entry = replace(one, modes=modes, cases=one.cases[:1])
        assert len(Trials(corpus, [entry], whole=False).all()) == count


@pytest.mark.parametrize(("width", "headings"), [(80, "fault e f found by O V I"), (140, "fault eager fake")])
def test_the_matrix_fits_the_terminal(width: int, headings: str) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(matrix([seen("a#b", "eager"), seen("generic#a-long-name-of-a-fault", "fake")], width))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert any(" ".join(line.split()).startswith(headings) for line in lines)
    assert any(line.startswith("a#b ") and " X " in line for line in lines)


def seen(name: str, mode: str) -> Scored:
    """A fault that one mode saw."""
    fault = Fault(
        id=name,
        mechanism="m",
        trigger="t",
        subject=InTree(),
        cases=(SMALL,),
        modes=(mode,),
        accounts=frozenset({("values", stages.UNPAD)}),
    )
    found = Finding(observer="values", kind="k", stage=stages.UNPAD, what="w", cause="c")
    verdict = Verdict(
        subject=name, case="c", model="m", hidden=80, padded=128, mode=mode, status=FINDINGS, findings=(found,)
    )
    return Scored(fault, [Answer(Trial(name, 0, mode), verdict)])


def test_only_chosen_modes_are_asked_for() -> None:
    one = seen("a#b", "eager")
    assert (one.killed, one.survived, one.observers) == (True, [], ["values"])
    other = replace(one.entry, modes=("eager", "fake"), must_see=frozenset({"widths"}))
    assert Scored(other, one.answers).survived == []  # fake was not run, so widths had no chance


def test_a_mode_that_need_not_see_it_makes_no_survivor_and_no_alarm() -> None:
    one = seen("a#b", "eager")
    other = replace(
        one.entry, modes=("fake",), accounts=frozenset({("alias", "layer")}), must_not_see=frozenset({"values"})
    )
    misreported = Scored(other, one.answers)
    assert misreported.marks == {"eager": "found as another"}
    assert (misreported.survived, misreported.false_alarms, misreported.killed) == ([], [], False)


def test_correct_variants_have_no_finding(folder: Path) -> None:
    done = harness(folder, "selftest", "--faults", "right#fine,mine#seen")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed: harness 1 of 1;" in done.stdout
    assert "correct variants without a finding: 1 of 1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faults", "mine#sen"], "unknown fault 'mine#sen'; did you mean mine#seen"),
        (["--faults", "vllm#*"], "unknown fault 'vllm#*'"),
        (["--corpus", "nowhere_corpus"], "corpus 'nowhere_corpus' does not import: ModuleNotFoundError"),
        (["--modes", "eagr"], "unknown mode 'eagr'; did you mean eager?"),
        (["--json", "no/such/folder.jsonl"], "cannot write --json no/such/folder.jsonl"),
        (["--seconds", "0"], "--seconds is 0; expected more than 0"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    assert main(["selftest", "--corpus", "mine_corpus", *arguments]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_project_without_a_corpus_says_so(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.harness]\nsubject = "mine"\n', "utf-8")
    done = harness(tmp_path, "selftest")
    assert done.returncode == 2
    assert "no corpus: give --corpus package.module" in done.stderr


def test_a_fault_is_a_subject_of_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ["--models", "qwen3-30b-a3b", "--modes", "eager", "--tokens", "3", "--tp", "1", "--kernels", "wide"]
    assert harness(folder, "check", *chosen, "--subject", "mine#seen").returncode == 1
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(BadInput, match="unknown fault 'mine#sen'; did you mean mine#seen"):
        load_subject("mine_corpus:mine#sen")
