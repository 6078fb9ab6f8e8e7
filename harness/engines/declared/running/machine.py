"""A stand-in for one SM100 GPU: answers for what an engine's host code asks torch, and tensors that claim to be on it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CAPABILITY = (10, 0)
_GPU = torch.device("cuda", 0)
_PROPERTIES = SimpleNamespace(
    major=10, minor=0, multi_processor_count=148, name="NVIDIA B200", gcnArchName="",
    uuid="GPU-0", total_memory=180 << 30, warp_size=32,
    shared_memory_per_block_optin=232448, shared_memory_per_multiprocessor=233472, regs_per_multiprocessor=65536,
    L2_cache_size=126 << 20, max_threads_per_multi_processor=2048,
)  # fmt: skip


class _Current:
    """A context that changes nothing: the one device and its one stream are the current ones. It is also a stream or an event."""

    cuda_stream = 0

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> "_Current":
        return self

    def __exit__(self, *_: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


_STREAM = _Current()
_ANSWERS: dict[str, Any] = {
    "is_available": lambda: True,
    "current_device": lambda: 0,
    "device_count": lambda: 1,
    "get_device_name": lambda *_: _PROPERTIES.name,
    "synchronize": lambda *_: None,
    "is_current_stream_capturing": lambda: False,
    "mem_get_info": lambda *_: (_PROPERTIES.total_memory, _PROPERTIES.total_memory),
    "current_stream": lambda *_, **__: _STREAM,
    "get_device_capability": lambda *_: CAPABILITY,
    "get_device_properties": lambda *_: _PROPERTIES,
    "set_device": lambda *_: None,
} | dict.fromkeys(("device", "device_of", "stream", "Stream", "Event"), _Current)
_ACCELERATOR: dict[str, Any] = {
    "is_available": lambda: True,
    "current_device_index": lambda: 0,
    "current_accelerator": lambda *_, **__: _GPU,
    "device_count": lambda: 1,
    "synchronize": lambda *_: None,
    "current_stream": lambda *_: _STREAM,
    "device_index": _Current,
}
_ALIGNED = 512  # the alignment of CUDA's allocator, in bytes


@contextmanager
def fake_cuda(environ: Mapping[str, str] | None = None) -> Iterator[None]:
    """Make torch.cuda answer as on one B200. ``environ`` are variables with which an engine compiles for it."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environ or {}))
        for name, answer in _ANSWERS.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        for name, answer in _ACCELERATOR.items():
            stack.enter_context(mock.patch.object(torch.accelerator, name, answer, create=True))
        stack.enter_context(mock.patch.object(torch, "get_device_module", return_value=torch.cuda))
        stack.enter_context(mock.patch.object(torch._C, "_cuda_getCurrentRawStream", return_value=0, create=True))
        yield


class OnGpu(TorchFunctionMode):
    """Tensors of a local device claim to be on the GPU, and what is created on the GPU is created on that device."""

    def __init__(self, local: str) -> None:
        super().__init__()
        self._local = torch.device(local)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call of torch, or one read of a tensor's attribute."""
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        if func is Tensor.data_ptr:
            return args[0].data_ptr() // _ALIGNED * _ALIGNED
        if _attribute(func) in (Tensor.is_cuda, Tensor.device):
            on_gpu = args[0].device.type in (self._local.type, "cuda")
            return on_gpu if _attribute(func) is Tensor.is_cuda else _GPU if on_gpu else args[0].device
        if func is Tensor.cpu and args[0].is_meta:
            return torch.empty_like(args[0], device="cpu")  # a meta tensor has no data to copy
        replaced = {name: self._on_local(value) for name, value in (kwargs or {}).items() if name != "pin_memory"}
        return func(*map(self._on_local, args), **replaced)

    def _on_local(self, value: Any) -> Any:
        """The local device for a GPU; any other value as it is."""
        gpu = isinstance(value, torch.device) and value.type == "cuda"
        return self._local if gpu or (isinstance(value, str) and value.partition(":")[0] == "cuda") else value


def _attribute(func: Any) -> Any:
    return getattr(func, "__self__", None) if getattr(func, "__name__", "") == "__get__" else None


@contextmanager
def on_gpu(local: str = "cpu") -> Iterator[None]:
    """Run a function's branch for a GPU on a local device."""
    with fake_cuda(), OnGpu(local):
        yield
