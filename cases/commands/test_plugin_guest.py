"""The pytest plugin in somebody else's project: it leaves their tests alone, and says in one line what it lacks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.xdist_scheduler import ModelScheduling

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.usefixtures("forked_python")

ROOT = Path(__file__).parents[2]
THEIR_CONFTEST = """
import pytest


def pytest_addoption(parser):
    for option in ("--subject", "--models", "--hidden", "--tokens", "--modes", "--waivers"):
        parser.addoption(option, default="theirs")
    parser.addoption("--full", action="store_true")


@pytest.fixture(params=["fast", "slow"])
def mode(request):
    return request.param
"""
THEIR_TESTS = """
def test_own(mode, request):
    assert mode in ("fast", "slow")
    assert (request.config.option.models, request.config.option.full) == ("all", True)
"""
OUR_TESTS = """
def test_own():
    pass


def test_padding(padding_case, mode, hold):
    assert hold(padding_case, mode).checks
"""
SKIPS = """
import torch

from harness.base.errors import Skip


class Skips:
    def build(self, case, device):
        raise Skip("not on this machine")

    def inputs(self, case, tokens, seed, device):
        return (torch.zeros(tokens, case.hidden),)

    def oracle(self, case, inputs):
        return inputs[0]

    def ops(self, case):
        return ("aten::add",)
"""
NANO = "nemotron-3-nano-30b-a3b"
ONE = f"test_own or ({NANO} and wide and tp1 and tokens7 and eager)"
# Warns as pytest-benchmark does where it finds xdist.
BENCHMARK = """
import warnings

import pytest


def pytest_configure(config):
    if getattr(config.option, "numprocesses", None):
        config.issue_config_time_warning(
            pytest.PytestWarning(
                "Benchmarks are automatically disabled because xdist plugin is active."
                "Benchmarks cannot be performed reliably in a parallelized environment."
            ),
            stacklevel=2,
        )
"""


@pytest.fixture
def guest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of somebody else, in which the harness is installed."""
    for name in list(os.environ):
        if "PYTEST_XDIST" in name or name == "PYTEST_ADDOPTS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makefile(".ini", pytest="[pytest]\n")
    return pytester


def test_their_options_table_and_fixture_are_their_own(guest: pytest.Pytester) -> None:
    guest.makeconftest(THEIR_CONFTEST)
    guest.makepyfile(THEIR_TESTS)
    guest.makepyprojecttoml('[tool.harness]\nservers = ["a", "b"]\nsubjects = 3\nwaivers = 7\n')
    result = guest.runpytest_subprocess("--full", "--models", "all", "-n", "2", "-v", timeout=100)
    result.assert_outcomes(passed=2)
    assert "scheduling tests via LoadScheduling" in result.stdout.str()
    assert "harness:" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (None, "no subject is chosen for "),
        (
            b'[tool.harness]\nsubjcts = {}\nwaivers = "none.toml"',
            "unknown key 'subjcts' in [tool.harness]; did you mean",
        ),
        (b"\xff\xfe", "pyproject.toml cannot be read: 'utf-8' codec can't decode"),
        (b'[tool.harness]\nsubject = "skips:Skips"\nwaivers = "none.toml"', "cannot read waivers "),
        (b'[tool.harness]\nsubject = "nowhere:Mine"', "subject 'nowhere:Mine' does not import: ModuleNotFoundError"),
    ],
    ids=["no-table", "foreign-table", "undecodable", "no-waiver-file", "no-module"],
)
def test_what_is_wrong_fails_the_tests_that_need_it(table: bytes | None, reason: str, guest: pytest.Pytester) -> None:
    guest.makepyfile(skips=SKIPS)
    if table is not None:
        (guest.path / "pyproject.toml").write_bytes(table)
    inner = guest.mkdir("inner")  # with a root of its own: pytest itself reads the pyproject.toml of the session's root
    (inner / "pytest.ini").write_text("[pytest]\n")
    (inner / "test_ours.py").write_text(OUR_TESTS)
    result = guest.runpytest_subprocess("inner", "-c", "inner/pytest.ini", "-k", ONE, timeout=100)
    result.assert_outcomes(passed=1, failed=1, deselected=result.parseoutcomes()["deselected"])
    lines = [line for line in result.outlines if line.startswith("harness: ")]
    assert len(lines) == 1
    assert reason in lines[0]
    assert "--subject" not in lines[0].replace("--padding-subject", "")
    assert "Traceback" not in result.stdout.str()


