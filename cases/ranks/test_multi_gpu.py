"""Real ranks on two GPUs: right layers over every collective and mode, and what a strided view does to each."""

from collections.abc import Iterator

import pytest
import torch

from fixtures.imports import ROOT
from fixtures.planting import SHAPES
from fixtures.strided_view import NEED_CUDA, measured
from harness.findings.finding import Verdict
from harness.matrix.ranks import COLLECTIVES, REAL, REAL_MODES
from harness.matrix.selection import Selection
from harness.ranks.ranks_run import RankJudge
from harness.workers.plan import Plan

pytestmark = [
    pytest.mark.multi_gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]
SELECTION = Selection(
    models=("small", "small-shared", "small-latent"),
    rules=("blocks-of-64",),
    models_file=str(SHAPES),
    ranks=REAL,
    cuda=True,
)


@pytest.fixture(scope="module")
def ranks() -> Iterator[RankJudge]:
    with RankJudge(Plan(SELECTION, "fixtures.ranks:SLICED", "sliced", "cuda", 1, (str(ROOT),), 60.0)) as judge:
        yield judge


def verdict(ranks: RankJudge, subject: str, over: str, mode: str = "eager", model: str = "small") -> Verdict:
    cases = {case for case, _ in ranks.tasks if (case.model, case.collective, case.kernel) == (model, over, "wide")}
    (case,) = cases
    return ranks.judge(case, REAL_MODES[mode], f"fixtures.ranks:{subject}")


@pytest.mark.parametrize("mode", REAL_MODES)
@pytest.mark.parametrize("over", COLLECTIVES)
@pytest.mark.parametrize("model", ["small", "small-shared", "small-latent"])
def test_a_right_layer_passes_over_every_collective(ranks: RankJudge, model: str, over: str, mode: str) -> None:
    one = verdict(ranks, "SLICED", over, mode, model)
    assert one.ok, f"{one.status} {one.reason} {one.findings}"


@pytest.mark.parametrize("mode", REAL_MODES)
@pytest.mark.parametrize("over", ["all_reduce", "one_shot", "two_shot", "raw_nccl"])
def test_a_strided_view_is_red_over_each_collective_that_breaks(ranks: RankJudge, over: str, mode: str) -> None:
    one = verdict(ranks, "STRIDED_VIEW", over, mode)
    if mode == "compiled" and over == "all_reduce":
        # torch.compile makes it a functional collective, which copies; what is returned is still the view.
        assert [finding.kind for finding in one.findings] == ["strided-output"]
        return
    assert "not-contiguous" in [finding.kind for finding in one.findings], one


def test_the_functional_collective_copies_a_strided_view(ranks: RankJudge) -> None:
    kinds = {finding.kind for finding in verdict(ranks, "STRIDED_VIEW", "functional").findings}
    assert kinds == set()


@pytest.mark.parametrize("over", COLLECTIVES)
def test_a_fault_of_the_ranks_index_is_killed_over_every_collective(ranks: RankJudge, over: str) -> None:
    assert [finding.kind for finding in verdict(ranks, "SHARD_OF_RANK_ZERO", over).findings] == ["ranks-differ"]


@pytest.mark.parametrize("over", ["all_reduce", "one_shot", "raw_nccl"])
def test_a_rank_that_never_joins_is_named_on_a_device_too(ranks: RankJudge, over: str) -> None:
    (finding,) = verdict(ranks, "SKIPPED_ON_RANK_ONE", over, model="small-shared").findings
    assert finding.kind == "collectives-differ"
    assert "rank 1 never joined" in finding.what


def test_raw_nccl_sums_the_padding_without_an_error() -> None:
    results = measured("cuda", 2, ("raw ncclAllReduce", "functional all_reduce"))
    assert results["functional all_reduce"]["wrong"] == 0
    assert results["raw ncclAllReduce"]["wrong"] > 0.5
    assert "raw ncclAllReduce" in NEED_CUDA
