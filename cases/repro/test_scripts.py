"""Scripts of planted faults, each run by itself in a fresh process; and of correct layers, which must end in silence."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from fixtures import by_name as named
from fixtures import corpus
from fixtures.imports import ROOT
from fixtures.planting import NEMOTRON, SHARED, SHARED_TWO, SMALL
from harness.execution.modes.varied.special_rows import NO_WEIGHTS, SMALL_WEIGHTS, kinds_of
from harness.execution.state import python_state
from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.matrix.case_id import case_of
from harness.matrix.modes import EVERY_MODE, MODES
from harness.matrix.shapes import load
from harness.matrix.shrunk import resized
from harness.matrix.variations import names_of
from harness.repro.about import About
from harness.repro.flat.standalone import standalone
from harness.repro.process import difference, last_error, run_script
from harness.repro.repro import reproduced
from harness.repro.reproduction import Reproduction
from harness.repro.shrinking.shrink import MOST
from harness.repro.symptom import Symptom
from harness.repro.target import Target
from harness.repro.texts import keeping, leaks, process, several, surroundings, variations
from harness.repro.texts.emulated import captures
from harness.repro.texts.values import VALUES, finer
from harness.repro.unscripted import why_unscripted
from harness.repro.writing.imported import imported
from harness.repro.writing.layout import MOST_LINES
from harness.repro.writing.script import scripts
from harness.selftest.corpus import Fault
from kernels.layer.subject import InTree

pytestmark = pytest.mark.usefixtures("forked_scripts")
CPU = torch.device("cpu")
FAULTS = {fault.id: fault for fault in corpus.FAULTS}
# The nightly lane reproduces every fault in its first mode: HARNESS_REPRO_ALL=1 pytest cases/repro -m slow
ALL = os.environ.get("HARNESS_REPRO_ALL") == "1"
# Their layer has an op beside the experts', whose kernel stands in the script too.
LONG = {"vllm#52308"}


def target_of(fault: Fault, mode: str = "") -> Target:
    spec = f"fixtures.corpus:{fault.id}"
    return Target(fault.subject, fault.id, spec, fault.shown[0], EVERY_MODE[mode or fault.modes[0]], CPU, ROOT)


def reproduction(name: str, mode: str = "", shrink: bool = False) -> Reproduction:
    return reproduced(target_of(FAULTS[name], mode), shrink=shrink)


@pytest.mark.parametrize(
    ("name", "mode", "standing_alone"),
    [
        ("vllm#35949", "eager", True),  # an exception of torch's
        ("vllm#40794", "fake", True),  # no exception: the stride at a collective
        ("generic#shared-twice", "eager", True),  # wrong values
        ("vllm#41645", "eager", True),  # a fake that differs
        ("generic#first-input-kept", "cudagraph", True),  # a replay, in the emulation
        ("generic#width-baked-in", "proof", True),  # a trace over symbolic sizes
        ("generic#nibbles-swapped", "eager", False),  # weight preparation, which stays in its package
    ],
)
def test_a_fault_is_reproduced(name: str, mode: str, standing_alone: bool) -> None:
    done = reproduction(name, mode)
    assert done.reproduced, done.outcome
    assert done.attempt is not None
    assert done.attempt.standalone == standing_alone
    imports = [line for line in done.attempt.script.splitlines() if line.startswith(("import ", "from "))]
    foreign = [line for line in imports if line.split()[1].partition(".")[0] in ("harness", "kernels", "fixtures")]
    assert bool(foreign) != standing_alone


def by_name(name: str, mode: str, vary: str) -> Reproduction:
    varied = replace(EVERY_MODE[mode], vary=(vary,))
    return reproduced(Target(getattr(named, name), name, f"fixtures.by_name:{name}", SMALL, varied, CPU, ROOT))


@pytest.mark.parametrize(
    ("name", "mode", "vary", "kind"),
    [
        ("BY_FORM", "varied-forms", "form=transposed-fakes", "fake-differs"),
        ("BY_VERSION", "varied-layers", "weights=written-in-place", "other-weights"),
        ("BUFFERS_BY_SIZE", "varied-surroundings", "memory=each-size", "leak"),
        ("ONES_OF_SIZE", "varied-caches", "graphs=not-warmed-up", "uninitialised"),
        ("FOLDED_ANEW", "varied-caches", "graphs=reloaded", "freed-memory"),
    ],
)
def test_a_variation_that_is_named_is_reproduced(name: str, mode: str, vary: str, kind: str) -> None:
    done = by_name(name, mode, vary)
    assert done.finding is not None
    assert (done.finding.kind, done.finding.vary) == (kind, vary)
    assert done.reproduced, done.outcome


@pytest.mark.slow
@pytest.mark.skipif(not ALL, reason="the whole corpus is for the nightly lane: HARNESS_REPRO_ALL=1")
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_reproduced(name: str) -> None:
    done = reproduction(name)
    assert done.reproduced, done.outcome
    is_short(name, done)


def test_calls_that_must_come_before_are_made_and_their_variation_alone_is_not_named() -> None:
    done = reproduction("generic#after-5000-tokens")
    assert done.reproduced, done.outcome
    assert done.attempt is not None
    (finding,) = done.verdict.findings
    assert finding.vary == ""
    assert "One call before is too few: here came " in finding.cause
    assert f"for tokens in (\n    7, {', '.join(map(str, finding.detail['earlier'][1:5]))}," in done.attempt.script


def test_an_output_of_a_large_batch_is_overwritten_by_another_of_its_size() -> None:
    done = reproduction("generic#large-from-buffer")
    assert done.reproduced, done.outcome
    assert done.verdict.findings[0].vary == "tokens=1025"


def is_short(name: str, done: Reproduction) -> None:
    if done.attempt is not None and name not in LONG:
        lines = done.attempt.script.splitlines()
        assert len(lines) <= MOST_LINES, done.attempt.script
        assert max(map(len, lines)) < 140


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("generic#fake-by-grad-mode", "eager"),  # a fake, in grad mode
        ("generic#number-of-fake", "eager"),  # a number beside a tensor
        ("generic#absent-at-replay", "cudagraph"),  # an input that is absent at a replay
        ("generic#half-done", "varied-surroundings"),  # calls that raised before
        ("generic#build-sets-variable", "varied-surroundings"),  # the process
        ("generic#transposed-once", "varied-layers"),  # weights loaded after a call
        ("generic#weights-by-identity", "varied-caches"),  # inputs refilled in place
        ("generic#rows-cut", "varied-sizes"),  # wider experts
        ("generic#numbered-layers", "varied-compiled"),  # graphs for layers of one class
        ("generic#shares-in-copy", "varied-layers"),  # the layer that was copied
        ("generic#routing-of-hidden", "varied-caches"),  # inputs refilled in part
        ("generic#takes-signal", "varied-surroundings"),  # what the script's process would inherit
        ("generic#fake-under-inference", "eager"),  # a fake, under inference mode
        ("generic#hook-each-call", "varied-surroundings"),  # a container that grows with each call
        ("generic#scale-of-batch", "varied-contents"),  # a token that is small beside another
        ("generic#state-of-eager", "varied-compiled"),  # an exception, and a long choice
        ("generic#medium-precision", "varied-surroundings"),  # a mode of torch
        ("generic#logs-prefill", "varied-surroundings"),  # a container that grows with each large batch
        ("generic#sets-for-prefill", "varied-surroundings"),  # the process, after a large batch
        ("generic#planned-by-address", "varied-caches"),  # a large batch refilled in place
        ("generic#twice-its-share", "varied-sizes"),  # a crowd
        ("generic#leaves-light", "varied-contents"),  # light routing weights
        ("generic#scales-apart", "varied-layers"),  # scales of eight bits
        ("generic#fake-in-training", "varied-forms"),  # a fake beside an input that requires grad
        ("generic#shared-of-rank-zero", "varied-sizes"),  # ranks, and a reduction by torch's name
        ("generic#rank-of-four", "varied-sizes"),  # ranks of a subject that makes other cases
        ("generic#fused-sum-of-rank-zero", "varied-sizes"),  # ranks, and an op that adds and reduces
        ("generic#scratch-of-a-capture", "cudagraph-dynamic"),  # memory of another graph
    ],
)
def test_faults_of_several_calls_and_layers_are_reproduced(name: str, mode: str) -> None:
    done = reproduction(name, mode)
    assert done.reproduced, done.outcome
    is_short(name, done)


SCENARIOS = surroundings.SCENARIOS | several.SCENARIOS | keeping.SCENARIOS | leaks.SCENARIOS | captures.SCENARIOS


def test_every_special_row_has_a_text() -> None:
    assert list(variations.ROWS) == [*kinds_of(()), SMALL_WEIGHTS, NO_WEIGHTS]


def test_every_variation_has_a_script() -> None:
    finding = Finding(observer="varied", kind="kind", stage="layer", what="", cause="")
    names = [name for mode in MODES if MODES[mode].family == "varied" for name in names_of(mode)]
    bare = [name for name in names if why_unscripted(replace(finding, vary=name))]
    assert bare == ["process=build", "process=calls"]  # by what the finding says
    assert process.process("building the layer changed default dtype", build=True) is not None
    assert process.process("building the layer changed something else", build=True) is None
    for state in python_state._STATE:
        assert process.process(f"calling the layer changed {state}", build=False) is not None, state


@pytest.mark.slow
@pytest.mark.skipif(not ALL, reason="a compile or more each: for the nightly lane, HARNESS_REPRO_ALL=1")
@pytest.mark.parametrize("name", [*SCENARIOS, "process=build", "process=calls", "memory=40-calls"])
def test_a_scenario_of_a_correct_layer_ends_in_silence(name: str) -> None:
    finding = Finding(
        observer="varied",
        kind="kind",
        stage="layer",
        what="calling the layer changed default dtype",
        cause="",
        vary=name,
    )
    of = replace(about(SHARED, "kind"), symptom=Symptom(finding, "", ()))
    for text in scripts(of, imported("kernels.layer.subject:InTree", SHARED, "cpu")):
        ended = run_script(text, ROOT, 100)
        assert (ended.error, ended.text, ended.reason) == ("", "", ""), text


def test_a_script_of_the_in_tree_layer_is_short() -> None:
    done = reproduction("vllm#35949", "eager")
    assert done.attempt is not None
    assert len(done.attempt.script.splitlines()) <= MOST_LINES
    assert "2688" in done.attempt.script
    assert max(map(len, done.attempt.script.splitlines())) < 140
    assert done.outcome == "reproduced: same error class, same widths"


def test_a_shrunk_case_is_small_and_says_what_matters() -> None:
    done = reproduction("vllm#35949", "eager", shrink=True)
    assert done.reproduced
    assert done.case is not None
    assert (done.case.hidden, done.case.experts, done.case.tokens) == (16, 1, 1)
    assert done.phrases == (
        "tokens=1, or any other",
        "experts=1, or any other",
        "hidden=16: it must not be a multiple of 256",
        "needs a shared expert",
        "free too: intermediate, tp, scaling",
    )


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "name",
    [
        "ROCm/vllm#415",  # wrong-shape, at an aligned width alone
        "generic#shifted-slice",  # padding-leaks
        "vllm#40794",  # not-contiguous, with two ranks alone
        "vllm#41645",  # fake-differs
        "vllm#20152",  # mutated-input
        "generic#last-expert",  # wrong-values, with two experts alone
    ],
)
def test_a_shrunk_case_is_small_and_what_it_says_is_true(name: str) -> None:
    target = target_of(FAULTS[name])
    done = reproduced(target, shrink=True)
    assert done.reproduced, done.outcome
    assert done.case is not None
    assert done.shrunk is not None
    assert done.shrunk.evaluations <= MOST
    assert not done.shrunk.stopped
    assert done.case.tokens == 1
    assert done.case.experts <= 2
    assert case_of(done.case.id).id == done.case.id if target.case.model in load().shapes else True
    for sizes, shows in claims(done):
        found = target.judged(resized(target.case, done.shrunk.values | sizes)).findings
        assert any(one.kind == done.finding.kind for one in found if done.finding) == shows, (sizes, done.phrases)


def claims(done: Reproduction) -> Iterator[tuple[dict[str, int], bool]]:
    """Sizes that were not tried, and whether they have to show the finding by what is said."""
    assert done.case is not None
    rule = done.case.alignment.hidden
    for phrase in done.phrases:
        if phrase == "tokens=1, or any other":
            yield {"tokens": 5}, True
        if phrase.startswith("hidden=") and "must not be a multiple" in phrase:
            yield from (({"hidden": 3 * rule}, False), ({"hidden": 3 * rule - 16}, True))
        if phrase.startswith("hidden=") and "must be a multiple" in phrase:
            yield from (({"hidden": 3 * rule}, True), ({"hidden": 3 * rule - 16}, False))
        if phrase == "needs tensor parallelism (tp=2)":
            yield {"tp": 4}, True


def test_a_case_that_is_ok_gives_no_script() -> None:
    subject = InTree()
    target = Target(subject, "in-tree", "kernels.layer.subject:InTree", SMALL, EVERY_MODE["eager"], CPU, ROOT)
    done = reproduced(target)
    assert done.attempt is None
    assert done.outcome.startswith("not reproduced, because the case is ok here")


def about(case: Case, kind: str, call: str = "first call", mode: str = "eager") -> About:
    finding = Finding(observer="values", kind=kind, stage="layer", what="", cause="", call=call)
    return About(case, EVERY_MODE[mode], Symptom(finding, "", ()), ("padded_moe::routed_experts",), "cpu")


@pytest.mark.parametrize(
    ("case", "kind"),
    [(SMALL, "wrong-values"), (SHARED_TWO, "scaled"), (NEMOTRON, "wrong-values"), (SHARED, "padding-leaks")],
    ids=["plain", "shared-tp2", "published", "poisoned"],
)
def test_a_script_of_a_correct_layer_ends_in_silence(case: Case, kind: str) -> None:
    parts, why = standalone(InTree(), case, CPU)
    assert why == ""
    for part in parts:
        for text in scripts(about(case, kind), part):
            ended = run_script(text, None, 100)
            assert (ended.error, ended.text, ended.reason) == ("", "", ""), text


def test_a_script_that_imports_the_subject_ends_in_silence_for_a_correct_layer() -> None:
    part = imported("kernels.layer.subject:InTree", SHARED, "cpu")
    for text in scripts(about(SHARED, "wrong-values"), part):
        assert run_script(text, ROOT, 100).error == "", text


def test_another_error_is_no_reproduction() -> None:
    finding = Finding(observer="widths", kind="width-mismatch", stage="shared add", what="", cause="")
    symptom = Symptom(finding, "RuntimeError", (2688, 2816))
    other = run_script("raise ValueError('2688 and 2816')", None, 100)
    assert difference(other, symptom).startswith("it raised ValueError in place of RuntimeError")
    narrow = run_script("raise RuntimeError('2688 only')", None, 100)
    assert difference(narrow, symptom) == "its error does not name 2816"
    assert difference(run_script("", None, 100), symptom) == "the script ended without an error"
    assert difference(run_script("raise RuntimeError('2688, 2816')", None, 100), symptom) == ""


def test_a_script_that_hangs_or_dies_is_no_reproduction() -> None:
    finding = Finding(observer="widths", kind="raised", stage="layer", what="", cause="")
    symptom = Symptom(finding, "RuntimeError", ())
    assert "did not end" in difference(run_script("while True: pass", None, 0.5), symptom)
    killed = run_script("import os; os.kill(os.getpid(), 9)", None, 100)
    assert difference(killed, symptom) == "its process was killed by signal 9"


def test_a_standalone_script_sees_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert run_script("import fixtures", None, 100).error == "ModuleNotFoundError"
    assert run_script("import sys; sys.path.insert(0, '.'); import fixtures", ROOT, 100).error == ""


def test_the_last_of_several_tracebacks_counts() -> None:
    text = (
        "Traceback (most recent call last):\n  File 'a'\nValueError: first\n\nDuring handling ...\n\n"
        "Traceback (most recent call last):\n  File 'b'\ntorch._dynamo.exc.Unsupported: second\n  more\n"
    )
    assert last_error(text) == ("Unsupported", "torch._dynamo.exc.Unsupported: second\n  more\n")


@pytest.mark.parametrize(
    ("owner", "expression"),
    [
        ("the layer", "layer"),
        ("the layer.experts.0", 'layer.get_submodule("experts.0")'),
        ("fixtures.corpus", 'sys.modules["fixtures.corpus"]'),
        ("Grows", 'next(kind for kind in type(layer).__mro__ if kind.__qualname__ == "Grows")'),
    ],
)
def test_a_container_that_grows_is_read_where_the_finding_says(owner: str, expression: str) -> None:
    scenario = leaks.leak(f"after 40 calls {owner}.seen has 40 entries more, or nearly as many")
    assert f"held = {expression}.seen\n" in scenario.text


@pytest.mark.parametrize("calls", [40, 0])
def test_a_class_whose_container_grows_with_each_call_fails_and_another_does_not(calls: int) -> None:
    class Grows:
        seen: ClassVar[list[int]] = []

        def __call__(self) -> None:
            self.seen.extend([1] * bool(calls))

    scenario = leaks.leak(f"after 40 calls {Grows.__qualname__}.seen has 40 entries more, or nearly as many")
    given = {"layer": Grows(), "inputs": lambda tokens, seed: (), "deque": deque}
    with pytest.raises(AssertionError, match="40 entries more after 40 calls") if calls else nullcontext():
        exec(scenario.text, given)


def test_finer_comparisons_find_what_the_first_ones_let_pass() -> None:
    wanted = torch.randn(16, 80, generator=torch.manual_seed(0))
    small = wanted.clone()
    small[3] *= 1e-3
    wrong = small.clone()
    wrong[3] *= 2  # a token that is small beside the others
    column = wanted.clone()
    column[:, 5] *= 1.05
    assert passes(VALUES, small, small)
    assert passes(finer(VALUES), small, small + 0.004 * small.abs())
    for given, right in ((wrong, small), (wanted * 1.013, wanted), (column, wanted)):
        assert not passes(finer(VALUES), given, right)
    assert passes(VALUES, wrong, small)


def passes(check: str, out: torch.Tensor, wanted: torch.Tensor) -> bool:
    try:
        exec(check, {"out": out, "oracle": lambda batch: wanted, "batch": ()})
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("state", python_state._STATE)
def test_the_reading_of_a_state_changes_nothing(state: str) -> None:
    scenario = process.process(f"calling the layer changed {state}", build=False)
    assert scenario is not None
    given: dict[str, object] = {"layer": lambda *batch: None, "inputs": lambda tokens, seed: (), "torch": torch}
    exec("\n".join((*scenario.imports, scenario.text)), given)
