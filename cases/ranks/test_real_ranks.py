"""Real ranks on a CPU: two processes with a shard each, over gloo. Right layers pass; each fault is killed, by name."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.imports import ROOT
from fixtures.planting import SHAPES
from harness.findings.finding import Finding, Verdict
from harness.matrix.ranks import REAL, REAL_MODES
from harness.matrix.selection import Selection
from harness.ranks.ranks_run import RankJudge
from harness.workers.plan import Plan

pytestmark = pytest.mark.usefixtures("forked_python")
SECONDS = 24.0
SELECTION = Selection(
    models=("small", "small-shared", "small-latent"),
    rules=("blocks-of-64",),
    kernels=("wide",),
    models_file=str(SHAPES),
    modes=("eager", "compiled"),
    ranks=REAL,
)


@pytest.fixture(scope="module")
def ranks(forked_python: None) -> Iterator[RankJudge]:
    with RankJudge(Plan(SELECTION, "fixtures.ranks:SLICED", "sliced", "cpu", 1, (str(ROOT),), SECONDS)) as judge:
        yield judge


def verdict(
    ranks: RankJudge, subject: str, model: str = "small-shared", over: str = "all_reduce", mode: str = "eager"
) -> Verdict:
    (case,) = {case for case, _ in ranks.tasks if case.model == model and case.collective == over}
    return ranks.judge(case, REAL_MODES[mode], f"fixtures.ranks:{subject}")


def only_finding(verdict: Verdict) -> Finding:
    assert len(verdict.findings) == 1, verdict
    return verdict.findings[0]


@pytest.mark.parametrize("subject", ["SLICED", "NEXT_RANKS_SHARD", "SHARED_ON_RANK_ZERO", "PARTS_REDUCED"])
def test_right_layers_of_real_shards_pass(ranks: RankJudge, subject: str) -> None:
    one = verdict(ranks, subject)
    assert one.ok, one
    assert {"values", "second call"} <= set(one.checks)
    assert one.environment["collective"] == "all_reduce"


@pytest.mark.parametrize(("model", "over"), [("small", "functional"), ("small-latent", "all_reduce")])
def test_the_sum_of_shards_is_the_whole(ranks: RankJudge, model: str, over: str) -> None:
    assert verdict(ranks, "SLICED", model, over).ok


@pytest.mark.parametrize(
    ("subject", "kind", "says"),
    [
        ("SHARD_OF_RANK_ZERO", "ranks-differ", "on rank 1 2 x rank 0's shard + 0 x the others'"),
        ("SLICED_TOO_EARLY", "wrong-values", "every rank"),
        ("SHARED_ON_EVERY_RANK", "scaled", "shared x 2"),
        ("SHARED_TWICE", "scaled", "shared x 2"),
        ("SHARED_TWICE_ON_RANK_ONE", "wrong-part", "every rank"),
        ("SUM_DROPPED", "not-reduced", "rank 1 of 2"),
    ],
)
def test_a_fault_of_the_ranks_index_is_killed(ranks: RankJudge, subject: str, kind: str, says: str) -> None:
    finding = only_finding(verdict(ranks, subject))
    assert finding.kind == kind
    assert says in f"{finding.what} {finding.call}"
    assert finding.detail["wrong"]


def test_a_sum_that_is_forgotten_on_every_rank_is_each_ranks_own_shard(ranks: RankJudge) -> None:
    one = verdict(ranks, "NOT_REDUCED")
    assert [finding.kind for finding in one.findings] == ["not-reduced", "collective-count"]
    assert "on rank 1 0 x rank 0's shard + 1 x the others'" in one.findings[0].what


def test_a_strided_view_over_gloo_is_named_with_its_share_of_wrong_values(ranks: RankJudge) -> None:
    one = verdict(ranks, "STRIDED_VIEW", "small")
    finding = only_finding(one)
    assert (finding.kind, finding.stage) == ("not-contiguous", "all-reduce")
    assert "% of the values are wrong" in finding.what
    assert 0.1 < max(finding.detail["wrong"].values()) < 0.9
    assert "--ranks real --collectives all_reduce" in one.reproduce


def test_a_strided_view_that_the_functional_collective_copies_is_no_finding(ranks: RankJudge) -> None:
    assert verdict(ranks, "STRIDED_VIEW", "small", "functional").ok


def test_a_compiled_layer_has_the_functional_collective_in_its_graph(ranks: RankJudge) -> None:
    one = verdict(ranks, "SLICED", "small", "functional", "compiled")
    assert one.ok, one
    assert "collectives" in one.checks


# Each of these costs its team, so they come last.


def test_a_rank_that_never_joins_is_named_with_the_collective_and_the_shape(ranks: RankJudge) -> None:
    finding = only_finding(verdict(ranks, "SKIPPED_ON_RANK_ONE"))
    assert finding.kind == "collectives-differ"
    assert finding.what == (
        "rank 1 never joined c10d::allreduce_ of bfloat16[7, 80] (80, 1); rank 0 waited in c10d::allreduce_ of "
        "bfloat16[7, 80] (80, 1), first call; rank 1 finished the case"
    )


def test_ranks_that_reduce_different_shapes_are_named_with_both(ranks: RankJudge) -> None:
    finding = only_finding(verdict(ranks, "WIDER_ON_RANK_ONE"))
    assert finding.kind == "collectives-differ"
    assert "rank 0: c10d::allreduce_ of bfloat16[7, 80] (80, 1)" in finding.what
    assert "rank 1: c10d::allreduce_ of bfloat16[7, 128] (128, 1)" in finding.what


def test_a_rank_that_dies_costs_its_case_alone_and_leaves_no_process(ranks: RankJudge) -> None:
    one = verdict(ranks, "DIES_ON_RANK_ONE")
    assert one.status == "error"
    assert "rank 1 died (exit code 3) in first call" in one.reason
    assert "rank 0 raised in c10d::allreduce_ of bfloat16[7, 80] (80, 1), first call" in one.reason
    assert _children() == []


def _children() -> list[str]:
    """The processes that this one has started and that still run, but for the server that other tests fork from."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    running = " ".join(file.read_text() for file in tasks.glob("*/children")).split()
    return [pid for pid in running if "fork_server" not in Path(f"/proc/{pid}/cmdline").read_text()]
