"""A number of tokens that an op's fake fixes is told of the fake, with its stage and line, in each mode that traces."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.planting import SMALL, WIDTH, Planted
from harness.execution import stages
from harness.execution.evidence import Record
from harness.findings.finding import Finding
from harness.findings.fixed_tokens import fixes
from harness.matrix.modes import MODES
from harness.matrix.variations import GROUPS, with_variations
from harness.output.report import finding_text
from harness.verdict.bisect import name_blame
from harness.verdict.judge import judge
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")


def fixed_in_fake(*args: Any) -> Tensor:
    rows = int(args[0].shape[0])
    return args[0].new_empty(rows, args[WIDTH])


class FixedInLayer(PaddedMoELayer):
    """Asks for the number of tokens itself, beside an op that has guards of its own."""

    def dense(self, x: Tensor) -> Tensor:
        """Odd batches take another branch."""
        return super().dense(x) * (1.0 if x.shape[0] % 2 else 2.0)


def asks_for_few(*args: Any) -> Tensor:
    """A question of its own that restricts nothing which is tried."""
    assert args[0].shape[0] < 2**30
    return args[0].new_empty(args[0].shape[0], args[WIDTH])


def found(mode: str, *names: str, layer: type[PaddedMoELayer] = PaddedMoELayer) -> Finding:
    (chosen,) = with_variations([MODES[mode]], names) if names else (MODES[mode],)
    subject = Planted(layer=layer)
    verdict = name_blame(judge(subject, SMALL, chosen, CPU), subject, SMALL, chosen, CPU)
    (finding,) = verdict.findings
    return finding


@pytest.mark.parametrize(
    ("mode", "names"),
    [("fake-dynamic", ()), ("compiled-dynamic", ()), ("varied-compiled", ("compiled=4100-tokens",))],
)
def test_what_a_fake_fixes_is_told_of_the_fake(mode: str, names: tuple[str, ...]) -> None:
    with routed_experts.planted(fake=fixed_in_fake):
        finding = found(mode, *names)
    assert finding.kind == ("recompiled" if names else "specialised")
    assert finding.stage == stages.EXPERTS
    assert finding.cause.startswith("The fake of padded_moe::routed_experts calls int()")
    assert finding.line is not None
    assert finding.line.text == "rows = int(args[0].shape[0])"
    assert finding.blame == ("fake kernel" if mode == "compiled-dynamic" else "")


def test_what_the_layer_asks_is_not_told_of_an_op_that_asks_something_else() -> None:
    with routed_experts.planted(fake=asks_for_few):
        finding = found("fake-dynamic", layer=FixedInLayer)
    assert finding.stage == "layer"
    assert finding.cause.startswith("The layer depends on the token count")


def test_the_op_of_a_guard() -> None:
    record = Record("planted::op", stages.EXPERTS, None, (), (), False, guards=2, guards_before=3)
    assert [place for place in range(8) if record.made_guard(place)] == [3, 4]
    assert record.made_guard(-1)


def test_the_name_of_a_function_that_ends_in_one_that_converts_is_another() -> None:
    class Line:
        text = "print(x)"

    assert "int()" not in fixes("", Line())  # type: ignore[arg-type]


def test_each_varied_compiled_call_is_a_phrase_with_an_article() -> None:
    for words in GROUPS["compiled"].whats.values():
        assert words.startswith(("a ", "an ", "calls ", "inputs ")), words


def test_a_call_of_many_tokens_is_not_named_beside_others() -> None:
    with routed_experts.planted(fake=fixed_in_fake):
        (chosen,) = with_variations([MODES["varied-compiled"]], ("compiled=4100-tokens",))
        verdict = judge(Planted(), SMALL, chosen, CPU)
    text = finding_text(verdict, verdict.findings[0])
    assert "found by    varied, in the calls compiled for any number of tokens\n" in text
    assert "4,100" not in text
