"""The NVFP4 format: rounding, packing, scales, layouts and weight padding, against slow and literal references."""

import pytest
import torch
from torch import Tensor

from kernels.layer.masters import Sizes, masters, quantised
from kernels.layer.nvfp4 import (
    Nvfp4,
    dequantise,
    e2m1_values,
    pack,
    quantise,
    round_e2m1,
    swizzle_128x4,
    unpack,
    unswizzle_128x4,
)
from kernels.layer.weights import pad_experts, pad_matrices

GRID = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
TIES = [(0.25, 0.0), (0.75, 1.0), (1.25, 1.0), (1.75, 2.0), (2.5, 2.0), (3.5, 4.0), (5.0, 4.0)]


def random_weight(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def nearest_on_grid(value: float) -> float:
    """The nearest E2M1 value, by search; of two equally near, the one with the even code."""
    size = min(abs(value), GRID[-1])
    code = min(range(8), key=lambda code: (abs(GRID[code] - size), code % 2))
    return GRID[code] if value >= 0 else -GRID[code]


def slow_quantise(weight: Tensor) -> Tensor:
    """What a matrix [N, K] is worth after NVFP4, one number at a time."""
    global_scale = torch.tensor(448.0 * 6.0) / weight.abs().max()
    out = torch.zeros_like(weight)
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], 16):
            block = weight[row, start : start + 16]
            scale = (global_scale * block.abs().max() / 6).to(torch.float8_e4m3fn).float() / global_scale
            codes = [nearest_on_grid((x / scale).item()) if scale > 0 else 0.0 for x in block]
            out[row, start : start + 16] = torch.tensor(codes) * scale
    return out


@pytest.mark.parametrize(("value", "expected"), TIES, ids=lambda x: f"{x:g}")
@pytest.mark.parametrize("sign", [1, -1], ids=["plus", "minus"])
def test_a_tie_rounds_to_the_even_code(value: float, expected: float, sign: int) -> None:
    code = round_e2m1(torch.tensor([sign * value]))
    assert e2m1_values(torch.device("cpu"))[code.int()].item() == sign * expected


@pytest.mark.parametrize("tie", [tie for tie, _ in TIES], ids=lambda x: f"{x:g}")
def test_the_floats_beside_a_tie_round_to_their_own_side(tie: float) -> None:
    below, above = (torch.nextafter(torch.tensor(tie), torch.tensor(end)) for end in (0.0, 10.0))
    codes = round_e2m1(torch.stack([below, above])).tolist()
    assert [GRID[code] for code in codes] == [nearest_on_grid(below.item()), nearest_on_grid(above.item())]
    assert codes[1] == codes[0] + 1


def test_values_above_six_saturate() -> None:
    assert round_e2m1(torch.tensor([6.5, 1e9, -7.0])).tolist() == [7, 7, 15]


def test_every_code_means_what_the_format_says() -> None:
    assert e2m1_values(torch.device("cpu")).tolist() == [*GRID, *(-x for x in GRID)]


def test_the_even_column_is_the_low_nibble() -> None:
    codes = torch.tensor([[0x1, 0xA, 0xF, 0x0]], dtype=torch.uint8)
    assert pack(codes).tolist() == [[0xA1, 0x0F]]
    assert unpack(pack(codes)).tolist() == codes.tolist()


def test_dequantise_reads_the_low_nibble_first() -> None:
    codes = torch.full((1, 8), 0x72, dtype=torch.uint8)
    one = torch.ones(1, 1).to(torch.float8_e4m3fn).view(torch.uint8)
    assert dequantise(Nvfp4(codes, one, torch.tensor(2.0))).tolist() == [[0.5, 3.0] * 8]


@pytest.mark.parametrize("shape", [(4, 16), (8, 64), (3, 5, 48)], ids=str)
def test_shapes_and_dtypes(shape: tuple[int, ...]) -> None:
    codes, scales, global_scale = quantise(random_weight(*shape))
    assert codes.shape == (*shape[:-1], shape[-1] // 2)
    assert codes.dtype == torch.uint8
    assert scales.shape == (*shape[:-1], shape[-1] // 16)
    assert scales.dtype == torch.uint8
    assert global_scale.shape == shape[:-2]
    assert global_scale.dtype == torch.float32


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3], ids=lambda x: f"{x:g}")
def test_quantise_agrees_with_a_slow_reference(spread: float) -> None:
    weight = random_weight(6, 64) * spread
    torch.testing.assert_close(dequantise(quantise(weight)), slow_quantise(weight), rtol=1e-6, atol=0)


@pytest.mark.parametrize("columns", [16, 256, 2688])
def test_the_error_is_at_most_half_a_step(columns: int) -> None:
    weight = random_weight(16, columns, seed=columns)
    error = (dequantise(quantise(weight)) - weight).view(16, -1, 16).abs().amax(-1)
    # Half of the widest step, 2 of 6, and what rounding the block's scale to three bits of mantissa takes off its top.
    amax = weight.view(16, -1, 16).abs().amax(-1)
    assert bool((error <= amax * (1 / 6 + 1 / 16)).all())


def test_an_all_zero_block_has_zero_codes_and_scale() -> None:
    weight = random_weight(2, 48)
    weight[:, 16:32] = -0.0
    codes, scales, _ = quantise(weight)
    assert not codes[:, 8:16].any()
    assert not scales[:, 1].any()
    assert scales[:, [0, 2]].all()


