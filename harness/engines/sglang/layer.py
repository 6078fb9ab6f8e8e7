"""The layer under test: SGLang's own, in the block of a model of SGLang's own, built for a case."""

import contextlib
import itertools
import weakref
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from harness.base.errors import Skip
from harness.engines.sglang.engine import Engine
from harness.engines.sglang.standin import StandInConfig
from harness.engines.sglang.weights import in_block, masters
from harness.execution.state.global_state import default_dtype
from harness.matrix.case import Case

_count = itertools.count()
PLAIN = "sglang-plain"


class Layer(nn.Module):
    """A block as a decoder layer calls it, [T, H] to [T, H].

    It also completes the sum over ranks where a release's block leaves it.
    """

    def __init__(self, engine: Engine, case: Case) -> None:
        super().__init__()
        self.engine, self.number = engine, next(_count)
        self.piecewise = not case.path.startswith(PLAIN)
        # As SGLang's loader has it.
        with default_dtype(getattr(torch, case.dtype)):
            self.block: Any = _built(engine, case, self.number)
        _load(self.block, case)
        _resolve(self.block)
        self.complete = completion()
        engine.layers[self.number], engine.blocks[self.number] = self.block.experts, self.block
        weakref.finalize(self, engine.forget, self.number)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[T, H] to [T, H]."""
        self.engine.piecewise(self.piecewise)
        out: Tensor = self.block(hidden_states)
        return self.complete(out) if self.complete else out


def _built(engine: Engine, case: Case, number: int) -> Any:
    """The block. Raises Skip where this release reads a name of the configuration that the harness does not give."""
    model, quantisation = in_block(case), StandInConfig(case)
    try:
        if model == "nemotron":
            return engine.models[model](nemotron_config(case), number, quantisation, f"model.layers.{number}.mixer")
        return engine.models[model](number, gpt_oss_config(case), quantisation, f"model.layers.{number}.mlp")
    except AttributeError as error:
        if not isinstance(error.obj, Config):
            raise
        raise Skip(
            f"SGLang {engine.version} reads {error.name} of the model's configuration, which the harness does not know"
        ) from None


def completion() -> Any:
    """The function with which a release's decoder layer completes the sum over ranks; None where its blocks do so themselves."""
    from sglang.srt.layers.moe import utils

    return getattr(utils, "sum_post_experts_output", None)


class Config(SimpleNamespace):
    """A model's configuration, of which a block reads some names."""


def nemotron_config(case: Case) -> Config:
    """What NemotronHMoE reads of a model's configuration. Widths that are shards are given for all ranks together."""
    return Config(
        hidden_size=case.hidden,
        moe_latent_size=case.latent,
        moe_intermediate_size=case.intermediate * case.tp,
        moe_shared_expert_intermediate_size=(case.shared or 0) * case.tp,
        n_shared_experts=1 if case.shared else 0,
        n_routed_experts=case.experts,
        num_experts_per_tok=case.top_k,
        routed_scaling_factor=case.scaling,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        mlp_bias=False,
        mlp_hidden_act="silu",
    )


def gpt_oss_config(case: Case) -> Config:
    """What GptOssSparseMoeBlock reads of a model's configuration."""
    dtype = getattr(torch, case.dtype)
    return Config(
        hidden_size=case.hidden,
        intermediate_size=case.intermediate * case.tp,
        num_local_experts=case.experts,
        num_experts_per_tok=case.top_k,
        hidden_act="silu",
        swiglu_limit=7.0,
        dtype=dtype,
        torch_dtype=dtype,  # the name in older releases
    )


def _resolve(block: Any) -> None:
    """Let a block choose its implementations now. Its first call would, in a batch that runs before any trace."""
    for module in block.modules():
        if getattr(module, "_forward_method", block) is None:
            module._forward_method = module._resolve_forward_method()
    if getattr(block, "_use_min_latency_fc1_gemm", block) is None:
        # What is wrong in this projection is found in a call, with its stage.
        with contextlib.suppress(Exception), torch.no_grad():
            block._apply_fc1_latent_proj(block.gate.weight[:1])


def _load(block: Any, case: Case) -> None:
    """Write the master weights into the dense layers, as SGLang's loader does from a checkpoint."""
    weights = masters(case)
    router = block.gate if hasattr(block, "gate") else block.router
    router.weight.data.copy_(weights.gate)
    for name in ("bias", "e_score_correction_bias"):
        if getattr(router, name, None) is not None:
            getattr(router, name).data.zero_()
    if weights.shared:
        for layer, weight in zip(
            (block.shared_experts.up_proj, block.shared_experts.down_proj), weights.shared, strict=True
        ):
            layer.weight.data.copy_(weight)
    if weights.latent:
        for layer, weight in zip((block.fc1_latent_proj, block.fc2_latent_proj), weights.latent, strict=True):
            layer.weight.data.copy_(weight)
    for parameter in block.parameters():
        parameter.requires_grad_(False)
