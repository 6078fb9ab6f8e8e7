"""The in-tree subject: the padded NVFP4 MoE layer of this checkout."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from harness.matrix.case import Case
from harness.subjects.recipe import Recipe
from kernels.layer.answers import cached
from kernels.layer.experts import OP
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.masters import Sizes, dense_of, masters_of, quantised, with_subnormal_scales
from kernels.layer.memory import check_memory
from kernels.layer.nvfp4 import Nvfp4, quantise
from kernels.layer.oracle import EXACT, Rounding, layer_output
from kernels.layer.recipe import recipes
from kernels.layer.weights import Experts, filled, pad_experts

_cache: dict[object, Experts] = {}


def _cached(key: object, make: Callable[[], Experts]) -> Experts:
    """The experts of this key. Only the last key is cached, since the cases of one model run together."""
    if key not in _cache:
        _cache.clear()  # first: two sets of true size do not fit into memory
        _cache[key] = make()
    return _cache[key]


# Elements of hidden_states up to which inputs are cached: 64 of them take 130 MB at most.
_SMALL = 2**20


def _draw(
    tokens: int, hidden: int, experts: int, top_k: int, dtype: torch.dtype, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(tokens, hidden, generator=generator).to(dtype)
    ids = torch.rand(tokens, experts, generator=generator).topk(top_k).indices.int()
    # Their sum is not one, as with sigmoid routers: a kernel that normalises its weights once more gives wrong values.
    return states, ids, torch.randn(tokens, top_k, generator=generator).sigmoid()


_drawn = lru_cache(maxsize=64)(_draw)
"""The same, not to be written to: the modes of one case draw the same numbers forty times."""


class InTree:
    """The layer, its inputs and its oracle; see ``harness.subjects.subject.Subject``."""

    name = "in-tree"
    layer: type[PaddedMoELayer] = PaddedMoELayer
    rounding: Rounding = EXACT

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        """A layer that shares no memory with another one. Raises Skip where a case of true size does not fit."""
        if case.full:
            check_memory(case, device)
        shared, latent = dense_of(case, device)
        return self.layer(
            self.experts(case, device),
            width=case.width,
            padded=case.padded,
            out_width=case.padded if case.kernel == "wide" else case.width,
            activation=case.activation,
            gated=case.gated,
            scaling=case.scaling,
            tp=case.tp,
            shared=shared,
            latent=latent,
        )

    def experts(self, case: Case, device: torch.device) -> Experts:
        """The case's routed experts, padded by its alignment rule."""
        if case.full:
            key = (self, Sizes.of(case), case.padded, case.padded_intermediate, device)
            return _cached(key, lambda: filled(case.experts, self._each(case, device))).copy()
        first, second = quantised(Sizes.of(case))
        return self.prepared(case, first.to(device), second.to(device))

    def _each(self, case: Case, device: torch.device) -> Iterator[Experts]:
        """One expert at a time, so that no temporary is as large as all of them."""
        masters = masters_of(case, device)
        for index in range(case.experts):
            w13, w2 = masters.expert(index)
            first, second = (with_subnormal_scales(quantise(weight[None]), index) for weight in (w13, w2))
            yield self.prepared(case, first, second)

    def prepared(self, case: Case, w13: Nvfp4, w2: Nvfp4) -> Experts:
        """Quantised experts, one or all of them, as the layer's op wants them, in memory of their own."""
        return pad_experts(w13, w2, hidden=case.padded, intermediate=case.padded_intermediate)

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """hidden_states [tokens, hidden], topk_ids [tokens, top_k] int32, distinct in each row, topk_weights fp32."""
        draw = _drawn if tokens * case.hidden <= _SMALL else _draw
        drawn = draw(tokens, case.hidden, case.experts, case.top_k, getattr(torch, case.dtype), seed)
        hidden, ids, weights = (tensor.to(device, copy=True) for tensor in drawn)
        return hidden, ids, weights

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``routed`` and, where there is a shared expert, ``shared``, fp32 [tokens, hidden] on the inputs' device."""
        if case.rank is None:
            return self._of_copies(case, inputs)
        shards = [self._of_copies(replace(case, rank=rank, tp=1), inputs) for rank in range(case.tp)]
        return {name: torch.stack([shard[name] for shard in shards]).sum(0) for name in shards[0]}

    def _of_copies(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The output where every rank holds a copy of this one's shard."""
        if case.full:
            return self._answer(case, inputs, case.tp)
        key = (Sizes.of(case), case.activation, case.gated, case.scaling, self.rounding)
        parts = cached(key, inputs, lambda: self._answer(case, inputs, 1))
        return {name: case.tp * part for name, part in parts.items()}

    def _answer(self, case: Case, inputs: tuple[Tensor, ...], tp: int) -> dict[str, Tensor]:
        masters = masters_of(case, inputs[0].device)
        return layer_output(
            inputs,
            masters.expert,
            activation=case.activation,
            gated=case.gated,
            scaling=case.scaling,
            tp=tp,
            shared=masters.shared,
            latent=masters.latent,
            rounding=self.rounding,
        )

    def ops(self, case: Case) -> Sequence[str]:
        """The routed experts' op."""
        return (OP,)

    def recipes(self, case: Case) -> Sequence[Recipe]:
        """How a script makes this layer without this package, the shortest way first."""
        return recipes(case)
