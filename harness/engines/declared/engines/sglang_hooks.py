"""What SGLang needs of a stand-in: a group of two ranks."""

from types import ModuleType
from typing import Any

from harness.engines.declared.engine import Samples
from harness.engines.declared.engines.vllm_hooks import Groups
from harness.engines.declared.running import kernels

_STATES = ("sglang.srt.distributed.parallel_state", "sglang.multimodal_gen.runtime.distributed.group_coordinator")


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
    if callable(getattr(module, "load_jit", None)):
        module.load_jit = lambda *_, **__: kernels.Kernels()  # type: ignore[attr-defined]
    for name in ("_COMM_MAP", "_COMMS"):  # communicators that a start of the engine registers
        if isinstance(getattr(module, name, None), dict):
            setattr(module, name, _Registered())
    for name in ("is_sm100_supported", "is_blackwell_supported", "is_cuda"):
        if callable(getattr(module, name, None)):
            setattr(module, name, lambda *_, **__: True)


def samples(name: str) -> Samples | None:
    """No samples of its own."""
    return None
