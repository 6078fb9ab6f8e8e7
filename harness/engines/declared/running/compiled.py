"""Ops of compiled libraries that are not here: ``torch.ops.NAMESPACE.op`` gives a stub kernel where torch has no such op."""

from collections.abc import Callable
from typing import Any

import torch


def stub(kernel: Callable[..., Any]) -> None:
    """From now on, a missing op of a namespace of a compiled library is a stub. torch's own namespaces are left alone."""
    namespace: Any = torch._ops._OpNamespace
    find = namespace.__getattr__

    def found(self: Any, name: str) -> Any:
        try:
            return find(self, name)
        except AttributeError:
            if name.startswith("__") or not self.name.lower().endswith(("_c", "kernel", "kernels")):
                raise
            return _Stub(kernel, f"{self.name}::{name}")

    namespace.__getattr__ = found


class _Stub:
    """A stub kernel that can be called as an op, or as its default overload."""

    def __init__(self, kernel: Callable[..., Any], name: str) -> None:
        self._kernel, self.__name__ = kernel, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Launch the stub kernel."""
        return self._kernel(*args, **kwargs)

    def __getattr__(self, name: str) -> "_Stub":
        """An overload that a caller may name, such as ``default`` or ``out``."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self
