"""Marlin, out of an installed vLLM: NVFP4 weights by bf16 activations, tiles by its own rule.

Only vLLM's compiled library of MoE ops is loaded. vLLM itself is not imported. It brings the products. Sorting, activation
and sum are those of ``kernels.triton.peers.glue``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.benchmark.benchmark import NotInstalled, Peer
from kernels.triton.peers.marlin_layout import Marlin, laid_out
from kernels.triton.peers.work import Inputs, Work, errors, oracle

# Multiples that hidden and intermediate width are padded to: the least that both products have tiles for, and vLLM's own.
PADDINGS = ((128, 64), (256, 128))
# Tokens of a block. vLLM takes the first that an expert's pairs fill to less than 90 %, or the last.
_BLOCKS, _FILLED = (8, 16, 32, 48, 64), 0.9
# The number that vLLM gives to E2M1: 2 bits of exponent, 1 of mantissa, signed, without infinity and NaN.
E2M1 = 2 | 1 << 8 | 1 << 16 | 1 << 49
OP = "moe_wna16_marlin_gemm"
# Counters for each multiprocessor.
_LOCKS = 4


def forms(work: Work) -> Sequence[Peer]:
    """Marlin's ways to do this work: finer and coarser padding. Raises NotInstalled."""
    op = _op()
    if work.device.type != "cuda":
        raise NotInstalled("vLLM's Marlin needs a CUDA device")
    made: dict[tuple[int, int], Form] = {}
    for padding in PADDINGS:
        form = Form(work, padding, op)
        made.setdefault(form.widths, form)
    return [form.peer() for form in made.values()]


def _op() -> Any:
    """The product's op of the installed vLLM. Raises NotInstalled."""
    if not hasattr(torch.ops._moe_C, OP):
        _load()
    if not hasattr(torch.ops._moe_C, OP):
        raise NotInstalled(f"the vLLM here has no op {OP}; vLLM 0.20.2 has one")
    return getattr(torch.ops._moe_C, OP)


def _load() -> None:
    spec = find_spec("vllm")
    if spec is None:
        raise NotInstalled("pip install vllm")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for library in (path for folder in folders for path in sorted(folder.glob("_moe_C*.so"))):
        try:
            torch.ops.load_library(library)
        except OSError as error:
            line = (str(error).splitlines() or [""])[0]
            raise NotInstalled(f"vLLM's {library.name} cannot be loaded by torch {torch.__version__}: {line}") from None


@dataclass
class Form:
    """The work with widths that are multiples of ``padding``."""

    work: Work
    padding: tuple[int, int]
    op: Any

    @property
    def widths(self) -> tuple[int, int]:
        """Hidden and intermediate width, padding included."""
        shape = self.work.shape
        both = zip((shape.hidden, shape.intermediate), self.padding, strict=True)
        hidden, intermediate = (-(-width // multiple) * multiple for width, multiple in both)
        return hidden, intermediate

    @cached_property
    def weights(self) -> tuple[Marlin, Marlin]:
        """Both products' weights."""
        hidden, intermediate = self.widths
        halves = 2 if self.work.shape.gated else 1
        return laid_out(self.work.w13, halves, intermediate, hidden), laid_out(self.work.w2, 1, hidden, intermediate)

    @cached_property
    def locks(self) -> Tensor:
        """Counters of tiles that several programs share."""
        many = torch.cuda.get_device_properties(self.work.device).multi_processor_count * _LOCKS
        return torch.zeros(many, dtype=torch.int32, device=self.work.device)

    @property
    def block(self) -> int:
        """Tokens of a block."""
        an_expert = self.work.pairs / self.work.shape.experts
        return next((block for block in _BLOCKS if an_expert / block < _FILLED), _BLOCKS[-1])

    def peer(self) -> Peer:
        """The form as the benchmark takes it."""
        work = self.work
        calls = [partial(self.whole, one) for one in work.inputs]
        label = f"weights padded to {'x'.join(map(str, self.padding))}"
        return Peer(label, calls, lambda: errors(calls[0](), oracle(work, work.inputs[0])))

    def whole(self, one: Inputs) -> Tensor:
        """The layer. Rows that are padded are copied for it, as vLLM does."""
        from kernels.triton.launch import sum_experts  # imports triton
        from kernels.triton.peers import glue

        (hidden, ids, weights), shape = one, self.work.shape
        width, intermediate = self.widths
        blocks = glue.padded_blocks(ids, shape.experts, self.block)
        rows = functional.pad(hidden, (0, width - shape.hidden)) if width > shape.hidden else hidden
        first = self.product(0, rows, blocks, weights, shape.top_k)
        inner = first.new_empty(len(first), intermediate)
        glue.activate(first, inner, shape.gated, shape.activation)
        out = torch.empty_like(hidden)
        sum_experts(self.product(1, inner, blocks, weights, 1), ids, weights, None, out, shape.experts)
        return out

    def product(
        self, which: int, rows: Tensor, blocks: tuple[Tensor, Tensor, Tensor], weights: Tensor, top_k: int
    ) -> Tensor:
        """A row for each pair; pair ``p`` reads row ``p // top_k``."""
        weight = self.weights[which]
        n, k = weight.sizes
        out = rows.new_empty(self.work.pairs, n)
        places, owners, used = blocks
        self.op(
            a=rows,
            c_or_none=out,
            b_q_weight=weight.words,
            b_bias_or_none=None,
            b_scales=weight.scales,
            a_scales=None,
            global_scale=weight.factor,
            b_zeros_or_none=None,
            g_idx_or_none=None,
            perm_or_none=None,
            workspace=self.locks,
            sorted_token_ids=places,
            expert_ids=owners,
            num_tokens_past_padded=used,
            topk_weights=weights,
            moe_block_size=self.block,
            top_k=top_k,
            mul_topk_weights=False,
            b_type_id=E2M1,
            size_m=len(rows),
            size_n=n,
            size_k=k,
            is_full_k=True,
            use_atomic_add=False,
            use_fp32_reduce=True,
            is_zp_float=False,
            thread_k=-1,
            thread_n=-1,
            blocks_per_sm=-1,
        )
        return out
