"""Dequantised weights, cached by content: the modes of one case call the op on the same weights some twenty times.

An entry is found by shape and used only if every byte of the codes and scales equals what it was made from. The op
therefore reads its arguments in each call, and weights that were rewritten, by whatever means, are dequantised anew.
"""

from collections import OrderedDict
from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor

from harness.execution.evidence import same_bits
from kernels.layer.nvfp4 import Nvfp4, byte_table, dequantise, unswizzle_128x4

# Bytes of fp32 in one entry, and entries. Shrunk cases have two matrices of up to 20 MB; weights of true sizes are larger
# than the limit, and exist one expert at a time.
LARGEST, ENTRIES = 2**26, 4
# So many experts of any size fit into memory at once in fp32.
FEW = 4

_saved: OrderedDict[object, tuple[Nvfp4, Tensor]] = OrderedDict()


def dequantised(weight: Nvfp4, rows: int, swizzled: bool) -> Tensor | None:
    """fp32 [E, rows, K], not to be written to; None where it is too large to be cached, is watched, or is on a GPU.

    Comparing bytes waits for the device, which a CUDA graph capture does not allow.
    """
    if not _plain(weight.codes):
        return None
    experts, _, packed = weight.codes.shape
    if weight.codes.device.type != "cpu" or 4 * experts * rows * 2 * packed > LARGEST:
        return None
    key = (weight.codes.shape, weight.scales.shape, rows, swizzled)
    saved = _saved.pop(key, None)
    if saved is None or not all(map(same_bits, saved[0], weight)):
        saved = Nvfp4(*(part.clone() for part in weight)), _dequantised(weight, rows, swizzled)
    _saved[key] = saved
    if len(_saved) > ENTRIES:
        _saved.popitem(last=False)
    return saved[1]


def _plain(tensor: Tensor) -> bool:
    """Whether nothing traces, compiles or records the ops that are about to run: a trace must hold all of them."""
    real = type(tensor) in (Tensor, torch.nn.Parameter)
    return real and not torch.compiler.is_compiling() and not torch._C._len_torch_dispatch_stack()


def _dequantised(weight: Nvfp4, rows: int, swizzled: bool) -> Tensor:
    with torch.inference_mode(False):  # a tensor made under inference mode is unusable outside it
        table = _table(weight.codes.device)
        return torch.stack([matrix(weight, expert, rows, swizzled, table) for expert in range(len(weight.codes))])


@cache
def _table(device: torch.device) -> Tensor:
    return byte_table(device)


def matrices(weight: Nvfp4, rows: int, swizzled: bool, table: Tensor) -> Iterable[Tensor]:
    """``matrix`` of each expert, uncached. Few experts are dequantised in one go: over symbols each op takes a millisecond."""
    experts, height, packed = weight.codes.shape
    if experts > FEW:
        return (matrix(weight, expert, rows, swizzled, table) for expert in range(experts))
    linear = unswizzle_128x4(weight.scales, height, packed // 8) if swizzled else weight.scales[:, :height]
    # Cut one by one: whether the cut stack is contiguous would be one more question of the sizes.
    return (whole[:rows] for whole in dequantise(weight._replace(scales=linear), table))


def matrix(weight: Nvfp4, expert: int, rows: int, swizzled: bool, table: Tensor) -> Tensor:
    """The first ``rows`` rows of one expert's matrix, fp32. ``table`` is ``byte_table``."""
    codes, scales = weight.codes[expert], weight.scales[expert]
    linear = unswizzle_128x4(scales, rows, codes.shape[-1] // 8) if swizzled else scales[:rows]
    return dequantise(Nvfp4(codes[:rows], linear, weight.global_scale[expert]), table)
