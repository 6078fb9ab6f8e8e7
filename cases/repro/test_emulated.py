"""Scripts that emulate what a machine lacks: CUDA graphs and other ranks. Each fails on a fault and passes on its correct twin."""

from dataclasses import replace

import pytest
import torch

from fixtures import emulated
from fixtures.imports import ROOT
from fixtures.planting import SHARED_TWO, SMALL
from harness.findings.finding import Finding
from harness.matrix.modes import EVERY_MODE
from harness.repro.about import About
from harness.repro.process import Ended, run_script
from harness.repro.reducers import reducers
from harness.repro.repro import reproduced
from harness.repro.symptom import Symptom
from harness.repro.target import Target
from harness.repro.writing.imported import imported
from harness.repro.writing.layout import MOST_LINES, imports
from harness.repro.writing.script import scripts
from kernels.layer.subject import InTree

pytestmark = pytest.mark.usefixtures("forked_scripts")
CPU = torch.device("cpu")
SILENCE = Ended("", "")
RANKS, CACHES, BUCKETS = "varied-sizes", "varied-caches", "cudagraph-dynamic"


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("fault", "twin", "mode", "vary", "kind"),
    [
        ("SECOND_OF_FOUR", "RIGHT", RANKS, "ranks=8", "ranks-differ"),
        ("FUSED_OF_TWO", "FUSED", RANKS, "ranks=4", "ranks-differ"),
        ("TURNED", "TURNED_IN_PLACE", CACHES, "graphs=reloaded", "freed-memory"),
        ("HOLDS_TURNED", "TURNED_IN_PLACE", CACHES, "graphs=reloaded", "stale-replay"),
        ("SCALED", "SCALED_BEFORE", CACHES, "graphs=not-warmed-up", "uninitialised"),
        ("ORDERED", "ORDERED_ANEW", CACHES, "graphs=not-warmed-up", "uninitialised"),
        ("WORK", "WORK_CLEARED", BUCKETS, "", "other-graphs-memory"),
        ("PLACES", "PLACES_ANEW", BUCKETS, "", "other-graphs-memory"),
    ],
)
def test_a_script_fails_on_the_fault_and_passes_on_its_twin(
    fault: str, twin: str, mode: str, vary: str, kind: str
) -> None:
    chosen = replace(EVERY_MODE[mode], vary=(vary,)) if vary else EVERY_MODE[mode]
    done = reproduced(Target(getattr(emulated, fault), fault, f"fixtures.emulated:{fault}", SMALL, chosen, CPU, ROOT))
    assert done.finding is not None
    assert (done.finding.kind, done.finding.vary) == (kind, vary)
    assert done.reproduced, done.outcome
    assert done.attempt is not None
    script = done.attempt.script
    assert "Emulates the " in script or "Emulates a CUDA graph." in script
    assert len(script.splitlines()) <= MOST_LINES
    of_twin = script.replace(f"emulated.{fault}\n", f"emulated.{twin}\n")
    assert of_twin != script
    assert run_script(of_twin, ROOT, 100) == SILENCE


@pytest.mark.parametrize(
    ("vary", "kind", "error"),
    [
        ("ranks=3", "ranks-differ", ""),
        ("graphs=reloaded", "freed-memory", "FreedMemory"),
        ("graphs=reloaded", "stale-replay", ""),
        ("", "other-graphs-memory", ""),
        ("", "other-graphs-memory", "IndexError"),
    ],
)
def test_a_script_of_the_in_tree_layer_ends_in_silence(vary: str, kind: str, error: str) -> None:
    finding = Finding(observer="varied", kind=kind, stage="layer", what="", cause="", vary=vary)
    of = About(
        SHARED_TWO, EVERY_MODE["eager"], Symptom(finding, error, ()), (), "cpu", reducers=("harness::all_reduce",)
    )
    for text in scripts(of, imported("kernels.layer.subject:InTree", SHARED_TWO, "cpu")):
        assert run_script(text, ROOT, 100) == SILENCE, text


def test_the_reductions_of_every_rank_and_those_that_are_declared_are_named() -> None:
    assert reducers(InTree(), SHARED_TWO, 2, CPU) == ("harness::all_reduce",)
    assert reducers(emulated.FUSED, SMALL, 2, CPU) == ("harness::all_reduce", "emulated::norm_sum")


def test_a_case_of_a_script_can_be_replaced_and_is_a_key() -> None:
    text = imported("kernels.layer.subject:InTree", SMALL, "cpu").text
    check = "assert replace(case, tp=2).tp == 2 and case.tp == 1 and len({case, replace(case)}) == 1"
    script = f"import sys\nfrom dataclasses import make_dataclass, replace\nimport torch\n{text}\n{check}"
    assert run_script(script, ROOT, 100) == SILENCE


def test_a_module_is_imported_once_and_only_what_is_used_of_it() -> None:
    lines = ("from a import b, c", "from a import d", "import os", "import e.f as g")
    assert imports(lines, "d(b) + g.x") == "import e.f as g\nfrom a import b, d"
