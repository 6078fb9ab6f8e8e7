"""The console command: bad input, interrupted and killed runs, exit codes, records, and what it prints."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from fixtures.recorded import results
from harness.base.errors import BadInput
from harness.cli import main
from harness.commands import check as check_module
from harness.findings.finding import ERROR, FINDINGS, OK, Verdict
from harness.matrix.modes import EVERY_MODE, MODES, VARIED, by_default
from harness.matrix.shapes import BUILT_IN, load
from harness.subjects.load import load_subject
from harness.workers import pool
from harness.workers.plan import Plan

pytestmark = pytest.mark.usefixtures("forked_python")

ROOT = Path(__file__).parents[2]
# What a process imports, and the processes that a run leaves, are those of Python itself.
PYTHON = sys.executable
# In the environment of a run and of its workers, to find those that are left.
MARK = "HARNESS_TEST_RUN"
# One verdict on the CPU, the cheapest there is.
ONE = ("--device", "cpu", "--models", "qwen3-30b-a3b", "--modes", "eager", "--tp", "1", "--kernels", "wide")
SUBJECTS = """
import os

from harness.base.errors import Skip
from kernels.layer.subject import InTree


class NoOracle:
    def build(self, case, device): ...
    def inputs(self, case, tokens, seed, device): ...
    def ops(self, case): ...


class Needs(InTree):
    def __init__(self, weights): ...


class Raises(InTree):
    def __init__(self):
        raise RuntimeError("no weights here\\nand a second line")


class NoUnpad(InTree):
    def build(self, case, device):
        layer = super().build(case, device)
        layer.unpad = lambda routed: routed
        return layer


class BadOracle(InTree):
    def oracle(self, case, inputs):
        raise RuntimeError("the oracle broke")


class Dies(InTree):
    def build(self, case, device):
        if case.tp == 1:
            os._exit(7)
        return super().build(case, device)


class Chatty(InTree):
    def build(self, case, device):
        print("not JSON")
        return super().build(case, device)


class Skips(InTree):
    def build(self, case, device):
        raise Skip("not on this machine")


number = 5
"""


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with subjects that are wrong, each in its own way."""
    folder = tmp_path_factory.mktemp("subjects")
    (folder / "wrong.py").write_text(SUBJECTS)
    (folder / "raising.py").write_text('raise ValueError("cannot load\\nand a second line")\n')
    (folder / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    return folder


def environment(path: Path | None = None) -> dict[str, str]:
    """The environment of this process without what would colour, size or redirect the output."""
    dropped = ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "PYTHONPATH", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped and "PYTEST" not in name}
    return kept | {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(path)} if path else {})


def harness(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(path), capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL
    )


def without_progress(errors: str) -> str:
    """Standard error without the lines that a run of more than ten seconds prints where there is no terminal."""
    return re.sub(r"^\d+/\d+ verdicts, \d+ not ok\n", "", errors, flags=re.MULTILINE)


def refused_by_a_process(*arguments: str, path: Path | None = None) -> str:
    """The one line that a bad command line gets, of a process of its own."""
    done = harness(*arguments, path=path)
    return one_line(done.returncode, done.stdout, done.stderr)