def test_an_all_zero_expert_stays_zero() -> None:
    weight = torch.stack([torch.zeros(4, 32), random_weight(4, 32)])
    quantised_weight = quantise(weight)
    assert quantised_weight.global_scale.isfinite().all()
    assert not dequantise(quantised_weight)[0].any()
    assert dequantise(quantised_weight)[1].any()


def test_experts_do_not_share_a_global_scale() -> None:
    weight = torch.stack([random_weight(4, 32), 100 * random_weight(4, 32)])
    both = dequantise(quantise(weight))
    for expert in range(2):
        assert torch.equal(both[expert], dequantise(quantise(weight[expert])))


def test_columns_that_are_no_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="24 columns"):
        quantise(torch.zeros(4, 24))


@pytest.mark.parametrize("gated", [True, False], ids=["gated", "plain"])
@pytest.mark.parametrize("hidden", [48, 2688])
def test_master_weights_are_quantised_exactly(hidden: int, gated: bool) -> None:
    sizes = Sizes(hidden, None, 48, None, 3, gated)
    for packed, weight in zip(quantised(sizes), (masters(sizes).w13, masters(sizes).w2), strict=True):
        assert torch.equal(dequantise(packed), weight)
        assert packed.scales.any()


@pytest.mark.parametrize("columns", [1, 4, 6, 168])
@pytest.mark.parametrize("rows", [1, 32, 128, 130, 300])
def test_the_swizzle_follows_its_formula(rows: int, columns: int) -> None:
    scales = torch.randint(1, 256, (rows, columns), dtype=torch.uint8, generator=torch.Generator().manual_seed(rows))
    flat = swizzle_128x4(scales).flatten()
    m, k = torch.arange(rows)[:, None], torch.arange(columns)
    offsets = (m // 128) * -(-columns // 4) * 512 + (k // 4) * 512 + (m % 32) * 16 + ((m % 128) // 32) * 4 + k % 4
    assert torch.equal(flat[offsets], scales)
    assert flat.numel() == -(-rows // 128) * 128 * -(-columns // 4) * 4
    assert flat.count_nonzero() == scales.numel(), "the padding is not zero"


@pytest.mark.parametrize("shape", [(130, 6), (3, 128, 8), (2, 40, 3)], ids=str)
def test_unswizzle_is_the_inverse(shape: tuple[int, ...]) -> None:
    scales = torch.randint(0, 256, shape, dtype=torch.uint8)
    assert torch.equal(unswizzle_128x4(swizzle_128x4(scales), *shape[-2:]), scales)


@pytest.mark.parametrize("parts", [1, 2], ids=["plain", "gated"])
@pytest.mark.parametrize(("rows", "columns"), [(48, 64), (64, 64), (48, 128), (64, 128)])
def test_each_part_is_padded_at_its_own_end(rows: int, columns: int, parts: int) -> None:
    weight = random_weight(2, parts * 48, 64)
    padded = dequantise(pad_matrices(quantise(weight), rows, columns, parts)).view(2, parts, rows, columns)
    true = dequantise(quantise(weight)).view(2, parts, 48, 64)
    assert torch.equal(padded[:, :, :48, :64], true)
    assert not padded[:, :, 48:].any()
    assert not padded[..., 64:].any()


def test_pad_at_the_end_of_the_stack_would_move_the_boundary() -> None:
    packed = quantise(random_weight(2, 96, 64))
    apart, at_the_end = pad_matrices(packed, 64, 64, parts=2), pad_matrices(packed, 128, 64, parts=1)
    assert apart.codes.shape == at_the_end.codes.shape
    assert torch.equal(apart.codes[:, :48], at_the_end.codes[:, :48])
    assert not torch.equal(apart.codes[:, 64:], at_the_end.codes[:, 64:])


@pytest.mark.parametrize("layout", ["linear", "swizzled"])
@pytest.mark.parametrize("gated", [True, False], ids=["gated", "plain"])
def test_padded_experts_have_the_kernels_shapes(gated: bool, layout: str) -> None:
    first, second = quantise(random_weight(2, 96 if gated else 48, 80)), quantise(random_weight(2, 80, 48))
    experts = pad_experts(first, second, hidden=128, intermediate=64, scale_layout=layout)
    assert experts.w13.shape == (2, 128 if gated else 64, 64)
    assert experts.w2.shape == (2, 128, 32)
    assert experts.w13_scale.shape == (2, 128 if gated or layout == "swizzled" else 64, 8)
    assert experts.w2_scale.shape == (2, 128, 4)


def test_pad_by_nothing_still_copies() -> None:
    first, second = quantise(random_weight(2, 96, 64)), quantise(random_weight(2, 64, 48))
    experts = pad_experts(first, second, hidden=64, intermediate=48)
    before = {tensor.data_ptr() for tensor in (*first, *second)}
    assert not before & {tensor.data_ptr() for tensor in experts.tensors().values()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"hidden": 48}, "hidden 64 to 48"), ({"intermediate": 50}, "48 to 50"), ({"scale_layout": "rows"}, "'rows'")],
    ids=["narrower", "no-blocks", "layout"],
)
def test_bad_pad_is_refused(changed: dict[str, int], message: str) -> None:
    first, second = quantise(random_weight(2, 96, 64)), quantise(random_weight(2, 64, 48))
    with pytest.raises(ValueError, match=message):
        pad_experts(first, second, **{"hidden": 64, "intermediate": 48, **changed})  # type: ignore[arg-type]
