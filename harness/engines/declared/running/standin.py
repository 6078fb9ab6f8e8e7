"""Stand-ins for what a machine without a GPU lacks: third-party modules are replaced when an engine imports them.

The engine's own Python runs unchanged.
"""

import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

from harness.engines.declared.engine import Engine
from harness.engines.declared.running import compiled, kernels, triton
from harness.engines.declared.running.anything import StubModule


class ThirdParty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stubs of third-party packages: of these names, or of any (None). The first finder hides installed packages."""

    def __init__(self, package: str, names: Sequence[str] | None) -> None:
        self._package, self._names = package, names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """A stand-in for a third-party module that the engine imports, whether it is installed or not."""
        top = name.partition(".")[0]
        wanted = top in self._names if self._names is not None else top not in (self._package, "harness")
        stubbed = isinstance(sys.modules.get(top), StubModule)
        known = self._names is not None or stubbed
        if not wanted or not (known or (_importer() == self._package and not _is_part(name))):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty module that has every name."""
        return StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def _importer() -> str:
    """The top-level package whose module imports something, or asks whether it is installed."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != "importlib" and "importlib" not in frame.f_code.co_filename:
            return name.partition(".")[0]
        frame = frame.f_back
    return ""


def _is_part(name: str) -> bool:
    """Whether it is a module of an installed package: that package has no such part, and knows what to do then."""
    top = sys.modules.get(name.partition(".")[0])
    return "." in name and top is not None and not isinstance(top, StubModule)


class Imported(importlib.abc.MetaPathFinder):
    """Finds an engine's modules as Python does, and calls ``then`` on each after import. Op bodies import some late."""

    def __init__(self, package: str, then: Callable[[ModuleType], None]) -> None:
        self._package, self._then = package, then

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The module's own spec, with a loader that also calls ``then``."""
        own = name == self._package or name.startswith(f"{self._package}.")
        spec = importlib.machinery.PathFinder.find_spec(name, path) if own else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self._then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install(engine: Engine, then: Callable[[ModuleType], None]) -> None:
    """From now on, stand in for third-party modules, and call ``then`` on each module of the engine."""
    sys.modules.update(dict.fromkeys(engine.hidden))  # type: ignore[arg-type]  # None: importing it fails, and find_spec gives None
    for name in engine.compiled:
        sys.modules[name] = StubModule(name)
    sys.meta_path[:0] = [ThirdParty(engine.package, engine.kernels), Imported(engine.package, then)]
    _be_installed(engine)
    returns = engine.hook("returned")
    if returns is not None:
        kernels.returns(returns)
    if engine.stands_in:
        sys.meta_path.append(ThirdParty(engine.package, None))
        triton.stub(kernels.kernel)
        compiled.stub(kernels.kernel)


def _be_installed(engine: Engine) -> None:
    """Answer what the version of the engine is: a tree of sources is no installed distribution."""
    version = importlib.metadata.version

    def answered(name: str) -> str:
        try:
            return version(name)
        except importlib.metadata.PackageNotFoundError:
            if name != engine.distribution:
                raise
            return engine.release

    importlib.metadata.version = answered  # type: ignore[assignment]


@contextmanager
def all_shown(engine: Engine) -> Iterator[None]:
    """Inside a ``with`` block, stubs stand in for the hidden packages too."""
    finder = ThirdParty(engine.package, engine.hidden)
    for name in engine.hidden:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in engine.hidden]:
            del sys.modules[name]
        sys.modules.update(dict.fromkeys(engine.hidden))  # type: ignore[arg-type]
