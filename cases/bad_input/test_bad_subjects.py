"""Subjects that cannot be used: what a method gives, raises or does at import is told in one line, and nothing is judged."""

import signal
from pathlib import Path

import pytest
import torch

from fixtures.planting import SHARED
from harness.base.errors import BadInput
from harness.findings.finding import ERROR, FINDINGS, Verdict
from harness.matrix.modes import MODES
from harness.output.report import verdict_text
from harness.subjects.load import load_subject
from harness.verdict.judge import judge

SOUND = """
import os, signal, sys
import torch
from kernels.layer.subject import InTree

class S(InTree):
    pass
"""


def method(name: str, body: str) -> str:
    """A subject whose method has this body; ``right`` is what the sound one gives."""
    arguments = {
        "build": "case, device",
        "inputs": "case, tokens, seed, device",
        "oracle": "case, inputs",
        "ops": "case",
    }
    lines = [f"    def {name}(self, {arguments[name]}):", f"        right = super().{name}({arguments[name]})"]
    return SOUND.replace("    pass\n", "\n".join([*lines, f"        {body}", ""]))


def forward(body: str) -> str:
    """A subject whose layer does this before its forward."""
    return method("build", f"return lambda *x: ({body}, right(*x))[1]")


def at_import(text: str) -> str:
    return f"import os, sys\n{text}\n" + SOUND


# name: (source, what the line must name)
LOADED = {
    "syntax": ("def (:\n", "SyntaxError"),
    "exit-0": (at_import("sys.exit(0)"), "SystemExit: 0 ("),
    "exit-at-once": (at_import("os._exit(0)"), "SystemExit: os._exit(0), which ends the process at once ("),
    "exit-imported": (at_import("from os import _exit\n_exit(0)"), "os._exit(0)"),
    "exec": (at_import("os.execvp('true', ['true'])"), "os.execv"),
    "abort": (at_import("os.abort()"), "os.abort()"),
    "init-exits-at-once": (SOUND.replace("pass", "def __init__(self): os._exit(0)"), "os._exit(0)"),
    "exit-text": (at_import("sys.exit('bye')"), "SystemExit: bye"),
    "raises": (at_import("raise ValueError('two\\nlines')"), "ValueError: two"),
    "raises-escape": (at_import("raise ValueError('\\x1b[2J\\x07')"), "ValueError: \\x1b[2J\\x07"),
    "raises-huge": (at_import("raise ValueError('m' * 100_000_000)"), "ValueError: mmm"),
    "generator-exit": (at_import("raise GeneratorExit"), "GeneratorExit"),
    "recursion": (at_import("def f(): f()\nf()"), "RecursionError"),
    "missing-import": (at_import("import no_such_module_x"), "no_such_module_x"),
    "empty": ("", "has no 'S'"),
    "none": ("S = None", "has no method build"),
    "number": ("S = 3", "has no method build"),
    "module-text": ("S = 'S'", "has no method build"),
    "no-oracle": ("class S:\n    build = inputs = ops = lambda self: 0\n", "has no method oracle"),
    "oracle-text": (SOUND.replace("pass", "oracle = 'x'"), "has no method oracle"),
    "needs-arguments": (SOUND.replace("pass", "def __init__(self, path): ..."), "path"),
    "init-exits": (SOUND.replace("pass", "def __init__(self): sys.exit(0)"), "SystemExit: 0"),
    "init-raises": (SOUND.replace("pass", "def __init__(self): raise OSError('no weights')"), "no weights"),
    "bad-str": (at_import("class E(Exception):\n    def __str__(self): return 1/0\nraise E"), "whose __str__ raises"),
}
NO_VERDICT = {
    "build-none": (method("build", "return None"), "build() returned None"),
    "build-number": (method("build", "return 3"), "build() returned int 3"),
    "build-bad-repr": (
        method("build", "return type('R', (), {'__repr__': lambda self: 1 / 0})()"),
        "whose __repr__ raises ZeroDivisionError",
    ),
    "build-interrupt": (method("build", "raise KeyboardInterrupt"), "KeyboardInterrupt"),
    "inputs-none": (method("inputs", "return None"), "inputs() returned None"),
    "inputs-list-of-lists": (method("inputs", "return [[1.0]]"), "inputs() returned"),
    "inputs-empty": (method("inputs", "return ()"), "inputs() returned"),
    "inputs-more-tokens": (method("inputs", "return (torch.zeros(tokens + 1, case.hidden),)"), "shape"),
    "inputs-raise": (method("inputs", "raise OSError('no data')"), "inputs() raised OSError: no data"),
    "inputs-exit": (method("inputs", "sys.exit(0)"), "inputs() raised SystemExit: 0"),
    "inputs-interrupt": (method("inputs", "raise KeyboardInterrupt"), "inputs() raised KeyboardInterrupt"),
    "inputs-escape": (method("inputs", "raise ValueError('\\x1b[2J')"), "\\x1b[2J"),
    "oracle-none": (method("oracle", "return None"), "oracle() returned None"),
    "oracle-nan": (method("oracle", "return {k: v * float('nan') for k, v in right.items()}"), "NaN or infinity"),
    "oracle-inf": (method("oracle", "return {k: v / 0 for k, v in right.items()}"), "NaN or infinity"),
    "oracle-scalar": (method("oracle", "return torch.tensor(1.0)"), "shape []"),
    "oracle-empty": (method("oracle", "return {}"), "without parts"),
    "oracle-text": (method("oracle", "return 'right'"), "oracle() returned str 'right'"),
    "oracle-ints": (method("oracle", "return {k: v.int() for k, v in right.items()}"), "dtype int32"),
    "oracle-raises": (method("oracle", "raise RuntimeError('m' * 10_000_000)"), "oracle() raised RuntimeError: mmm"),
    "oracle-exit": (method("oracle", "sys.exit()"), "oracle() raised SystemExit"),
    "oracle-interrupt": (method("oracle", "raise KeyboardInterrupt"), "oracle() raised KeyboardInterrupt"),
    "ops-text": (method("ops", "return 'a::b'"), "ops() returned str 'a::b'"),
    "ops-none": (method("ops", "return None"), "ops() returned None"),
    "ops-unknown": (method("ops", "return ('rt::nothing',)"), "rt::nothing"),
    "ops-no-colons": (method("ops", "return ('routed_experts',)"), "routed_experts"),
    "ops-numbers": (method("ops", "return (3,)"), "3"),
    "ops-raise": (method("ops", "raise LookupError('none')"), "ops() raised LookupError: none"),
    "signature": (SOUND.replace("pass", "def build(self, case): ..."), "build(case)"),
    "no-memory": (forward("torch.empty(1 << 62, dtype=torch.uint8)"), "says nothing about the layer"),
    "memory-error": (forward("(_ for _ in ()).throw(MemoryError())"), "out of memory"),
    "disk-full": (forward("(_ for _ in ()).throw(OSError(28, 'No space left on device'))"), "No space left"),
    "layer-interrupt": (forward("(_ for _ in ()).throw(KeyboardInterrupt())"), "KeyboardInterrupt"),
}
FOUND = {
    "layer-exits": (forward("sys.exit(0)"), "SystemExit"),
    "layer-escape": (forward("(_ for _ in ()).throw(ValueError('\\x1b]0;title\\x07'))"), "\\x1b]0;title\\x07"),
    "layer-huge": (forward("(_ for _ in ()).throw(ValueError('m' * 50_000_000))"), "[cut: 50,000,000 characters]"),
    "layer-none": (method("build", "return lambda *x: None"), "None"),
    "build-raises": (method("build", "raise ValueError('no weights')"), "ValueError: no weights"),
    "build-exits": (method("build", "sys.exit(3)"), "SystemExit: 3"),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path; interrupts are off, as in a worker, where a KeyboardInterrupt is the subject's own."""
    import signal
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield tmp_path
    signal.signal(signal.SIGINT, before)
    sys.modules.pop("bad_subject", None)


def loaded(place: Path, source: str) -> object:
    (place / "bad_subject.py").write_text(source)
    return load_subject("bad_subject:S")


def verdict_on(place: Path, source: str, mode: str = "eager") -> Verdict:
    return judge(loaded(place, source), SHARED, MODES[mode], torch.device("cpu"))  # type: ignore[arg-type]


def assert_safe(text: str) -> None:
    assert len(text) < 30_000
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(("source", "named"), LOADED.values(), ids=LOADED)
def test_what_cannot_be_loaded_is_one_line(source: str, named: str, place: Path) -> None:
    with pytest.raises(BadInput) as refused:
        loaded(place, source)
    assert named in str(refused.value)
    assert_safe(str(refused.value))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("source", "named"), NO_VERDICT.values(), ids=NO_VERDICT)
