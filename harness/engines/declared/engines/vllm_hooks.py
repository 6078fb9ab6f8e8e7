"""What vLLM needs of a stand-in: one CUDA platform, a group of two ranks, a forward context."""

import functools
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from harness.engines.declared.engine import Samples
from harness.engines.declared.running import anything, kernels, machine

RANKS = 2


def _reduced_and_cut(x: Tensor, dim: int = -1) -> Tensor:
    """What a reduce-scatter over the group gives: this rank's part of dimension ``dim``."""
    return x.movedim(dim, 0)[: x.shape[dim] // RANKS].movedim(0, dim).clone()


def _gathered(x: Tensor, dim: int = -1) -> Tensor:
    return torch.cat([x] * RANKS, dim)


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.clone()


def _into(output: Tensor, _: Tensor) -> None:
    output.fill_(1)


def _in_place(x: Tensor) -> None:
    x.fill_(1)


def _launched(collective: Callable[..., Any]) -> Callable[..., Any]:
    """A collective of the stand-in, which counts as a kernel."""

    @functools.wraps(collective)
    def call(*args: Any, **kwargs: Any) -> Any:
        kernels.launched()
        return collective(*args, **kwargs)

    return call


_COLLECTIVES: dict[Callable[..., Any], tuple[str, ...]] = {
    _same: ("broadcast", "all_reduce", "_all_reduce_out_place", "_all_reduce_out_of_place", "_flashinfer_allreduce"),
    _in_place: ("_all_reduce_in_place",),
    _into: ("_all_gather_into_tensor", "_reduce_scatter_tensor", "_all_to_all_single"),
    _reduced_and_cut: ("reduce_scatter", "_reduce_scatter_out_place"),
    _gathered: ("all_gather", "_all_gather_out_place"),
}
GROUP = SimpleNamespace(
    world_size=RANKS, rank=0, rank_in_group=0, local_rank=0, unique_name="stub", use_custom_op_call=True,
    device_group=None, device_communicator=None, cpu_group=None, device=torch.device("cpu"),
    **{name: _launched(collective) for collective, names in _COLLECTIVES.items() for name in names},
)  # fmt: skip


class _Context:
    """A forward context whose layers, metadata and flags are stand-ins."""

    attn_metadata = None

    def __init__(self) -> None:
        self.slot_mapping: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return anything.named(name)()


class Groups(dict[str, Any]):
    """Every name is that of the one group."""

    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: str) -> Any:
        return lambda: GROUP


def patch(module: ModuleType) -> None:
    """Give a module of vLLM the machine, the group and the context of a stand-in."""
    changes = _PATCHED.get(module.__name__, {})
    for name, value in changes.items():
        if hasattr(module, name):
            setattr(module, name, value)
    if module.__name__ == "vllm._aiter_ops":
        module.rocm_aiter_ops.get_aiter_allreduce = classmethod(_layer)
    if module.__name__ == "vllm.platforms.interface":
        _as_cuda(module.Platform)


def _as_cuda(platform: Any) -> None:
    platform.is_cuda = platform.is_cuda_alike = lambda self: True
    platform.get_device_capability = classmethod(lambda cls, *_: module_capability(platform))
    platform.has_device_capability = classmethod(lambda cls, wanted, *_: _number(wanted) <= 100)
    platform.is_device_capability = classmethod(lambda cls, wanted, *_: _number(wanted) == 100)
    platform.is_device_capability_family = classmethod(lambda cls, wanted, *_: _number(wanted) == 100)


def module_capability(platform: Any) -> Any:
    """The capability of the stand-in's device, of the platform's own class."""
    import sys

    return sys.modules[platform.__module__].DeviceCapability(*machine.CAPABILITY)


def _number(wanted: Any) -> int:
    return int(wanted) if isinstance(wanted, int) else wanted[0] * 10 + wanted[1]


class _Workspaces:
    """In place of the manager of workspaces, which a start of the engine makes: fresh memory."""

    def get_simultaneous(self, *wanted: tuple[tuple[int, ...], torch.dtype]) -> list[Tensor]:
        """A tensor for each pair of a shape and a dtype."""
        return [torch.empty(shape, dtype=dtype) for shape, dtype in wanted]


def _layer(*_: Any, **__: Any) -> kernels.Kernels:
    """A layer of a model by its name. What it computes is as unknown as what a kernel does."""
    return kernels.Kernels()


_PATCHED: dict[str, dict[str, Any]] = {
    "vllm.v1.worker.workspace": {"current_workspace_manager": _Workspaces},
    "vllm.model_executor.layers.fused_moe.runner.moe_runner": {"get_layer_from_name": _layer},
    "vllm.model_executor.models.cohere2_moe": {"_dual_stream_layer": _layer},
    "vllm.forward_context": {"get_forward_context": _Context},
    "vllm.distributed.parallel_state": {
        "_groups": Groups(),
        "get_tp_group": lambda: GROUP,
        "get_tensor_model_parallel_world_size": lambda: RANKS,
        "get_tensor_model_parallel_rank": lambda: 0,
    },
}


def samples(name: str) -> Samples | None:
    """No samples of its own."""
    return None
