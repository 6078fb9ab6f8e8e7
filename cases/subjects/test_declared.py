"""What a subject declares: how it is read, and that it excuses nothing else."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.correct.declared import (
    MOST,
    FewTokens,
    FlatScratch,
    LazyRepack,
    NormedRouted,
    OfFlatScratch,
    OfNormedRouted,
    OwnReduce,
)
from fixtures.correct.ops import OVERLOADED, Overloaded
from fixtures.faults.reduce import NeverReduced, ReducedTwice
from fixtures.judged import judged, keys
from fixtures.planting import SHARED, SHARED_NARROW, SHARED_TWO, SMALL, SMALL_TWO, Planted, case
from harness.base.errors import BadInput
from harness.findings.finding import ERROR, OK, SKIPPED, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.subjects.declared import Declared, declared
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer


class Declaring:
    def __init__(self, declares: object) -> None:
        self.declares = declares


def read(value: object) -> Declared:
    return declared(Declaring(value), SMALL)  # type: ignore[arg-type]


def verdict(layer: type[PaddedMoELayer], texts: tuple[str, ...], case: Case = SMALL, mode: str = "eager") -> Verdict:
    @dataclass(frozen=True, kw_only=True)
    class Subject(Planted):
        declares = texts

    return judge(Subject(layer=layer), case, MODES[mode], torch.device("cpu"))


def test_entries_are_read() -> None:
    texts = (
        "tokens<=512",
        "reduces = 2",
        "reduces-by=my::sum",
        "reduces-by=my::other",
        "keeps-output",
        "repacks-weights",
    )
    one = read(texts)
    assert (one.most_tokens, one.reduces, one.reduces_by) == (512, 2, ("my::sum", "my::other"))
    assert (one.keeps_output, one.repacks_weights, one.texts) == (True, True, texts)


def test_a_method_declares_by_case() -> None:
    assert read(lambda one: (f"tokens<={one.tokens}",)).most_tokens == SMALL.tokens


def test_a_subject_without_declarations_declares_nothing() -> None:
    assert declared(Planted(), SMALL) == Declared()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("tokens<=8", "expected a tuple of texts"),
        (7, "expected a tuple of texts"),
        ((7,), "expected a tuple of texts"),
        (("repacks",), "did you mean repacks-weights"),
        (("token<=8",), "did you mean tokens<=N?"),
        (("tokens=8",), "expected tokens<=N"),
        (("tokens<=0",), "expected tokens<=N"),
        (("tokens<=x",), "expected tokens<=N"),
        (("reduces",), "expected reduces=N"),
        (("reduces=-1",), "expected reduces=N, N a number of at least 0"),
        (("reduces-by=sum",), "expected reduces-by=namespace::op"),
        (("keeps-output=1",), "expected keeps-output"),
        (("",), "unknown entry ''"),
    ],
)
def test_a_wrong_entry_is_bad_input(value: object, text: str) -> None:
    with pytest.raises(BadInput) as error:
        read(value)
    assert text in str(error.value)


def test_a_wrong_entry_is_an_error_of_the_verdict() -> None:
    one = verdict(PaddedMoELayer, ("keep-output",))
    assert (one.status, one.traceback) == (ERROR, "")
    assert "did you mean keeps-output?" in one.reason


def test_the_record_says_what_was_declared() -> None:
    assert verdict(PaddedMoELayer, ("tokens<=64", "keeps-output")).environment["declares"] == "tokens<=64, keeps-output"
    assert "declares" not in judged(PaddedMoELayer).environment


def test_a_case_above_the_limit_is_skipped_with_the_declaration() -> None:
    one = verdict(FewTokens, (f"tokens<={MOST}",), case("small", tokens=33))
    assert (one.status, one.reason) == (SKIPPED, f"the subject declares tokens<={MOST}, and this case has 33")


@pytest.mark.parametrize("mode", ["fake-dynamic", "cudagraph-dynamic"])
def test_a_limit_excuses_no_smaller_one(mode: str) -> None:
    limit = MOST + 30
    assert verdict(FewTokens, (f"tokens<={limit}",), mode=mode).findings


class RefusesMany(PaddedMoELayer):
    """Takes a number of tokens and no more, by an assertion of its own."""

    def forward(self, *given: Any, **more: Any) -> Any:
        """The usual output."""
        assert len(given[0]) <= MOST
        return super().forward(*given, **more)


@pytest.mark.parametrize(("texts", "kinds"), [((), set()), (("errors-end",), {"raised"})])
def test_a_limit_of_a_layer_whose_errors_end_the_process_is_a_finding(texts: tuple[str, ...], kinds: set[str]) -> None:
    found = verdict(RefusesMany, texts, mode="varied-tokens").findings
    assert {finding.kind for finding in found} == kinds


def test_memory_for_fewer_tokens_than_declared_is_found() -> None:
    found = judge(OfFlatScratch(layer=FlatScratch, holds=40), SHARED, MODES["fake-dynamic"], torch.device("cpu"))
    assert ("recompiles", "specialised", "layer") in keys(found)


@pytest.mark.parametrize("layer", [ReducedTwice, NeverReduced, PaddedMoELayer])
def test_another_number_of_reductions_than_declared_is_found(layer: Any) -> None:
    once_more, cause = {
        ReducedTwice: ("reduces=3", "A part of the output is not summed"),
        NeverReduced: ("reduces=1", "Each rank keeps its own partial sum"),
        PaddedMoELayer: ("reduces=0", "The layer's caller sums over the ranks: each rank should return its own part"),
    }[layer]
    found = verdict(layer, (once_more,), SMALL_TWO)
    assert ("collectives", "collective-count", "all-reduce") in keys(found)
    assert any(finding.cause.startswith(cause) for finding in found.findings)


@pytest.mark.parametrize("mode", ["eager", "fake"])
def test_without_its_declaration_each_is_found(mode: str) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Silent(OfNormedRouted):
        declares = ()

    found = judge(Silent(layer=NormedRouted), SHARED_TWO, MODES[mode], torch.device("cpu"))
    assert [f.kind for f in found.findings] == ["collective-count"]
    assert "can declare their number" in found.findings[0].cause
    assert [f.kind for f in judged(OwnReduce, SMALL_TWO, mode).findings] == ["collective-count"]


@pytest.mark.parametrize("overload", ["experts", "default"])
def test_an_overload_may_be_named(overload: str) -> None:
    subject = Planted(layer=Overloaded, op=f"{OVERLOADED}.{overload}")
    assert judge(subject, SHARED_NARROW, MODES["eager"], torch.device("cpu")).status == OK


def test_an_overload_that_does_not_exist_is_bad_input() -> None:
    one = judge(Planted(layer=Overloaded, op=f"{OVERLOADED}.other"), SHARED_NARROW, MODES["eager"], torch.device("cpu"))
    assert one.status == ERROR
    assert "names no registered op" in one.reason


def test_a_repack_that_is_not_declared_is_found() -> None:
    assert [f.kind for f in judged(LazyRepack).findings] == ["mutated-state"]


class RepacksAlways(PaddedMoELayer):
    """Changes its weights in every call."""

    def scale(self, x: Tensor) -> Tensor:
        self.w2_global_scale.mul_(1.5)
        return super().scale(x)


def test_a_declared_repack_excuses_the_first_call_only() -> None:
    assert "mutated-state" in {f.kind for f in verdict(RepacksAlways, ("repacks-weights",)).findings}


class OwnBuffer(PaddedMoELayer):
    """The output is memory of the layer."""

    def dense(self, x: Tensor) -> Tensor:
        buffers: dict[Any, Tensor] = self.__dict__.setdefault("buffers", {})
        self.last = buffers.setdefault(x.shape[0], torch.empty_like(x)).copy_(x)
        return self.last


def test_a_declared_output_may_be_kept_but_not_written() -> None:
    kinds = {f.kind for f in judged(OwnBuffer).findings}
    assert kinds == {"shared-output", "output-overwritten"}
    assert {f.kind for f in verdict(OwnBuffer, ("keeps-output",)).findings} == {"output-overwritten"}


def test_every_declaration_leaves_a_right_layer_alone() -> None:
    every = ("tokens<=64", "reduces=1", "reduces-by=my::sum", "keeps-output", "repacks-weights")
    assert verdict(PaddedMoELayer, every, SMALL_TWO).status == OK


class AsksForTheWidthOfAnIndex(PaddedMoELayer):
    """Beyond 2**31 elements its kernel takes 64-bit indices."""

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + (0.0 if x.numel() < 2**31 else 0)


def test_a_branch_on_more_tokens_than_a_batch_holds_is_none() -> None:
    assert verdict(AsksForTheWidthOfAnIndex, (), mode="fake-dynamic").status == OK
