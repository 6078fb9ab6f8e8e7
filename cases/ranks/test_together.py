"""One verdict from what ranks answer: without a process, on answers that are made up."""

from typing import Any

import pytest

from fixtures.planting import case
from harness.findings.finding import FINDINGS, OK, Finding, Verdict
from harness.ranks.shares import is_partial, right_for_copies
from harness.ranks.team import STOPPED, RankAnswer
from harness.ranks.together import Together

CASE = case("small", tp=2)
CALL, END = {"call": "first call"}, {"end": "first call"}
RAISED = Finding(
    observer="widths", kind="raised", stage="layer", what="ValueError: no", cause="It raised.", call="first call"
)
WRONG = Finding(observer="values", kind="wrong-values", stage="layer", what="wrong", cause="Look.", call="first call")
STRIDED_OUTPUT = Finding(
    observer="widths", kind="strided-output", stage="unpad", what="a view", cause="A view.", call="first call"
)


def given(*shape: int, stride: tuple[int, ...] = (), op: str = "c10d::allreduce_") -> dict[str, Any]:
    dense = (*shape[1:], 1)
    return {"collective": op, "shape": list(shape), "stride": list(stride or dense), "dtype": "bfloat16"}


def answer(
    rank: int, *findings: Finding, notes: tuple[dict[str, Any], ...] = (), raised: bool = False, wrong: Any = None
) -> RankAnswer:
    status = FINDINGS if findings else OK
    fields = {"subject": "s", "case": CASE.id, "model": "small", "hidden": 80, "padded": 128, "mode": "eager"}
    verdict = Verdict(**fields, status=status, findings=findings, checks=("values",))  # type: ignore[arg-type]
    return RankAnswer(rank, {"verdict": verdict.to_json(), "raised": raised, "wrong": wrong or {}}, "", notes)


def stopped(rank: int, *notes: dict[str, Any]) -> RankAnswer:
    return RankAnswer(rank, None, f"{STOPPED} for more than 8 s", notes)


def verdict(*answers: RankAnswer) -> Verdict:
    return Together(answers, CASE, "eager", "s", "cpu").verdict()


def test_all_ok_is_ok() -> None:
    one = verdict(answer(0), answer(1))
    assert one.ok
    assert one.environment["ranks"] == "2 processes, each with its own shard"


def test_a_rank_that_raised_explains_one_that_waited() -> None:
    one = verdict(stopped(0, CALL, given(7, 80)), answer(1, RAISED, notes=(CALL, END), raised=True))
    (finding,) = one.findings
    assert (finding.kind, finding.call) == ("raised", "first call, rank 1 of 2")
    assert "Rank 0 waited in c10d::allreduce_ of bfloat16[7, 80] (80, 1), first call." in finding.cause


def test_ranks_that_all_wait_without_a_difference_are_an_error_that_says_where() -> None:
    one = verdict(stopped(0, CALL, given(7, 80)), stopped(1, CALL, given(7, 80)))
    assert one.status == "error"
    assert one.reason.count("waited in c10d::allreduce_ of bfloat16[7, 80] (80, 1), first call") == 2


@pytest.mark.parametrize(
    "other",
    [
        given(7, 96),
        given(7, 80, stride=(128, 1)),
        given(7, 80, op="c10d::reduce_scatter_"),
        given(7, 80) | {"dtype": "float32"},
    ],
)
def test_a_collective_that_ranks_join_unlike_each_other_is_named(other: dict[str, Any]) -> None:
    one = verdict(answer(0, WRONG, notes=(CALL, given(7, 80), END)), answer(1, WRONG, notes=(CALL, other, END)))
    assert [finding.kind for finding in one.findings] == ["collectives-differ"]


def test_unlike_strides_that_did_no_harm_are_no_finding() -> None:
    assert verdict(
        answer(0, notes=(CALL, given(7, 80), END)), answer(1, notes=(CALL, given(7, 80, stride=(128, 1)), END))
    ).ok


def test_a_view_given_to_a_compiled_collective_is_named_where_values_are_wrong() -> None:
    notes = (CALL, given(7, 80, stride=(128, 1)), END)
    wrong = {"first call": {"share": 0.83}}
    one = verdict(*(answer(rank, WRONG, STRIDED_OUTPUT, notes=notes, wrong=wrong) for rank in range(2)))
    (finding,) = one.findings
    assert finding.kind == "not-contiguous"
    assert finding.what.endswith("no error, and 83.0% of the values are wrong")
    assert finding.detail["wrong"] == {"0": 0.83, "1": 0.83}


def test_a_view_that_did_no_harm_leaves_the_strided_output_alone() -> None:
    notes = (CALL, given(7, 80, stride=(128, 1)), END)
    one = verdict(*(answer(rank, STRIDED_OUTPUT, notes=notes) for rank in range(2)))
    assert [finding.kind for finding in one.findings] == ["strided-output"]


def test_a_death_is_no_difference_of_collectives() -> None:
    died = RankAnswer(1, None, "exit code -11, Segmentation fault", (CALL,))
    one = verdict(stopped(0, CALL, given(7, 80)), died)
    assert one.status == "error"
    assert "rank 1 died (exit code -11, Segmentation fault) in first call" in one.reason


@pytest.mark.parametrize(
    ("mix", "rank", "size", "partial", "copies"),
    [
        ([1.0, 0.0], 0, 2, True, False),
        ([0.0, 1.0], 1, 2, True, False),
        ([2.0, 0.0], 0, 2, False, True),
        ([0.0, 2.0], 1, 2, False, True),
        ([0.0, 1.0], 1, 4, False, False),
        ([4.0, 0.0], 0, 4, False, True),
        ([2.0, 2.0], 0, 2, False, False),
    ],
)
def test_what_a_mix_of_shards_means(mix: list[float], rank: int, size: int, partial: bool, copies: bool) -> None:
    assert is_partial(mix, rank, size) is partial
    assert right_for_copies(mix, size) is copies