def one_line(code: int, output: str, errors: str) -> str:
    assert code == 2, errors
    assert output == ""
    assert errors.startswith("harness: ")
    assert errors.endswith("\n")
    assert errors.count("\n") == 1, errors
    assert "Traceback" not in errors
    return errors.removeprefix("harness: ").rstrip("\n")


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line that a bad command line gets, in this process: a process costs ten times as much."""

    def refused(*arguments: str) -> str:
        capsys.readouterr()
        code = main(list(arguments))
        return one_line(code, *capsys.readouterr())

    return refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "qwen3-30b"], "unknown model 'qwen3-30b'; did you mean qwen3-30b-a3b"),
        (["--models", "qwen3-30b-a3b,zzzz"], "unknown model 'zzzz'; valid: deepseek-v2-lite"),
        (["--modes", "compield"], "unknown mode 'compield'; did you mean compiled"),
        (["--modes", "eager,cuda-graph"], "unknown mode 'cuda-graph'; did you mean cudagraph"),
        (["--kernels", "wyde"], "unknown kernel 'wyde'; did you mean wide"),
        (["--rules", "trtlm-nvfp4"], "unknown alignment rule 'trtlm-nvfp4'; did you mean trtllm-nvfp4"),
        (["--subject", "in-tre"], "unknown subject 'in-tre'; did you mean in-tree?"),
        (["--subject", "zzzz"], "unknown subject 'zzzz'; named here: in-tree"),
        (["--modle", "qwen3-30b-a3b"], "--models"),
        (["--modle=qwen3-30b-a3b"], "--models"),
        (["--tokns", "7"], "did you mean --tokens"),
        (["--jsno", "x"], "did you mean --json"),
        (["--hidden", "2690"], "hidden is 2690; NVFP4 scales blocks of 16, so give a positive multiple of 16"),
        (["--hidden", "0"], "hidden is 0"),
        (["--hidden=-16"], "hidden is -16"),
        (["--hidden", "wide"], "'wide' is not a list of whole numbers like 2688,2880"),
        (["--hidden", "2688.0"], "'2688.0' is not a list of whole numbers"),
        (["--tokens", "-1"], "--tokens is -1; expected 0 or more"),
        (["--tokens", "7,-1"], "--tokens is -1; expected 0 or more"),
        (["--tokens", "few"], "'few' is not a list of whole numbers"),
        (["--tp", "0"], "--tp is 0; expected a tensor-parallel size of 1 or more"),
        (["--tp=-2"], "--tp is -2"),
        (["--device", "gpu"], "invalid choice: 'gpu'"),
        (["-j", "-1"], "--workers is -1"),
        (["--full", "-j", "4"], "--full with 4 workers: cases of true size fill the memory, so they run on one"),
        (["-j", "two"], "'two'"),
        (["--models"], "expected one argument"),
        ([*ONE, "--models", ""], "argument --models: ''"),
        ([*ONE, "--modes", ","], "argument --modes: ','"),
        ([*ONE, "--tokens", ""], "argument --tokens: ''"),
        (["--models-file", "/nowhere/models.json"], "cannot read the models file /nowhere/models.json"),
        (["--models-file", "/"], "cannot read the models file /: Is a directory"),
        (["--json", "/nowhere/verdicts.jsonl"], "cannot write --json /nowhere/verdicts.jsonl: No such file"),
        (["--json", "/"], "cannot write --json /: Is a directory"),
        (["extra"], "unrecognized arguments: extra"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_bad_option_of_check(arguments: list[str], message: str, refusal: Callable[..., str]) -> None:
    assert message in refusal("check", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc"], "invalid choice: 'chekc' (choose from"),
        (["--vresion"], "did you mean --version?"),
        (["list", "--jsn"], "did you mean --json?"),
        (["list", "--subject", "in-tre"], "did you mean in-tree?"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_bad_command(arguments: list[str], message: str, refusal: Callable[..., str]) -> None:
    assert message in refusal(*arguments)


@pytest.mark.parametrize("arguments", [["chekc"], ["check", "--hidden", "0"], ["check", "--json", "/"]], ids=" ".join)
def test_a_process_refuses_in_one_line_too(arguments: list[str], refusal: Callable[..., str]) -> None:
    assert refused_by_a_process(*arguments) == refusal(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a valid models file: Expecting"),
        ("", "is not a valid models file: Expecting value"),
        ("[]", "expected an object with a list 'models'"),
        ('{"models": 3}', "expected an object with a list 'models'"),
        ('{"models": []}', "is not a valid models file"),
        ('{"models": [3]}', "each model is an object with a 'name'"),
        ('{"models": [], "synthetic": 5}', "is not a valid models file"),
        ('{"models": [], "alignment": []}', "is not a valid models file"),
        (
            '{"models": [{"name": "m", "hidden": 64, "intermediate": 64, "experts": 4, "top_k": 5}]}',
            "model 'm': top_k 5 is above its 4 experts",
        ),
        ('{"models": [{"name": "m", "hidden": 60, "experts": 4, "top_k": 4}]}', "model 'm'"),
    ],
    ids=["cut", "empty", "list", "number", "no-models", "no-object", "synthetic", "alignment", "top-k", "width"],
)
def test_bad_models_file(text: str, message: str, tmp_path: Path, refusal: Callable[..., str]) -> None:
    file = tmp_path / "models.json"
    file.write_text(text)
    line = refusal("check", "--models-file", str(file))
    assert message in line
    assert "models.json" in line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.layers:Mine", "does not import: ModuleNotFoundError: No module named 'nowhere'"),
        ("wrong:NoUnpat", "the module has no 'NoUnpat'; did you mean NoUnpad?"),
        ("wrong:NoOracle", "has no method oracle; a subject needs build, inputs, oracle, ops"),
        ("wrong:number", "has no method build"),
        ("wrong:Needs", "cannot be made without arguments: TypeError"),
        (":Mine", "is not of the form package.module:Name"),
    ],
    ids=lambda value: value if ":" in value and " " not in value else "",
)
def test_bad_subject(name: str, message: str, subjects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(subjects))
    with pytest.raises(BadInput, match=re.escape(message)) as refused:
        load_subject(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising:Mine", "does not import: ValueError: cannot load"),
        ("leaving:Mine", "does not import: SystemExit: 3 ("),
        ("wrong:Raises", "cannot be made without arguments: RuntimeError: no weights here"),
    ],
)
def test_a_subject_that_raises_or_exits_in_its_process(name: str, message: str, subjects: Path) -> None:
    assert message in refused_by_a_process("check", *ONE, "--subject", name, path=subjects)


def test_bad_subject_of_list(subjects: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]) -> None:
    monkeypatch.syspath_prepend(str(subjects))
    assert "does not import: ValueError" in refusal("list", "--subject", "raising:Mine")


def test_cuda_where_there_is_none(refusal: Callable[..., str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert "sees no CUDA device here" in refusal("check", *ONE, "--device", "cuda")


def test_all_ok(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    done = harness("check", *ONE, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert without_progress(done.stderr) == ""
    (record,) = results(file)
    assert (record["status"], record["model"], record["mode"]) == (OK, "qwen3-30b-a3b", "eager")
    assert record["checks"]
    assert record["subject"] == "in-tree"
    assert record["environment"]["torch"]
    assert round_trip(record) == record
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["model", "eager"]
    assert lines[1].split() == ["qwen3-30b-a3b", "1", "ok"]
    assert lines[-1].startswith("1 verdict: 1 ok; ")
    assert "\x1b" not in done.stdout


def test_findings(tmp_path: Path, subjects: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    arguments = [*ONE, "--models", "nemotron-3-nano-30b-a3b", "--tp", "1,2", "--subject", "wrong:NoUnpad"]
    done = harness("check", *arguments, "--json", str(file), path=subjects)
    assert done.returncode == 1, done.stderr
    assert without_progress(done.stderr) == ""
    found = results(file)
    assert [record["status"] for record in found] == [FINDINGS, FINDINGS]
    assert all(round_trip(record) == record for record in found)
    assert all(shlex.split(record["reproduce"])[-2:] == ["--subject", "wrong:NoUnpad"] for record in found)
    assert "2816" in done.stdout
    assert "2 of 2 findings" in done.stdout or "2/2 findings" in done.stdout or "2 findings" in done.stdout
    assert "-v shows each" in done.stdout
    assert "Traceback" not in done.stdout
    assert "\x1b" not in done.stdout


def test_harness_error_with_and_without_its_traceback(tmp_path: Path, subjects: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    quiet = harness("check", *ONE, "--subject", "wrong:BadOracle", "--json", str(file), path=subjects)
    assert quiet.returncode == 2
    assert "reason      oracle() raised RuntimeError: the oracle broke (" in quiet.stdout
    assert "Traceback" not in quiet.stdout + quiet.stderr
    (record,) = results(file)
    assert record["status"] == ERROR
    assert "the oracle broke" in record["traceback"]
    assert round_trip(record) == record
    loud = harness("check", *ONE, "--subject", "wrong:BadOracle", "-vv", path=subjects)
    assert loud.returncode == 2
    assert "Traceback (most recent call last)" in loud.stdout
    assert "wrong.py" in loud.stdout


def test_a_worker_that_dies_costs_its_own_case_alone(tmp_path: Path, subjects: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    arguments = [*ONE, "--tp", "1,2", "--subject", "wrong:Dies"]
    done = harness("check", *arguments, "--json", str(file), path=subjects)
    assert done.returncode == 2
    assert "the worker process died (exit code 7)" in done.stdout
    found = {("-tp1-" in record["case"], record["status"]) for record in results(file)}
    assert found == {(True, ERROR), (False, OK)}
    assert len(results(file)) == 2
    assert all(round_trip(record) == record for record in results(file))


def test_what_a_subject_prints_stays_out_of_the_answers(subjects: Path) -> None:
    done = harness("check", *ONE, "--subject", "wrong:Chatty", path=subjects)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not JSON" not in done.stdout


@pytest.mark.parametrize(("more", "code"), [((), 2), (("--allow-skipped",), 0)], ids=["refused", "allowed"])
def test_nothing_but_skipped_is_no_success(more: tuple[str, ...], code: int, subjects: Path) -> None:
    done = harness("check", *ONE, "--subject", "wrong:Skips", *more, path=subjects)
    assert done.returncode == code
    line = "harness: nothing was judged: all 1 skipped (not on this machine); --allow-skipped accepts that\n"
    assert (line in done.stderr) == (not more)
    assert "1 skipped" in done.stdout.splitlines()[-1]
    assert "skipped 1 (eager): not on this machine" in done.stdout.splitlines()


def round_trip(record: dict[str, Any]) -> dict[str, Any]:
    """The record as a Verdict and back through JSON."""
    answer: dict[str, Any] = json.loads(json.dumps(Verdict.from_json(record).to_json()))
    return answer


def test_list_as_json_is_a_models_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in parts["models"]] == list(load().shapes)
    assert [mode["mode"] for mode in parts["modes"]] == list(EVERY_MODE)
    assert {"name": "in-tree", "import": "kernels.layer.subject:InTree"} in parts["subjects"]
    assert {bug["id"].rpartition("#")[2] for bug in parts["known bugs"]} >= {"35949", "40794", "41184", "45037"}
    assert parts["ops"]
    assert parts["observers"]
    for name, content in (("whole", parts), ("models", {"models": parts["models"]})):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(content))
        assert {shape.name: replace(shape, source="") for shape in load(file).shapes.values()} == load().shapes
        assert load(file).rules == load().rules
    assert main(["check", *ONE, "--models-file", str(tmp_path / "models.json")]) == 0


def test_list_shows_every_name() -> None:
    done = harness("list")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    for title in ("subjects", "ops", "models", "alignment", "modes", "observers", "known bugs"):
        assert title in [line.strip() for line in done.stdout.splitlines()]
    for name in (*load().shapes, *load().rules, *MODES, "in-tree", "35949"):
        assert name in done.stdout, name


def test_list_into_a_pipe_that_closes() -> None:
    command = [sys.executable, "-m", "harness", "list"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == ""


def test_version_and_no_command() -> None:
    assert harness("--version").returncode == 0
    done = harness()
    assert done.returncode == 0
    assert "usage: harness" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["list", "--help"]], ids=" ".join)
def test_help_imports_no_torch(arguments: list[str]) -> None:
    source = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('heavy', [n for n in ('torch', 'numpy', 'pytest', 'sympy') if n in sys.modules]))\n"
        "from harness.cli import main\n"
        f"main({arguments!r})"
    )
    command = [PYTHON, "-c", source]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: harness" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy []"


def test_help_answers_at_once() -> None:
    """At most 0.3 s of CPU time, the best of five: how long it waits for a core is another matter."""
    command, seconds = [PYTHON, "-m", "harness", "--help"], []
    for _ in range(5):
        before = os.times()
        subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert 0 < min(seconds) < 0.3


def test_help_of_check_names_every_option_and_the_exit_codes() -> None:
    shown = harness("check", "--help").stdout
    for option in ("subject", "models", "hidden", "tokens", "modes", "full", "rules", "kernels", "tp", "models-file"):
        assert f"--{option} " in shown or f"--{option}\n" in shown
    for option in ("device", "json", "workers", "verbose"):
        assert f"--{option}" in shown
    assert "exit code: 0 all ok, 1 findings, 2 bad input or an error in the harness, 130 Ctrl-C" in shown


ON_CPU = [mode.name for mode in by_default(cuda=False)]


class Prepared:
    """A pool whose verdicts are ready: every model in every mode eleven times, the compiled ones of ``bad`` status."""

    bad = OK

    def __init__(self, plan: object, wanted: object = None) -> None:
        self.wanted = range(11 * len(load().shapes) * len(ON_CPU))

    def __iter__(self) -> Iterator[Verdict]:
        """Eleven verdicts of each model and mode."""
        for model, mode, count in product(load().shapes, ON_CPU, range(11)):
            yield Verdict(
                subject="in-tree",
                case=f"model={model}-tokens={count}",
                model=model,
                hidden=2688,
                padded=2816,
                mode=mode,
                status=self.bad if mode == "compiled" else OK,
                emulated=MODES[mode].family == "cudagraph",
            )


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("bad", [OK, FINDINGS, ERROR, "skipped"])
def test_table_without_a_terminal_is_whole(
    bad: str, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(check_module, "PlanRun", Prepared)
    monkeypatch.setattr(Prepared, "bad", bad)
    main(["check"])
    lines = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    names = sorted(load().shapes)
    starts = [next(i for i, line in enumerate(lines) if line.split()[:1] == [name]) for name in names]
    heading = " ".join(lines[: starts[0]]).split()
    full = ("fake", "dynamic", "compiled", "cudagraph", "emulated")
    short = ("fake", "dyn.", "comp.", "cuda", "graph", "emul.")
    for word in ("model", "eager", *(short if columns == "80" else full)):
        assert word in heading
    for start, end in pairwise([*starts, len(lines)]):
        words = " ".join(lines[start:end]).split()[1:]
        columns = [mode for mode in ON_CPU if MODES[mode].family != VARIED]
        assert words.count("ok") == len(columns) + 1 - (bad != OK), lines[start]
        assert bad in words
        assert words.count("11") == len(columns) + (bad != OK)
        assert words.count(str(11 * (len(ON_CPU) - len(columns)))) == 1  # the varied modes share a column
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "there", "expected"),
    [((), True, True), ((), False, False), (("--device", "cpu"), True, False), (("--device", "cuda"), False, True)],
    ids=str,
)
def test_what_needs_cuda_is_judged_where_the_cases_run_on_it(
    arguments: tuple[str, ...], there: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Plan] = []

    class Noted(Prepared):
        def __init__(self, plan: Plan, wanted: Collection[tuple[str, str]] | None = None) -> None:
            super().__init__(plan, wanted)
            asked.append(plan)

    monkeypatch.setattr(check_module, "PlanRun", Noted)
    monkeypatch.setattr(pool, "has_cuda", lambda: there)
    main(["check", *arguments])
    (plan,) = asked
    assert any(mode.needs_cuda for _, mode in plan.selection.tasks()) == expected


def test_what_is_skipped_is_told_once_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    models = "gpt-oss-20b,deepseek-v3"
    narrow = ["--models", models, "--modes", "cudagraph-compiled", "--tp", "1"]
    assert main(["check", "--device", "cpu", *narrow, "--allow-skipped"]) == 0
    (message,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped ")]
    assert message == (
        "skipped 3 (cudagraph-compiled): torch.compile's own CUDA graphs need a CUDA device; there is no emulation of them"
    )


def test_nothing_judged_is_no_success() -> None:
    assert check_module.exit_code([]) == 2


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["ok"], 0), (["ok", "skipped"], 0), (["ok", "findings"], 1), (["findings", "error"], 2), (["ok", "error"], 2)],
    ids=str,
)
def test_exit_code(statuses: list[str], code: int) -> None:
    verdicts = [
        Verdict(subject="s", case="c", model="m", hidden=16, padded=16, mode="eager", status=status)
        for status in statuses
    ]
    assert check_module.exit_code(verdicts) == code


def test_a_file_that_fills_up_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    monkeypatch.setattr(check_module, "PlanRun", Prepared)
    assert main(["check", "--json", "/dev/full"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("harness: cannot append to --json /dev/full")
    assert errors.count("\n") == 1


def started(file: Path, count: int) -> "subprocess.Popen[str]":
    """A run of many cases in a session of its own, once ``count`` records are in the file."""
    command = [PYTHON, "-m", "harness", "check", "--device", "cpu", "--modes", "eager,fake", "-j", "2"]
    process = subprocess.Popen(
        [*command, "--json", str(file)],
        cwd=ROOT,
        env=environment() | {MARK: str(file)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: file.exists() and file.read_bytes().count(b"\n") >= count, 100)
    assert len(members(file)) > (1 if count > 1 else 0)
    assert process.poll() is None, "the run ended before it could be stopped"
    return process


def wait_for(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.05)


def members(file: Path) -> list[int]:
    """The processes that still run of the run that writes to a file: its workers have sessions of their own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is not ours
            if f"{MARK}={file}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")


