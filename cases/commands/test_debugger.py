"""`pytest --pdb` on a failing case: what a reader wants to look at are local variables of the frame that it stops in."""

import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.usefixtures("forked_python")

ROOT = Path(__file__).parents[2]
TESTS = """
def test_padding(padding_case, mode, hold):
    hold(padding_case, mode)
"""
NANO = "nemotron-3-nano-30b-a3b"
# What somebody types at the prompt.
TYPED = b"""p 'frame', __import__('sys')._getframe().f_code.co_name
p 'layer', type(layer).__mro__[1].__name__, callable(layer)
p 'inputs', [tuple(tensor.shape) for tensor in inputs]
p 'runs', [run.mode for run in runs], runs[-1].calls[-1].failed_record.stage
p 'findings', [finding.kind for finding in findings]
q
"""


@pytest.mark.parametrize("debugger", [True, False])
def test_layer_inputs_runs_and_findings_are_at_hand(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, debugger: bool
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makefile(".ini", pytest="[pytest]")
    pytester.makepyfile(test_theirs=TESTS)
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_theirs.py", "-k"]
    words += [f"{NANO} and wide and tp1 and tokens7 and eager", "--padding-subject", "fixtures.corpus:vllm#35949"]
    words += ["--padding-models", NANO, "--padding-modes", "eager"]
    ended = pytester.run(*words, *(["--pdb"] if debugger else []), stdin=TYPED)
    shown = ended.stdout.str()
    assert "width-mismatch at shared add" in shown
    assert ("failing_padding_case" in shown) == debugger
    if debugger:
        assert "('inputs', [(7, 2688)" in shown
        assert "('runs', ['eager'], 'shared add')" in shown
        assert "('findings', ['width-mismatch'])" in shown
        assert ", True)" in shown
        assert "in pdb      layer (" in shown
