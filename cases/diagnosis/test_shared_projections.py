"""A projection that the callers call in the shared expert is the shared expert's; of a line that calls several, the sizes tell."""

import pytest

from fixtures.diagnosing import diagnosis_of

TEXT = """Traceback (most recent call last):
  File "/srv/rook/block.py", line 40, in forward
    {outer}
  File "/srv/rook/block.py", line 52, in {function}
    {middle}
  File "/srv/rook/mlp.py", line 19, in forward
    {inner}
  File "/srv/rook/linear.py", line 7, in forward
    return F.linear(x, self.weight)
RuntimeError: mat1 and mat2 shapes cannot be multiplied ({sizes})
"""
DOWN, UP, SIZES = "y = self.down_proj(y)", "h = self.up_proj(x)", "9x1408 and 1536x4096"


@pytest.mark.parametrize(
    ("outer", "function", "middle", "inner", "stage"),
    [
        (
            "s = self.run_shared(x)",
            "run_shared",
            "return self.shared_experts(x)",
            DOWN,
            "second projection of the shared expert",
        ),
        (
            "s = self.both(x)",
            "_forward_shared_expert",
            "return self.mlp(x)",
            DOWN,
            "second projection of the shared expert",
        ),
        ("s = self.both(x)", "both", "s = self.shared_mlp(x)", UP, "first projection of the shared expert"),
        ("s = self.both(x)", "both", "y = self.experts(x)", DOWN, "second projection"),
        ("y = self.routed(x)", "routed", "return self.mlp(x)", DOWN, "second projection"),
    ],
)
def test_callers_name_the_shared_expert(outer: str, function: str, middle: str, inner: str, stage: str) -> None:
    one = diagnosis_of(TEXT.format(outer=outer, function=function, middle=middle, inner=inner, sizes=SIZES))
    assert one.stage == stage
    assert any("the shared expert's" in operand for operand in one.operands) == (
        stage == "second projection of the shared expert"
    )


SEVERAL = "return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))"


@pytest.mark.parametrize(
    ("sizes", "stage"),
    [
        ("9x1408 and 1536x4096", "second projection"),
        ("9x2816 and 2688x1856", "first projection or gate projection"),
    ],
)
def test_of_a_line_that_calls_several_the_sizes_tell(sizes: str, stage: str) -> None:
    one = diagnosis_of(
        "Traceback (most recent call last):\n"
        f'  File "/srv/rook/mlp.py", line 19, in forward\n    {SEVERAL}\n'
        '  File "/srv/venv/lib/python3.12/site-packages/torch/nn/modules/linear.py", line 134, in forward\n'
        "    return F.linear(input, self.weight, self.bias)\n"
        f"RuntimeError: mat1 and mat2 shapes cannot be multiplied ({sizes})\n"
    )
    assert one.stage.startswith(stage)
