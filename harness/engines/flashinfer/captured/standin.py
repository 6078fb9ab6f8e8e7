"""Stand-ins for what a machine without a GPU lacks: FlashInfer's third-party modules, its JIT and its kernels.

FlashInfer's own Python runs as it is. Nothing here computes: a kernel fills what it may write with ones.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

# What FlashInfer imports without asking whether it is there. Packages that it does ask for (cutlass, cudnn) stay absent.
THIRD_PARTY = ("tvm_ffi", "cuda", "pynvml", "tqdm", "requests")


class _Name(type):
    """Makes a class whose attributes are more such classes, so that it may be called, subclassed, indexed, joined."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return named(name)

    def __getitem__(cls, _: Any) -> Any:
        return cls

    def __or__(cls, _: Any) -> Any:
        return cls

    __ror__ = __or__


def named(name: str) -> Any:
    """A stand-in for anything: a class, a function, a decorator."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else self

    def enter(self: Any) -> Any:
        return self

    body = {"__init__": _launch, "__call__": call, "__enter__": enter, "__exit__": lambda *_: None}
    return _Name(name, (), body)


def _launch(_: Any, *args: Any, **kwargs: Any) -> None:
    """A call of a third-party module: while an op runs, the launch of a kernel of it, such as cuda.tile's."""
    if _running:
        _kernel(*args, **kwargs)


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return named(name)


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules that are not installed; the last finder asked."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """A stand-in for a third-party module that nobody else found."""
        if name.partition(".")[0] not in THIRD_PARTY:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty module that has every name."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class Kernels:
    """A JIT module: whatever it is asked for is a kernel, and what a kernel returns is one more such module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _kernel


class Spec:
    """What FlashInfer's ``gen_*_module`` functions give: it builds nothing, and loads stand-in kernels."""

    def build_and_load(self, *args: Any, **kwargs: Any) -> Kernels:
        """The loaded module."""
        return Kernels()

    def get_library_paths(self) -> tuple[str, ...]:
        """No library, so no loader of cubins is set up."""
        return ()

    def get_library_path(self) -> str:
        """Older releases ask for one path."""
        return ""


class Launched(Kernels):
    """What a launcher of the trtllm-gen MoE returns: an array, laid out as ``FusedMoeLauncher::run`` says it is.

    csrc/trtllm_fused_moe_kernel_launcher.cu: [output] or, not finalised, [gemm2_output, expert_weights,
    expanded_idx_to_permuted_idx]; with a LoRA delta gemm1_output comes last.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments

    def __getitem__(self, place: int) -> Tensor:
        told, hidden = self._arguments, self._arguments["hidden_states"]
        tokens, chosen = hidden.shape[0], told["top_k"] + (told.get("num_fused_shared_experts") or 0)
        packed = hidden.dtype == torch.uint8
        width, rows = hidden.shape[1] * (1 + packed), tokens * chosen + 16  # the rows depend on the routing
        indices: tuple[tuple[int, ...], torch.dtype] = ((tokens * chosen,), torch.int32)
        slots = [((tokens, width), torch.bfloat16), indices]
        if not told.get("do_finalize", True):
            slots = [((rows, width), torch.bfloat16), ((tokens, chosen), torch.bfloat16), indices]
        shape, dtype = [*slots, ((rows, told["intermediate_size"]), torch.bfloat16)][place]
        made: Tensor = hidden.new_ones(shape, dtype=dtype)
        return made


def forward(_: Any, inputs: Sequence[Any], *__: Any, **told: Any) -> list[Tensor]:
    """What a runner of the Prims-TS MoE returns; its kernels are CuTe's, which need the compiler of their own.

    prims_ts/moe/runner.py, the end of each ``forward``: nothing, the output having been written, or, not finalised,
    [gemm2_output, expert_weights, expanded_idx_to_permuted_idx].
    """
    launched = _kernel(inputs, told)
    return [] if told["do_finalize"] else [launched[place] for place in range(3)]


# The op that runs: its arguments, their storages, and those among them that its kernel writes.
_running: list[tuple[dict[str, Any], frozenset[int], frozenset[int]]] = []


@contextmanager
def running(arguments: dict[str, Any], written: Callable[[str], bool]) -> Iterator[None]:
    """Tell the kernels which memory is the caller's, and which of it they write."""
    given = {name: {_storage(leaf) for leaf in _tensors(value)} for name, value in arguments.items()}
    every = frozenset().union(*given.values())
    wrote = frozenset().union(*(storages for name, storages in given.items() if written(name)))
    _running.append((arguments, every, wrote))
    try:
        yield
    finally:
        _running.pop()


def _kernel(*args: Any, **kwargs: Any) -> Any:
    """Fill with ones what the op allocated for it, and those arguments that a kernel writes."""
    arguments, every, wrote = _running[-1] if _running else ({}, frozenset(), frozenset())
    for leaf in _tensors((args, kwargs)):
        if _storage(leaf) in wrote or _storage(leaf) not in every:
            leaf.fill_(1)
    return Launched(arguments) if "hidden_states" in arguments else Kernels()


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _storage(leaf: Tensor) -> int:
    return int(leaf.untyped_storage()._cdata)


class Imported(importlib.abc.MetaPathFinder):
    """Finds FlashInfer's modules, as Python does, and has each looked at once it has run: bodies import some late."""

    def __init__(self, then: Callable[[ModuleType], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The module's own spec, with a loader that does one thing more."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name.startswith("flashinfer.") else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self._then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install(then: Callable[[ModuleType], None]) -> None:
    """From now on, stand in for the modules that are not installed, and show ``then`` each module of FlashInfer."""
    sys.meta_path.append(Absent())
    sys.meta_path.insert(0, Imported(then))
