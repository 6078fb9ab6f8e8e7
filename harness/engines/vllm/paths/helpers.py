"""vLLM's helpers that align and pad weights: pure functions, compared with what they should return. Importing it needs vLLM."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.quantization.utils import flashinfer_utils

from harness.engines.vllm.paths.compared import WrongWeights, columns, compare, repeated, rows, rows_of_both, same
from harness.engines.vllm.paths.cutlass import check_dense, check_layer
from harness.engines.vllm.paths.fp4 import BLOCK, Packed
from harness.engines.vllm.standin import StandIn
from harness.engines.vllm.weights import masters
from harness.matrix.case import Case

ALIGNMENT = 128  # of the expert width; that of the path's own shape is less
_HIDDEN = ("align_fp4_moe_hidden_dim_for_fi", "align_trtllm_fp4_moe_hidden_dim_for_fi")
_DENSE = ("align_moe_weights_for_fi", "align_fp8_moe_weights_for_fi")
_NAMES = ("w13", "w13_scale", "w2", "w2_scale")


class PackedStandIn(StandIn):
    """The stand-in with FP4 weights, which the release's own helpers pad."""

    def create_weights(self, layer: nn.Module, num_experts: int, *sizes: Any, **more: Any) -> None:
        """Codes and scales, as a checkpoint has them."""
        w13, s13, w2, s2 = (nn.Parameter(one.clone(), requires_grad=False) for one in _tensors(self.case))
        for name, codes, scales in (("w13", w13, s13), ("w2", w2, s2)):
            layer.register_parameter(f"{name}_weight", codes)
            layer.register_parameter(f"{name}_weight_scale", scales)

    def process_weights_after_loading(self, layer: Any) -> None:
        """Pad the widths that the path is for with the release's helpers, and unpack. Raises WrongWeights."""
        tensors = layer.w13_weight.data, layer.w13_weight_scale.data, layer.w2_weight.data, layer.w2_weight_scale.data
        *padded, self.moe.hidden_dim = _padded(tensors, _is_gated(self.case), self.case.alignment.hidden)
        _check_sizes(replace(self.case, tp=1, tokens=0))
        w13, w2 = Packed(*padded[:2]).unpacked(), Packed(*padded[2:]).unpacked()
        layer.w13_weight, layer.w2_weight = (nn.Parameter(weight, requires_grad=False) for weight in (w13, w2))


def _tensors(case: Case) -> tuple[Tensor, ...]:
    """A case's w13, its scales, w2 and its scales."""
    packed = masters(case).packed
    assert packed is not None
    return packed[0].codes, packed[0].scales, packed[1].codes, packed[1].scales


def _is_gated(case: Case) -> bool:
    return case.path == "vllm-fp4-experts"


def _padded(tensors: Any, is_gated: bool, alignment: int) -> list[Any]:
    """The weights as the helpers pad them, and the padded hidden width. Experts without a gate keep their width."""
    _check_dense(Packed(*tensors[:2]).unpacked(), Packed(*tensors[2:]).unpacked(), is_gated)
    padded: Any = _experts(tensors, is_gated)
    if not is_gated:
        check_dense(tensors[0][0])
        padded = tensors
    return _hidden(padded, alignment)


@lru_cache(maxsize=4)
def _check_sizes(case: Case) -> None:
    """What is called beside a layer's own helpers, once for all layers of a case: for CUTLASS, and with the weights of other sizes.

    At the first, half the hidden width is rounded up to more than half of what the whole is: a helper that counts bytes for
    values shows. What lacks is not what is over, as it is of a width between two multiples. At the second, nothing needs padding.
    """
    tensors, is_gated, alignment = _tensors(case), _is_gated(case), case.alignment.hidden
    check_layer(_with_or_without(tensors, is_gated), is_gated)
    for hidden, inner in ((2 * alignment + 64, ALIGNMENT + 32), (2 * alignment, ALIGNMENT)):
        sized = _of_sizes(tensors, hidden, inner)
        try:
            _padded(sized, is_gated, alignment)
            check_layer(_with_or_without(sized, is_gated), is_gated)
        except WrongWeights as error:
            raise WrongWeights(f"at a hidden width of {hidden} and an expert width of {inner}, {error}") from None


def _of_sizes(tensors: Any, hidden: int, inner: int) -> tuple[Tensor, ...]:
    w13, s13, w2, s2 = tensors
    gated = [torch.cat([repeated(half, 1, inner) for half in one.chunk(2, 1)], 1) for one in (w13, s13)]
    down = [repeated(repeated(one, 2, inner // per), 1, hidden) for one, per in ((w2, 2), (s2, BLOCK))]
    return repeated(gated[0], 2, hidden // 2), repeated(gated[1], 2, hidden // BLOCK), *down


def _experts(tensors: Any, is_gated: bool) -> Any:
    """``align_fp4_moe_weights_for_fi``. With a gate, gate and up are padded apart; without one there is only up."""
    name, (w13, s13, w2, s2) = "align_fp4_moe_weights_for_fi", _with_or_without(tensors, is_gated)
    more = -2 * w2.shape[2] % ALIGNMENT
    *found, width = flashinfer_utils.align_fp4_moe_weights_for_fi(w13, s13, w2, s2, is_gated, ALIGNMENT)
    pad = rows_of_both if is_gated else rows
    wanted = (pad(w13, more), pad(s13, more), columns(w2, more // 2), columns(s2, more // BLOCK))
    compare(name, _NAMES, found, wanted, (w13, s13) if is_gated else (), (None, wanted[0], None, wanted[2]))
    same(name, "padded width", width, 2 * w2.shape[2] + more)
    return found


def _check_dense(w13: Tensor, w2: Tensor, is_gated: bool) -> None:
    """The same helper for weights that are not packed."""
    name = next(one for one in _DENSE if hasattr(flashinfer_utils, one))
    w13, more = _with_or_without((w13,), is_gated)[0], -w2.shape[2] % ALIGNMENT
    *found, width = getattr(flashinfer_utils, name)(w13, w2, is_gated, ALIGNMENT)
    pad = rows_of_both if is_gated else rows
    compare(name, ("w13", "w2"), found, (pad(w13, more), columns(w2, more)), (w13,) if is_gated else ())
    same(name, "padded width", width, w2.shape[2] + more)


def _with_or_without(tensors: Any, is_gated: bool) -> Any:
    """The weights as they are, or the first two (w13 and its scales) without the rows of the gate."""
    return tensors if is_gated else [*(one.chunk(2, 1)[1] for one in tensors[:2]), *tensors[2:]]


def _hidden(tensors: Any, alignment: int) -> list[Any]:
    w13, s13, w2, s2 = tensors
    name = next(one for one in _HIDDEN if hasattr(flashinfer_utils, one))
    *found, width = getattr(flashinfer_utils, name)(w13, s13, w2, s2, alignment)
    padded = -(-w2.shape[1] // alignment) * alignment
    more = padded - w2.shape[1]
    wanted = columns(w13, more // 2), columns(s13, more // BLOCK), rows(w2, more), rows(s2, more)
    compare(name, _NAMES, found, wanted, codes=(None, wanted[0], None, wanted[2]))
    same(name, "padded width", width, padded)
    return [*found, width]
