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
_libraries: list[torch.library.Library] = []


def install() -> None:
    """Stand in for all of it, before SGLang is imported."""
    sys.meta_path.insert(0, ThirdParty("sglang", PACKAGES))
    torch.library.Library.impl = _also_on_cpus(torch.library.Library.impl)  # type: ignore[method-assign]
    _multiply_on_cpus()


def _also_on_cpus(register: Callable[..., None]) -> Callable[..., None]:
    """SGLang registers its ops for CUDA. The same functions become the ops' implementation for CPUs."""

    def impl(self: Any, name: Any, fn: Any, dispatch_key: str = "", **more: Any) -> None:
        register(self, name, fn, dispatch_key, **more)
        if self.ns == SPACE and dispatch_key == "CUDA":
            register(self, name, fn, "CPU", **more)

    return impl


def _multiply_on_cpus() -> None:
    """torch.mm with ``out_dtype`` has no kernel for CPUs, and blocks multiply by the router's weights with it."""
    if torch._C._dispatch_has_kernel_for_dispatch_key("aten::mm.dtype", "CPU"):
        return
    library = torch.library.Library("aten", "IMPL")
    library.impl("mm.dtype", _multiply, "CPU")
    _libraries.append(library)


def _multiply(a: Tensor, b: Tensor, out_dtype: torch.dtype) -> Tensor:
    return a.to(out_dtype) @ b.to(out_dtype)