@pytest.mark.sampled(3)
@needs_proc
@pytest.mark.parametrize(
    ("whole_group", "number", "code"),
    [(True, signal.SIGINT, 130), (False, signal.SIGINT, 130), (False, signal.SIGTERM, 143)],
    ids=["terminal", "parent-alone", "sigterm"],
)
def test_ctrl_c(whole_group: bool, number: signal.Signals, code: int, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    with started(file, 4) as process:
        (os.killpg if whole_group else os.kill)(process.pid, number)
        output, errors = process.communicate(timeout=30)
        assert process.returncode == code
        assert errors.splitlines()[-1] == "harness: interrupted; records written so far are complete"
        assert "Traceback" not in errors
        assert re.search(r"^\d+ verdicts: \d+ ok; ", output.splitlines()[-1])
        wait_for(lambda: not members(file), 5)
    assert file.read_bytes().endswith(b"\n")
    found = results(file)
    assert len(found) >= 3
    assert {record["status"] for record in found} == {OK}
    assert all(round_trip(record) == record for record in found)


@needs_proc
def test_ctrl_c_before_the_first_verdict(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    with started(file, 1) as process:
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert without_progress(errors) == "harness: interrupted; records written so far are complete\n"
        assert output == ""
        wait_for(lambda: not members(file), 5)
    assert results(file) == []


@needs_proc
def test_killed_run_keeps_its_records_and_leaves_no_worker(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    with started(file, 4) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        assert process.returncode == -signal.SIGKILL
        wait_for(lambda: not members(file), 20)
    run, *verdicts = map(json.loads, file.read_text("utf-8").rpartition("\n")[0].splitlines())
    assert run["planned"]["count"] > len(verdicts) >= 2
    assert all(Verdict.from_json(line).ok for line in verdicts)  # and none says that the run ended


def test_selection_of_a_namespace_is_what_was_asked() -> None:
    names = ("models", "hidden", "tokens", "rules", "kernels", "tp", "modes", "vary")
    chosen = Namespace(**dict.fromkeys(names, ()), full=True, models_file=None)
    selection = check_module.selection_of(chosen)
    assert selection.full
    assert selection.models_file == str(BUILT_IN)
