"""The output of a block by plain fp32 arithmetic: no code of transformers, one expert after another.

Routing is the one place where the oracle rounds as the block does, because a choice of experts is no small error. The
weights of the chosen experts are rounded to bf16 where the block stores them so.
"""

import torch
from torch import Tensor

from harness.engines.transformers.blocks import BLOCKS
from harness.matrix.case import Case


def oracle(case: Case, family: str, hidden: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """``routed`` and, where there is a shared expert, ``shared``: fp32 [tokens, hidden]."""
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    x = hidden.float()
    chosen, share = _routing(case, family, x, weights[f"{BLOCKS[family].router}.weight"], weights)
    rows = x @ weights["fc1_latent_proj.weight"].T if case.latent else x
    routed = torch.zeros_like(rows)
    for expert in range(case.experts):
        scale = torch.where(chosen == expert, share, 0.0).sum(-1, keepdim=True)
        routed += scale * _expert(family, rows, expert, weights)
    if case.latent:
        routed = routed @ weights["fc2_latent_proj.weight"].T
    if not case.shared:
        return {"routed": routed}
    up = torch.relu(x @ weights["shared_experts.up_proj.weight"].T) ** 2
    return {"routed": routed, "shared": up @ weights["shared_experts.down_proj.weight"].T}


def _routing(case: Case, family: str, x: Tensor, router: Tensor, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Expert ids and their weights, each [tokens, top_k]."""
    logits = x @ router.T + weights.get("router.bias", 0)
    if family == "gpt_oss":
        logits = logits.bfloat16().float()
        top, ids = logits.topk(case.top_k, -1)
        share = top.exp() / top.exp().sum(-1, keepdim=True)
    else:
        scores = torch.sigmoid(logits) if family == "nemotron_h" else torch.softmax(logits, -1)
        top, ids = scores.topk(case.top_k, -1)
        share = top / top.sum(-1, keepdim=True)
    share = share * (case.scaling or 1.0) if family == "nemotron_h" else share
    return ids, share.bfloat16().float() if BLOCKS[family].rounds_routing else share


def _expert(family: str, x: Tensor, expert: int, weights: dict[str, Tensor]) -> Tensor:
    """One expert's output for all rows."""
    down = weights["experts.down_proj"][expert]
    if family == "nemotron_h":
        return torch.relu(x @ weights["experts.up_proj"][expert].T) ** 2 @ down.T
    if family == "gpt_oss":
        both = x @ weights["experts.gate_up_proj"][expert] + weights["experts.gate_up_proj_bias"][expert]
        gate, up = both[:, ::2].clamp(max=7.0), both[:, 1::2].clamp(-7.0, 7.0)
        return (up + 1) * gate * torch.sigmoid(1.702 * gate) @ down + weights["experts.down_proj_bias"][expert]
    gate, up = (x @ weights["experts.gate_up_proj"][expert].T).chunk(2, -1)
    return gate * torch.sigmoid(gate) * up @ down.T
