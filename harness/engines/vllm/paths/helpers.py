"""vLLM's helpers that align and pad weights: pure functions, compared with what they should return. Importing it needs vLLM."""

from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from vllm.model_executor.layers.quantization.utils import flashinfer_utils, nvfp4_utils

from harness.engines.vllm.paths.fp4 import BLOCK, Packed
from harness.engines.vllm.standin import StandIn
from harness.engines.vllm.weights import masters

ALIGNMENT = 128  # of the expert width, which is less
_HIDDEN = ("align_fp4_moe_hidden_dim_for_fi", "align_trtllm_fp4_moe_hidden_dim_for_fi")
_DENSE = ("align_moe_weights_for_fi", "align_fp8_moe_weights_for_fi")
_CUTLASS = 32
_NAMES = ("w13", "w13_scale", "w2", "w2_scale")


class WrongWeights(ValueError):
    """A helper returned other weights than it should. The text says which, and where they begin to differ."""


class PackedStandIn(StandIn):
    """The stand-in with FP4 weights, which the release's own helpers pad."""

    def create_weights(self, layer: nn.Module, num_experts: int, *sizes: Any, **more: Any) -> None:
        """Codes and scales, as a checkpoint has them."""
        packed = masters(self.case).packed
        assert packed is not None
        for name, weight in zip(("w13", "w2"), packed, strict=True):
            layer.register_parameter(f"{name}_weight", nn.Parameter(weight.codes.clone(), requires_grad=False))
            layer.register_parameter(f"{name}_weight_scale", nn.Parameter(weight.scales.clone(), requires_grad=False))

    def process_weights_after_loading(self, layer: Any) -> None:
        """Pad the widths that the path is for with the release's helpers, and unpack. Raises WrongWeights."""
        tensors = layer.w13_weight.data, layer.w13_weight_scale.data, layer.w2_weight.data, layer.w2_weight_scale.data
        is_gated = self.case.path == "vllm-fp4-experts"
        _check_dense(Packed(*tensors[:2]).unpacked(), Packed(*tensors[2:]).unpacked(), is_gated)
        padded: Any = _experts(tensors, is_gated)
        if not is_gated:
            _check_cutlass(tensors[0][0])
            padded = tensors
        *padded, self.moe.hidden_dim = _hidden(padded, self.case.alignment.hidden)
        w13, w2 = Packed(*padded[:2]).unpacked(), Packed(*padded[2:]).unpacked()
        layer.w13_weight, layer.w2_weight = (nn.Parameter(weight, requires_grad=False) for weight in (w13, w2))


