"""vLLM's preparation of NVFP4 weights for CUTLASS kernels, compared with what it should return. Importing it needs vLLM."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.layers.fused_moe.oracle import nvfp4
from vllm.model_executor.layers.quantization.utils import flashinfer_fp4_moe, nvfp4_utils

from harness.base.errors import Skip
from harness.engines.vllm.paths.compared import columns, compare, rows, rows_of_both, same
from harness.engines.vllm.paths.fp4 import BLOCK

_DENSE = 32
_ROWS, _COLUMNS = 128, 4  # of scales: both are padded to multiples of these, and laid out in tiles of so many
_PREPARE = "prepare_nvfp4_moe_layer_for_fi_or_cutlass"
_BACKENDS = ("VLLM_CUTLASS", "FLASHINFER_CUTLASS")
_UP_FIRST = "FLASHINFER_CUTLASS"  # its kernels take up before gate
_Weights = Sequence[Tensor]


def check_layer(weights: _Weights, is_gated: bool) -> None:
    """The layer's own preparation for each CUTLASS backend, at the weights' hidden width and at one that is no multiple of 64.

    ``weights``: w13 [E, 2I or I, H / 2], its scales [E, 2I or I, H / 16], w2 [E, H, I / 2] and its scales [E, H, I / 16]. Raises
    WrongWeights, and Skip where the release's function takes other arguments than the harness gives.
    """
    w13, s13, w2, s2 = weights
    odd = w13[..., : -BLOCK // 2], s13[..., :-1], w2[:, :-BLOCK], s2[:, :-BLOCK]
    for one in (weights, odd):
        for backend in _BACKENDS:
            _check_backend(backend, [tensor.contiguous() for tensor in one], is_gated)


def _check_backend(backend: str, weights: _Weights, is_gated: bool) -> None:
    w13, s13, w2, s2 = weights
    helper, experts = f"{_PREPARE} for {backend}", len(w13)
    scales = (torch.arange(2.0 * experts) + 1).view(2, experts)
    found = _prepared(backend, weights, scales, is_gated)
    if found is None:
        return
    p13, found_s13, g13, a13, p2, found_s2, g2, a2 = found
    if is_gated and backend == _UP_FIRST:
        w13, s13 = (torch.cat([*one.chunk(2, 1)][::-1], 1) for one in (w13, s13))
    more = p13.shape[1] - w13.shape[1]
    same(helper, f"w13's rows beyond a multiple of {_ROWS}", p13.shape[1] % _ROWS, 0)
    each = more // 2 if is_gated else more
    pad, before = rows_of_both if is_gated else rows, (w13, s13) if is_gated else ()
    codes = pad(w13, each), columns(w2, each // 2)
    compare(helper, ("w13", "w2"), (p13, p2), codes, before[:1])
    wanted = _whole(pad(s13, each)), _whole(columns(s2, each // BLOCK))
    names = "w13_scale", "w2_scale"
    straight = [_straight(helper, *one) for one in zip(names, (found_s13, found_s2), wanted, strict=True)]
    compare(helper, tuple(f"{name} out of its tiles" for name in names), straight, wanted, before[1:], codes)
    _check_scalars(backend, helper, scales, (g13, a13, g2, a2))


def _prepared(backend: str, weights: _Weights, scales: Tensor, is_gated: bool) -> Any:
    """What the release returns; None where it refuses, clearly, to pad gate and up."""
    w13, s13, w2, s2 = (one.clone() for one in weights)  # gate and up are exchanged in place
    config = SimpleNamespace(moe_parallel_config=SimpleNamespace(enable_eplb=False))
    layer = SimpleNamespace(activation=SimpleNamespace(is_gated=is_gated), moe_config=config)
    first = getattr(nvfp4.NvFp4MoeBackend, backend), layer, w13, s13, scales[0], _twice(scales[1])
    given = *first, w2, s2, scales[1], scales[0]
    function = getattr(flashinfer_fp4_moe, _PREPARE)
    try:
        inspect.signature(function).bind(*given, is_act_and_mul=is_gated)
    except TypeError as error:
        raise Skip(f"{_PREPARE} of this vLLM has other parameters than the harness gives: {error}") from None
    with _on_host():
        try:
            return function(*given, is_act_and_mul=is_gated)
        except NotImplementedError:
            if not is_gated or w13.shape[1] % _ROWS == 0:
                raise
            return None


def _twice(scale: Tensor) -> Tensor:
    """An input scale for each of w1 and w3, of which the larger one counts. [E, 2]."""
    return torch.stack((scale, scale / 2), 1)


@contextmanager
def _on_host() -> Iterator[None]:
    """Where torch has no CUDA device, what is moved to one stays where it is, inside a ``with`` block."""
    moves: Any = torch.Tensor.cuda
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.cuda = moves  # type: ignore[method-assign]


def _whole(scale: Tensor) -> Tensor:
    """Scales with zeros up to whole tiles."""
    return columns(rows(scale, -scale.shape[1] % _ROWS), -scale.shape[2] % _COLUMNS)


def _straight(helper: str, name: str, found: Tensor, wanted: Tensor) -> Tensor:
    """Scales in plain order, from tiles of 128 rows and 4 columns: a row's four, those 32, 64 and 96 rows on, the next row's."""
    same(helper, f"{name}'s shape", [*found.shape], [*wanted.shape])
    same(helper, f"{name}'s dtype", found.dtype, wanted.dtype)
    _, height, width = found.shape
    row, column = torch.arange(height)[:, None], torch.arange(width)
    tile = row // _ROWS * (width // _COLUMNS) + column // _COLUMNS
    place = tile * (_ROWS * _COLUMNS) + row % 32 * 16 + row % _ROWS // 32 * 4 + column % _COLUMNS
    return found.view(torch.uint8).flatten(1)[:, place].view(found.dtype)


def _check_scalars(backend: str, helper: str, scales: Tensor, found: _Weights) -> None:
    """Global scales of the weights as they were, and of the inputs one for each expert, or one for all where the release says so."""
    shared = nvfp4.is_global_sf_supported_for_nvfp4_backend(getattr(nvfp4.NvFp4MoeBackend, backend))
    inputs = [scale.max().expand(len(scale)) if shared else scale for scale in (scales[1], scales[0])]
    wanted = scales[0], inputs[0], scales[1], inputs[1]
    for name, one, right in zip(("w13_scale_2", "a13_scale", "w2_scale_2", "a2_scale"), found, wanted, strict=True):
        same(helper, name, one.tolist(), right.tolist())


def check_dense(codes: Tensor) -> None:
    """``pad_nvfp4_weight_for_cutlass`` on weights whose both sizes need padding: more than half of the alignment, half, less."""
    for less in (BLOCK, BLOCK // 2, 3 * BLOCK // 2):
        _check_padded(codes[:-less, : -less // 2])


def _check_padded(weight: Tensor) -> None:
    """The padded weight, the cut of its output, and the input."""
    name = "pad_nvfp4_weight_for_cutlass"
    below, behind = (-size % _DENSE for size in (weight.shape[0], 2 * weight.shape[1]))
    found, added = nvfp4_utils.pad_nvfp4_weight_for_cutlass(weight)
    compare(name, ("weight",), (found,), (columns(rows(weight, below), behind // 2),))
    same(name, "bytes added", added, behind // 2)
    out = torch.arange(2.0 * found.shape[0]).view(2, -1)
    cut = nvfp4_utils.slice_nvfp4_output(out, weight.shape[0])
    compare("slice_nvfp4_output", ("output",), (cut,), (out[:, : weight.shape[0]],))
    same("slice_nvfp4_output", "contiguous", cut.is_contiguous(), True)
    padded = nvfp4_utils.pad_nvfp4_activation_for_cutlass(weight, behind // 2)
    compare("pad_nvfp4_activation_for_cutlass", ("input",), (padded,), (columns(weight, behind // 2),))
