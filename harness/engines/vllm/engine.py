"""The process's vLLM: its configuration, its process groups and the constructor of its MoE layer."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import distributed, nn
from torch._C._distributed_c10d import FileStore, HashStore
from torch.distributed import ProcessGroup

from harness.base.errors import BadInput
from harness.engines.released.ranks import Ranks
from harness.engines.released.sums import SUMS

# The constructors of vLLM's MoE layer, newest first. In releases where one takes no shared expert, another one does.
FACTORIES = ("FusedMoEFactory", "SharedFusedMoE", "FusedMoE")
# What it imports of vLLM on its first use, which takes as long as importing torch does.
IMPORTED = (
    "vllm.config",
    "vllm.forward_context",
    "vllm.platforms",
    "vllm.distributed.parallel_state",
    "vllm.model_executor.layers.fused_moe",
    "vllm.v1.worker.workspace",
)
# Bytes: enough for the largest batch of a captured graph. Each capture copies what lies outside of it.
WORKSPACE = 2**23
PATIENCE = timedelta(seconds=120)
NEEDED = (
    "num_experts",
    "top_k",
    "hidden_size",
    "intermediate_size",
    "quant_config",
    "prefix",
    "tp_size",
    "shared_experts",
)
# Arguments that a release's constructor may lack; they are passed if it has them.
GIVEN = (
    "params_dtype",
    "reduce_results",
    "renormalize",
    "dp_size",
    "pcp_size",
    "routed_input_transform",
    "routed_output_transform",
    "routed_scaling_factor",
    "apply_routed_scale_to_output",
    "gate",
    "custom_routing_function",
    "apply_router_weight_on_input",
)


class Engine:
    """The imported vLLM, set up once per process, since vLLM keeps its groups and its forward context in globals."""

    def __init__(self, ranks: Ranks) -> None:
        import vllm
        from vllm.config import DeviceConfig, VllmConfig, set_current_vllm_config
        from vllm.forward_context import set_forward_context

        self.ranks, self.version = ranks, str(vllm.__version__)
        self.root = Path(str(vllm.__file__)).parent
        _on_no_cpu_platform(self.version)
        self.config = VllmConfig(device_config=DeviceConfig(device="cpu"))
        # These contexts are never exited: layers are built and run until the process ends.
        self.contexts = ExitStack()
        self.contexts.enter_context(set_current_vllm_config(self.config))
        _start_groups(ranks)
        self.contexts.enter_context(set_forward_context(None, self.config))
        self.factory, self.takes = _factory()
        _start_workspaces()

    @property
    def has_paths(self) -> bool:
        """Whether this release's runner does all that surrounds the experts, which it does from 0.20 on."""
        return "routed_output_transform" in self.takes

    @property
    def can_defer(self) -> bool:
        """Whether a model can have this release's layer leave the last sum over the ranks to it."""
        from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig

        return "reduce_results" in self.takes and "skip_final_all_reduce" in {
            one.name for one in fields(FusedMoEConfig)
        }

    def layer(self, tp_size: int, **given: Any) -> nn.Module:
        """Construct vLLM's MoE layer with those arguments that this release's constructor takes."""
        from vllm.distributed.parallel_state import get_tp_group

        # One process judges cases of one rank and of several. vLLM's group of one returns what it is given to sum.
        get_tp_group().world_size = tp_size
        given["tp_size"] = tp_size
        made: nn.Module = self.factory(**{name: value for name, value in given.items() if name in self.takes})
        return made

    def forget(self, prefix: str) -> None:
        """Remove a layer from the forward context, which would keep it alive by its name."""
        compilation = self.config.compilation_config
        compilation.static_forward_context.pop(prefix, None)
        if prefix in compilation.static_all_moe_layers:
            compilation.static_all_moe_layers.remove(prefix)


def _on_no_cpu_platform(version: str) -> None:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        raise BadInput(
            f"vLLM {version} runs on its CPU platform, which never calls the custom op, so a "
            "verdict would say nothing about other platforms; give a source tree with --vllm PATH"
        )


def _start_groups(ranks: Ranks) -> None:
    from vllm.distributed import parallel_state

    # vLLM would do this itself, but with a timeout of half an hour for a rank that died.
    store = HashStore() if ranks.size == 1 else FileStore(ranks.meeting, ranks.size)
    distributed.init_process_group("gloo", store=store, timeout=PATIENCE, world_size=ranks.size, rank=ranks.rank)
    parallel_state.init_distributed_environment(ranks.size, ranks.rank, "env://", 0, "gloo")
    parallel_state.initialize_model_parallel(ranks.size)
    group = parallel_state.get_tp_group()
    if ranks.size > 1:
        # As on a GPU: vLLM's custom op reduces out of place, with a communicator that flattens its input.
        group.use_custom_op_call = True
        group.device_communicator = Gloo(group.device_group)


def _start_workspaces() -> None:
    """VLLM's workspaces, which its model runner would start.

    Where there is no accelerator, torch refuses two questions about one that vLLM asks wherever it runs.
    """
    from vllm.v1.worker.workspace import current_workspace_manager, init_workspace_manager

    if not torch.accelerator.is_available():
        torch.accelerator.empty_cache = lambda: None
        torch.cuda.is_current_stream_capturing = lambda: False
    init_workspace_manager(torch.device("cpu"))
    current_workspace_manager().get_simultaneous(((WORKSPACE,), torch.uint8))


@contextmanager
def other_workspaces() -> Iterator[None]:
    """Workspaces of which none was asked for before, inside a ``with`` block."""
    from vllm.v1.worker import workspace

    with mock.patch.object(workspace, "_manager", None):
        workspace.init_workspace_manager(torch.device("cpu"))
        yield


class Gloo:
    """A device communicator over gloo. Like a GPU's, it returns a new tensor and accepts only contiguous memory."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group

    def all_reduce(self, x: torch.Tensor) -> torch.Tensor:
        """The sum over ranks. ``view(-1)`` raises RuntimeError on a tensor that is not contiguous."""
        summed = x.view(-1).clone()
        if SUMS.alone:
            summed *= self.group.size()
        else:
            distributed.all_reduce(summed, group=self.group)
            SUMS.note(x, summed, self.group.size())
        # A copy in memory that gloo never referenced. Its thread may keep the sum alive a moment longer on one rank than on
        # another. Checks that depend on an output's lifetime would then make different calls on each rank, and hang.
        return summed.view(x.shape).clone()


def _factory() -> tuple[Callable[..., Any], frozenset[str]]:
    from vllm.model_executor.layers import fused_moe

    factory = next((getattr(fused_moe, name) for name in FACTORIES if hasattr(fused_moe, name)), None)
    if factory is None:
        raise BadInput(f"vllm.model_executor.layers.fused_moe has none of {', '.join(FACTORIES)}")
    return factory, _checked(factory)


def _checked(factory: Callable[..., Any]) -> frozenset[str]:
    """The parameters of a constructor. Raises BadInput if it lacks one that cases need, or requires an unknown one."""
    signature = inspect.signature(factory.__init__ if inspect.isclass(factory) else factory)
    named = {
        n: p for n, p in signature.parameters.items() if n != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    missing = [name for name in NEEDED if name not in named]
    unknown = [name for name, given in named.items() if given.default is given.empty and name not in (*NEEDED, *GIVEN)]
    if missing or unknown:
        problems = [f"it does not take {', '.join(missing)}"] if missing else []
        problems += [f"it requires {', '.join(unknown)}, which the harness does not know"] if unknown else []
        raise BadInput(f"{getattr(factory, '__name__', factory)} of this vLLM has changed: {'; '.join(problems)}")
    return frozenset(named)
