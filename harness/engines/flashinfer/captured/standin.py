"""Stand-ins for what a machine without a GPU lacks: third-party modules, the JIT and the kernels.

FlashInfer's own Python runs unchanged. Stub kernels compute nothing: they fill with ones what they may write.
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

# What FlashInfer imports without checking that it is installed, and what it checks for and does without. An installed one
# is hidden: its kernels and compilers ask for a real GPU, and a row must not depend on what stands beside FlashInfer.
THIRD_PARTY = ("tvm_ffi", "cuda", "pynvml", "tqdm", "requests")
OPTIONAL = ("cutlass", "cudnn")


class _Name(type):
    """The type of a class that can be called, subclassed, indexed and used in unions. Its attributes are such classes too."""

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
    """A call into a third-party module. While an op runs, it is the launch of a kernel, such as one of cuda.tile."""
    if _running:
        _kernel(*args, **kwargs)


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return named(name)


class ThirdParty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds third-party modules. It is the first finder on sys.meta_path, so that it comes before the installed ones."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """A stand-in for a third-party module, whether it is installed or not."""
        if name.partition(".")[0] not in THIRD_PARTY:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty module that has every name."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class Kernels:
    """A JIT module. Each of its attributes is a stub kernel, which returns such a module again."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _kernel


class Spec:
    """The return value of FlashInfer's ``gen_*_module`` functions. It builds nothing and loads stub kernels."""

    def build_and_load(self, *args: Any, **kwargs: Any) -> Kernels:
        """The loaded module."""
        return Kernels()

    def get_library_paths(self) -> tuple[str, ...]:
        """No library, so that no loader of cubins is set up."""
        return ()

    def get_library_path(self) -> str:
        """Older releases ask for one path."""
        return ""


class Launched(Kernels):
    """The return value of a trtllm-gen MoE launcher: an array with the layout of ``FusedMoeLauncher::run``.

    csrc/trtllm_fused_moe_kernel_launcher.cu: [output] or, not finalised, [gemm2_output, expert_weights,
    expanded_idx_to_permuted_idx]; with a LoRA delta gemm1_output comes last.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments

    def __getitem__(self, place: int) -> Tensor:
        arguments, hidden = self._arguments, self._arguments["hidden_states"]
        tokens, chosen = hidden.shape[0], arguments["top_k"] + (arguments.get("num_fused_shared_experts") or 0)
        packed = hidden.dtype == torch.uint8
        width, rows = hidden.shape[1] * (1 + packed), tokens * chosen + 16  # the rows depend on the routing
        indices: tuple[tuple[int, ...], torch.dtype] = ((tokens * chosen,), torch.int32)
        slots = [((tokens, width), torch.bfloat16), indices]
        if not arguments.get("do_finalize", True):
            slots = [((rows, width), torch.bfloat16), ((tokens, chosen), torch.bfloat16), indices]
        shape, dtype = [*slots, ((rows, arguments["intermediate_size"]), torch.bfloat16)][place]
        made: Tensor = hidden.new_ones(shape, dtype=dtype)
        return made


def forward(_: Any, inputs: Sequence[Any], *__: Any, **options: Any) -> list[Tensor]:
    """The return value of a Prims-TS MoE runner, whose real kernels need CuTe's compiler.

    See the end of each ``forward`` in prims_ts/moe/runner.py. It returns nothing if the output was written, or, not
    finalised, [gemm2_output, expert_weights, expanded_idx_to_permuted_idx].
    """
    launched = _kernel(inputs, options)
    return [] if options["do_finalize"] else [launched[place] for place in range(3)]


# A stack of running ops: (arguments, their storages, the storages that the kernel writes).
_running: list[tuple[dict[str, Any], frozenset[int], frozenset[int]]] = []


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


def _kernel(*args: Any, **kwargs: Any) -> Any:
    """Fill with ones what the op allocated, and those arguments that a kernel writes."""
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
    """Finds FlashInfer's modules as Python does, and calls ``then`` on each after import. Op bodies import some late."""

    def __init__(self, then: Callable[[ModuleType], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The module's own spec, with a loader that also calls ``then``."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name.startswith("flashinfer.") else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self._then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install(then: Callable[[ModuleType], None]) -> None:
    """From now on, stand in for third-party modules, and call ``then`` on each module of FlashInfer."""
    sys.modules.update(dict.fromkeys(OPTIONAL))  # type: ignore[arg-type]  # None: importing it fails, and find_spec gives None
    sys.meta_path[:0] = [ThirdParty(), Imported(then)]
