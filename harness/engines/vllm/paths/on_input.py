"""One expert for a token, whose routing weight multiplies the experts' input, as Llama 4 has it."""

import torch
from torch import Tensor

from harness.engines.vllm.routing import marks_of
from harness.execution.passed_on import is_noting, note_fact, note_logits, note_routing

ON_INPUT = ("vllm-input-weights", "vllm-input-weights-batched")
_MORE = 1.0
_ROUNDING = 0.02  # of a row that is weighted in bfloat16


def sigmoid_top_k(router_logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(weights [T, K] fp32, not renormalised, ids [T, K]): the sigmoid of each logit, more than one or below zero in a marked row.

    The weights are exact in bfloat16, since vLLM casts them to the input's dtype.
    """
    logits, ids = router_logits.float().topk(count)
    marks, weights = marks_of(router_logits), logits.sigmoid()
    weights = torch.where(marks == 1, _MORE + weights, torch.where(marks >= 2, -weights, weights))
    return weights.bfloat16().float(), ids


def routing_on_input(
    hidden_states: Tensor, gating_output: Tensor, topk: int, renormalize: bool
) -> tuple[Tensor, Tensor]:
    """``sigmoid_top_k`` with the arguments of vLLM's custom_routing_function."""
    note_logits("given", gating_output)
    weights, ids = sigmoid_top_k(gating_output, topk)
    if renormalize:
        note_fact("The routing function is asked to renormalise, as the layer is not.", of_routing=True)
        weights = weights / weights.sum(-1, keepdim=True)
    note_routing("selected", weights, ids)
    return weights, ids


class Rows:
    """The rows that a modular kernel is given, and whether its experts should get them weighted: for a second look."""

    def __init__(self, on_input: bool) -> None:
        self.on_input = on_input
        self._rows: Tensor | None = None

    def note(self, rows: Tensor | None) -> None:
        """Keep a copy of rows [T, W] that no weight is on."""
        self._rows = rows.detach().clone() if rows is not None and self.on_input and is_noting() else None

    def check_buffers(self, buffers: Tensor, weights: Tensor, ids: Tensor) -> None:
        """Note what is wrong in the rows of the experts' buffers [E, M, W], which lie in their order in the batch."""
        if is_noting() and self.on_input and ids.shape[-1] == 1:
            expert = ids.long().clamp(0, len(buffers) - 1)
            places = (expert == torch.arange(len(buffers), device=ids.device)).cumsum(0) - 1
            self.check(buffers[expert[:, 0], places.gather(1, expert)[:, 0]], weights)

    def check(self, given: Tensor, weights: Tensor) -> None:
        """Note what is wrong in the rows [T, W] that experts are ``given``."""
        rows = self._rows if is_noting() else None
        if rows is None or rows.shape != given.shape or weights.shape[-1] != 1:
            return
        for times, word in ((0, "not"), (2, "twice")):
            if torch.allclose(given.float(), rows.float() * weights**times, rtol=_ROUNDING, atol=1e-3):
                note_fact(f"The routing weights are {word} on the rows that the experts are given.")

    def check_told(self, told: bool) -> None:
        """Note it where experts are not ``told`` that the weights are on their input."""
        if self.on_input and not told:
            note_fact("The experts are not told that the routing weights are on their input: they weight their output.")
