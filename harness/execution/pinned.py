"""Hermetic verdicts: every setting that could change one is pinned, and compile caches are keyed by the fakes.

Inductor's caches are not keyed by an op's fake. Code compiled with a correct fake would be reused after the fake broke, and
a broken fake would pass; and the other way round. ``fingerprint`` therefore hashes what the fakes returned in this graph,
with their sources and schemas, and torch mixes the hash into every cache key (``cache_key_tag``). C++ and Triton kernels
with the same source are still shared between graphs, so it stays fast.
"""

import contextlib
import functools
import hashlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from harness.base import cache
from harness.base.quiet import quiet
from harness.base.torch_settings import CONFIGS, DYNAMO, ENVIRONMENT
from harness.execution.memory.fresh_memory import call_filled
from harness.execution.state.global_state import GlobalState
from harness.execution.state.python_state import PythonState, first_variables
from harness.execution.state.torch_state import TorchState, first_functions
from harness.ops.names import is_custom
from harness.ops.registry import sources
from harness.ops.tensor_meta import TensorMeta


def cache_folder() -> Path:
    """The folder of compiled artefacts, one for each torch version, below $HARNESS_CACHE or the user's cache folder."""
    return cache.cache_root() / f"inductor-torch-{torch.__version__}"


@functools.cache
def trust_instruction_set(cache: Path) -> None:
    """Skip Inductor's test of the CPU's vector instructions where the cache shows that it has passed before.

    The test compiles in child processes, a second for each process of the harness. It is patched rather than switched off
    by a setting, because settings are part of torch's cache keys: the second run would find nothing in the cache.
    """
    isa: Any = importlib.import_module("torch._inductor.cpu_vec_isa").VecISA
    if hasattr(isa, "check_build") and any(cache.glob("*/*.so")):
        isa.check_build = lambda *_: True


@functools.cache
def skip_unused_hash() -> None:
    """Without CUDA, skip Inductor's hash of Triton's sources where no cache key holds it: a third of a second for each process."""
    codecache: Any = importlib.import_module("torch._inductor.codecache")
    if torch.cuda.is_available() or not hasattr(codecache, "triton_key"):
        return
    hashed, system = codecache.triton_key, codecache.CacheBase.get_system
    codecache.triton_key = lambda: None
    system.cache_clear()
    if "version" in system():  # as in torch 2.15
        codecache.triton_key = hashed
    system.cache_clear()


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Pin torch's settings inside a ``with`` block: no grad, asserts on, uninitialised memory filled with NaN."""
    environment = ENVIRONMENT | {"TORCHINDUCTOR_CACHE_DIR": str(cache_folder())}
    _forget_compiled()
    first_functions()
    first_variables()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment(environment))
        for name, settings in CONFIGS.items():
            config: Any = importlib.import_module(f"torch.{name}.config")
            stack.enter_context(config.patch(_known(config, settings)))
        stack.enter_context(torch.inference_mode(False))  # a layer before this one may have left it on
        stack.enter_context(_noted())
        stack.enter_context(GlobalState())
        stack.enter_context(_dispatch_keys())
        # Fills what ``empty`` returns with NaN (floats) or the largest value (integers), inside ops too.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(False)
        stack.enter_context(quiet())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        # What one layer leaves must not be how the next one's verdict begins.
        stack.callback(TorchState().restore)
        stack.callback(PythonState().restore)
        yield


def _forget_compiled() -> None:
    """Drop what Dynamo compiled before: graphs of another verdict count towards the limit of a layer that its owner compiled."""
    frame: Any = sys.modules.get("torch._dynamo.convert_frame")
    if frame is not None and frame.input_codes.seen:
        torch._dynamo.reset()


def pin_compiler() -> None:
    """Put the compiler's pinned settings back inside ``pinned``, where the build of a layer changed one; another mode reports it."""
    config: Any = sys.modules.get("torch._dynamo.config")
    if config is None or not _inside.pinned:
        return
    for name, value in _known(config, DYNAMO).items():
        if getattr(config, name) != value:
            setattr(config, name, value)


class _Inside:
    """Whether this process is inside ``pinned``."""

    pinned = False


_inside = _Inside()


@contextlib.contextmanager
def _noted() -> Iterator[None]:
    before, _inside.pinned = _inside.pinned, True
    try:
        yield
    finally:
        _inside.pinned = before


@contextlib.contextmanager
def _dispatch_keys() -> Iterator[None]:
    """Put this thread's dispatch keys and torch's own modes back at the end.

    A compile that fails can leave some, and what the next layer does then fails.
    """
    c: Any = torch._C
    modes = [key for key in c._TorchDispatchModeKey.__members__.values() if c._get_dispatch_mode(key) is None]
    with c._ForceDispatchKeyGuard(c._dispatch_tls_local_include_set(), c._dispatch_tls_local_exclude_set()):
        try:
            yield
        finally:
            for key in modes:
                if c._get_dispatch_mode(key) is not None:
                    c._unset_dispatch_mode(key)


@contextlib.contextmanager
def inductor_with(settings: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Patch more settings of Inductor inside a ``with`` block; yields them as a verdict's record shows them."""
    config: Any = importlib.import_module("torch._inductor.config")
    known = _known(config, settings)
    with config.patch(known):
        yield {f"inductor.{name}": str(value) for name, value in known.items()}


def _known(config: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """The settings that this torch has. One that it lacks cannot change a verdict."""
    return {name: value for name, value in wanted.items() if name in config._config}


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def fingerprint(graph: torch.fx.Graph) -> str:
    """A hash of every custom op in a graph: its schema and sources, its inputs, and what its fake returned for them."""
    entries = []
    for node in graph.nodes:
        schema = getattr(getattr(node.target, "default", node.target), "_schema", None)
        if node.op == "call_function" and schema is not None and is_custom(schema.name):
            metas = [_meta(value) for value in (*node.args, *node.kwargs.values(), node)]
            entries.append((schema.name, sources(schema.name), metas))
    return hashlib.sha256(repr(entries).encode()).hexdigest()[:16]


def _meta(value: Any) -> Any:
    """The metadata of the fake tensors in an argument or a result; a constant as text."""
    example = value.meta.get("example_value") if isinstance(value, torch.fx.Node) else value
    return [TensorMeta.of(leaf) if isinstance(leaf, torch.Tensor) else str(leaf) for leaf in tree_leaves(example)]


@contextlib.contextmanager
def keyed_by(tag: str) -> Iterator[None]:
    """Mix ``tag`` into every key of torch's compile caches."""
    config: Any = importlib.import_module("torch.compiler.config")
    with config.patch(cache_key_tag=tag):
        yield


def inductor(module: torch.fx.GraphModule, inputs: Sequence[Any], also: str = "") -> Any:
    """A torch.compile backend: Inductor, its caches keyed by the graph's fakes and by ``also``."""
    from torch._inductor.compile_fx import compile_fx

    skip_unused_hash()
    with keyed_by(fingerprint(module.graph) + also):
        return call_filled(compile_fx, module, list(inputs))
