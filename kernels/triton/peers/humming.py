"""Humming (``humming-kernels`` on PyPI): NVFP4 weights by bf16 activations, tiles by its own heuristics.

It brings the products. Sorting, activation and sum are those of ``kernels.triton.peers.glue``. Humming compiles a kernel for
each tile when it is first called, which takes some seconds.
"""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from harness.benchmark.benchmark import NotInstalled, Peer
from kernels.layer.nvfp4 import Nvfp4
from kernels.triton.peers.work import Inputs, Work, errors, oracle

# Multiples that Humming pads rows and columns of a weight to. The finer needs less work, the coarser allows larger tiles.
_PADDINGS = ((128, 64), (256, 128))
# Its counters of split products.
_LOCKS = 4096


def forms(work: Work) -> Sequence[Peer]:
    """Humming's ways to do this work: indexed or grouped rows, each with finer or coarser padding. Raises NotInstalled."""
    if find_spec("humming") is None:
        raise NotInstalled("pip install humming-kernels")
    if not torch.cuda.is_available():
        raise NotInstalled("humming needs a CUDA device")
    layers: dict[tuple[int, ...], _Layer] = {}
    for padding in _PADDINGS:
        layer = _Layer(work, padding)
        layers.setdefault(layer.widths, layer)
    # A single token's rows are one an expert: there is nothing to group.
    kinds = ("indexed", "grouped") if work.tokens > 1 else ("indexed",)
    made = [_Form(layer, rows) for layer in layers.values() for rows in kinds]
    _compile(made)
    return [form.peer() for form in made]


@dataclass
class _Layer:
    """A layer's weights as Humming lays them out, with rows and columns padded to ``padding``."""

    work: Work
    padding: tuple[int, int]

    @cached_property
    def configs(self) -> list[Any]:
        from humming.schema import HummingWeightSchema
        from humming.transform import prepare_layer_config

        schema = HummingWeightSchema(
            b_dtype="float4e2m1", bs_dtype="float8e4m3", weight_scale_group_size=16, weight_scale_2_type="tensor"
        )
        rows, columns = self.padding
        return [
            prepare_layer_config(
                *_sizes(weight),
                schema,
                None,
                num_experts=self.work.shape.experts,
                pad_n_to_multiple=rows,
                pad_k_to_multiple=columns,
                torch_dtype=torch.bfloat16,
            )
            for weight in (self.work.w13, self.work.w2)
        ]

    @cached_property
    def weights(self) -> list[dict[str, Tensor]]:
        from humming.transform import transform_humming_tensors

        both = zip(self.configs, (self.work.w13, self.work.w2), strict=True)
        return [transform_humming_tensors(config, _tensors(weight)) for config, weight in both]

    @cached_property
    def locks(self) -> list[Tensor]:
        return [torch.zeros(_LOCKS, dtype=torch.int32, device=self.work.device) for _ in self.configs]

    @property
    def widths(self) -> tuple[int, ...]:
        """Rows and columns of both weights, padding included."""
        return tuple(size for config in self.configs for size in (config.shape_n, config.shape_k))


