"""What is cached by content is computed anew where the content changed, by whatever means."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harness.matrix.case import Case
from harness.matrix.shapes import load
from kernels.layer import answers, dequantised
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CPU, SUBJECT = torch.device("cpu"), InTree()
CASE = replace(Case.of(load().shape("gpt-oss-20b"), load().rule("none"), "wide", 1, 5), hidden=64)


def by_copy(weight: Tensor) -> None:
    weight.copy_(weight.roll(1, 1))


def by_data(weight: Tensor) -> None:
    weight.data = weight.roll(1, 1)


def by_numpy(weight: Tensor) -> None:  # neither the version nor the address changes
    weight.numpy()[0, 0, 0] ^= 1


@pytest.mark.parametrize("name", ["w13", "w2", "w2_scale"])
@pytest.mark.parametrize("rewrite", [by_copy, by_data, by_numpy])
def test_rewritten_weights_are_read(rewrite: Callable[[Tensor], None], name: str) -> None:
    layer: PaddedMoELayer = SUBJECT.build(CASE, CPU)
    inputs = SUBJECT.inputs(CASE, 5, 0, CPU)
    before = layer(*inputs)
    rewrite(layer.get_buffer(name))
    after = layer(*inputs)
    assert not torch.equal(before, after)
    dequantised._saved.clear()
    assert torch.equal(layer(*inputs), after)


def test_layers_of_one_case_are_dequantised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dequantised._saved.clear()
    made, plain = [], dequantised._dequantised
    monkeypatch.setattr(dequantised, "_dequantised", lambda *arguments: made.append(1) or plain(*arguments))
    for seed in range(2):
        SUBJECT.build(CASE, CPU)(*SUBJECT.inputs(CASE, 5, seed, CPU))
    assert len(made) == 2  # w13 and w2


def test_what_was_cached_under_inference_mode_serves_outside_it() -> None:
    dequantised._saved.clear()
    layer, inputs = SUBJECT.build(CASE, CPU), SUBJECT.inputs(CASE, 5, 0, CPU)
    with torch.inference_mode():
        inside = layer(*inputs).clone()
    with torch.enable_grad():
        assert torch.equal(layer(*inputs), inside)


def test_ranks_share_an_answer_and_other_inputs_do_not() -> None:
    answers._saved.clear()
    inputs = SUBJECT.inputs(CASE, 5, 0, CPU)
    one, two = (SUBJECT.oracle(replace(CASE, tp=tp), inputs)["routed"] for tp in (1, 2))
    assert len(answers._saved) == 1
    torch.testing.assert_close(two, 2 * one, rtol=0, atol=0)
    one.zero_()  # a caller that writes to its answer changes no other one
    assert two.any()
    assert SUBJECT.oracle(CASE, inputs)["routed"].any()
    inputs[2].mul_(2)
    torch.testing.assert_close(SUBJECT.oracle(CASE, inputs)["routed"], two)
    assert len(answers._saved) == 2
