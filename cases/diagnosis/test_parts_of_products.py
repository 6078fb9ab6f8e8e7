"""Which part of the layer a product is of: its factors tell, and the line that gives a helper its weight; no addend does."""

import ast
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fixtures.diagnosing import diagnosis_of, raised
from harness.diagnosis.statements.einsum import equation_of
from harness.diagnosis.statements.factors import factors
from harness.diagnosis.statements.met import met
from harness.diagnosis.statements.names import FIRST, FROM_LATENT, GATE, SECOND, TO_LATENT, projection_of

WIDE, TRUE = 2944, 2880


def full(*sizes: int) -> Tensor:
    return torch.zeros(1).expand(*sizes)


class Held:
    """What a layer holds, each weight at the true width."""

    def __init__(self) -> None:
        square, stacked = full(TRUE, TRUE), full(4, TRUE, TRUE)
        self.lift_latent_t, self.to_latent_w, self.mix, self.w_t = square, square, square, square
        self.w_down, self.w_up, self.w_gate, self.up_bank = stacked, stacked, stacked, stacked


self = Held()
e = 1
shared_out, residual, attn_out, x, routed = full(4, TRUE), full(4, TRUE), full(4, TRUE), full(4, WIDE), full(4, WIDE)
stack, shared_stack, row, shared_row = full(4, 4, WIDE), full(4, 4, TRUE), full(WIDE), full(TRUE)
out = torch.zeros(4, TRUE)


def multiplied(acc: Tensor, low: Tensor, by: Tensor) -> Tensor:
    return torch.addmm(acc, low, by)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    return functional.linear(x, weight)


ADDED: list[tuple[Callable[[], object], str]] = [
    (lambda: torch.addmm(shared_out, x, self.w_t), "projection"),
    (lambda: shared_out.addmm(x, self.mix), "projection"),
    (lambda: torch.addmm(attn_out, x, self.mix), "projection"),
    (lambda: torch.addmm(input=shared_out, mat1=x, mat2=self.w_down[e]), "second projection of an expert"),
    (lambda: torch.addmm(shared_out, x, self.w_up[e], out=out), "first projection of an expert"),
    (lambda: torch.addmm(shared_out, x, self.lift_latent_t), "projection"),
    (lambda: torch.addmv(shared_row, self.mix, row), "projection"),
    (lambda: torch.addmv(shared_row, self.w_down[e], row), "second projection of an expert"),
    (lambda: torch.baddbmm(shared_stack, stack, self.up_bank), "first projection, a product of a batch of weights"),
    (lambda: torch.addbmm(shared_out, stack, self.w_down), "second projection, a product of a batch of weights"),
    (lambda: torch.ops.aten.addmm.default(shared_out, x, self.w_t), "projection"),
    (lambda: shared_out + x @ self.w_down[e].T, "second projection of an expert"),
    (lambda: residual + functional.linear(x, self.w_gate[e]), "gate projection of an expert"),
    (lambda: multiplied(shared_out, x, self.w_down[e]), "second projection of an expert"),
    (lambda: multiplied(acc=shared_out, low=x, by=self.to_latent_w), TO_LATENT),
    (lambda: shared_out + linear(x, self.w_up[e]), "first projection of an expert"),
    (lambda: multiplied(shared_out, x, self.mix), "projection"),
]


@pytest.mark.parametrize(("fails", "stage"), ADDED)
def test_what_is_only_added_names_no_part(fails: Callable[[], object], stage: str) -> None:
    one = diagnosis_of(raised(fails))
    assert one.stage.removesuffix(", as of the routed experts") == stage
    # A line that names no part of a layer leaves it open whether the sizes are of padding.
    assert one.verdict in (("family", "undecided") if stage == "projection" else ("family",))
    assert one.padded == WIDE


def test_what_goes_into_a_product_tells_where_no_weight_does() -> None:
    one = diagnosis_of(raised(lambda: torch.addmm(shared_out, routed, self.w_t)))
    assert one.stage == "projection of what the routed experts gave"


@pytest.mark.parametrize("compiled", [False, True])
def test_in_a_trace_the_callers_line_tells_as_well(compiled: bool) -> None:
    def adds(acc: Tensor, y: Tensor) -> Tensor:
        return multiplied(acc, y, self.w_down[e])

    call = torch.compile(adds, backend="eager") if compiled else adds
    assert diagnosis_of(raised(lambda: call(shared_out, x))).stage == "second projection of an expert"


@pytest.mark.parametrize(
    ("fails", "left", "right"),
    [
        (lambda: torch.mv(self.mix, row), "a weight at the true", "an activation at the padded"),
        (lambda: self.w_t @ x.T, "a weight at the true", "an activation at the padded"),
        (lambda: torch.einsum("oi,ti->to", self.mix, x), "a weight at the true", "an activation at the padded"),
        (lambda: x @ self.w_t, "an activation at the padded", "a weight at the true"),
    ],
)
def test_the_weight_may_be_the_left_factor(fails: Callable[[], object], left: str, right: str) -> None:
    first, second = diagnosis_of(raised(fails)).operands
    assert left in first
    assert right in second


