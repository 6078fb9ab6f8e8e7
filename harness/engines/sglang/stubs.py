"""What SGLang finds on a GPU's machine and not on this one: compiled packages, a device of its ops, and one kernel of torch."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.engines.declared.running.standin import ThirdParty

# Packages of compiled kernels, and torchvision, whose operators need its compiled library. Importing them gives stubs, even
# where they are installed. None of their functions computes anything here.
PACKAGES = ("flashinfer", "sgl_kernel", "torchvision")
SPACE = "sglang"


def install() -> None:
    """Stand in for all of it, before SGLang is imported."""
    sys.meta_path.insert(0, ThirdParty("sglang", PACKAGES))
    torch.library.Library.impl = _also_on_cpus(torch.library.Library.impl)  # type: ignore[method-assign]
    torch.mm = _with_out_dtype(torch.mm)


def _also_on_cpus(register: Callable[..., None]) -> Callable[..., None]:
    """SGLang registers its ops for CUDA. The same functions become the ops' implementation for CPUs."""

    def impl(self: Any, name: Any, fn: Any, dispatch_key: str = "", **more: Any) -> None:
        register(self, name, fn, dispatch_key, **more)
        if self.ns == SPACE and dispatch_key == "CUDA":
            register(self, name, fn, "CPU", **more)

    return impl


def _with_out_dtype(multiply: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.mm with ``out_dtype``, by which blocks multiply with the router's weights, has no kernel for CPUs."""

    def mm(a: Tensor, b: Tensor, out_dtype: torch.dtype | None = None, **more: Any) -> Tensor:
        return multiply(a, b, **more) if out_dtype is None else multiply(a.to(out_dtype), b.to(out_dtype), **more)

    return mm
