"""Every mode that must find a fault finds it with the expected account. Without its trigger, no mode finds anything."""

from pathlib import Path

import pytest

from fixtures.corpus import CORRECT, FAULTS
from harness.base.errors import BadInput
from harness.execution.device import choose_device
from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE, MODES
from harness.selftest.corpus import Correct, Fault, load_corpus, observers
from harness.selftest.score import Scored
from harness.selftest.trials import ABSENT_MODES, Answer, Trial
from harness.verdict.judge import judge
from harness.verdict.known_bugs import known_bugs

DEVICE = choose_device("auto")
BY_ID = {fault.id: fault for fault in FAULTS}
ON_CUDA = {info.name for info in EVERY_MODE.values() if info.needs_cuda}
NAMED = {bug.id for bug in known_bugs()}
# Where the evidence of a mode does not tell the bug from others: values alone, and the names of a graph's ops, without widths.
COMPILES = {info.name for info in EVERY_MODE.values() if info.family == "compiled"}
UNNAMED = {("vllm#55649", mode) for mode in EVERY_MODE} | {("vllm#52301", mode) for mode in COMPILES}


def run(entry: Fault | Correct, case: Case, mode: str) -> Verdict:
    return judge(entry.subject, case, EVERY_MODE[mode], DEVICE, entry.id)


def scored(entry: Fault | Correct, case: Case, verdict: Verdict) -> Scored:
    return Scored(entry, [Answer(Trial(entry.id, entry.cases.index(case), verdict.mode), verdict)])


# What the harness gets wrong today, by entry and mode. The marks are strict, so that a fix shows.
OPEN: dict[tuple[str, str], str] = {}


def param(entry: Fault | Correct, case: Case, mode: str) -> object:
    key = (entry.id, mode)
    marks = [pytest.mark.xfail(reason=OPEN[key])] if key in OPEN else []
    marks += [pytest.mark.sampled(every)] if (every := one_in(entry, mode)) > 1 else []
    name = f"{entry.id}-{case.model}-{case.kernel}-tp{case.tp}-{EVERY_MODE[mode].exact}"
    return pytest.param(entry, case, mode, id=name, marks=marks)


def one_in(entry: Fault | Correct, mode: str) -> int:
    """Of how many trials of this kind a run does one, but for ``--whole``.

    Every fault is tried in its first mode, but for every second one whose first mode varies a layer, three seconds each.
    What only a compiled graph shows is tried in each mode that compiles.
    """
    if mode in COMPILES and not set(entry.modes) <= COMPILES:
        return 18 if isinstance(entry, Fault) else 37
    if isinstance(entry, Correct):
        return 17
    if mode == entry.modes[0] and mode.startswith("varied"):
        return 2
    return 1 if mode in COMPILES or mode == entry.modes[0] else 9


def is_here(entry: Fault | Correct, mode: str) -> bool:
    """Whether a mode of an entry is run here. `harness selftest`, which the lanes of torch run, runs all of them.

    A correct variant that names its modes is written for them. One that names none would be varied in eight modes for each
    way to pad. What is compiled for any number of tokens is not compiled once more for one number: a second each.
    """
    if mode in ON_CUDA or (mode == "compiled" and "compiled-dynamic" in entry.modes):
        return False
    in_all = isinstance(entry, Correct) and entry.modes == tuple(MODES)
    return EVERY_MODE[mode].family != "varied" or not in_all


SHOWN = [param(fault, fault.shown[0], mode) for fault in FAULTS for mode in fault.modes if is_here(fault, mode)]
ABSENT = [param(fault, case, mode) for fault in FAULTS for case in fault.absent for mode in ABSENT_MODES]
LEFT_ALONE = [
    param(right, case, mode)
    for right in CORRECT
    for case in right.cases
    for mode in right.modes
    if is_here(right, mode)
]


@pytest.mark.parametrize(("fault", "case", "mode"), SHOWN)
def test_fault_is_found_with_the_expected_account(fault: Fault, case: Case, mode: str) -> None:
    verdict = run(fault, case, mode)
    one = scored(fault, case, verdict)
    assert one.marks == {mode: "found"}, verdict
    assert (one.survived, one.false_alarms) == ([], []), verdict
    if fault.id in NAMED and (fault.id, mode) not in UNNAMED:
        named = " ".join(bug for finding in verdict.findings for bug in finding.similar_to)
        assert fault.id in named, verdict.findings


@pytest.mark.parametrize(("fault", "case", "mode"), ABSENT)
def test_no_finding_without_the_trigger(fault: Fault, case: Case, mode: str) -> None:
    verdict = run(fault, case, mode)
    assert verdict.ok, verdict
    assert scored(fault, case, verdict).false_alarms == []


@pytest.mark.parametrize(("right", "case", "mode"), LEFT_ALONE)
def test_correct_variant_has_no_finding(right: Correct, case: Case, mode: str) -> None:
    verdict = run(right, case, mode)
    assert verdict.ok, verdict


def test_every_known_bug_is_planted() -> None:
    assert set(BY_ID) >= NAMED


def test_there_are_enough_of_both() -> None:
    assert len(FAULTS) >= 60
    assert len(CORRECT) >= 20


def test_every_observer_must_see_some_fault() -> None:
    assert set().union(*(fault.must_see for fault in FAULTS)) == set(observers())


def test_wide_fake_passes_eager_values_and_trace() -> None:
    """The fault that only the contract and compiled code see: eager values and the trace are fine."""
    fault = BY_ID["vllm#41645"]
    assert {finding.observer for finding in run(fault, fault.shown[0], "eager").findings} == {"contract"}
    assert run(fault, fault.shown[0], "cudagraph").ok


CORPUS = """\
from fixtures.planting import SMALL, correct, fault
FINE = fault("a#b", "m", trigger="t", cases=(SMALL,), modes=("eager",), seen={("values", "output")})
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FAULTS = 3", "expected FAULTS to hold harness.Fault entries"),
        ("FAULTS = (FINE, FINE)", "two entries are called 'a#b'"),
        ("FAULTS = (FINE,)\nRIGHT = (correct('b', 'about', cases=()),)", "'right#b' has no case to run on"),
        ("from dataclasses import replace\nFAULTS = (replace(FINE, id='b'),)", "id 'b'; expected one like"),
        ("from dataclasses import replace\nFAULTS = (replace(FINE, modes=('eagr',)),)", "did you mean eager?"),
        ("from dataclasses import replace\nFAULTS = (replace(FINE, modes=()),)", "give at least one mode"),
        (
            "from dataclasses import replace\nFAULTS = (replace(FINE, must_see=frozenset({'vals'})),)",
            "unknown observer 'vals'; did you mean values",
        ),
        (
            "from dataclasses import replace\nFAULTS = (replace(FINE, shows=lambda c: False),)",
            "shows at none of its cases",
        ),
        ("", "is empty; give harness.Fault entries in FAULTS"),
        ("1 / 0", "does not import: ZeroDivisionError: division by zero"),
    ],
)
def test_corpus_of_the_wrong_form(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tmp_path.name.replace("-", "_")
    (tmp_path / f"{name}.py").write_text(CORPUS + text, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadInput) as caught:
        load_corpus(name)
    assert message in str(caught.value)


def test_corpus_as_mappings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mapped_corpus.py").write_text(CORPUS + "FAULTS = {FINE.id: FINE}", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    corpus = load_corpus("mapped_corpus")
    assert [entry.id for entry in corpus.chosen(("a#*",))] == ["a#b"]
    with pytest.raises(BadInput, match=r"unknown fault 'a#c'; did you mean a#b\?"):
        corpus.chosen(("a#c",))
