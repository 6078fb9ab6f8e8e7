"""Texts of padding without two sizes that meet: an op with nothing to do, a value that is rounded up; and texts that do not."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fixtures.diagnosing import diagnosis_of, raised
from harness.diagnosis.readers.guards.on_data import multiple_in
from harness.diagnosis.readers.ops.padding import fills_up, pads_or_cuts


@pytest.fixture
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        yield
    torch._dynamo.reset()


def _aligned(x: Tensor, align: int) -> Tensor:
    extra = -x.shape[-1] % align
    return functional.pad(x, (0, extra)) if extra else x


def _same(x: Tensor, align: int) -> Tensor:
    return x


NAMES = ("pad_columns", "align_rows", "trim_output")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_an_op_that_pads_gives_its_input_back_at_a_multiple(name: str, compiled: bool) -> None:
    op = torch.library.custom_op(f"denied::{name}_{compiled}", _aligned, mutates_args=())
    op.register_fake(lambda x, align: x.new_empty(*x.shape[:-1], -(-x.shape[-1] // align) * align))
    call = torch.compile(lambda x: op(x, 128) * 2, backend="aot_eager") if compiled else lambda x: op(x, 128)
    assert call(torch.zeros(3, 100)).shape[-1] == 128
    one = diagnosis_of(raised(lambda: call(torch.zeros(3, 2816))))
    assert (one.kind, one.verdict) == ("alias", "undecided")
    assert "at a width that needs no padding" in one.cause
    assert not any("padding" in text for text in one.against)
    assert "in each call" in one.cause
    assert [relative.id for relative in one.relatives] == []


@pytest.mark.usefixtures("fresh")
def test_an_op_that_does_not_pad_gives_its_input_back() -> None:
    op = torch.library.custom_op("denied::scale_logits", _same, mutates_args=())
    one = diagnosis_of(raised(lambda: op(torch.zeros(3, 2816), 2)))
    assert (one.kind, one.verdict) == ("alias", "other")
    assert "padding: nothing in these lines speaks of it" in " ".join(one.against)


ALIASED = (
    "Traceback (most recent call last):\n"
    '  File "/srv/acme/layer.py", line 9, in {function}\n    {code}\n'
    "RuntimeError: acme::{op} (with implementation in {module}): The output of this custom operator (1) must not also be an input "
    "to this custom operator and (2) may not alias any inputs to this custom operator or other returns.\n"
)
OF_TORCH = "<module 'acme.ops' from '/srv/padding/ops.py'>"


@pytest.mark.parametrize(
    ("op", "function", "code", "verdict"),
    [
        ("finish", "forward", "y = torch.ops.acme.finish(y, 2880)", "undecided"),
        ("finish", "forward", "y = torch.ops.acme.finish(y, multiple=24)", "other"),
        ("finish", "forward", "y = torch.ops.acme.finish(y, pad_to=24)", "undecided"),
        ("finish", "forward", "y = torch.ops.acme.finish(y, 64)", "undecided"),
        ("finish", "forward", "y = torch.ops.acme.finish(y, 2)", "other"),
        ("finish", "forward", "y = torch.ops.acme.finish(y)[..., :hidden]", "undecided"),
        ("finish", "pad_for_kernel", "y = torch.ops.acme.finish(y)", "undecided"),
        ("cutlass_gemm", "forward", "y = torch.ops.acme.cutlass_gemm(y)", "other"),
        ("embed", "forward", "y = torch.ops.acme.embed(y, padding_idx=0)", "other"),
        ("moe_unpad", "forward", "y = run(y)", "undecided"),
    ],
)
def test_what_speaks_of_padding(op: str, function: str, code: str, verdict: str) -> None:
    one = diagnosis_of(ALIASED.format(op=op, function=function, code=code, module=OF_TORCH))
    assert (one.kind, one.verdict) == ("alias", verdict)
    assert ("needs no padding" in one.cause) == (verdict == "undecided")


@pytest.mark.parametrize(
    ("module", "always"), [("???", False), ("<module '__main__' (built-in)>", True), ("None", True), (OF_TORCH, True)]
)
def test_whether_a_setting_decides_on_an_alias(module: str, always: bool) -> None:
    one = diagnosis_of(ALIASED.format(op="finish", function="forward", code="y = run(y)", module=module))
    assert ("in each call" in one.cause) == always
    assert ("CI" in one.cause) == (not always)
    assert [relative.id for relative in one.relatives] == ([] if always else ["pytorch#182006"])


ROUNDED: dict[str, Callable[[Any], Any]] = {
    "floor": lambda n: (n + 23) // 24 * 24,
    "negative": lambda n: -(-n // 24) * 24,
    "ceil": lambda n: math.ceil(n / 24) * 24,
    "rest": lambda n: n + -n % 24,
    "blocks": lambda n: (n + 23) // 24,
}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", ROUNDED)
def test_a_guard_that_rounds_up_is_of_padding(name: str) -> None:
    rounded = ROUNDED[name]

    def dispatch(x: Tensor, counts: Tensor) -> Tensor:
        return x * 2 if rounded(counts.max().item()) > x.shape[0] else x

    compiled = torch.compile(dispatch, backend="eager", fullgraph=True, dynamic=True)
    one = diagnosis_of(raised(lambda: compiled(torch.zeros(70, 3), torch.tensor([3, 5]))))
    assert (one.kind, one.verdict) == ("data-dependent", "undecided")
    assert "rounded up to a multiple of 24 and compared with a size (s" in one.cause
    assert ", 70 in that call)" in one.cause
    assert one.against == ()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("multiple", [24, 32])
def test_a_multiple_that_is_a_symbol(multiple: int) -> None:
    def dispatch(x: Tensor, counts: Tensor, step: int) -> Tensor:
        return x * 2 if (counts.max().item() + step - 1) // step * step == x.shape[0] else x

    compiled = torch.compile(dispatch, backend="eager", fullgraph=True, dynamic=True)
    one = diagnosis_of(raised(lambda: compiled(torch.zeros(70, 3), torch.tensor([3, 5]), multiple)))
    assert f"a multiple of {multiple} " in one.cause


@pytest.mark.usefixtures("fresh")
def test_a_guard_that_rounds_nothing_up() -> None:
    def dispatch(x: Tensor, counts: Tensor) -> Tensor:
        return x * 2 if counts.max().item() > x.shape[0] else x

    compiled = torch.compile(dispatch, backend="eager", fullgraph=True, dynamic=True)
    one = diagnosis_of(raised(lambda: compiled(torch.zeros(70, 3), torch.tensor([3, 5]))))
    assert (one.kind, one.verdict) == ("data-dependent", "other")
    assert one.against == (
        "padding: nothing that is compared is rounded up to a multiple, and the user's line has no word of it",
    )


GUARDED = (
    "torch._dynamo.exc.UserError: Could not guard on data-dependent expression {guard} (unhinted: {guard}).  (Size-like symbols: "
    'u0)\n\nfrom user code:\n   File "/srv/acme/moe.py", line 31, in forward\n    {code}\n'
)


@pytest.mark.parametrize(
    ("guard", "code", "verdict"),
    [
        ("u0 <= 1024", "if rows <= 1024:", "other"),
        ("u0 <= 1024", "if rows <= self.capacity:", "undecided"),
        ("u0 <= 1024", "if num_tokens_padded <= limit:", "undecided"),
        ("Eq(u0, 0)", "if (ids == pad_token_id).all():", "other"),
        ("Eq(u0, 0)", "if mask[key_padding_mask].any():", "other"),
        ("Eq(PythonMod(u0, 100), 0)", "if step % 100 == 0:", "other"),
        ("Eq(((u0 - 1)//2) + 1, 4)", "y = self.conv(x)", "other"),
        ("((u0 + 1)//2) > 4", "y = x[::2]", "other"),
        ("Eq(48*(((u0 + 47)//48)), s5)", "y = x + y", "undecided"),
    ],
)
def test_which_guards_are_of_padding(guard: str, code: str, verdict: str) -> None:
    one = diagnosis_of(GUARDED.format(guard=guard, code=code))
    assert (one.kind, one.verdict) == ("data-dependent", verdict)
    assert f"({guard})" in one.cause
    assert any("padding" in text for text in one.against) == (verdict == "other")


@pytest.mark.parametrize(
    ("expression", "multiple"),
    [
        ("16*FloorDiv(u0 + 15, 16) > 3", "16"),
        ("Eq(128*CeilToInt(u0/128), 4)", "128"),
        ("BitwiseFn_bitwise_and(u0 + 31, -32) > 100", "32"),
        ("Eq(s68*(((s68 + u0 - 1)//s68)), s77)", "s68"),
        ("4*(((u0 + 3)//4)) < s0", "4"),
        ("((u0 + 3)//4) < s0", ""),
        ("((u0 + 3)//16) < s0", ""),
        ("Eq(Max(1, u3), 1)", ""),
    ],
)
def test_what_an_expression_rounds_up_to(expression: str, multiple: str) -> None:
    assert multiple_in(expression) == multiple


def test_words_of_padding() -> None:
    fills = (
        "pad_hidden",
        "moe_align_block",
        "F.pad(x, (0, 3))",
        "n + -n % 64",
        "(n + b - 1) // b * b",
        "RoundUp",
        "unpadded",
        "cdiv(n, 8)",
    )
    cuts = "moe_cut", "trim(x)", "x[:, :hidden]", "y[..., :2880]", "x.narrow(1, 0, 9)"
    neither = (
        "cutlass",
        "execute",
        "padding_idx",
        "attention_padding_mask",
        "Conv2d(3, 8, padding=1)",
        "spade",
        "x[:n]",
        "-x",
        "n-m % 2",
        "align_corners=True",
    )
    assert [text for text in fills if not fills_up(text)] == []
    assert [text for text in cuts if fills_up(text) or not pads_or_cuts(text)] == []
    assert [text for text in neither if pads_or_cuts(text)] == []