def test_subject_of_the_table_is_the_default(guest: pytest.Pytester) -> None:
    guest.makepyfile(OUR_TESTS, skips=SKIPS)
    guest.makepyprojecttoml('[tool.harness]\nsubject = "none"\n[tool.harness.subjects]\nnone = "skips:Skips"\n')
    result = guest.runpytest_subprocess("-k", ONE, "-rs", timeout=100)
    result.assert_outcomes(passed=1, skipped=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["SKIPPED*not on this machine"])


def test_a_block_of_transformers_in_the_table_has_the_cases_of_one_that_is_typed(guest: pytest.Pytester) -> None:
    """It pads nothing: no rule of padding and no second rank multiplies its cases."""
    guest.makepyfile(OUR_TESTS)
    typed = guest.runpytest_subprocess("--collect-only", "-q", "--padding-subject", "transformers").stdout.str()
    guest.makepyprojecttoml('[tool.harness]\nsubject = "transformers"\n')
    in_table = guest.runpytest_subprocess("--collect-only", "-q").stdout.str()
    ids = [re.findall(r"test_padding\[(.*)\]", text) for text in (typed, in_table)]
    assert ids[0] == ids[1] != []
    assert not [one for one in ids[0] if "-none-wide-tp1-" not in one]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("arguments", "scheduling"),
    [([], "ModelScheduling"), (["--dist", "load"], "LoadScheduling")],
    ids=["chosen-by-nobody", "load"],
)
def test_cases_of_a_model_go_to_one_worker(arguments: list[str], scheduling: str, guest: pytest.Pytester) -> None:
    guest.makepyfile(OUR_TESTS, skips=SKIPS)
    chosen = ("--padding-models", f"{NANO},gpt-oss-20b", "--padding-modes", "eager", "--padding-tokens", "1")
    subject = ("--padding-subject", "skips:Skips")
    text = guest.runpytest_subprocess(*chosen, *subject, "-n", "2", "-v", *arguments, timeout=100).stdout.str()
    assert f"scheduling tests via {scheduling}" in text
    workers: dict[str, set[str]] = {}
    for worker, model in re.findall(rf"\[(gw\d)\].*SKIPPED.*test_padding\[({NANO}|gpt-oss-20b)-hidden", text):
        workers.setdefault(model, set()).add(worker)
    assert len(workers) == 2
    if scheduling == "ModelScheduling":
        assert all(len(one) == 1 for one in workers.values()), workers


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("any-plain-hidden2688-padded2816-trtllm-nvfp4-wide-tp1-tokens7-proof", "proofs of a hidden width"),
        ("any-shared-hidden2688-padded2816-trtllm-nvfp4-wide-tp1-tokens7-proof", "proofs of a hidden width"),
        ("any-latent-hidden2688-latent1344-padded1536-none-wide-tp2-tokens7-proof", "proofs of a latent width"),
        ("gpt-oss-20b-hidden2880-padded3072-none-wide-tp2-tokens7-eager", "gpt-oss-20b"),
        ("other", "test_padding.py::test_padding[other]"),
    ],
)
def test_what_goes_to_one_worker(name: str, scope: str) -> None:
    assert ModelScheduling._split_scope(None, f"test_padding.py::test_padding[{name}]") == scope  # type: ignore[arg-type]


def test_a_benchmark_plugin_beside_xdist_does_not_end_the_session(tmp_path: Path) -> None:
    (tmp_path / "benchmark_stand_in.py").write_text(BENCHMARK)
    env = {name: value for name, value in os.environ.items() if "PYTEST" not in name} | {"PYTHONPATH": str(tmp_path)}
    quick = ["cases/house/test_project.py", "-k", "test_no_settings_at_all", "-n", "1", "-q"]
    command = [sys.executable, "-m", "pytest", *quick, "-p", "benchmark_stand_in", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
