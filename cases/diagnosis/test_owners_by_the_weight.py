"""A width is told of a model that the ranks and the other size of its weight allow, and of no other by chance."""

import pytest

from fixtures.diagnosing import diagnosis_of
from harness.diagnosis.diagnosis import Diagnosis

ASSERT = """{head}
  File "/tmp/torchinductor_kai/ab/cabc.py", line 61, in call
    assert_size_stride(arg0_1, (300, {hidden}), ({hidden}, 1), 'input')
    assert_size_stride(arg1_1, ({narrow}, {hidden}), ({hidden}, 1), 'input')
    buf0 = torch.ops.{op}.default(arg0_1, arg1_1)
    assert_size_stride(buf0, (300, {narrow}), ({narrow}, 1), 'torch.ops.{op}.default')
AssertionError: expected size {wide}=={narrow}, stride 1==1 at dim=1
Error in op: torch.ops.{op}.default
"""
PRODUCT = """{head}
Traceback (most recent call last):
  File "/srv/heron/experts.py", line 12, in forward
    return F.linear(y, self.w_down[e])
RuntimeError: mat1 and mat2 shapes cannot be multiplied (9x{wide} and {narrow}x{hidden})
"""
SHOWN = """{head}
w13_weight.shape: torch.Size([32, {narrow}, {hidden}])
Traceback (most recent call last):
  File "/srv/heron/experts.py", line 12, in forward
    buf[:, :n] = h + bias
RuntimeError: The size of tensor a ({wide}) must match the size of tensor b ({narrow}) at non-singleton dimension 1
w13_weight.shape: torch.Size([32, {narrow}, {hidden}])
"""
GEMMA = "intermediate size of gemma-4-26b-a4b"


def answer(text: str, head: str, hidden: int, sizes: tuple[int, int] = (704, 768), op: str = "heron.run") -> Diagnosis:
    return diagnosis_of(text.format(head=head, hidden=hidden, narrow=sizes[0], wide=sizes[1], op=op))


def narrow(one: Diagnosis) -> tuple[str, ...]:
    return next(width.models for width in one.widths if not width.padded)


@pytest.mark.parametrize("text", [ASSERT, PRODUCT])
def test_the_other_size_of_the_weight_excludes_a_chance_equality(text: str) -> None:
    one = answer(text, "tp_size=4", 2048)
    assert narrow(one)[0].startswith("2 x ")
    assert narrow(one)[0].endswith("/ 4 ranks (gate and up) of qwen1.5-moe-a2.7b")
    assert GEMMA not in narrow(one)
    assert "--models qwen1.5-moe-a2.7b --tp 4 " in " ".join(one.tries)


@pytest.mark.parametrize("text", [ASSERT, PRODUCT])
def test_without_ranks_the_weight_still_decides(text: str) -> None:
    one = answer(text, "no ranks", 2048)
    assert GEMMA not in narrow(one)
    assert "intermediate size / 2 ranks of qwen1.5-moe-a2.7b" in narrow(one)
    assert "--tp 2 " in " ".join(one.tries)


@pytest.mark.parametrize("text", [ASSERT, PRODUCT])
def test_the_model_whose_weight_it_is_stays(text: str) -> None:
    one = answer(text, "tp_size=4", 2816)
    assert narrow(one)[0] == GEMMA
    assert "--models gemma-4-26b-a4b " in " ".join(one.tries)


def test_a_named_model_is_never_excluded() -> None:
    assert narrow(answer(PRODUCT, "INFO gemma-4-26b-a4b", 2048))[0] == GEMMA


def test_where_no_model_fits_none_is_named() -> None:
    one = answer(PRODUCT, "tp_size=4", 7168)
    assert narrow(one) == ()
    assert "gemma" not in " ".join(one.tries)


def test_a_shape_under_a_weights_name_counts() -> None:
    assert GEMMA in narrow(answer(SHOWN.replace("w13_weight", "thing"), "tp_size=4", 2048))
    assert GEMMA not in narrow(answer(SHOWN, "tp_size=4", 2048))


def test_the_padded_width_is_no_model_that_the_weight_excludes() -> None:
    (wide,) = (width for width in answer(ASSERT, "tp_size=4", 4096).widths if width.padded)
    assert wide.models == ()
    (wide,) = (width for width in answer(ASSERT, "tp_size=4", 2048).widths if width.padded)
    assert wide.models == ("intermediate size of qwen3-30b-a3b",)


def test_an_activation_beside_excludes_nobody() -> None:
    text = ASSERT.replace("(300, {hidden})", "({hidden}, {narrow})").replace("({narrow}, {hidden})", "(300, 20)")
    assert GEMMA in narrow(answer(text, "tp_size=4", 2048))


@pytest.mark.parametrize(("op", "hidden"), [("heron.run", 2048), ("heron.gate_up", 5000)])
def test_each_rule_that_fits_per_half_is_named(op: str, hidden: int) -> None:
    one = answer(ASSERT, "tp_size=4", hidden, op=op)
    assert "or each half, 384 = 352 rounded up to 64 (" in one.rule
    assert "trtllm-nvfp4" in one.rule.partition("each half")[2]
    assert one.cause.count("384 = 352 rounded up") == 1


def test_a_hidden_width_has_no_halves() -> None:
    assert "each half" not in answer(ASSERT, "x", 1000, (2880, 3072), op="heron.gate_up").rule
    assert "each half" not in answer(ASSERT, "x", 2816).rule
