"""The blocks of transformers: right as they are, and red at the right stage where one of their parts is changed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.commands.listing import everything
from harness.engines.transformers.models import MODELS, MODULE, family, narrowed
from harness.findings.finding import ERROR, OK, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.selection import Selection
from harness.subjects.load import load_subject
from harness.verdict.judge import judge

pytest.importorskip("transformers", reason="transformers is not installed; the extra `transformers` brings it")

Part = Callable[..., Any]


def case_of(model: str, hidden: int = 128) -> Case:
    """A model's block at a small width."""
    selection = narrowed(f"{MODULE}:GroupedMm", Selection(models=(model,), hidden=(hidden,), tokens=(7,)))
    return selection.cases()[0]


def judged(kind: str, model: str, mode: str, change: Callable[[nn.Module], None] | None = None) -> Verdict:
    """The verdict on a block, with ``change`` applied to each block that is built."""
    subject: Any = load_subject(f"{MODULE}:{kind}")
    if change is not None:
        build = subject.build

        def changed(case: Case, device: torch.device) -> nn.Module:
            layer: nn.Module = build(case, device)
            change(layer.block)  # type: ignore[arg-type]
            return layer

        subject.build = changed
    return judge(subject, case_of(model), MODES[mode], torch.device("cpu"))


def around(part: str, replaced: Callable[[Part], Part]) -> Callable[[nn.Module], None]:
    """A change of the first submodule of that name: its forward is replaced by what ``replaced`` makes of it."""

    def change(block: nn.Module) -> None:
        name = next(name for name in part.split("|") if hasattr(block, name))
        module = getattr(block, name)
        module.forward = replaced(module.forward)

    return change


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["eager", "fake", "fake-dynamic", "cudagraph", "varied-contents", "varied-sizes"])
def test_grouped_mm_is_right(model: str, mode: str) -> None:
    verdict = judged("GroupedMm", model, mode)
    assert verdict.status == OK, (verdict.reason, verdict.findings)


@pytest.mark.parametrize("model", MODELS)
def test_batched_mm_is_right(model: str) -> None:
    assert judged("BatchedMm", model, "eager").status == OK


@pytest.mark.parametrize("model", ["gpt-oss-20b", "nemotron-3-super-120b-a12b"])
def test_a_compiled_block_is_right(model: str) -> None:
    assert judged("GroupedMm", model, "compiled").status == OK


def test_the_eager_loop_is_right_and_cannot_be_recorded() -> None:
    assert judged("Eager", "qwen3-30b-a3b", "eager").status == OK
    (finding,) = judged("Eager", "qwen3-30b-a3b", "cudagraph").findings
    assert (finding.kind, finding.detail.get("op", "aten::nonzero")) == ("capture-refused", "aten::nonzero")


def _scaled(forward: Part) -> Part:
    return lambda *inputs: forward(*inputs) * 1.5


def _short(forward: Part) -> Part:
    return lambda *inputs: forward(*inputs)[..., :-1]


def _turned(forward: Part) -> Part:
    def routed(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, weights, ids = forward(hidden)
        return logits, weights, ids.flip(-1)

    return routed


SUPER, NANO = "nemotron-3-super-120b-a12b", "nemotron-3-nano-30b-a3b"
# Each: the model, the part, what becomes of it, the mode, the finding's kind and stage.
CHANGES = {
    "experts-scaled": ("gpt-oss-20b", "experts", _scaled, "eager", "scaled", "routed scaling"),
    "shared-scaled": (NANO, "shared_experts", _scaled, "eager", "scaled", "shared expert"),
    "shared-short": (NANO, "shared_experts", _short, "fake", "width-mismatch", "shared add"),
    "experts-short": (SUPER, "experts", _short, "fake", "width-mismatch", "latent up-projection"),
    "routing-turned": ("gpt-oss-20b", "router", _turned, "eager", "wrong-values", "routed experts"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_part_is_red_at_its_stage(name: str) -> None:
    model, part, replaced, mode, kind, stage = CHANGES[name]
    verdict = judged("GroupedMm", model, mode, around(part, replaced))
    assert verdict.status != ERROR, verdict.traceback
    assert (kind, stage) in {(finding.kind, finding.stage) for finding in verdict.findings}


def test_widths_are_made_by_the_declared_parts() -> None:
    finding = judged("GroupedMm", NANO, "fake", around("shared_experts", _short)).findings[0]
    assert [width.stage.partition(",")[0] for width in finding.widths] == ["routed experts", "shared expert"]


def test_a_submodule_that_is_not_there_is_bad_input() -> None:
    subject: Any = load_subject(f"{MODULE}:GroupedMm")
    subject.declares = ("experts-in=block.expert",)
    verdict = judge(subject, case_of("mixtral-8x7b"), MODES["eager"], torch.device("cpu"))
    assert verdict.status == ERROR
    assert "'block.expert', which the layer does not have; its submodules are block, block.gate" in verdict.reason


def test_no_padding_rule_multiplies_the_cases() -> None:
    cases = narrowed(f"{MODULE}:BatchedMm", Selection()).cases()
    assert sorted({case.model for case in cases}) == sorted(MODELS)
    assert {(case.alignment.name, case.kernel, case.tp, case.padded - case.width) for case in cases} == {
        ("none", "wide", 1, 0)
    }
    chosen = Selection(tokens=(33,), models=("gpt-oss-20b",))
    assert [case.tokens for case in narrowed(f"{MODULE}:Eager", chosen).cases()] == [33]
    assert narrowed("mymoe:Mine", chosen) is chosen


def test_a_shape_of_ones_own_is_a_block_by_its_parts() -> None:
    by_name = {case.model: case for case in Selection(modes=("eager",), rules=("none",), tp=(1,)).cases()}
    families = {name: family(case) for name, case in by_name.items()}
    assert families["minimax-m2.5"] == "qwen3_moe"
    assert families["synthetic-latent-padded"] == "nemotron_h"
    assert families["deepseek-v3"] == ""


def test_the_names_are_listed() -> None:
    assert {"transformers", "transformers-batched-mm", "transformers-eager"} <= {
        row["name"] for row in everything()["subjects"]
    }
