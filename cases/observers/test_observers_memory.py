"""Whose memory is given out and written to, random numbers of others, and tokens that are off by little throughout."""

import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from fixtures.judged import judged, keys
from fixtures.planting import REAL, SMALL, Planted, case
from harness.execution import stages
from harness.execution.modes import eager
from harness.execution.rig import Rig
from harness.ops.registry import register_op
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
MANY = case("small", tokens=33)
# Outputs.


def pooled(buffers: int) -> type[PaddedMoELayer]:
    """A layer that gives out so many buffers in turn, held where no attribute leads to them."""
    pools: dict[int, list[dict[Any, Tensor]]] = {}

    class Pooled(PaddedMoELayer):
        def reduce(self, x: Tensor) -> Tensor:
            out = super().reduce(x)
            pool = pools.setdefault(id(self), [{} for _ in range(buffers)])
            pool.append(pool.pop(0))
            return pool[0].setdefault(tuple(out.shape), torch.empty_like(out)).copy_(out)

    return Pooled


@pytest.mark.parametrize("buffers", [1, 2, 3, 4, 5])
def test_an_output_from_a_pool_is_found_when_its_turn_comes_again(buffers: int) -> None:
    assert keys(judged(pooled(buffers))) == [("second call", "output-overwritten", stages.OUTPUT)]


class KeepsLast(PaddedMoELayer):
    """Holds on to what it gave, and never writes to it again."""

    def dense(self, x: Tensor) -> Tensor:
        out = super().dense(x)
        self.__dict__.setdefault("given", []).append(out)
        return out


def test_an_output_that_is_only_kept_is_left_alone() -> None:
    assert judged(KeepsLast).ok


def test_more_calls_are_made_only_where_an_output_is_held() -> None:
    def labels(layer: type[PaddedMoELayer]) -> list[str]:
        return [call.label for call in eager.run(Rig(Planted(layer=layer), SMALL, CPU), False).calls]

    assert "extra call" not in labels(PaddedMoELayer)
    assert labels(KeepsLast).count("extra call") == 8


class AddsWhatWasLeft(PaddedMoELayer):
    """Sums into a buffer that grows, and clears it only where the batch is no larger than the one before."""

    def dense(self, x: Tensor) -> Tensor:
        held = self.__dict__.setdefault("held", {"rows": x.new_zeros(0, x.shape[-1]), "before": x.shape[0]})
        if held["rows"].shape[0] < x.shape[0]:
            held["rows"] = x.new_zeros(x.shape)
        rows = held["rows"][: x.shape[0]]
        if held["before"] >= x.shape[0]:
            rows.zero_()
        held["before"] = x.shape[0]
        return rows.add_(super().dense(x)).clone()


class ClearsWhatWasLeft(AddsWhatWasLeft):
    def dense(self, x: Tensor) -> Tensor:
        self.__dict__.get("held", {})["before"] = x.shape[0]
        return super().dense(x)


def test_a_batch_that_shrinks_and_grows_within_a_buffer_finds_what_was_left() -> None:
    assert keys(judged(AddsWhatWasLeft)) == [("repeated call", "not-repeatable", "layer")]
    assert judged(ClearsWhatWasLeft).ok


# Ops.

TWO = "(Tensor x) -> (Tensor, Tensor)"


def _fake_two(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@register_op("cases_memory::two", TWO, fake=_fake_two)
def two(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.clone(), x.clone()


class WithTwo(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        first: Tensor = two.overload(super().dense(x))[0]
        return first


def same_twice(x: Tensor) -> tuple[Tensor, Tensor]:
    out = x.clone()
    return out, out


def both_of_one(x: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.stack((x, x))
    return both[0], both[1]


@pytest.mark.parametrize("real", [same_twice, both_of_one])
def test_outputs_of_an_op_that_share_memory_are_found(real: Callable[..., Any]) -> None:
    with two.planted(real=real):
        assert ("alias", "undeclared-alias", "cases_memory::two") in {
            (observer, kind, "cases_memory::two") for observer, kind, _ in keys(judged(WithTwo))
        }
    assert judged(WithTwo).ok


def fake_writes(*args: Any) -> Tensor:
    args[0].zero_()
    made: Tensor = args[0].new_empty(args[0].shape[0], args[10])
    return made


def fake_writes_to_its_own(*args: Any) -> Tensor:
    made: Tensor = args[0].new_empty(args[0].shape[0], args[10]).zero_()
    return made


def test_a_fake_that_writes_to_an_argument_is_found() -> None:
    with routed_experts.planted(fake=fake_writes):
        verdict = judged(PaddedMoELayer)
    assert keys(verdict) == [("contract", "fake-impure", stages.EXPERTS)]
    assert verdict.findings[0].what.endswith("its fake implementation writes to hidden_states")
    with routed_experts.planted(fake=fake_writes_to_its_own):
        assert judged(PaddedMoELayer).ok


# Random numbers.


class NumpySeeded(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        numpy.random.seed(0)
        return super().scale(x)


def test_numpys_random_numbers_are_global_state_too() -> None:
    before = numpy.random.get_state()[1].tolist(), random.getstate()
    verdict = judged(NumpySeeded)
    assert keys(verdict) == [("global state", "global-state", "layer")]
    assert "numpy's random generator" in verdict.findings[0].what
    assert before == (numpy.random.get_state()[1].tolist(), random.getstate())


# Tokens.


def one_token_off(factor: float) -> Callable[..., Tensor]:
    """A kernel whose 33rd token is off: by less than an element may be, in too few to be seen in the whole."""

    def real(*args: Any) -> Tensor:
        out = REAL(*args).float()
        out[32:] *= factor
        return out.to(args[0].dtype)

    return real


@pytest.mark.parametrize("factor", [1.03, 0.97])
def test_a_token_that_is_off_by_little_throughout_is_found(factor: float) -> None:
    with routed_experts.planted(real=one_token_off(factor)):
        verdict = judged(PaddedMoELayer, MANY)
    assert keys(verdict)[0] == ("values", "wrong-tokens", stages.EXPERTS)
    assert "Token 32 is wrong" in verdict.findings[0].cause
    with routed_experts.planted(real=one_token_off(1.0)):
        assert judged(PaddedMoELayer, MANY).ok