def test_an_activation_that_is_added_and_does_not_fit_is_no_bias() -> None:
    by, bias = full(TRUE, WIDE), full(TRUE)
    assert diagnosis_of(raised(lambda: torch.addmm(shared_out, residual, by))).stage == "shared add"
    assert diagnosis_of(raised(lambda: torch.addmm(bias, residual, by))).stage == "the bias of a product"


@pytest.mark.parametrize(
    ("fails", "stage"),
    [
        (lambda: torch.einsum("ti,hi->th", x, self.w_down[e]), "second projection of an expert"),
        (lambda: torch.einsum("...d,fd->...f", x, self.mix), "projection"),
        (lambda: torch.einsum("td,ehd->teh", x, self.w_up), "first projection, a product of a batch of weights"),
        (lambda: torch.einsum("etd,ehd->eth", stack, self.w_up), "first projection, a product of a batch of weights"),
    ],
)
def test_an_einsum_has_a_batch_of_weights_where_its_indices_say_so(fails: Callable[[], object], stage: str) -> None:
    assert diagnosis_of(raised(fails)).stage.removesuffix(", as of the routed experts") == stage


def test_the_equation_of_a_trace_is_read_where_the_line_has_none() -> None:
    def of(equation: str) -> Callable[[], object]:
        return lambda: torch.compile(torch.einsum, backend="eager")(equation, x, self.mix)

    equation = equation_of("torch.einsum(how, x, w)", raised(of("ab,cb->ac")))
    assert equation is not None
    assert (equation.left, equation.right, equation.out) == (("a", "b"), ("c", "b"), ("a", "c"))
    named = equation_of("einsum(x, w, 'tok dim, out dim -> tok out')", "")
    assert named is not None
    assert named.right == ("out", "dim")
    assert equation_of("torch.einsum(how, x, w)", "") is None


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *[
            (name, SECOND)
            for name in ("w_down", "down_w", "w2", "W2T", "w2_weight", "ffn_down_exps", "experts_fc2", "wdown")
        ],
        *[(name, FIRST) for name in ("w_up", "up_proj_t", "w13", "w_13", "w1", "gate_up_w", "linear_fc1", "upProj")],
        *[(name, GATE) for name in ("w_gate", "gate_weight", "gate_proj_t")],
        *[(name, FROM_LATENT) for name in ("latent_up", "up_latent_t", "fc2_latent_proj", "latent_to_hidden")],
        *[(name, TO_LATENT) for name in ("latent_down_w", "hidden_to_latent", "fc1_latent_proj")],
        *[
            (name, "")
            for name in ("down_sample", "upcast", "w2_scale", "lora_down", "kv_latent_proj", "gate", "layout")
        ],
    ],
)
def test_the_words_of_a_weights_name_tell_its_projection(name: str, part: str) -> None:
    assert projection_of(name) == part


def test_a_variable_of_one_word_is_no_weight() -> None:
    assert projection_of("up", attribute=False) == ""
    assert projection_of("up") == FIRST


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("acc += y @ w", "y @ w"),
        ("acc = torch.addmm(acc, y, w)", "addmm(y, w)"),
        ("acc.add_(f(y))", "f(y)"),
        ("z = y @ w + self.down_bias", "z = y @ w + self.down_bias"),
        ("z = a + b", "z = a + b"),
        ("return torch.addmm(acc,", "return addmm()"),
        ("does anybody know (", "does anybody know ("),
    ],
)
def test_a_line_is_left_without_what_is_added(code: str, left: str) -> None:
    assert met(code) == left


def test_the_factors_of_a_product_by_their_names() -> None:
    ((left, right),) = factors("torch.baddbmm(batch2=w, batch1=y, input=acc)")
    assert (ast.unparse(left), ast.unparse(right)) == ("y", "w")


MEET = """Traceback (most recent call last):
  File "/srv/net/layer.py", line 3, in forward
    {caller}
  File "/srv/net/tools.py", line 9, in epilogue
    {code}
RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x2944 and 2880x2880)
"""


@pytest.mark.parametrize(
    ("code", "caller", "stage"),
    [
        ("return (act(y @ w1) * (y @ w3)) @ w2", "y = epilogue(y)", "second projection or first projection"),
        ("return kernel(y, w13=self.w13, w2=self.w2)", "y = epilogue(y)", "first projection or second projection"),
        ("return torch.addmm(acc, y, by)", "y = epilogue(self.shared_expert(h), h, self.w_x)", "projection"),
        ("return torch.addmm(acc, y, by)", "y = self.epilogue(self.gate(h), h, self.down_w)", "second projection"),
        (
            "return torch.addmm(acc, y, by)",
            "y = epilogue(shared_out, h, self.experts.up[e])",
            "first projection of an expert",
        ),
    ],
)
def test_what_leads_to_a_product_is_the_call_and_not_what_it_is_given(code: str, caller: str, stage: str) -> None:
    assert diagnosis_of(MEET.format(code=code, caller=caller)).stage.removesuffix(
        " of an expert"
    ) == stage.removesuffix(" of an expert")
