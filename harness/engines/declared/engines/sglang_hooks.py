"""What SGLang needs of a stand-in: a group of two ranks."""

import itertools
from types import ModuleType
from typing import Any

from harness.engines.declared.engine import Samples
from harness.engines.declared.engines.vllm_hooks import GROUP, RANKS, Groups
from harness.engines.declared.running import kernels

_STATES = ("sglang.srt.distributed.parallel_state", "sglang.multimodal_gen.runtime.distributed.group_coordinator")


class _Parallel:
    """How the engine is spread: groups of two ranks, of which this is the first."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return RANKS if name.endswith("_size") else 0 if name.endswith("_rank") else GROUP


# What only a start of the engine makes. The layers of a forward context are as unknown as kernels.
_REGISTRIES = ("_COMM_MAP", "_COMMS", "COMM_MAP", "runner_cores", "_TRANSFORMERS_MOE_LAYERS")
_STARTED: dict[str, Any] = {
    "get_tc_piecewise_forward_context": lambda *_: kernels.Kernels(),
    "get_attn_backend": lambda *_: kernels.Kernels(),
    "get_parallel": _Parallel,
}


class _Registered(dict[Any, Any]):
    """Something is registered under every key."""

    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: Any) -> Any:
        return kernels.Kernels()

    def get(self, _: Any, __: Any = None) -> Any:
        """What is registered."""
        return kernels.Kernels()


def patch(module: ModuleType) -> None:
    """Give a module of SGLang the group of a stand-in. Its helpers for the architecture answer as one of SM100."""
    if module.__name__ in _STATES and hasattr(module, "_groups"):
        module._groups = Groups()  # type: ignore[attr-defined]
    for name, answer in _STARTED.items():
        if callable(getattr(module, name, None)):
            setattr(module, name, answer)
    if callable(getattr(module, "load_jit", None)):
        module.load_jit = lambda *_, **__: kernels.Kernels()  # type: ignore[attr-defined]
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    for owner, name in itertools.product((module, *own), _REGISTRIES):
        if vars(owner).get(name) == {}:
            setattr(owner, name, _Registered())
    for name in ("is_sm100_supported", "is_blackwell_supported", "is_cuda"):
        if callable(getattr(module, name, None)):
            setattr(module, name, lambda *_, **__: True)


def samples(name: str) -> Samples | None:
    """No samples of its own."""
    return None
