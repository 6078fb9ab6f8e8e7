"""The pytest plugin: its options, which tests they choose, and how it gets on with pytest's own options and xdist."""

import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import pytest
import torch

from fixtures.plugin_subjects import NO_UNPAD
from harness.workers.pool import has_cuda

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.usefixtures("forked_python")
PYTHON = sys.executable  # for what a process imports

ROOT = Path(__file__).parents[2]
MAIN_JOB = "cases/padding/test_padding.py"
NANO = "nemotron-3-nano-30b-a3b"
SUBJECTS = f"""{NO_UNPAD}
from harness.base.errors import Skip


class BadOracle(InTree):
    def oracle(self, case, inputs):
        raise RuntimeError("the oracle broke")


class Skips(InTree):
    def build(self, case, device):
        raise Skip("not on this machine")
"""
# Somebody else's test module. It lies outside the checkout, and finds the kernels by PYTHONPATH.
TESTS = """
import pytest

from harness.workers.pool import has_cuda


def test_layer(padding_case, mode, hold):
    assert hold(padding_case, mode).checks


@pytest.mark.gpu
@pytest.mark.slow
def test_marked():
    pass
"""
# Four cases: wide and narrow, tensor-parallel 1 and 2.
FOUR = ("--padding-models", NANO, "--padding-modes", "eager", "--padding-tokens", "3")
SPY = """
import sys


def pytest_collection_finish(session):
    heavy = ("torch", "torch._dynamo", "torch._inductor", "triton")
    print("loaded:", ",".join(name for name in heavy if name in sys.modules))
"""


def in_checkout(*arguments: str, path: Path | None = None, python: str = "") -> subprocess.CompletedProcess[str]:
    """Pytest on the checkout, in a process that knows nothing of the pytest run around it."""
    kept = {name: value for name, value in os.environ.items() if "PYTEST" not in name and name != "PYTHONPATH"}
    extra = {"PYTHONPATH": str(path)} if path else {}
    command = [python or sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, env=kept | extra, capture_output=True, text=True, timeout=200)


@cache
def collected(*arguments: str) -> list[str]:
    """The ids in brackets of the main job's tests that these options choose."""
    done = in_checkout(MAIN_JOB, "--collect-only", "-q", *arguments)
    assert done.returncode in (0, 5), done.stdout + done.stderr
    return re.findall(r"::test_padding\[(.*)\]$", done.stdout, re.MULTILINE)


def part(key: str, ids: list[str]) -> set[str]:
    """The values that a part of the ids has: ``nano-hidden2688-padded2816`` has ``2688`` for ``hidden``."""
    form = {"model": r"^(.*?)-hidden\d", "mode": r"-tokens\d+-(.*)$"}.get(key, rf"-{key}(\d+)-")
    return {match for name in ids for match in re.findall(form, name)}


def refusal(*arguments: str, path: Path | None = None) -> str:
    """What pytest says of options that it refuses: one line of ours, exit code 2, no traceback."""
    done = in_checkout(MAIN_JOB, "-q", *arguments, path=path)
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert "Traceback" not in output
    lines = [line for line in output.splitlines() if "harness: " in line]
    assert len(lines) == 1, output
    assert "passed" not in output
    assert "failed" not in output
    return lines[0]


def properties(file: Path) -> list[dict[str, str]]:
    """What a JUnit file notes of each test."""
    tests = ElementTree.parse(file).iter("testcase")
    return [{entry.attrib["name"]: entry.attrib["value"] for entry in test.iter("property")} for test in tests]