def _experts(tensors: Any, is_gated: bool) -> Any:
    """``align_fp4_moe_weights_for_fi``. With a gate, gate and up are padded apart; without one there is only up."""
    name, (w13, s13, w2, s2) = "align_fp4_moe_weights_for_fi", _with_or_without(tensors, is_gated)
    more = ALIGNMENT - 2 * w2.shape[2]
    *found, width = flashinfer_utils.align_fp4_moe_weights_for_fi(w13, s13, w2, s2, is_gated, ALIGNMENT)
    rows = _rows_of_both if is_gated else _rows
    wanted = (rows(w13, more), rows(s13, more), _columns(w2, more // 2), _columns(s2, more // BLOCK))
    _compare(name, _NAMES, found, wanted, (w13, s13) if is_gated else ())
    _same(name, "padded width", width, ALIGNMENT)
    return found


def _check_dense(w13: Tensor, w2: Tensor, is_gated: bool) -> None:
    """The same helper for weights that are not packed."""
    name = next(one for one in _DENSE if hasattr(flashinfer_utils, one))
    w13, more = _with_or_without((w13,), is_gated)[0], ALIGNMENT - w2.shape[2]
    *found, width = getattr(flashinfer_utils, name)(w13, w2, is_gated, ALIGNMENT)
    rows = _rows_of_both if is_gated else _rows
    _compare(name, ("w13", "w2"), found, (rows(w13, more), _columns(w2, more)), (w13,) if is_gated else ())
    _same(name, "padded width", width, ALIGNMENT)


def _with_or_without(tensors: Any, is_gated: bool) -> Any:
    """The weights as they are, or the first two (w13 and its scales) without the rows of the gate."""
    return tensors if is_gated else [*(one.chunk(2, 1)[1] for one in tensors[:2]), *tensors[2:]]


def _hidden(tensors: Any, alignment: int) -> list[Any]:
    w13, s13, w2, s2 = tensors
    name = next(one for one in _HIDDEN if hasattr(flashinfer_utils, one))
    *found, width = getattr(flashinfer_utils, name)(w13, s13, w2, s2, alignment)
    padded = -(-w2.shape[1] // alignment) * alignment
    more = padded - w2.shape[1]
    wanted = _columns(w13, more // 2), _columns(s13, more // BLOCK), _rows(w2, more), _rows(s2, more)
    _compare(name, _NAMES, found, wanted)
    _same(name, "padded width", width, padded)
    return [*found, width]


def _check_cutlass(codes: Tensor) -> None:
    """``pad_nvfp4_weight_for_cutlass`` on a weight whose both sizes need padding, and the cut of its output."""
    name, weight = "pad_nvfp4_weight_for_cutlass", codes[:-BLOCK, : -BLOCK // 2]
    rows, columns = (-size % _CUTLASS for size in (weight.shape[0], 2 * weight.shape[1]))
    found, added = nvfp4_utils.pad_nvfp4_weight_for_cutlass(weight)
    _compare(name, ("weight",), (found,), (_columns(_rows(weight, rows), columns // 2),))
    _same(name, "bytes added", added, columns // 2)
    out = torch.arange(2.0 * found.shape[0]).view(2, -1)
    cut = nvfp4_utils.slice_nvfp4_output(out, weight.shape[0])
    _compare("slice_nvfp4_output", ("output",), (cut,), (out[:, : weight.shape[0]],))
    padded = nvfp4_utils.pad_nvfp4_activation_for_cutlass(weight, columns // 2)
    _compare("pad_nvfp4_activation_for_cutlass", ("input",), (padded,), (_columns(weight, columns // 2),))


def _columns(weight: Tensor, more: int) -> Tensor:
    return functional.pad(weight.float(), (0, more)).to(weight.dtype)


def _rows(weight: Tensor, more: int) -> Tensor:
    return functional.pad(weight.float(), (0, 0, 0, more)).to(weight.dtype)


def _rows_of_both(weight: Tensor, more: int) -> Tensor:
    """Gate and up, each with rows of zeros behind it."""
    return torch.cat([_rows(half, more).float() for half in weight.chunk(2, 1)], 1).to(weight.dtype)


def _compare(
    helper: str, names: tuple[str, ...], found: Any, wanted: tuple[Tensor, ...], gated: tuple[Tensor, ...] = ()
) -> None:
    """Raise WrongWeights where tensors differ. The first of them were ``gated`` before, each gate and up in one tensor."""
    for name, one, right, before in zip_longest(names, found, wanted, gated):
        _same(helper, f"{name}'s shape", [*one.shape], [*right.shape])
        _same(helper, f"{name}'s dtype", one.dtype, right.dtype)
        places = (one.float() != right.float()).nonzero()
        if len(places):
            expert = f"expert {places[0][0]}, " if one.dim() == 3 else ""
            row, column = places[0][-2:].tolist()
            raise WrongWeights(
                f"{helper}: {name} {[*one.shape]} differs from the weights padded with zeros, first at {expert}row {row}, "
                f"column {column}; {len(places)} of {one.numel()} values differ{_as_one_block(one, before)}"
            )


def _as_one_block(found: Tensor, before: Tensor | None) -> str:
    """Says so where all rows of padding are behind gate and up together."""
    if before is None or not torch.equal(found.float(), _rows(before, found.shape[1] - before.shape[1]).float()):
        return ""
    return ". Gate and up are padded as one block, so that up begins in gate's padding"


def _same(helper: str, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise WrongWeights(f"{helper}: {what} is {found}; expected {wanted}")
