"""One way in which Humming does a layer's work. It brings the products; sorting, activation and sum are ``glue``."""

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

from harness.benchmark.benchmark import COLUMN, WHOLE, NotInstalled, Peer
from kernels.triton.peers.humming_layer import Layer, sizes
from kernels.triton.peers.work import Inputs, Work, errors

Rows = tuple[Tensor, Tensor | None]
"""Rows as a product takes them, and their scales; bf16 ones have none."""


def needed() -> None:
    """Raises NotInstalled where Humming or a device for it is missing."""
    if find_spec("humming") is None:
        raise NotInstalled("pip install humming-kernels")
    if not torch.cuda.is_available():
        raise NotInstalled("humming needs a CUDA device")


def kinds(work: Work) -> tuple[str, ...]:
    """The kinds of rows. A single token's rows are one an expert: there is nothing to group."""
    return ("indexed", "grouped") if work.tokens > 1 else ("indexed",)


@dataclass
class Form:
    """One way to do the work: ``indexed`` products read the rows that a list names, ``grouped`` ones permuted rows."""

    layer: Layer
    rows: str
    bounds: tuple[float, float] = WHOLE, COLUMN

    @cached_property
    def kind(self) -> str:
        """Humming's name of the way."""
        return "indexed" if self.rows == "indexed" else "grouped_contiguous"

    @cached_property
    def tiles(self) -> list[Any]:
        """What Humming's heuristics choose for each product."""
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
        """The form as the benchmark takes it."""
        call: Callable[[Inputs], Tensor] = self.indexed if self.rows == "indexed" else self.grouped
        inputs = self.layer.work.inputs
        calls = [partial(call, one) for one in inputs]
        label = f"{self.rows} rows, weights padded to {'x'.join(map(str, self.layer.padding))}"
        return Peer(label, calls, lambda: errors(calls[0](), self.layer.oracle(inputs[0])), self.bounds)

    def entered(self, rows: Tensor) -> Rows:
        """The layer's rows, as the first product takes them."""
        return rows, None

    def activated(self, first: Tensor) -> Rows:
        """The first product's rows activated, as the second one takes them."""
        from kernels.triton.peers import glue

        shape = self.layer.work.shape
        inner = first.new_empty(len(first), shape.intermediate)
        glue.activate(first, inner, shape.gated, shape.activation)
        return inner, None

    def product(self, which: int, rows: Rows, layout: dict[str, Tensor], top_k: int = 1) -> Tensor:
        """A row for each pair."""
        from humming.forward import humming_forward

        work = self.layer.work
        width = sizes((work.w13, work.w2)[which])[0]
        out = torch.empty(work.pairs, width, dtype=torch.bfloat16, device=work.device)
        humming_forward(
            self.layer.configs[which],
            rows[0],
            outputs=out,
            input_scale=rows[1],
            locks=self.layer.locks[which],
            top_k=top_k,
            valid_shape_m=work.pairs,
            compute_config=json.dumps({"gemm_type": self.kind}),
            tuning_config=json.dumps(self.tiles[which]),
            **self.layer.weights[which],
            **layout,
        )
        return out

    def indexed(self, one: Inputs) -> Tensor:
        """The layer by indexed products."""
        from kernels.triton.peers import glue

        (hidden, ids, weights), shape = one, self.layer.work.shape
        blocks = {tiles["block_shape"][0] for tiles in self.tiles}
        layouts = {bm: _layout(glue.padded_blocks(ids, shape.experts, bm)) for bm in blocks}
        bm1, bm2 = (tiles["block_shape"][0] for tiles in self.tiles)
        first = self.product(0, self.entered(hidden), layouts[bm1], shape.top_k)
        return _sum(self.product(1, self.activated(first), layouts[bm2]), ids, weights, shape.experts)

    def grouped(self, one: Inputs) -> Tensor:
        """The layer by products of permuted rows."""
        from kernels.triton.peers import glue

        (hidden, ids, weights), shape = one, self.layer.work.shape
        rows, offsets, place = glue.permuted(hidden, ids, shape.experts)
        first = self.product(0, self.entered(rows), {"expert_layout": offsets})
        second = self.product(1, self.activated(first), {"expert_layout": offsets})
        return glue.summed(second, place, weights, shape.hidden)


def compiled(forms: Sequence[Form]) -> list[Peer]:
    """The forms, whose kernels were compiled side by side into Humming's cache. What fails there fails again where it is called."""
    from humming.kernel.humming import HummingKernel

    def one(kernel: dict[str, Any]) -> None:
        with torch.cuda.device(forms[0].layer.work.device), suppress(Exception):
            HummingKernel(**{key: value for key, value in kernel.items() if key != "num_sms"})

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(one, [kernel for form in forms for kernel in form.kernels]))
    return [form.peer() for form in forms]


def _sum(rows: Tensor, ids: Tensor, weights: Tensor, experts: int) -> Tensor:
    from kernels.triton.launch import sum_experts  # imports triton

    out = rows.new_empty(len(ids), rows.shape[1])
    sum_experts(rows, ids, weights, None, out, experts)
    return out


def _layout(blocks: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip(("sorted_ids", "expert_ids", "num_tokens_padded"), blocks, strict=True))
