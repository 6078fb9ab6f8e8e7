"""opcheck in the self-test: once for an op and its arguments, anew where either differs."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.selftest import opchecked
from harness.selftest.opchecked import RecordedOps, opcheck


@torch.library.custom_op("opchecked::doubled", mutates_args=())
def doubled(x: Tensor, times: int = 1) -> Tensor:
    return x * 2 * times


@doubled.register_fake
def _(x: Tensor, times: int = 1) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("opchecked::wider", mutates_args=())
def wider(x: Tensor) -> Tensor:
    return torch.cat([x, x], -1)


@wider.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def recorded(op: Any, *args: Any) -> RecordedOps:
    with RecordedOps() as record:
        op(*args)
    return record


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    ops: list[str] = []
    real = torch.library.opcheck

    def counting(op: Any, *args: Any, **settings: Any) -> Any:
        ops.append(str(op))
        return real(op, *args, **settings)

    monkeypatch.setattr(torch.library, "opcheck", counting)
    monkeypatch.setattr(opchecked, "_said", {})
    return ops


def test_the_same_arguments_are_checked_once(checked: list[str]) -> None:
    for _ in range(2):
        assert not opcheck(recorded(doubled, torch.ones(2, 3))).seen
    assert len(checked) == 1


@pytest.mark.parametrize(
    "other",
    [
        (torch.zeros(2, 3),),
        (torch.ones(3, 2),),
        (torch.ones(3, 2).T,),
        (torch.ones(2, 3).double(),),
        (torch.ones(2, 3), 2),
    ],
    ids=["values", "shape", "strides", "dtype", "number"],
)
def test_other_arguments_are_checked_anew(checked: list[str], other: tuple[Any, ...]) -> None:
    for args in ((torch.ones(2, 3),), other):
        assert not opcheck(recorded(doubled, *args)).seen
    assert len(checked) == 2


def test_what_it_said_is_said_again_of_that_op_alone(checked: list[str]) -> None:
    first, again = (opcheck(recorded(wider, torch.ones(2, 3))) for _ in range(2))
    assert first == again
    assert first.seen
    assert "test_faketensor" in first.says or "test_aot_dispatch" in first.says
    assert not opcheck(recorded(doubled, torch.ones(2, 3))).seen
    assert len(checked) == 2
