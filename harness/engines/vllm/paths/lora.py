"""An adapter on every expert: vLLM's own LoRA layer around the modular kernel, with LoRA's kernels written in torch."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from harness.engines.vllm.paths.adapters import MAX_RANK, Adapter, load
from harness.engines.vllm.paths.modular import PACKAGE, ModularStandIn, TorchExperts
from harness.execution.passed_on import is_noting, note_fact
from harness.matrix.case import Case
from harness.ops.product import product

_SLOT, _SLOTS = 1, 2


def _mixin() -> Any:
    try:
        return import_module(f"{PACKAGE}.experts.lora_experts_mixin").LoRAExpertsMixin
    except ModuleNotFoundError:
        return import_module(f"{PACKAGE}.lora_experts_mixin").LoRAExpertsMixin


class LoraExperts(_mixin(), TorchExperts):  # type: ignore[misc]
    """The experts in torch, with vLLM's own added parts."""

    def after_up(self, up: Tensor, hidden_states: Tensor, ids: Tensor, w1: Tensor, w2: Tensor) -> None:
        """Add the adapter to gate and up."""
        context, given = self._lora_context, hidden_states
        original = getattr(context, "original_hidden_states", None)
        self._found = self.apply_w13_lora(
            context,
            y=up,
            x=given if original is None else original,
            topk_ids=ids,
            topk_weights=None,
            expert_map=None,
            w1=w1,
            w2=w2,
            num_tokens=ids.shape[0],
            top_k_num=ids.shape[1],
        )

    def after_down(self, down: Tensor, middle: Tensor, weights: Tensor, ids: Tensor, w1: Tensor, w2: Tensor) -> None:
        """Add the adapter to the second product."""
        names = ("sorted_token_ids_lora", "expert_ids_lora", "num_tokens_post_padded_lora", "token_lora_mapping")
        self.apply_w2_lora(
            self._lora_context,
            y=down,
            x=middle.flatten(0, 1),
            topk_weights=weights,
            num_tokens=ids.shape[0],
            w1=w1,
            w2=w2,
            top_k_num=ids.shape[1],
            **dict(zip(names, self._found, strict=True)),
        )


class LoraStandIn(ModularStandIn):
    """A modular kernel that takes adapters."""

    experts = LoraExperts


class Punica:
    """LoRA's kernels in torch: every token has the adapter of one slot. Arguments are those of vLLM's wrappers."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def add_lora_w13(self, y: Tensor, x: Tensor, a: Any, b: Any, topk_ids: Tensor, *more: Any, **named: Any) -> Any:
        """Add to ``y`` [T, K, 2I] the adapter of each slice of it. Returns the ids for ``add_lora_w2``."""
        enabled, slices = more[7], more[10]
        width = y.shape[-1] // slices
        for name, part in (("gate", 0), ("up", 1)):
            self._note(name, a[part], b[part], enabled)
        for part in range(slices):
            _add(y[..., part * width : (part + 1) * width], x[:, None], a[part], b[part], topk_ids, enabled)
        return topk_ids, None, None, None

    def add_lora_w2(
        self, y: Tensor, x: Tensor, a: Any, b: Any, topk_weights: Tensor, ids: Tensor, *more: Any, **named: Any
    ) -> None:
        """Add to ``y`` [T, K, W] the weighted adapter."""
        self._note("down", a[0], b[0], more[8])
        _add(y, x.unflatten(0, ids.shape), a[0], b[0], ids, more[8], topk_weights)

    def _note(self, name: str, a: Tensor, b: Tensor, enabled: Tensor) -> None:
        """In a second look: whether a part of the adapter is given as it was loaded."""
        if not is_noting():
            return
        if not enabled[_SLOT]:
            note_fact("The adapter's slot is not enabled, so that nothing of it is added.")
            return
        given, loaded = b[_SLOT].float() @ a[_SLOT].float(), Adapter.of(self.case).product(name, self.case)
        inside = given[:, : loaded.shape[1], : loaded.shape[2]]
        if not given.any():
            note_fact(f"The adapter's factors for {name} are zero.")
        elif inside.shape != loaded.shape or not torch.allclose(inside, loaded, rtol=0.02, atol=1e-3):
            note_fact(f"The adapter's factors for {name} are not those that were loaded.")


def _add(
    y: Tensor, x: Tensor, a: Tensor, b: Tensor, ids: Tensor, enabled: Tensor, weights: Tensor | None = None
) -> None:
    share = (torch.ones(()) if weights is None else weights[..., None]) * enabled[_SLOT]
    for expert in range(a.shape[1]):
        added = product(product(x, a[_SLOT, expert]), b[_SLOT, expert])
        y += torch.where((ids == expert)[..., None], share * added, 0).to(y.dtype)


def with_adapter(experts: Any, case: Case) -> nn.Module:
    """VLLM's LoRA layer around its MoE layer, with the adapter in one of two slots, which held one of a higher rank before."""
    from vllm.config.lora import LoRAConfig
    from vllm.lora.layers.fused_moe import FusedMoEWithLoRA

    made: Any = FusedMoEWithLoRA(experts)
    made.create_lora_weights(_SLOTS, LoRAConfig(max_lora_rank=MAX_RANK, max_loras=_SLOTS, lora_dtype=torch.bfloat16))
    load(made, Punica(case), case, _SLOT)
    return made  # type: ignore[no-any-return]
