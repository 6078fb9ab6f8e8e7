"""Evidence and comparison: what is written down of a tensor, and when two of them count as the same."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from harness.execution.difference import TOLERANCE, compare, ranges, total
from harness.execution.evidence import Record, same_bits, state_of
from harness.ops.finite import all_finite
from harness.ops.names import is_custom
from harness.ops.tensor_meta import TensorMeta

WIDTH = 2880


@pytest.mark.parametrize(
    ("tensor", "shape", "stride", "offset", "contiguous"),
    [
        (torch.zeros(3, 8), (3, 8), (8, 1), 0, True),
        (torch.zeros(3, 8)[:, :5], (3, 5), (8, 1), 0, False),
        (torch.zeros(3, 8)[1:], (2, 8), (8, 1), 8, True),
        (torch.zeros(3, 8).t(), (8, 3), (1, 8), 0, False),
        (torch.zeros(1, 8)[:, :5], (1, 5), (8, 1), 0, True),  # one row: its stride means nothing
        (torch.zeros(0, 8)[:, :5], (0, 5), (8, 1), 0, True),
        (torch.zeros(1, 8).expand(3, 8), (3, 8), (0, 1), 0, False),
        (torch.zeros(()), (), (), 0, True),
    ],
)
def test_the_meta_of_a_tensor_or_view(
    tensor: Tensor, shape: tuple[int, ...], stride: tuple[int, ...], offset: int, contiguous: bool
) -> None:
    meta = TensorMeta.of(tensor)
    assert (meta.shape, meta.stride, meta.offset, meta.contiguous) == (shape, stride, offset, contiguous)
    assert meta.contiguous == tensor.is_contiguous()
    assert (meta.dtype, meta.device) == ("float32", "cpu")
    assert meta.width == (shape[-1] if shape else 0)


def test_a_meta_reads_as_dtype_shape_and_stride() -> None:
    assert str(TensorMeta.of(torch.zeros(2, 3, dtype=torch.bfloat16))) == "bfloat16[2, 3] stride [3, 1]"


def symbolic(tensor: Tensor) -> Tensor:
    """A fake with a symbolic dimension 0."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    sizes = [DimDynamic.DYNAMIC, *[DimDynamic.STATIC] * (tensor.dim() - 1)]
    context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)
    return mode.from_tensor(tensor, symbolic_context=context)


def test_symbolic_sizes_are_expressions_and_get_no_guard() -> None:
    fake = symbolic(torch.zeros(7, 8))
    size: Any = fake.shape[0]
    flat, cut, turned = (TensorMeta.of(view) for view in (fake, fake[:, :5], fake.t()))
    assert flat.shape == (str(size), 8)
    assert (flat.contiguous, cut.contiguous, turned.contiguous) == (True, False, False)
    assert cut.width == 5
    assert turned.width == str(size)
    assert size.node.shape_env.guards == []


@pytest.mark.parametrize(
    ("name", "custom"),
    [("aten::mm", False), ("prims::add", False), ("_c10d_functional::all_reduce", False), ("mine::experts", True)],
)
def test_a_custom_op_is_one_that_torch_does_not_ship(name: str, custom: bool) -> None:
    assert is_custom(name) == custom
    assert Record(name, "layer", None, (), (), routed=False).custom == custom


NAN = torch.tensor([1.0, torch.nan])


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (NAN, NAN.clone(), True),
        (NAN, torch.tensor([1.0, 2.0]), False),
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.zeros(2, 3), torch.zeros(3, 2), False),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32), False),
        (torch.zeros(4, 6)[:, :3], torch.zeros(4, 3), True),
        (torch.arange(24.0).view(4, 6)[:, :3], torch.arange(24.0).view(4, 6)[:, 3:], False),
        (torch.zeros(0, 3), torch.zeros(0, 3), True),
        (torch.tensor(1.0), torch.tensor(1.0), True),
        (torch.zeros(3, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8), True),
        (torch.zeros(1, 3)[:, 1], torch.zeros(1), True),  # one value with a stride of three
        (torch.zeros(1, 3)[:, 1], torch.ones(1, 3)[:, 1], False),
        (torch.ones(1, 7)[:, :1], torch.ones(1, 1), True),
        (torch.tensor([True, False]), torch.tensor([True, True]), False),
        (
            torch.zeros(8, dtype=torch.bfloat16),
            torch.zeros(8, dtype=torch.bfloat16).index_fill(0, torch.tensor(7), 1),
            False,
        ),
    ],
)
def test_the_same_bits(left: Tensor, right: Tensor, same: bool) -> None:
    assert same_bits(left, right) == same
    assert same_bits(right, left) == same


