"""The blocks of transformers: where each is, and its configuration for a case."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from harness.base.errors import BadInput
from harness.matrix.case import Case

Settings = dict[str, Any]


def _qwen3(case: Case) -> Settings:
    return {
        "num_experts": case.experts,
        "moe_intermediate_size": case.intermediate,
        "norm_topk_prob": True,
        "hidden_act": "silu",
    }


def _mixtral(case: Case) -> Settings:
    return {"num_local_experts": case.experts, "intermediate_size": case.intermediate, "hidden_act": "silu"}


def _gpt_oss(case: Case) -> Settings:
    return {"num_local_experts": case.experts, "intermediate_size": case.intermediate}


def _nemotron(case: Case) -> Settings:
    return {
        "n_routed_experts": case.experts,
        "moe_intermediate_size": case.intermediate,
        "moe_shared_expert_intermediate_size": case.shared,
        "moe_latent_size": case.latent,
        "routed_scaling_factor": case.scaling or 1.0,
        "norm_topk_prob": True,
        "mlp_hidden_act": case.activation,
    }


@dataclass(frozen=True)
class Block:
    """One block: its classes' names, its configuration for a case, and the submodule that routes.

    ``rounds_routing``: the routing weights have the dtype of hidden_states, else fp32.
    """

    layer: str
    config: str
    settings: Callable[[Case], Settings]
    router: str = "gate"
    rounds_routing: bool = False


BLOCKS = {
    "qwen3_moe": Block("Qwen3MoeSparseMoeBlock", "Qwen3MoeConfig", _qwen3, rounds_routing=True),
    "mixtral": Block("MixtralSparseMoeBlock", "MixtralConfig", _mixtral),
    "gpt_oss": Block("GptOssMLP", "GptOssConfig", _gpt_oss, router="router", rounds_routing=True),
    "nemotron_h": Block("NemotronHMoE", "NemotronHConfig", _nemotron),
}


def build(family: str, case: Case, implementation: str) -> nn.Module:
    """The block without its weights, in bf16 but for what it keeps in fp32. Raises BadInput where it cannot be had."""
    block = BLOCKS[family]
    try:
        modeling = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
        configuration = importlib.import_module(f"transformers.models.{family}.configuration_{family}")
        config = getattr(configuration, block.config)(**_common(case), **block.settings(case))
        config._experts_implementation = implementation
        layer: nn.Module = getattr(modeling, block.layer)(config)
    except (ImportError, AttributeError) as error:
        raise BadInput(
            f"transformers has no {block.layer} that can be used: {type(error).__name__}: {error}; "
            "`pip install transformers` gives one (5.0 or newer)"
        ) from error
    return layer


def _common(case: Case) -> Settings:
    return {"hidden_size": case.hidden, "num_experts_per_tok": case.top_k, "num_hidden_layers": 1}
