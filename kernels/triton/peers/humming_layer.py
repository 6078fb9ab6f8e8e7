"""A layer's weights as Humming (``humming-kernels`` on PyPI) lays them out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from kernels.layer.nvfp4 import Nvfp4
from kernels.triton.peers.work import Inputs, Work, oracle

# Its counters of split products.
_LOCKS = 4096


@dataclass
class Layer:
    """NVFP4 weights for bf16 rows, with rows and columns of the weights padded to multiples of ``padding``."""

    work: Work
    padding: tuple[int, int]

    @property
    def schemas(self) -> tuple[Any, Any]:
        """What Humming is told of weights and of rows; None are bf16 rows."""
        from humming.schema import HummingWeightSchema

        weights = HummingWeightSchema(
            b_dtype="float4e2m1", bs_dtype="float8e4m3", weight_scale_group_size=16, weight_scale_2_type="tensor"
        )
        return weights, None

    def tensors(self, weight: Nvfp4) -> dict[str, Tensor]:
        """A weight by Humming's names."""
        return {
            "weight": weight.codes.view(torch.int32),
            "weight_scale": weight.scales.view(torch.float8_e4m3fn),
            "weight_scale_2": (1.0 / weight.global_scale).float(),
        }

    def oracle(self, one: Inputs) -> Tensor:
        """The layer in fp32, [T, H]."""
        return oracle(self.work, one)

    @cached_property
    def configs(self) -> list[Any]:
        """Humming's description of each product."""
        from humming.transform import prepare_layer_config

        rows, columns = self.padding
        return [
            prepare_layer_config(
                *sizes(weight),
                *self.schemas,
                num_experts=self.work.shape.experts,
                pad_n_to_multiple=rows,
                pad_k_to_multiple=columns,
                torch_dtype=torch.bfloat16,
            )
            for weight in (self.work.w13, self.work.w2)
        ]

    @cached_property
    def weights(self) -> list[dict[str, Tensor]]:
        """Each product's weights."""
        from humming.transform import transform_humming_tensors

        both = zip(self.configs, (self.work.w13, self.work.w2), strict=True)
        return [transform_humming_tensors(config, self.tensors(weight)) for config, weight in both]

    @cached_property
    def locks(self) -> list[Tensor]:
        """Each product's counters."""
        return [torch.zeros(_LOCKS, dtype=torch.int32, device=self.work.device) for _ in self.configs]

    @property
    def widths(self) -> tuple[int, ...]:
        """Rows and columns of both weights, padding included."""
        return tuple(size for config in self.configs for size in (config.shape_n, config.shape_k))


def sizes(weight: Nvfp4) -> tuple[int, int]:
    """Rows and columns of each expert's matrix."""
    return weight.codes.shape[1], weight.codes.shape[2] * 2