def test_the_same_bits_of_tensors_at_different_alignments() -> None:
    eight = torch.arange(9, dtype=torch.uint8)
    assert same_bits(eight[1:], eight[1:].clone())
    assert same_bits(torch.zeros(5, dtype=torch.bfloat16)[1:], torch.zeros(4, dtype=torch.bfloat16))


def test_other_bits_of_tensors_at_different_alignments() -> None:
    eight = torch.arange(9, dtype=torch.uint8)
    assert not same_bits(eight[1:], eight[:8].clone())


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("scale", torch.ones(2))
        self.register_buffer("absent", None)
        self.table = torch.arange(3)  # a plain attribute


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.bias = torch.zeros(1)
        self.number = 3


def test_the_state_of_a_module_is_every_tensor_that_it_holds() -> None:
    layer = Outer()
    state = state_of(layer)
    assert set(state) == {"bias", "inner.weight", "inner.scale", "inner.table"}
    assert state["inner.scale"] is layer.inner.scale


def test_the_state_of_any_other_callable() -> None:
    class Plain:
        def __init__(self) -> None:
            self.weight = torch.zeros(2)
            self.name = "plain"

    assert set(state_of(Plain())) == {"weight"}
    assert state_of(lambda x: x) == {}
    assert state_of(None) == {}


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([7], "7"),
        ([0, 1, 2, 3, 7], "0-3, 7"),
        ([0, 2, 4, 6], "0, 2, 4, 6"),
        ([0, 2, 4, 6, 8, 9], "0, 2, 4, 6 and 1 more range"),
        ([0, 2, 4, 6, 8, 10], "0, 2, 4, 6 and 2 more ranges"),
        (list(range(2624, 2688)), "2624-2687"),
    ],
)
def test_numbers_as_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


def parts(tokens: int = 7) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(tokens, WIDTH, generator=generator) for name in ("routed", "shared")}


def test_a_right_output_in_bfloat16_is_no_difference() -> None:
    expected = parts()
    assert compare(total(expected).bfloat16(), expected) is None
    assert compare(total(expected).bfloat16(), total(expected)) is None


@pytest.mark.parametrize("column", [0, 1337, WIDTH - 1])
@pytest.mark.parametrize("change", [lambda x: x + 0.5, lambda x: x * 0, lambda x: -x])
def test_one_bad_column_is_found(column: int, change: Callable[[Tensor], Tensor]) -> None:
    expected = parts()
    output = total(expected)
    output[:, column] = change(output[:, column])
    found = compare(output.bfloat16(), expected)
    assert found is not None
    assert found.columns == [column]
    assert found.ranges == f"{column} (1 of {WIDTH})"
    assert found.worst > TOLERANCE


def test_one_bad_element_is_found_with_its_token() -> None:
    expected = parts()
    output = total(expected)
    output[3, 5] += 1
    found = compare(output, expected)
    assert found is not None
    assert (found.columns, found.tokens) == ([5], [3])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_never_passes(value: float) -> None:
    expected = parts()
    output = total(expected)
    output[2, 9] = value
    found = compare(output, expected)
    assert found is not None
    assert (found.columns, found.tokens) == ([9], [2])
    assert found.worst > 1e30


def test_an_oracle_of_zeros_passes_zeros_alone() -> None:
    assert compare(torch.zeros(2, 4), torch.zeros(2, 4)) is None
    assert compare(torch.full((2, 4), 1e-6), torch.zeros(2, 4)) is not None


@pytest.mark.parametrize(("routed", "shared"), [(2.5, 1.0), (1.0, 0.0), (0.5, 0.5), (1.0, 2.5), (-1.0, 1.0)])
def test_the_factor_of_each_part_is_found(routed: float, shared: float) -> None:
    expected = parts()
    found = compare((routed * expected["routed"] + shared * expected["shared"]).bfloat16(), expected)
    assert found is not None
    assert found.explained
    assert found.factors == {"routed": pytest.approx(routed, abs=0.01), "shared": pytest.approx(shared, abs=0.01)}


def test_noise_is_not_explained_by_factors() -> None:
    expected = parts()
    noise = torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(1))
    found = compare(expected["routed"] + noise, expected)
    assert found is not None
    assert not found.explained
    assert found.factors["routed"] == pytest.approx(1, abs=0.05)
    assert found.factors["shared"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_a_small_factor_of_everything_is_found(factor: float) -> None:
    expected = parts()
    assert compare((factor * total(expected)).bfloat16(), expected) is not None


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([], True),
        ([1.0, -2.0], True),
        ([1.0, math.nan], False),
        ([math.inf, 1.0], False),
        ([math.inf, -math.inf], False),
        ([3e38, 3e38], True),  # their sum is infinite
    ],
    ids=str,
)
def test_whether_all_is_finite(values: list[float], finite: bool) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert all_finite(torch.tensor(values, dtype=dtype)) == finite
