"""The fp32 oracle of vLLM's layer: no padding, no custom op, nothing of vLLM."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.engines.vllm.paths.adapters import Adapter
from harness.engines.vllm.paths.on_input import ON_INPUT, sigmoid_top_k
from harness.engines.vllm.routing import MODULAR, special_top_k, top_k, without_fillers
from harness.engines.vllm.weights import DEFERS, NORMALISE, Masters, masters
from harness.matrix.case import Case

_EPS = 1e-6


def oracle(case: Case, hidden_states: Tensor, router_logits: Tensor | None) -> dict[str, Tensor]:
    """``routed`` and, where there is a shared expert, ``shared``, fp32 [T, H], summed over ``tp`` ranks.

    Each rank has its own shard of an adapter, and on some paths of the layer; else the ranks are identical. Where the layer
    leaves the sum to its caller, they are what this rank's shard gives.
    """
    weights_of_case, x = masters(case, 0).exact, hidden_states.float()
    logits = x @ weights_of_case.gate.T if router_logits is None else router_logits
    routed = _routed(case, weights_of_case, x, logits)
    # Where the layer normalises, the scaling is inside of that.
    parts = {"routed": routed if case.divides_shared or case.path in NORMALISE else case.scaling * routed}
    if weights_of_case.shared:
        parts["shared"] = _over_ranks(case, lambda shard: _shared(shard, x)) / (
            case.scaling if case.divides_shared else 1
        )
    return parts


def _over_ranks(case: Case, part: Callable[[Masters], Tensor]) -> Tensor:
    """The sum over the ranks of what a part gives with a rank's weights."""
    if case.path == DEFERS:
        return part(masters(case).exact)
    if case.path not in NORMALISE:
        return case.tp * part(masters(case, 0).exact)
    return torch.stack([part(masters(case, rank).exact) for rank in range(case.tp)]).sum(0)


def _shared(shard: Masters, x: Tensor) -> Tensor:
    """A rank's part of the shared expert's output, [T, H]."""
    assert shard.shared is not None
    up, down = shard.shared
    return _gated(x @ up.T) @ down.T


def _routed(case: Case, weights_of_case: Masters, x: Tensor, logits: Tensor) -> Tensor:
    """The routed experts' output, [T, H], not scaled."""
    inner = x @ weights_of_case.latent[0].T if weights_of_case.latent else x
    routing = _router_of(case)(logits, case.top_k)
    if case.path == "vllm-lora":
        adapter = Adapter.of(case)
        routed = sum(
            _experts(inner, *adapter.added(weights_of_case.w13, weights_of_case.w2, r), *routing)
            for r in range(case.tp)
        )
        assert isinstance(routed, Tensor)
        return routed
    if case.path in ON_INPUT:
        inner, routing = inner * routing[0], (torch.ones_like(routing[0]), routing[1])
    routed = _over_ranks(case, lambda shard: _experts(inner, shard.w13, shard.w2, *routing))
    if weights_of_case.latent is None:
        return routed
    if case.path in NORMALISE:
        routed = case.scaling * routed  # all but undone, since the norm has a floor
        routed = routed * (routed.pow(2).mean(-1, keepdim=True) + _EPS).rsqrt()
    return routed @ weights_of_case.latent[1].T


def _router_of(case: Case) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """What chooses the experts of a case."""
    if case.path == "vllm-padded-rows":
        return without_fillers
    if case.path in ON_INPUT:
        return sigmoid_top_k
    return special_top_k if case.path in MODULAR else top_k


def _experts(x: Tensor, w13: Tensor, w2: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
    """The weighted sum over each token's experts, [T, W]. An id of -1 names no expert."""
    every = torch.stack([_gated(x @ up.T) @ down.T for up, down in zip(w13, w2, strict=True)]).transpose(0, 1)
    chosen = every.gather(1, ids.clamp(min=0)[..., None].expand(-1, -1, every.shape[-1]))
    return ((weights * (ids >= 0))[..., None] * chosen).sum(1)


def _gated(rows: Tensor) -> Tensor:
    half = rows.shape[-1] // 2
    gate = rows[..., :half]
    return gate / (1 + torch.exp(-gate)) * rows[..., half:]
