"""Hermetic verdicts: every setting that could change one is pinned, and compiled artefacts are keyed by the fakes.

Inductor's caches do not see an op's fake: a broken fake passes from a cache that a right one filled, and the other way
round. ``fingerprint`` hashes what the fakes answered for this very layer, with their sources and schemas; torch mixes
it into every cache key (``cache_key_tag``). Kernels built from the same source stay shared, so it is right and fast.
"""

import contextlib
import functools
import hashlib
import importlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from harness.base import cache
from harness.base.quiet import quiet
from harness.execution.global_state import GlobalState
from harness.ops.names import is_custom
from harness.ops.registry import sources
from harness.ops.tensor_meta import TensorMeta

DYNAMO = {
    "recompile_limit": 8,
    "suppress_errors": False,
    "automatic_dynamic_shapes": False,
    "automatic_dynamic_local_pgo": False,
    "fail_on_recompile_limit_hit": True,
}
INDUCTOR = {
    "size_asserts": True,
    "alignment_asserts": True,
    "scalar_asserts": True,
    "fx_graph_cache": True,
    "fx_graph_remote_cache": False,
    "compile_threads": 1,
    "triton.cudagraphs": False,
}
# By default an undeclared alias is a warning, and an error where CI was set when torch read its settings: that depends on
# who imported what first.
FUNCTORCH = {"check_custom_op_aliasing": True, "error_on_custom_op_aliasing": True}
CONFIGS: dict[str, dict[str, Any]] = {"_dynamo": DYNAMO, "_functorch": FUNCTORCH, "_inductor": INDUCTOR}
ENVIRONMENT = {"CI": "1"}


def cache_folder() -> Path:
    """Where compiled artefacts are kept: $HARNESS_CACHE, else the user's cache folder; one folder a torch version."""
    return cache.base() / f"inductor-torch-{torch.__version__}"


@functools.cache
def trust_instruction_set(cache: Path) -> None:
    """Inductor tries the CPU's vector instructions out in child processes, a second each time; once a cache is enough.

    A patch and no setting, since settings are part of torch's cache keys: the second run would find nothing.
    """
    isa: Any = importlib.import_module("torch._inductor.cpu_vec_isa").VecISA
    if hasattr(isa, "check_build") and any(cache.glob("*/*.so")):
        isa.check_build = lambda *_: True


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Pin torch's settings for a verdict, and put them back: no grad, asserts on, uninitialised memory filled with NaN."""
    environment = ENVIRONMENT | {"TORCHINDUCTOR_CACHE_DIR": str(cache_folder())}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment(environment))
        for name, settings in CONFIGS.items():
            config: Any = importlib.import_module(f"torch.{name}.config")
            stack.enter_context(config.patch(_known(config, settings)))
        stack.enter_context(GlobalState())
        # Makes ``empty`` return NaN (floats) or the largest value (integers), inside ops too.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(False)
        stack.enter_context(quiet())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def inductor_with(settings: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Further settings of Inductor, for one run; gives them as a record has them."""
    config: Any = importlib.import_module("torch._inductor.config")
    known = _known(config, settings)
    with config.patch(known):
        yield {f"inductor.{name}": str(value) for name, value in known.items()}


def _known(config: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """The settings that this torch has; a setting that it lacks cannot change a verdict."""
    return {name: value for name, value in wanted.items() if name in config._config}


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def fingerprint(graph: torch.fx.Graph) -> str:
    """A hash of every custom op in a graph: its schema and sources, and what its fake answered for which inputs."""
    told = []
    for node in graph.nodes:
        schema = getattr(getattr(node.target, "default", node.target), "_schema", None)
        if node.op == "call_function" and schema is not None and is_custom(schema.name):
            metas = [_meta(value) for value in (*node.args, *node.kwargs.values(), node)]
            told.append((schema.name, sources(schema.name), metas))
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _meta(value: Any) -> Any:
    """What a trace knows of an argument or result: the metas of its fake tensors, or the constant itself."""
    known = value.meta.get("example_value") if isinstance(value, torch.fx.Node) else value
    return [TensorMeta.of(leaf) if isinstance(leaf, torch.Tensor) else str(leaf) for leaf in tree_leaves(known)]


@contextlib.contextmanager
def keyed_by(tag: str) -> Iterator[None]:
    """Mix ``tag`` into every key of torch's compile caches."""
    config: Any = importlib.import_module("torch.compiler.config")
    with config.patch(cache_key_tag=tag):
        yield


def inductor(module: torch.fx.GraphModule, inputs: Sequence[Any], also: str = "") -> Any:
    """Inductor, with caches that see what the fakes answered in this graph, and ``also``: a backend of torch.compile."""
    from torch._inductor.compile_fx import compile_fx

    with keyed_by(fingerprint(module.graph) + also):
        return compile_fx(module, list(inputs))
