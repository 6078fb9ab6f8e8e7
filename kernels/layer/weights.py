"""Weight preparation: quantised experts padded to the widths that a kernel needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from torch import Tensor

from kernels.layer.nvfp4 import BLOCK, Nvfp4, swizzle_128x4

LAYOUTS = ("linear", "swizzled")


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts' weights in NVFP4: E experts, hidden width H, expert width I.

    w13 stands for [E, 2I, H], the gate's rows and then the up projection's (non-gated: [E, I, H]); w2 for [E, H, I].
    """

    w13: Tensor
    """uint8 [E, 2I, H/2]"""
    w13_scale: Tensor
    """uint8 [E, 2I, H/16]; swizzled: rows and columns padded to 128 and 4"""
    w13_global_scale: Tensor
    """fp32 [E]"""
    w2: Tensor
    """uint8 [E, H, I/2]"""
    w2_scale: Tensor
    """uint8 [E, H, I/16]; swizzled: rows and columns padded to 128 and 4"""
    w2_global_scale: Tensor
    """fp32 [E]"""

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, in the order that the op takes them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def copy(self) -> "Experts":
        """A copy in memory of its own."""
        return Experts(**{name: tensor.clone() for name, tensor in self.tensors().items()})


def filled(experts: int, each: Iterator[Experts]) -> Experts:
    """All experts in one, copied from ``each`` single expert in turn, so that no weight exists twice."""
    first = next(each)
    whole = {name: tensor.new_empty(experts, *tensor.shape[1:]) for name, tensor in first.tensors().items()}
    for index, one in enumerate(chain((first,), each)):
        for name, tensor in one.tensors().items():
            whole[name][index].copy_(tensor[0])
    return Experts(**whole)


def pad_experts(w13: Nvfp4, w2: Nvfp4, *, hidden: int, intermediate: int, scale_layout: str = "linear") -> Experts:
    """Quantised experts padded to ``hidden`` and ``intermediate``, in memory of their own; the padding is worth zero.

    ``w13`` is [E, 2I, H] or [E, I, H], ``w2`` is [E, H, I]. Raises ValueError on a layout other than ``linear`` and
    ``swizzled``, on a width below the true one, and on a width that is not a multiple of the NVFP4 block of 16.
    """
    if scale_layout not in LAYOUTS:
        raise ValueError(f"scale_layout is {scale_layout!r}; expected one of {', '.join(LAYOUTS)}")
    true_hidden, true_intermediate = w2.codes.shape[-2], 2 * w2.codes.shape[-1]
    check_padding("hidden", true_hidden, hidden)
    check_padding("intermediate", true_intermediate, intermediate)
    halves = w13.codes.shape[-2] // true_intermediate
    first = pad_matrices(w13, intermediate, hidden, parts=halves)
    second = pad_matrices(w2, hidden, intermediate)
    if scale_layout == "swizzled":
        first = first._replace(scales=swizzle_128x4(first.scales))
        second = second._replace(scales=swizzle_128x4(second.scales))
    return Experts(*first, *second)


def pad_matrices(weight: Nvfp4, rows: int, columns: int, parts: int = 1) -> Nvfp4:
    """Matrices of ``parts`` stacked parts, each part padded to ``rows`` and ``columns`` with zero codes and scales.

    Gate and up are two parts. Padding the whole stack at its end would move the boundary, which kernels expect at half
    the height.
    """
    return Nvfp4(
        pad_parts(weight.codes, rows, columns // 2, parts),
        pad_parts(weight.scales, rows, columns // BLOCK, parts),
        weight.global_scale.clone(),
    )


def pad_parts(stack: Tensor, rows: int, columns: int, parts: int) -> Tensor:
    """[E, parts * R, C] to a new [E, parts * rows, columns], zeros at the end of each part.

    It is no view of another tensor: torch takes five times as long to make the fake of a view.
    """
    split = stack.view(*stack.shape[:-2], parts, -1, stack.shape[-1])
    padded = stack.new_zeros(*stack.shape[:-2], parts * rows, columns)
    padded.view(*split.shape[:-2], rows, columns)[..., : split.shape[-2], : split.shape[-1]] = split
    return padded


def check_padding(what: str, true: int, padded: int) -> None:
    """Raises ValueError where ``padded`` cannot hold ``true``."""
    if padded < true or padded % BLOCK:
        raise ValueError(f"cannot pad {what} {true} to {padded}: expected a multiple of {BLOCK} of at least {true}")
