"""The description of an engine whose declared ops can be audited. Each engine's own stands in ``engines/``."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

# (label, shared arguments, special arguments) of each sample of an op. A release may lack a shared argument.
Samples = list[tuple[str, dict[str, Any], dict[str, Any]]]


@dataclass(frozen=True)
class Engine:
    """What the mechanism must know of an engine.

    ``helpers`` names, by module, the functions with which the engine declares ops; torch's own are always known.
    ``kernels`` are third-party packages that are always replaced by stubs, ``hidden`` those that count as not installed.
    ``compiled`` are parts of the engine itself that need a compiled library, ``folders`` those of sources for a compiler,
    which it only looks for. ``stands_in`` says whether a stub replaces every other package that is missing.
    ``runs_init`` says whether the package's ``__init__`` is run. ``hooks`` is a module with ``patch(module)``, called on
    each imported module, ``samples(op)`` and ``script(...)``; it may lack any of them. ``environment`` names whose Python
    runs the engine, ``environ`` variables that its import needs.
    """

    name: str
    title: str
    distribution: str
    release: str
    space: str
    helpers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kernels: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    stands_in: bool = False
    runs_init: bool = False
    hooks: str = ""
    environment: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """The name under which it is imported."""
        return self.name

    def hook(self, name: str) -> Callable[..., Any] | None:
        """A function of its hooks; None if it has none of this name."""
        return getattr(importlib.import_module(self.hooks), name, None) if self.hooks else None


NAMES = ("flashinfer", "vllm", "sglang")


def engine(name: str) -> Engine:
    """The engine of this name, one of ``NAMES``."""
    described: ModuleType = importlib.import_module(f"harness.engines.declared.engines.{name}")
    found: Engine = described.ENGINE
    return found
