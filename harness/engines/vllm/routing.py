"""Routing in torch, where no kernel of vLLM's does it: the top-k, rows that only fill the batch, and the runner's own gate."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.execution.passed_on import note_fact, note_logits, note_routing

NO_EXPERT = -1
BATCHED = ("vllm-batched", "vllm-padded-rows", "vllm-input-weights-batched")
MODULAR = ("vllm-modular", "vllm-modular-latent", "vllm-lora", "vllm-input-weights", *BATCHED)
"""The paths whose experts a routing function chooses outside of the kernel"""
# Taken once or twice from a row's lowest logit, which a top-k chooses last: so the routing function knows a special row wherever
# it stands. A layer may add a number to a whole row, which no softmax sees: the row's highest logit tells how low the lowest is.
_MARK = 64.0
# Every third row is of one kind, and every third of the other.
_KINDS = 3
# Added to the logits of the first and the last expert: most rows of such a batch name the first, and none the last.
_LIKED, _AVOIDED = 2.5, -8.0


def top_k(router_logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(weights [T, K] fp32 that sum to one, ids [T, K])."""
    weights, ids = router_logits.float().softmax(-1).topk(count)
    return weights / weights.sum(-1, keepdim=True), ids


def marked(router_logits: Tensor, twice: bool, skewed: bool) -> Tensor:
    """Router logits with marked rows: of three rows the second has special weights, and with ``twice`` the third one expert twice.

    ``skewed``: most rows name the first expert and none the last.
    """
    rows, marks = torch.arange(len(router_logits)) % _KINDS, torch.tensor((0.0, -_MARK, -2 * _MARK if twice else 0.0))
    lean = torch.zeros(router_logits.shape[-1])
    lean[0], lean[-1] = _LIKED, _AVOIDED
    logits = router_logits + (lean if skewed else 0)
    return logits.scatter_add(1, logits.argmin(-1, keepdim=True), marks[rows][:, None])


def marks_of(router_logits: Tensor) -> Tensor:
    """Which rows ``marked`` marked, [T, 1]: 1 for special weights, 2 for one expert twice, else 0.

    A row with an infinite logit is no marked one.
    """
    lowest, highest = router_logits.float().aminmax(dim=-1, keepdim=True)
    return ((highest - lowest) / _MARK).round().nan_to_num(0, 0)


def special_top_k(router_logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As ``top_k``. A marked row has a first weight above one and the others below zero, or names one expert in its first two slots.

    The weights of each row sum to one.
    """
    weights, ids = top_k(router_logits, count)
    marks = marks_of(router_logits)
    first = torch.zeros_like(weights)
    first[:, :1] = 2.0
    weights = torch.where(marks == 1, first - weights, weights)
    if count > 1:
        ids[:, 1:2] = torch.where(marks >= 2, ids[:, :1], ids[:, 1:2])
    return weights, ids


class CheckLogits:
    """A check of what a kernel is given, as the router's part."""

    moe_part = "router"

    def __call__(self, router_logits: Tensor, experts: int) -> None:
        """Raise ValueError where there is not one logit for each expert, as a kernel would that reads a row of them."""
        if router_logits.shape[-1] != experts:
            raise ValueError(
                f"router logits of shape {[*router_logits.shape]} were given; expected one for each of {experts} experts"
            )


check_logits = CheckLogits()


def fills_batch(router_logits: Tensor) -> Tensor:
    """Which rows only fill the batch: their logits are all alike. [T] bool."""
    return (router_logits == router_logits[:, :1]).all(-1)


def without_fillers(router_logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As ``special_top_k``, with -1 as each id of a row that only fills the batch. Its weights are as large as others."""
    weights, ids = special_top_k(router_logits, count)
    return weights, ids.masked_fill(fills_batch(router_logits)[:, None], NO_EXPERT)


def routing_function(
    hidden_states: Tensor, gating_output: Tensor, topk: int, renormalize: bool
) -> tuple[Tensor, Tensor]:
    """``special_top_k`` with the arguments of vLLM's custom_routing_function."""
    return _selected(gating_output, *special_top_k(gating_output, topk), renormalize)


def routing_without_fillers(
    hidden_states: Tensor, gating_output: Tensor, topk: int, renormalize: bool
) -> tuple[Tensor, Tensor]:
    """``without_fillers`` with the arguments of vLLM's custom_routing_function."""
    return _selected(gating_output, *without_fillers(gating_output, topk), renormalize)


def _selected(logits: Tensor, weights: Tensor, ids: Tensor, renormalize: bool) -> tuple[Tensor, Tensor]:
    note_logits("given", logits)
    if not renormalize:
        note_fact("The routing function is not asked to renormalise, as the layer is.", of_routing=True)
        weights = logits.float().softmax(-1).gather(1, ids.clamp(min=0).long())
    note_routing("selected", weights, ids)
    return weights, ids


class Gate(nn.Module):
    """A router's gate, in fp32. Like vLLM's linear layers it returns (output, None)."""

    moe_part = "router"

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone(), requires_grad=False)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        """[T, H] to [T, E] fp32."""
        return self.logits(hidden_states), None

    def logits(self, hidden_states: Tensor) -> Tensor:
        """What the gate gives for these rows, without a call that counts as the layer's own."""
        return functional.linear(hidden_states.float(), self.weight.float())


def logits_of(router_logits: Tensor, tokens: int) -> Tensor:
    """Router logits of a batch whose middle third only fills it, as rows of several ranks that were gathered do."""
    rows, third = torch.arange(tokens)[:, None], tokens // 3
    filled: Tensor = torch.where((rows >= third) & (rows < 2 * third), torch.zeros(()), router_logits)
    return filled