@dataclass
class _Form:
    """One way to do the work: ``indexed`` products read the rows that a list names, ``grouped`` ones permuted rows."""

    layer: _Layer
    rows: str

    @cached_property
    def kind(self) -> str:
        return "indexed" if self.rows == "indexed" else "grouped_contiguous"

    @cached_property
    def tiles(self) -> list[Any]:
        from humming.tune import get_heuristics_config

        pairs = self.layer.work.pairs
        chosen = [get_heuristics_config(config, shape_m=pairs, gemm_type=self.kind) for config in self.layer.configs]
        return [json.loads(json.dumps(one)) for one in chosen]

    @property
    def kernels(self) -> list[dict[str, Any]]:
        """What Humming's compiler is given for each product."""
        both = zip(self.layer.configs, self.tiles, strict=True)
        return [json.loads(config.to_str()) | {"gemm_type": self.kind} | tiles for config, tiles in both]

    def peer(self) -> Peer:
        call: Callable[[Inputs], Tensor] = self.indexed if self.rows == "indexed" else self.grouped
        work = self.layer.work
        calls = [partial(call, one) for one in work.inputs]
        label = f"{self.rows} rows, weights padded to {'x'.join(map(str, self.layer.padding))}"
        return Peer(label, calls, lambda: errors(calls[0](), oracle(work, work.inputs[0])))

    def product(self, which: int, rows: Tensor, out: Tensor, layout: dict[str, Tensor], top_k: int = 1) -> None:
        from humming.forward import humming_forward

        humming_forward(
            self.layer.configs[which],
            rows,
            outputs=out,
            locks=self.layer.locks[which],
            top_k=top_k,
            valid_shape_m=self.layer.work.pairs,
            compute_config=json.dumps({"gemm_type": self.kind}),
            tuning_config=json.dumps(self.tiles[which]),
            **self.layer.weights[which],
            **layout,
        )

    def buffers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the first product, activated ones, and rows of the second."""
        work = self.layer.work
        widths = _sizes(work.w13)[0], work.shape.intermediate, work.shape.hidden
        first, inner, second = (work.inputs[0][0].new_empty(work.pairs, width) for width in widths)
        return first, inner, second

    def indexed(self, one: Inputs) -> Tensor:
        from kernels.triton.peers import glue

        (hidden, ids, weights), shape = one, self.layer.work.shape
        first, inner, second = self.buffers()
        blocks = {tiles["block_shape"][0] for tiles in self.tiles}
        layouts = {bm: _layout(glue.padded_blocks(ids, shape.experts, bm)) for bm in blocks}
        bm1, bm2 = (tiles["block_shape"][0] for tiles in self.tiles)
        self.product(0, hidden, first, layouts[bm1], shape.top_k)
        glue.activate(first, inner, shape.gated, shape.activation)
        self.product(1, inner, second, layouts[bm2])
        return _sum(second, ids, weights, shape.experts)

    def grouped(self, one: Inputs) -> Tensor:
        from kernels.triton.peers import glue

        (hidden, ids, weights), shape = one, self.layer.work.shape
        first, inner, second = self.buffers()
        rows, offsets, place = glue.permuted(hidden, ids, shape.experts)
        self.product(0, rows, first, {"expert_layout": offsets})
        glue.activate(first, inner, shape.gated, shape.activation)
        self.product(1, inner, second, {"expert_layout": offsets})
        return glue.summed(second, place, weights, shape.hidden)


def _compile(forms: Sequence[_Form]) -> None:
    """Compile the kernels of all forms side by side, into Humming's cache. What fails here fails again where it is called."""
    from humming.kernel.humming import HummingKernel

    def one(kernel: dict[str, Any]) -> None:
        with torch.cuda.device(forms[0].layer.work.device), suppress(Exception):
            HummingKernel(**{key: value for key, value in kernel.items() if key != "num_sms"})

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(one, [kernel for form in forms for kernel in form.kernels]))


def _sum(rows: Tensor, ids: Tensor, weights: Tensor, experts: int) -> Tensor:
    from kernels.triton.launch import sum_experts  # imports triton

    out = rows.new_empty(len(ids), rows.shape[1])
    sum_experts(rows, ids, weights, None, out, experts)
    return out


def _layout(blocks: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip(("sorted_ids", "expert_ids", "num_tokens_padded"), blocks, strict=True))


def _sizes(weight: Nvfp4) -> tuple[int, int]:
    """Rows and columns of each expert's matrix."""
    return weight.codes.shape[1], weight.codes.shape[2] * 2


def _tensors(weight: Nvfp4) -> dict[str, Tensor]:
    return {
        "weight": weight.codes.view(torch.int32),
        "weight_scale": weight.scales.view(torch.float8_e4m3fn),
        "weight_scale_2": (1.0 / weight.global_scale).float(),
    }
