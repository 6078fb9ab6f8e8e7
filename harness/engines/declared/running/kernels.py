"""Stub kernels. They compute nothing: they fill with ones what they may write, and return what can be unpacked."""

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves


class Kernels:
    """A JIT module, one of its stub kernels, or what a kernel returned: nobody knows which. Each gives such a thing again.

    It can be called, indexed, unpacked, calculated with, and given to functions of torch.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Kernels()

    def __iter__(self) -> Iterator[Any]:
        """As many results as the caller unpacks; none for a loop."""
        return iter([Kernels() for _ in range(unpacked(sys._getframe(1)))])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Launch it."""
        return kernel(*args, **kwargs)

    def __getitem__(self, _: Any) -> Any:
        return Kernels()

    def __enter__(self) -> "Kernels":
        return self

    def __exit__(self, *_: Any) -> None: ...

    def _same(self, *_: Any) -> "Kernels":
        return Kernels()

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __floordiv__ = _same
    __neg__ = __matmul__ = __rmatmul__ = __and__ = __or__ = __mod__ = __rfloordiv__ = _same

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What a function of torch gives for it."""
        return Kernels()


# A stack of running ops: (arguments, their storages, the storages that the kernel writes).
_running: list[tuple[dict[str, Any], frozenset[int], frozenset[int]]] = []
# What an engine's kernels return, from the arguments of the running op. None: a module of kernels again.
_returns: list[Callable[[dict[str, Any]], Any]] = []


@contextmanager
def running(arguments: dict[str, Any], written: Callable[[str], bool]) -> Iterator[None]:
    """Let the stub kernels know which memory is the caller's, and which of it they write."""
    given = {name: {_storage(leaf) for leaf in _tensors(value)} for name, value in arguments.items()}
    every = frozenset().union(*given.values())
    wrote = frozenset().union(*(storages for name, storages in given.items() if written(name)))
    _running.append((arguments, every, wrote))
    try:
        yield
    finally:
        _running.pop()


def is_running() -> bool:
    """Whether an op runs. Otherwise nothing is launched."""
    return bool(_running)


def returns(function: Callable[[dict[str, Any]], Any]) -> None:
    """From now on, a kernel returns what this function gives for the arguments of the running op."""
    _returns.append(function)


def unpacked(frame: FrameType) -> int:
    """How many values the statement that runs in a frame unpacks; 0 for one that unpacks none."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return code[at + 1] if at >= 0 and dis.opname[code[at]] == "UNPACK_SEQUENCE" else 0


_launches = [0]


def launches() -> int:
    """How often a stub kernel was launched in this process."""
    return _launches[0]


def launched() -> None:
    """Count the launch of a stand-in for a kernel, while an op runs."""
    _launches[0] += bool(_running)


def kernel(*args: Any, **kwargs: Any) -> Any:
    """Fill with ones what the op allocated, and those arguments that a kernel writes."""
    launched()
    arguments, every, wrote = _running[-1] if _running else ({}, frozenset(), frozenset())
    for leaf in _tensors((args, kwargs)):
        if _storage(leaf) in wrote or _storage(leaf) not in every:
            _fill(leaf)
    returned = _returns[-1](arguments) if _returns else None
    return Kernels() if returned is None else returned


def _fill(leaf: Tensor) -> None:
    try:
        leaf.fill_(1)
    except (RuntimeError, NotImplementedError):  # a broadcast tensor, or a dtype that torch cannot fill
        return


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _storage(leaf: Tensor) -> int:
    return int(leaf.untyped_storage()._cdata)