@pytest.fixture
def outside(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of somebody else with a test of its own and subjects that are wrong."""
    for name in list(os.environ):
        if "PYTEST_XDIST" in name or name == "PYTEST_ADDOPTS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_theirs=TESTS, theirs=SUBJECTS)
    return pytester


def run(folder: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return folder.runpytest_subprocess("--strict-markers", "-k", "test_layer", *FOUR, *arguments, timeout=120)


def test_options_are_a_group_of_their_own() -> None:
    shown = in_checkout("--help").stdout
    group = shown.partition("\npadded MoE harness:\n")[2].partition("\n\n")[0]
    for option in (
        "--padding-subject",
        "--padding-models",
        "--padding-hidden",
        "--padding-tokens",
        "--padding-modes",
        "--padding-full",
    ):
        assert re.search(rf"^  {option}[= ]", group, re.MULTILINE), option
        assert len(re.findall(rf"^  {option}[= ]", shown, re.MULTILINE)) == 1, option


def test_ids_are_stable_and_each_its_own() -> None:
    ids = collected("--whole")
    assert len(ids) >= 1000
    assert len(set(ids)) == len(ids)
    assert collected.__wrapped__("--whole") == ids  # of another process


def test_a_dash_pins_a_number_after_k() -> None:
    both = ("--padding-models", NANO, "--padding-tokens", "7,70", "--padding-modes", "eager")
    assert part("tokens", collected(*both, "-k", "tokens7")) == {"7", "70"}
    assert part("tokens", collected(*both, "-k", "tokens7-")) == {"7"}


@pytest.mark.parametrize(
    ("arguments", "key", "expected"),
    [
        (["--padding-models", f"{NANO},kimi-k3"], "model", {NANO, "kimi-k3"}),
        (["--padding-modes", "eager"], "mode", {"eager"}),
        (["--padding-modes", "compiled"], "mode", {"compiled-static", "compiled-dynamic"}),
        (["--padding-modes", "compiled-static,fake-dynamic"], "mode", {"compiled-static", "fake-dynamic"}),
        (["--padding-hidden", "2720,2880"], "hidden", {"2720", "2880"}),
        (["--padding-tokens", "0,5"], "tokens", {"0", "5"}),
        (["--padding-full", "--padding-models", NANO], "tokens", {"7", "33"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_choose(arguments: list[str], key: str, expected: set[str]) -> None:
    ids = collected(*arguments)
    assert ids
    assert max(map(len, ids)) < 110
    assert part(key, ids) == expected


@pytest.mark.parametrize(
    ("expression", "parts"),
    [
        ("padding and 2688 and compiled-static", ("2688", "compiled-static")),
        (
            "padding and deepseek-v3 and 7168 and dynamic and cudagraph",
            ("deepseek-v3-hidden7168-", "-cudagraph-dynamic"),
        ),
        ("padding and narrow and 3072", ("-narrow-", "3072")),
        ("padding and tp2 and tokens7-", ("-tp2-", "-tokens7-")),
        ("padding and proof and padded2816", ("-proof", "-padded2816-")),
    ],
    ids=["width-and-mode", "model-and-mode", "kernel-and-width", "ranks-and-tokens", "proof"],
)
def test_k_selects_by_parts(expression: str, parts: tuple[str, ...]) -> None:
    ids = collected("-k", expression)
    assert ids
    assert all(word in name for name in ids for word in parts)
    assert ids == [name for name in collected("--whole") if name in set(ids)]
    assert len(ids) == len([name for name in collected("--whole") if all(word in name for word in parts)])


def test_k_selects_nothing_that_is_not_there() -> None:
    assert collected("-k", "padding and 2689") == []


@pytest.mark.parametrize("full", [[], ["--padding-full"]], ids=["shrunk", "full"])
def test_m_gpu_selects_what_runs_on_a_gpu_where_there_is_one(full: list[str], tmp_path: Path) -> None:
    (tmp_path / "sees_cuda.py").write_text(
        "import harness.plugin\nimport harness.pytest_session\n"
        "harness.plugin.has_cuda = harness.pytest_session.has_cuda = lambda: True\n"
    )
    chosen = ("--padding-models", f"{NANO},any-plain", *full)

    def seen(*arguments: str) -> list[str]:
        done = in_checkout(MAIN_JOB, "--collect-only", "-q", "-p", "sees_cuda", *arguments, *chosen, path=tmp_path)
        return re.findall(r"::test_padding\[(.*)\]$", done.stdout, re.MULTILINE)

    every, gpu = seen(), seen("-m", "gpu")
    assert gpu == [name for name in every if not name.endswith("-proof")]
    assert 0 < len(gpu) < len(every)
    assert collected("-m", "gpu", *chosen) == (gpu if has_cuda() else [])


def test_the_harness_is_imported_as_it_is() -> None:
    from harness.verdict import judge  # later than the plugin

    assert "rewrite" not in type(judge.__loader__).__module__


def test_collecting_imports_no_compiler(tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(SPY)
    done = in_checkout("--collect-only", "-q", "-p", "spy", "-k", "padding", path=tmp_path, python=PYTHON)
    (loaded,) = re.findall(r"loaded: *(\S*)", done.stdout)
    assert "torch._dynamo" not in loaded
    assert "torch._inductor" not in loaded


def test_collecting_the_main_job_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(SPY)
    done = in_checkout(MAIN_JOB, "--collect-only", "-q", "-p", "spy", path=tmp_path, python=PYTHON)
    assert re.findall(r"loaded: *(\S*)", done.stdout) == [""]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--padding-models", "gpt-oss"], "unknown model 'gpt-oss'; did you mean gpt-oss-20b"),
        (["--padding-modes", "egaer"], "unknown mode 'egaer'; did you mean eager"),
        (["--padding-hidden", "2690"], "--padding-hidden: hidden is 2690"),
        (["--padding-hidden", "wide"], "'wide' is not a list of whole numbers"),
        (["--padding-hidden=wide"], "'wide' is not a list of whole numbers"),
        (["--padding-tokens", "-1"], "--padding-tokens is -1"),
        (["--padding-tokens", "few"], "'few' is not a list of whole numbers"),
        (["--padding-models", ""], "''"),
        (["--padding-subject", "in-tre"], "unknown subject 'in-tre'; did you mean in-tree?"),
        (["--padding-modes", "egaer", "-n", "2"], "unknown mode 'egaer'; did you mean eager"),
        (
            ["--padding-full", "-n", "2"],
            "--padding-full with 2 workers: cases of true size fill the memory, so they run on one",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_option(arguments: list[str], message: str) -> None:
    assert message in refusal(*arguments)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_subject_that_does_not_import(workers: list[str]) -> None:
    chosen = [
        "--padding-models",
        "qwen3-30b-a3b",
        "--padding-modes",
        "eager",
        "--padding-tokens",
        "3",
        "--padding-subject",
        "nowhere.layers:Mine",
    ]
    assert "does not import: ModuleNotFoundError: No module named 'nowhere'" in refusal(*chosen, *workers)


def test_in_tree_layer_passes_on_two_workers(tmp_path: Path) -> None:
    file = tmp_path / "out.xml"
    done = in_checkout("-k", "padding", MAIN_JOB, *FOUR, "-n", "2", "-q", f"--junitxml={file}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    noted = properties(file)
    assert len(noted) == 4
    same = {"subject": "in-tree", "model": NANO, "hidden": "2688", "padded": "2816", "rule": "trtllm-nvfp4"}
    same |= {"tokens": "3", "mode": "eager", "verdict": "ok", "emulated": "False", "torch": torch.__version__}
    for entry in noted:
        assert entry.items() >= same.items()
        assert entry.keys() - same.keys() == {"kernel", "tp", "reproduce"}
        assert f"--kernels {entry['kernel']} --tp {entry['tp']} --tokens 3" in entry["reproduce"]
    assert {(entry["kernel"], entry["tp"]) for entry in noted} == {(k, tp) for k in ("narrow", "wide") for tp in "12"}


def test_finding_is_the_one_message_and_no_traceback(outside: pytest.Pytester) -> None:
    result = run(outside, "--padding-subject", "theirs:NoUnpad", "--junitxml", "out.xml")
    result.assert_outcomes(failed=1, passed=3, deselected=1, warnings=0)
    assert result.ret == 1
    text = result.stdout.str()
    (command,) = set(
        re.findall(r"^  in pytest   pytest (.*)$", text, re.MULTILINE)
    )  # where CI is set the summary repeats it
    repeated = outside.runpytest_subprocess(*shlex.split(command), timeout=120)
    repeated.assert_outcomes(failed=1)
    for label in ("  case ", "  found by", "  what ", "  cause ", "  reproduce "):
        assert text.count(f"\n{label}") >= 1, label
    assert "2816 = 2688 rounded up to 256, trtllm-nvfp4" in text
    assert re.search(r"  reproduce .* --subject '?theirs:NoUnpad'?$", text, re.MULTILINE)
    assert re.search(r"^torch \S+ on \S+", text, re.MULTILINE)
    for noise in ("Traceback", "site-packages", "raise ", "def test_layer", "judge.py"):
        assert noise not in text, noise
    noted = properties(outside.path / "out.xml")
    assert len(noted) == 4
    assert all(entry.items() >= {"hidden": "2688", "padded": "2816", "mode": "eager"}.items() for entry in noted)
    kinds = sorted((entry["verdict"], entry.get("kind"), entry["subject"]) for entry in noted if "kind" in entry)
    assert kinds == [("findings", "width-mismatch", "theirs:NoUnpad")]
    assert sum(entry["verdict"] == "ok" for entry in noted) == 3


def test_last_failed_and_first_failure(outside: pytest.Pytester) -> None:
    chosen = ("--padding-subject", "theirs:NoUnpad")
    run(outside, *chosen).assert_outcomes(failed=1, passed=3)
    second = run(outside, *chosen, "--lf", "-v")
    second.assert_outcomes(failed=1)
    second.stdout.re_match_lines([r".*test_layer\[.*-wide-tp2-.*FAILED.*"])
    first = run(outside, *chosen, "-x")
    first.assert_outcomes(failed=1, passed=1)


def test_harness_error_fails_in_words_and_shows_its_traceback_on_demand(outside: pytest.Pytester) -> None:
    chosen = ("--padding-subject", "theirs:BadOracle", "-x")
    quiet = run(outside, *chosen)
    quiet.assert_outcomes(failed=1)
    quiet.stdout.fnmatch_lines(["  reason      oracle() raised RuntimeError: the oracle broke*"])
    quiet.stdout.no_fnmatch_line("*Traceback*")
    run(outside, *chosen, "-vv").stdout.fnmatch_lines(["Traceback (most recent call last):"])


def test_skip_gives_its_reason(outside: pytest.Pytester) -> None:
    result = run(outside, "--padding-subject", "theirs:Skips", "-rs")
    result.assert_outcomes(skipped=4)
    result.stdout.fnmatch_lines(["SKIPPED*not on this machine"])


def test_markers_are_registered(outside: pytest.Pytester) -> None:
    result = outside.runpytest_subprocess(
        "--strict-markers", "-m", "gpu and slow", "--padding-models", NANO, timeout=60
    )
    outcomes = result.parseoutcomes()  # the matrix itself has neither mark
    assert outcomes["passed"] == 1
    assert outcomes["deselected"] > 0
    shown = outside.runpytest_subprocess("--markers", timeout=60)
    shown.stdout.fnmatch_lines(
        ["@pytest.mark.gpu: needs a CUDA device", "@pytest.mark.multi_gpu: *", "@pytest.mark.slow: *"]
    )


def test_without_xdist_its_marker_is_known(outside: pytest.Pytester) -> None:
    chosen = ("--strict-markers", "-p", "no:xdist", "--collect-only", "-q", *FOUR)
    assert outside.runpytest_subprocess(*chosen, timeout=60).ret == 0


def test_other_tests_are_left_alone(outside: pytest.Pytester) -> None:
    outside.makepyfile(
        test_theirs="import pytest\n@pytest.mark.parametrize('mode', [1, 2])\ndef test_own(mode): pass\n"
    )
    outside.runpytest_subprocess(timeout=60).assert_outcomes(passed=2)
