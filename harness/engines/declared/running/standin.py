"""Stand-ins for what a machine without a GPU lacks: third-party modules, compilers and kernels.

The engine's own Python runs unchanged. Stub kernels compute nothing: they fill with ones what they may write.
"""

import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from harness.engines.declared.engine import Engine
from harness.engines.declared.running import compiled, triton


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

    def __iter__(cls) -> Iterator[Any]:
        return iter(())

    def __contains__(cls, _: Any) -> bool:
        return False

    def __lt__(cls, _: Any) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __lt__

    def __add__(cls, _: Any) -> Any:
        return cls

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = __neg__ = (
        __add__
    )
    __rtruediv__ = __rfloordiv__ = __and__ = __rand__ = __lshift__ = __rshift__ = __add__


def named(name: str) -> Any:
    """A stand-in for anything: a class, a function, a decorator."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        launched = _launch(self, *args, **kwargs)
        if launched is not None:
            return launched
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else self

    def enter(self: Any) -> Any:
        return self

    def attribute(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return named(name)

    body: dict[str, Any] = {
        "__init__": _launch_only, "__call__": call, "__enter__": enter, "__exit__": lambda *_: None,
        "__getitem__": lambda self, _: self, "__getattr__": attribute, "__iter__": lambda _: iter(()),
    }  # fmt: skip
    return _Name(name, (), body)


def _launch_only(_: Any, *args: Any, **kwargs: Any) -> None:
    if _running:
        _kernel(*args, **kwargs)


def _launch(_: Any, *args: Any, **kwargs: Any) -> Any:
    """A call into a third-party module. While an op runs, it is the launch of a kernel, such as one of cuda.tile."""
    if not _running or (len(args) == 1 and callable(args[0]) and not isinstance(args[0], Tensor)):
        return None
    return _kernel(*args, **kwargs)


def _nothing(*_: Any, **__: Any) -> bytes:
    """What a stub of a serialiser gives."""
    return b""


_ABOUT: dict[str, Any] = {"__version__": "999.0", "__file__": "/nowhere/__init__.py", "dumps": _nothing}


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name in _ABOUT:
            return _ABOUT[name]
        if name.startswith("__"):
            raise AttributeError(name)
        return named(name)


class ThirdParty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stubs of third-party packages: of these names, or of any (None). The first finder hides installed packages."""

    def __init__(self, package: str, names: Sequence[str] | None) -> None:
        self._package, self._names = package, names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """A stand-in for a third-party module that the engine imports, whether it is installed or not."""
        top = name.partition(".")[0]
        wanted = top in self._names if self._names is not None else top not in (self._package, "harness")
        stubbed = isinstance(sys.modules.get(top), _Module)
        known = self._names is not None or stubbed
        if not wanted or not (known or (_importer() == self._package and not _is_part(name))):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty module that has every name."""
        return _Module(spec.name)

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
    return "." in name and top is not None and not isinstance(top, _Module)


class Kernels:
    """A JIT module. Each of its attributes is a stub kernel, which returns such a module again."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _kernel

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A kernel that a kernel returned."""
        return _kernel(*args, **kwargs)


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


_launches = [0]


def launches() -> int:
    """How often a stub kernel was launched in this process."""
    return _launches[0]


def kernel(*args: Any, **kwargs: Any) -> Any:
    """Fill with ones what the op allocated, and those arguments that a kernel writes."""
    _launches[0] += bool(_running)
    arguments, every, wrote = _running[-1] if _running else ({}, frozenset(), frozenset())
    for leaf in _tensors((args, kwargs)):
        if _storage(leaf) in wrote or _storage(leaf) not in every:
            _fill(leaf)
    returned = _returns[-1](arguments) if _returns else None
    return Kernels() if returned is None else returned


_kernel = kernel


def _fill(leaf: Tensor) -> None:
    try:
        leaf.fill_(1)
    except (RuntimeError, NotImplementedError):  # a broadcast tensor, or a dtype that torch cannot fill
        return


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _storage(leaf: Tensor) -> int:
    return int(leaf.untyped_storage()._cdata)


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
        sys.modules[name] = _Module(name)
    sys.meta_path[:0] = [ThirdParty(engine.package, engine.kernels), Imported(engine.package, then)]
    _be_installed(engine)
    returns = engine.hook("returned")
    if returns is not None:
        _returns.append(returns)
    if engine.stands_in:
        sys.meta_path.append(ThirdParty(engine.package, None))
        triton.stub(kernel)
        compiled.stub(kernel)


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
