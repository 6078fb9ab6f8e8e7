"""A stand-in for one GPU of SM100: what FlashInfer's host code asks of torch, and tensors that say that they are on it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CAPABILITY = (10, 0)
_GPU = torch.device("cuda", 0)
_STREAM = SimpleNamespace(cuda_stream=0, synchronize=lambda: None, query=lambda: True)
_PROPERTIES = SimpleNamespace(major=10, minor=0, multi_processor_count=148)
_ASKED = {
    "is_available": lambda: True,
    "current_device": lambda: 0,
    "current_stream": lambda *_, **__: _STREAM,
    "get_device_capability": lambda *_: CAPABILITY,
    "get_device_properties": lambda *_: _PROPERTIES,
}
_ALIGNED = 512  # what CUDA's allocator aligns to


@contextmanager
def asked() -> Iterator[None]:
    """torch.cuda answers as on one B200, for which FlashInfer is told to compile."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, FLASHINFER_CUDA_ARCH_LIST="10.0a"))
        for name, answer in _ASKED.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        yield


class OnGpu(TorchFunctionMode):
    """Tensors of a device that is here say that they are the GPU's, and what is asked for on the GPU is made here."""

    def __init__(self, here: str) -> None:
        super().__init__()
        self._here = torch.device(here)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call of torch, or one look at an attribute of a tensor."""
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        if func is Tensor.data_ptr:
            return args[0].data_ptr() // _ALIGNED * _ALIGNED
        if _attribute(func) in (Tensor.is_cuda, Tensor.device):
            there = args[0].device.type in (self._here.type, "cuda")
            return there if _attribute(func) is Tensor.is_cuda else _GPU if there else args[0].device
        if func is Tensor.cpu and args[0].is_meta:
            return torch.empty_like(args[0], device="cpu")  # what has no data here has none there
        told = {name: self._made(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._made, args), **told)

    def _made(self, value: Any) -> Any:
        """The device that is here in the place of the GPU."""
        gpu = isinstance(value, torch.device) and value.type == "cuda"
        return self._here if gpu or (isinstance(value, str) and value.partition(":")[0] == "cuda") else value


def _attribute(func: Any) -> Any:
    return getattr(func, "__self__", None) if getattr(func, "__name__", "") == "__get__" else None


@contextmanager
def on_gpu(here: str = "cpu") -> Iterator[None]:
    """A body that runs here takes its branch for a GPU."""
    with asked(), OnGpu(here):
        yield
