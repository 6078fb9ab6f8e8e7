"""A layer compiled for any number of tokens: a number that the trace fixes is found, and ranges of it are not."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.planting import SMALL, Planted
from harness.findings.finding import OK, Verdict
from harness.matrix.modes import MODES
from harness.matrix.variations import with_variations
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer


class EachRow(PaddedMoELayer):
    """A loop over the rows, which a trace unrolls for one number of them."""

    def forward(self, *given: Any, **more: Any) -> Any:
        """The usual output."""
        for _ in range(given[0].shape[0]):
            pass
        return super().forward(*given, **more)


class OfTwoRanges(PaddedMoELayer):
    """A branch on many tokens, as where a large batch takes another kernel."""

    def forward(self, *given: Any, **more: Any) -> Any:
        """The usual output."""
        out: Tensor = super().forward(*given, **more)
        return out.clone() if given[0].shape[0] > 500 else out


class OddOrEven(PaddedMoELayer):
    """A branch on the parity."""

    def forward(self, *given: Any, **more: Any) -> Any:
        """The usual output."""
        out: Tensor = super().forward(*given, **more)
        return out.clone() if given[0].shape[0] % 2 else out


class CountsTraces(PaddedMoELayer):
    """A graph for each call, whatever its size: the cause is a number that changes, not the number of tokens."""

    calls = 0

    def forward(self, *given: Any, **more: Any) -> Any:
        """The usual output."""
        self.calls += 1
        out: Tensor = super().forward(*given, **more)
        return out * (self.calls / self.calls)


def judged(subject: Planted, name: str) -> Verdict:
    (mode,) = with_variations([MODES["varied-compiled"]], (name,))
    return judge(subject, SMALL, mode, torch.device("cpu"))


class OfFew(Planted):
    """The subject of a layer that takes fewer tokens than the largest compiled call has."""

    declares = ("tokens<=300",)


@pytest.mark.parametrize(
    ("kind", "name"), [(Planted, "compiled=4100-tokens"), (OfFew, "compiled=after-eager")], ids=["many", "few"]
)
def test_a_number_of_tokens_that_the_trace_fixes_is_found(kind: type[Planted], name: str) -> None:
    (finding,) = judged(kind(layer=EachRow), name).findings
    assert (finding.kind, finding.vary) == ("recompiled", name)
    assert finding.what.startswith("4 graphs were compiled for batches of 7, 5, 12, 64 tokens")
    assert "turns the number of tokens into a constant" in finding.cause


@pytest.mark.parametrize("layer", [OfTwoRanges, OddOrEven])
def test_ranges_of_tokens_are_not_each_number(layer: Any) -> None:
    assert judged(Planted(layer=layer), "compiled=4100-tokens").status == OK


def test_a_graph_for_each_call_is_not_said_to_be_for_each_number() -> None:
    verdict = judged(Planted(layer=CountsTraces), "compiled=4100-tokens")
    assert not any("number of tokens into a constant" in finding.cause for finding in verdict.findings)
