"""Ranks of released engines: one of them stands for all where all gave the same to every sum, and only there."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.engines.released import ranks, sums
from harness.engines.released.sums import SUMS
from harness.engines.released.told_apart import with_ranks
from harness.engines.vllm.engine import Gloo

Other = Callable[[torch.Tensor], torch.Tensor]
HERE = torch.tensor([[1.0, 2.0], [3.0, torch.nan]])


class Group(SimpleNamespace):
    """A group of two ranks. What the other one gives is made from what this one gives."""

    def size(self) -> int:
        return 2


class Rank:
    """The other rank's process: it notes the tasks that it was asked for."""

    def __init__(self, status: str = "ok") -> None:
        self.asked: list[int] = []
        self.status = status

    def ask(self, task: int) -> dict[str, Any]:
        self.asked.append(task)
        return {"status": self.status}


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    """The group, in place of torch's."""
    made = Group(other=lambda rows: rows, collectives=0, elsewhere=0)

    def all_reduce(rows: torch.Tensor, group: Group) -> None:
        rows += group.other(rows)
        group.collectives += 1

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    monkeypatch.setattr(sums, "_collectives", lambda: {"tp": made.collectives, "world": made.elsewhere})
    SUMS.start()
    SUMS._others = False
    return made


def answers(
    group: Group, other: Rank, statuses: list[str], cases: str = "aaaa", also: str = ""
) -> Callable[[int], dict[str, Any]]:
    """A layer of one sum, whose verdicts have these statuses in turn. ``also``: the first task has another collective."""
    layer, left = Gloo(group), iter(statuses)  # type: ignore[arg-type]

    def answer(index: int) -> dict[str, Any]:
        out = layer.all_reduce(HERE)
        if also and not index:
            vars(group)[also] += 1
        return {"status": next(left), "output": out, "alone": SUMS.alone}

    return ranks._on_all_ranks(answer, [other], cases)  # type: ignore[list-item]


def test_one_rank_does_the_other_modes_of_a_case_alone(group: Group) -> None:
    other = Rank()
    answer = answers(group, other, ["ok"] * 4, "aabb")
    first, second, *_ = [answer(index) for index in range(4)]
    assert other.asked == [0, 2]  # the first task of each case
    assert (first["alone"], second["alone"]) == (False, True)
    assert first["output"].nan_to_num().equal(second["output"].nan_to_num())
    assert group.collectives == 2


@pytest.mark.parametrize("other_gives", [lambda rows: rows * 0, lambda rows: rows + 1e-6])
def test_ranks_that_give_something_else_do_every_mode_together(other_gives: Other, group: Group) -> None:
    group.other, other = other_gives, Rank()
    answer = answers(group, other, ["ok"] * 4)
    assert not any(answer(index)["alone"] for index in range(4))
    assert other.asked == [0, 1, 2, 3]


def test_a_verdict_that_is_not_ok_is_of_all_ranks(group: Group) -> None:
    other = Rank("findings")
    answer = answers(group, other, ["findings", "ok", "findings", "findings"])
    assert answer(0)["status"] == "findings"
    other.status = "ok"
    assert answer(1)["status"] == "ok"
    other.status = "findings"
    verdict = answer(2)  # alone, and then once more
    assert (verdict["status"], verdict["alone"]) == ("findings", False)
    assert other.asked == [0, 1, 2]


@pytest.mark.parametrize("where", ["collectives", "elsewhere"])
def test_after_another_collective_than_the_sums_no_rank_is_alone(where: str, group: Group) -> None:
    """Of the same group or of another: alone, it would wait for the other ranks."""
    other = Rank()
    answer = answers(group, other, ["ok"] * 4, "aabb", also=where)
    assert not any(answer(index)["alone"] for index in range(4))
    assert other.asked == [0, 1, 2, 3]


def test_a_task_without_a_sum_shows_nothing(group: Group) -> None:
    other = Rank()
    answer = ranks._on_all_ranks(lambda index: {"status": "ok"}, [other], "aa")  # type: ignore[list-item]
    assert [answer(index)["status"] for index in range(2)] == ["ok", "ok"]
    assert other.asked == [0, 1]


def finding_of(cause: str, stage: str = "routed experts", observer: str = "values") -> dict[str, Any]:
    return {"observer": observer, "kind": "wrong-values", "stage": stage, "cause": cause, "fingerprint": stage}


@pytest.mark.parametrize(
    ("here", "other", "cause", "stage"),
    [
        (finding_of("Wrong."), finding_of("Wrong. No up."), "Wrong. On rank 1: No up.", "routed experts"),
        (finding_of("Wrong."), finding_of("Wrong. No ids.", "router"), "Wrong. On rank 1: No ids.", "router"),
        (finding_of("Wrong. No up."), finding_of("Wrong."), "Wrong. On rank 0: No up.", "routed experts"),
        (finding_of("Wrong. No up."), finding_of("Wrong. No up."), "Wrong. No up.", "routed experts"),
        (finding_of("Wrong."), finding_of("Other."), "Wrong.", "routed experts"),
        (
            finding_of("Wrong. It traces clean.", observer="contract"),
            finding_of("Wrong.", observer="contract"),
            "Wrong. It traces clean.",
            "routed experts",
        ),
    ],
)
def test_what_one_rank_alone_adds_is_told_of_that_rank(
    here: dict[str, Any], other: dict[str, Any], cause: str, stage: str
) -> None:
    found = with_ranks({"findings": [here]}, [{"findings": [other]}])["findings"][0]
    assert (found["cause"], found["stage"], found["fingerprint"]) == (cause, stage, stage)
    assert with_ranks({"findings": [here]}, [{"status": "ok"}]) == {"findings": [here]}
