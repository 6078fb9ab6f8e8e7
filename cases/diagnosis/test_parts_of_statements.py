"""Lines that have only a part of a statement, products with block scales, and the add of a residual without that word."""

import io
import traceback

import pytest
import torch

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.statements.parts import continued, is_part
from harness.diagnosis.statements.sums import is_residual

NO_ADD = "an elementwise operation that the user's line does not show"


def answer(code: str, sizes: tuple[int, int] = (2880, 3072), dim: int = 1, file: str = "acme/experts.py") -> Diagnosis:
    text = (
        f'Traceback (most recent call last):\n  File "/srv/{file}", line 52, in run\n    {code}\n'
        f"RuntimeError: The size of tensor a ({sizes[0]}) must match the size of tensor b ({sizes[1]}) "
        f"at non-singleton dimension {dim}\n"
    )
    (one,) = diagnose(io.BytesIO(text.encode()), "a text").failures
    return one


@pytest.mark.parametrize(
    ("code", "stage"),
    [
        ("return (mixed *", "mul"),
        ("out = (mixed /", "div"),
        ("return torch.mul(", "mul"),
        ("y = torch.where(", "where"),
        ("keep = (mixed >", "a comparison"),
        ("mixed * other)", "mul"),
        ("return gain * (mixed + other", "add or mul"),
        ("mixed", NO_ADD),
        ("return mixed", NO_ADD),
        ("y = finish(", NO_ADD),
        ("self.mixed,", NO_ADD),
    ],
)
def test_a_part_of_a_statement_is_no_add(code: str, stage: str) -> None:
    one = answer(code)
    assert one.stage == stage
    assert (one.verdict, one.padded, one.relatives) == ("family", 3072, ())
    assert "before the add" not in one.cause
    assert "only a part of that statement" in one.cause


def test_an_add_that_the_line_shows_is_one() -> None:
    assert answer("return (mixed +").stage.startswith("add at the user's line")
    assert answer("return torch.add(").stage.startswith("add at the user's line")
    assert answer("return mixed + other").stage.startswith("add at the user's line")
    assert answer("return (mixed + shared_output").stage == "shared add"


def test_python_prints_the_first_line_of_a_statement() -> None:
    def several(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.mul(
            a,
            b,
        )

    with pytest.raises(RuntimeError) as raised:
        several(torch.zeros(2, 2880), torch.zeros(2, 3072))
    text = "".join(traceback.format_exception(raised.value))
    (one,) = diagnose(io.BytesIO(text.encode()), "a text").failures
    assert (one.stage, one.relatives) == ("mul", ())


@pytest.mark.parametrize(
    ("lines", "stage"),
    [
        ("return self.mix(gathered.float() *\nchosen_columns)", "mul"),
        ("y = torch.nn.functional.silu(first_half_of_columns)\n * the_other_half", "the activation, gate times up"),
        ("return torch.where(kept_columns, gathered,\n torch.zeros_like(other))", "where"),
        ("return (gathered\n            + shared_output)", "shared add"),
    ],
)
def test_a_line_that_a_paste_broke_is_joined(lines: str, stage: str) -> None:
    one = answer(lines)
    assert one.stage == stage
    assert "only a part" not in one.cause


def test_lines_that_do_not_go_on_are_not_joined() -> None:
    assert continued("y = a", ["does anybody know?"]) == "y = a"
    assert continued("y = (a *", ["does anybody know?", "me too"]) == "y = (a *"
    assert continued("routed", ["* a bullet, and more", "words"]) == "routed"
    assert continued("y = f(a,", ["b)", "an answer"]) == "y = f(a, b)"


@pytest.mark.parametrize("code", ["x = a + b", "return f(a)", "if a > b:", "x[0] = y['(']", "pass", "raise", ""])
def test_whole_statements_are_no_parts(code: str) -> None:
    assert not is_part(code)


@pytest.mark.parametrize(
    "code",
    [
        "y = (w * block_scale[:, None] *",
        "return w.view(n, -1, 16).mul(w2_sf[..., None])",
        "w = q.float() * weight_scale_inv",
    ],
)
def test_rows_of_block_scales_are_filled_up_to_tiles(code: str) -> None:
    one = answer(code, (1856, 1920), 0)
    assert one.stage == "scaling by block scales (dequantisation)"
    assert one.operands == ("1856: at the true size (what they scale)", "1920: padded (the scales)")
    assert "tiles of 128" in one.cause
    assert one.relatives == ()


def test_which_side_is_padded_is_told() -> None:
    assert "What they scale is padded" in answer("y = w * block_scale", (1920, 1856), 0).cause
    assert "The scales are the padded ones" in answer("y = block_scale * w", (1920, 1856), 0).cause
    assert "One of the two is padded" in answer("y = w_scale * x_scale", (1920, 1856), 0).cause


def test_a_scale_alone_is_of_blocks_where_the_text_has_such_formats() -> None:
    assert answer("y = w * scale").stage == "mul"
    assert answer("y = w * scale", file="acme/nvfp4_experts.py").stage.startswith("scaling by block scales")
    assert answer("y = self.norm(w) * scale", file="acme/nvfp4_experts.py").stage == "the weight of a norm"
    assert "differ in a width" in answer("y = w * scale", file="acme/nvfp4_experts.py").cause
    assert answer("y = w + weight_scale").stage.startswith("add at")


@pytest.mark.parametrize(
    "code",
    [
        "x = x + self.mlp(t)",
        "h = h + self.ffn(self.ln(h))",
        "x += self.mlp(x)",
        "h = layer.block(n) + h",
        "x = x + self.mix(x)",
        "x = x + self.mlp(",
    ],
)
def test_what_a_sublayer_gives_is_added_to_the_residual(code: str) -> None:
    assert is_residual(code)
    one = answer(code, (2880, 2944))
    assert (one.stage, one.relatives) == ("residual add", ())
    assert "before the residual add" in one.cause


@pytest.mark.parametrize(
    "code",
    [
        "x = y + self.mlp(t)",
        "x = x + shared_mlp(x)",
        "out = out + self.experts[e](x)",
        "x = x + torch.relu(x)",
        "x = x + x.mul(x)",
        "x = x * self.mlp(x)",
        "x += y",
    ],
)
def test_other_sums_are_no_residual(code: str) -> None:
    assert not is_residual(code)


def test_an_add_has_relatives_of_vllm_where_the_text_speaks_of_it() -> None:
    assert answer("y = a + b").relatives == answer("y = (a +").relatives == ()
    for one in (answer("y = a + b", file="vllm/layer.py"), answer("y = shared_output + routed")):
        assert {relative.id for relative in one.relatives} == {"vllm#35949", "vllm#41184"}


def test_what_to_look_at_begins_with_an_item() -> None:
    text = (
        "torch._dynamo.exc.TorchRuntimeError: Dynamo failed to run FX node with fake tensors: call_function <built-in function add>("
        "*(FakeTensor(..., size=(s77, 2880)), FakeTensor(..., size=(s77, 2944))), **{}): got RuntimeError('The size of tensor a "
        "(2880) must match the size of tensor b (2944) at non-singleton dimension 1)')\n\nfrom user code:\n"
        '   File "/srv/acme/model.py", line 8, in forward\n    x = x + self.mlp(t)\n'
    )
    (one,) = diagnose(io.BytesIO(text.encode()), "a text").failures
    assert one.look.startswith("whether eager code")
