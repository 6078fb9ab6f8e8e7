"""Scripts that trace a layer over symbolic sizes: for what the prover alone shows, and silent for correct layers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
import torch

from fixtures import corpus, over_symbols
from fixtures.imports import ROOT
from harness.findings.finding import FINDINGS, Finding
from harness.matrix.case import Case
from harness.matrix.modes import PROOF
from harness.matrix.shapes import ANY, load
from harness.matrix.shrunk import resized
from harness.proof.fixed import Fixed
from harness.proof.regions.grid import LARGEST, Axis, Partition
from harness.proof.regions.partition import region_of
from harness.proof.regions.single import is_single
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.formula import Formula, Sizes, Term
from harness.proof.symbols.structures import UnknownStructure
from harness.proof.symbols.symbolic_layer import symbolic_layer
from harness.repro.about import About
from harness.repro.flat.syntax import NotFlat
from harness.repro.issue import issue
from harness.repro.process import run_script
from harness.repro.repro import reproduced
from harness.repro.reproduction import Reproduction
from harness.repro.symptom import Symptom
from harness.repro.target import Target
from harness.repro.traced.chosen import SPECIALISED
from harness.repro.traced.merged import merged
from harness.repro.traced.numbers import blocks_of, number
from harness.repro.traced.parts import traced_parts
from harness.repro.traced.places import statement
from harness.repro.writing.layout import MOST_LINES
from harness.repro.writing.script import scripts
from harness.selftest.corpus import Correct
from harness.subjects.subject import Subject, plain_names
from kernels.layer.subject import InTree

pytestmark = pytest.mark.usefixtures("forked_scripts")
CPU = torch.device("cpu")
ALL = os.environ.get("HARNESS_REPRO_ALL") == "1"
SPECIAL = {fault.id: fault for fault in corpus.FAULTS}["generic#width-baked-in"]


def case_of(parts: str, kernel: str = "wide", tp: int = 1) -> Case:
    return Case.of(ANY[f"any-{parts}"], load().rules["trtllm-nvfp4"], kernel, tp, 7)


def reproduction(name: str, parts: str, shrink: bool = False) -> Reproduction:
    subject = getattr(over_symbols, name)
    target = Target(subject, name, f"fixtures.over_symbols:{name}", case_of(parts), PROOF, CPU, ROOT)
    return reproduced(target, shrink=shrink)


# Faults.


@pytest.mark.parametrize(
    ("name", "parts", "kind", "standing_alone"),
    [
        ("COLUMNS_BY_NUMBER", "latent", "specialised", True),  # of the latent width, by the layer's source
        ("WIDTH_OF_TABLE", "shared", "specialised", False),  # a layer that is no module: by its package
        ("FAKE_OF_COLUMNS", "plain", "fails-when-traced", True),
    ],
)
def test_what_the_prover_alone_shows_has_a_script(name: str, parts: str, kind: str, standing_alone: bool) -> None:
    done = reproduction(name, parts)
    assert done.reproduced, done.outcome
    assert done.outcome == f"reproduced: same check fails, {kind}"
    assert done.attempt is not None
    assert done.attempt.standalone == standing_alone
    lines = done.attempt.script.splitlines()
    assert len(lines) <= MOST_LINES, done.attempt.script
    assert max(map(len, lines)) < 140


def test_such_a_script_is_shrunk_and_reported() -> None:
    spec = f"fixtures.corpus:{SPECIAL.id}"
    done = reproduced(Target(SPECIAL.subject, SPECIAL.id, spec, SPECIAL.shown[0], PROOF, CPU, ROOT), shrink=True)
    assert done.reproduced, done.outcome
    assert done.case is not None
    assert done.attempt is not None
    assert (done.case.hidden, done.case.experts, done.case.tokens) == (16, 1, 1)
    assert done.phrases[:3] == ("tokens=1, or any other", "experts=1, or any other", "hidden=16, or any other")
    assert "torch.empty(1, hidden" in done.attempt.script
    report = issue(done)
    assert "**specialised** at layer, mode `proof`: every size needs a trace of its own" in report
    assert "def trace(hidden):" in report


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "UNREACHABLE",
            "a script cannot put symbols into this layer: a dictionary of the layer has the key torch.bfloat16",
        ),
        (
            "THREE_WIDTHS",
            "a script holds one layer, and for one whose flags stay as they are no three sizes were found",
        ),
    ],
)
def test_what_no_script_traces_says_why(name: str, why: str) -> None:
    done = reproduction(name, "plain")
    assert done.verdict.status == FINDINGS
    assert done.attempt is None
    assert done.outcome.startswith(f"not reproduced, because {why}")


def test_a_finding_at_sizes_that_are_not_usual_has_a_script_of_the_size_that_the_prover_ran() -> None:
    done = reproduction("STRIDED_ABOVE", "plain")
    assert done.reproduced, done.outcome
    assert done.case is not None
    assert done.case.hidden == 8001


# Correct layers.


def said(subject: Subject, spec: str, case: Case, axis: int, sizes: tuple[Sizes, ...]) -> list[tuple[str, str]]:
    """How the scripts of a layer end that say it fixes its sizes."""
    symbolic = symbolic_layer(subject, resized(case, {}), whole=True)
    shown = Fixed(symbolic, symbolic.structure_at(sizes[0]), axis, sizes)
    finding = Finding(observer="proof", kind=SPECIALISED, stage="layer", what="", cause="", call="proof")
    about = About(shown.case, PROOF, Symptom(finding, "", ()), plain_names(subject.ops(case)), "cpu")
    parts = traced_parts(subject, spec, shown, finding)
    ended = [
        run_script(text, None if part.standalone else ROOT, 100) for part in parts for text in scripts(about, part)
    ]
    return [(one.error or one.reason, one.text) for one in ended]


@pytest.mark.parametrize(
    ("name", "parts", "kernel", "axis", "sizes"),
    [
        ("InTree", "plain", "wide", 0, ((16,), (32,), (272,))),
        ("InTree", "shared", "narrow", 0, ((256,), (512,), (2048,))),  # no padding
        ("InTree", "shared-latent", "wide", 1, ((2688, 16), (2688, 256), (2688, 2688))),
        ("InTree", "latent", "narrow", 0, ((16, 96), (96, 96), (256, 96))),
        ("RIGHT_TABLE", "shared", "wide", 0, ((16,), (32,), (48,))),
        ("BLOCKS_BY_MATH", "plain", "wide", 0, ((16,), (32,), (48,))),
    ],
)
def test_a_trace_of_a_correct_layer_ends_in_silence(
    name: str, parts: str, kernel: str, axis: int, sizes: tuple[Sizes, ...]
) -> None:
    subject = InTree() if name == "InTree" else getattr(over_symbols, name)
    spec = "kernels.layer.subject:InTree" if name == "InTree" else f"fixtures.over_symbols:{name}"
    ended = said(subject, spec, case_of(parts, kernel, tp=2), axis, sizes)
    assert set(ended) == {("", "")}
    assert len(ended) == (1 if name == "RIGHT_TABLE" else 2)


@pytest.mark.slow
@pytest.mark.skipif(not ALL, reason="a process or two each: for the nightly lane, HARNESS_REPRO_ALL=1")
@pytest.mark.parametrize("entry", corpus.CORRECT, ids=lambda entry: entry.id)
def test_a_trace_of_a_correct_variant_says_what_the_prover_does(entry: Correct) -> None:
    case = entry.cases[0]
    own = tuple(size for size in (case.hidden, case.latent) if size)
    try:
        symbolic = symbolic_layer(entry.subject, case)
        so_far = Partition([Axis.of(step, LARGEST) for step in symbolic.steps], [])
        alone = is_single(region_of(symbolic, so_far, symbolic.structure_at(own), own), 0)
    except (NotProvable, UnknownStructure) as error:
        pytest.skip(f"not provable: {error}")
    ended = said(entry.subject, f"fixtures.corpus:{entry.id}", case, 0, (own,))
    assert not alone
    assert ("", "") in ended, ended  # a layer's source may need more than a script has, and its package has it
    assert not [text for _, text in ended if SPECIALISED in text]


# Its parts.


@pytest.mark.parametrize(
    ("terms", "constant", "text"),
    [
        (((Term(0), 1),), 0, "hidden"),
        (((Term(0, 256), 256),), 0, "hidden_256 * 256"),
        (((Term(0), -1), (Term(0, 256), 256)), 0, "hidden_256 * 256 - hidden"),
        (((Term(1, 64), Fraction(3, 2)),), 5, "latent_64 * 3 // 2 + 5"),
        (((Term(0), Fraction(-1, 2)), (Term(1), 2)), -3, "hidden * -1 // 2 + latent * 2 - 3"),
        ((), 7, "7"),
    ],
)
def test_a_formula_as_text_has_its_value(terms: Any, constant: int, text: str) -> None:
    formula = Formula(tuple((term, Fraction(factor)) for term, factor in terms), constant)
    assert number(formula) == text
    for hidden, latent in ((16, 35), (300, 1281), (2688, 64)):
        names: dict[str, Any] = {"hidden": hidden, "latent": latent}
        exec("\n".join(blocks_of([formula])), names)
        assert eval(text, names) == formula.of((hidden, latent))


class _Pair(NamedTuple):
    left: int
    right: int


@dataclass(frozen=True)
class _Frozen:
    size: int


def _closed(size: int) -> Callable[[], int]:
    return lambda extra=1: size + extra  # type: ignore[misc]


def _module() -> Any:
    inner = torch.nn.Module()
    inner.size = 3
    inner.register_buffer("weight", torch.zeros(3))
    return torch.nn.ModuleDict({"experts": torch.nn.ModuleList([inner])})


@pytest.mark.parametrize(
    ("root", "path", "read"),
    [
        ({"a": [1, 2]}, ("a", "1"), lambda root: root["a"][1]),
        ([(1, (2, 3))], ("0", "1", "0"), lambda root: root[0][1][0]),
        ([_Pair(1, 2)], ("0", "1"), lambda root: root[0].right),
        ([_Frozen(1)], ("0", "size"), lambda root: root[0].size),
        (_closed(5), ("__closure__", "0", "cell"), lambda root: root() - 1),
        (_closed(5), ("__defaults__", "0"), lambda root: root() - 5),
        (_module(), ("_modules", "experts", "_modules", "0", "size"), lambda root: root["experts"][0].size),
        (
            _module(),
            ("_modules", "experts", "_modules", "0", "_buffers", "weight"),
            lambda root: root["experts"][0].weight,
        ),
    ],
)
def test_a_statement_puts_something_where_the_layer_holds_it(root: Any, path: Any, read: Callable[[Any], Any]) -> None:
    exec(statement(root, "layer", path, "new"), {"layer": root, "new": 77})
    assert read(root) == 77


def test_a_place_without_a_name_is_none() -> None:
    with pytest.raises(NotFlat):
        statement({torch.int8: 1}, "layer", ("torch.int8",), "new")


def test_several_statements_become_one() -> None:
    tensors = [f"layer._buffers['w{index}'] = torch.empty({index}, hidden, dtype=torch.uint8)" for index in range(3)]
    assert merged(["layer.a = hidden", *tensors, "layer.b = hidden", "batch = torch.empty(7)"]) == [
        "layer.a = layer.b = hidden",
        'for name, dtype, *shape in (("w0", torch.uint8, 0, hidden), ("w1", torch.uint8, 1, hidden), '
        '("w2", torch.uint8, 2, hidden)):',
        "    layer._buffers[name] = torch.empty(shape, dtype=dtype)",
        "batch = torch.empty(7)",
    ]
