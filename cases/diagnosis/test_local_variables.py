"""pytest's local variables, printed between a frame's source and its place, are no part of the frame."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

VIEW = (
    "E       RuntimeError: view size is not compatible with input tensor's size and stride (at least one dimension spans across "
    "two contiguous subspaces). Use .reshape(...) instead.\n"
)
LOCALS = "".join(
    f"{name:10} = tensor([[ 0.5479,  0.9085, -1.3999,  ..., -0.4980],\n        [ 0.5479,  ...,  0.6053]])\n"
    for name in "hx"
)
TEST = "____________________________ test_rows[5] ____________________________\n\n    def test_rows():\n"
TEST += ">       layer(h)\n\n{locals}\ntests/test_rows.py:9: \n_ _ _ _ _ _ _ _ _ _ _ _\n\n{far}"
CALLER = (
    "    def forward(self, h):\n{made}>       return {call}(h)\n               ^^^^^^\n\n{locals}\nacme/layer.py:31: \n"
)
CALLED = """_ _ _ _ _ _ _ _ _ _ _ _

x = tensor([[ 0.5479]])

    def {call}(x):
        {head}
>           x.view(
                -1,
            ),
            group,
        )
"""
PLACE = "\n{locals}\nacme/rows.py:17: RuntimeError\n"
FAR = "    def called(x):\n>       return run(x)\n\n{locals}\nacme/run.py:3: \n_ _ _ _ _ _ _ _ _ _ _ _\n\n" * 7


def _of(made: str, head: str, call: str = "rows", far: str = FAR, locals_: str = LOCALS) -> Diagnosis:
    text = (TEST + CALLER).replace("{made}", made) + CALLED.replace("{head}", head) + VIEW + PLACE
    text = text.replace("{far}", far).replace("{call}", call).replace("{locals}", locals_)
    (one,) = diagnose(io.BytesIO(text.encode()), "x").failures
    return one


@pytest.mark.parametrize("far", [FAR, ""])
@pytest.mark.parametrize("locals_", [LOCALS, ""])
def test_the_statement_is_told_however_far_the_heading_is(far: str, locals_: str) -> None:
    one = _of("", "return torch.mul(", far=far, locals_=locals_)
    assert one.user_line == "acme/rows.py:16: return torch.mul(x.view(-1,), group,)"
    assert "the text does not say which" in one.cause


def test_what_the_caller_cut_is_told() -> None:
    one = _of("        h = h[..., : self.width]\n", "return torch.mul(")
    assert "shows the line that made it" in one.cause


def test_what_was_cut_under_another_name_is_not() -> None:
    one = _of("        y = y[..., : self.width]\n", "return torch.mul(")
    assert "shows the line that made it" not in one.cause


def test_a_collective_at_the_line_needs_no_second_rank_for_its_view() -> None:
    one = _of("        h = h[..., : self.width]\n", "dist.all_gather_into_tensor(")
    assert one.stage.startswith("all-gather")
    assert not any("one rank" in text for text in one.against)