@pytest.mark.parametrize("mode", ["eager", "fake"])
def test_what_cannot_be_used_is_an_error_and_blames_no_layer(source: str, named: str, mode: str, place: Path) -> None:
    machine = "torch.empty(1 << 62" in source  # a fake tensor of that size takes no memory
    if mode == "fake" and machine:
        pytest.skip("nothing is allocated under fake tensors")
    verdict = verdict_on(place, source, mode)
    if mode == "fake" and verdict.status == "ok":
        assert "oracle" in named or "NaN" in named or "shape []" in named or "dtype" in named or "parts" in named
        return
    assert verdict.status == ERROR
    assert not verdict.findings
    assert named in verdict.reason
    assert_safe(verdict_text(verdict))


@pytest.mark.parametrize(("source", "named"), FOUND.values(), ids=FOUND)
def test_what_a_layer_does_wrong_is_a_finding_that_can_be_shown(source: str, named: str, place: Path) -> None:
    verdict = verdict_on(place, source)
    assert verdict.status == FINDINGS
    assert named in verdict_text(verdict)
    assert_safe(verdict_text(verdict))


def test_ctrl_c_still_ends_a_run_outside_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "interrupting.py").write_text(method("build", "raise KeyboardInterrupt"))
    # A shell starts what it runs in the background with the signal ignored, and so this test run too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            judge(load_subject("interrupting:S"), SHARED, MODES["eager"], torch.device("cpu"))
    finally:
        signal.signal(signal.SIGINT, before)
