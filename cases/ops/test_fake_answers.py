"""What a fake answers beside metadata: numbers, devices, its grad mode; and what a schema says of memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.ops.arguments import plain, untrue_aliases
from harness.ops.fake_call import FakeCallMode, call_fake

LIBRARY = torch.library.Library("fake_answers", "FRAGMENT")


def op(name: str, schema: str, real: Any, fake: Any, key: str = "CompositeExplicitAutograd") -> Any:
    LIBRARY.define(name + schema)
    LIBRARY.impl(name, real, key)
    torch.library.register_fake(f"fake_answers::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.fake_answers, name).default


DOUBLE = "(Tensor x) -> Tensor"
RIGHT = op("right", DOUBLE, lambda x: x * 2, torch.empty_like)
ON_HOST = op("on_host", DOUBLE, lambda x: x * 2, lambda x: torch.empty(x.shape))
HOST_ONLY = op("host_only", DOUBLE, lambda x: x * 2, lambda x: torch.empty(x.shape), "CPU")
HOST_COUNT = op("host_count", DOUBLE, lambda x: x.new_zeros(3).long(), lambda x: torch.empty(3, dtype=torch.int64))
SLICED = op("sliced", DOUBLE, lambda x: x * 2, lambda x: x.new_empty(x.shape[0] + 1, x.shape[1])[1:])


def on_cuda(func: Any) -> str:
    return call_fake(FakeCallMode(), func, (torch.ones(2, 3),), {}, cuda=True).on_cuda


def test_a_fake_on_the_host_is_found_without_a_cuda_device() -> None:
    assert on_cuda(ON_HOST) == "returns a tensor on cpu"


@pytest.mark.parametrize("func", [RIGHT, HOST_ONLY, HOST_COUNT, SLICED], ids=str)
def test_a_right_fake_an_op_of_the_cpu_and_a_count_for_the_host_are_not(func: Any) -> None:
    assert on_cuda(func) == ""


def test_a_fake_is_asked_in_the_grad_mode_of_the_call_and_then_outside_of_grad_mode() -> None:
    modes: list[bool] = []

    def fake(x: Tensor) -> Tensor:
        modes.append(torch.is_grad_enabled())
        return torch.empty_like(x)

    func = op("grad_mode", DOUBLE, lambda x: x * 2, fake)
    for mode in (True, False):
        modes.clear()
        with torch.set_grad_enabled(mode):
            call_fake(FakeCallMode(), func, (torch.ones(2, 3),), {})
        assert modes[0] is mode
        assert set(modes) == {mode, False}


def test_numbers_among_the_outputs_are_kept_and_tensors_are_not() -> None:
    assert plain((torch.ones(1), 3, True, [2.5, "text"])) == (None, 3, True, 2.5, "text")


def test_an_output_that_is_not_the_view_its_schema_says() -> None:
    schema = "(Tensor(a) x, Tensor other) -> Tensor(a)"
    func = op("declares_view", schema, lambda x, other: x[:1], lambda x, other: x[:1])
    x = torch.ones(2, 3)
    assert untrue_aliases(func, (x, x.clone()), {}, x[:1]) == ()
    assert untrue_aliases(func, (x, x.clone()), {}, x.clone()) == ("x",)
    assert untrue_aliases(func, (x, x.clone()), {}, x[:0].clone()) == ()  # no element, no memory
    assert untrue_aliases(RIGHT, (x,), {}, x.clone()) == ()
