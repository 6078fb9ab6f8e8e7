"""Stand-ins for anything that a third-party module may have: a class, a function, a decorator, a launcher of kernels."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from torch import Tensor

from harness.engines.declared.running import kernels


class Anything(type):
    """The type of a class that can be called, subclassed, indexed and used in unions. Its attributes are such classes too."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """An instance. While an op runs, it is the launch of a kernel, such as one of cuda.tile."""
        launched = _launch(cls, *args, **kwargs)
        return super().__call__(*args, **kwargs) if launched is None else launched

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

    def iterate(self: Any) -> Iterator[Any]:
        return iter([self] * kernels.unpacked(sys._getframe(1)))

    def enter(self: Any) -> Any:
        return self

    def attribute(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return named(name)

    def any_value(*_: Any) -> dict[str, str]:
        """What pydantic asks of a class in an annotation: the schema of any value."""
        return {"type": "any"}

    body: dict[str, Any] = {
        "__get_pydantic_core_schema__": classmethod(any_value),
        "__init__": _nothing_to_do, "__call__": call, "__enter__": enter, "__exit__": lambda *_: None,
        "__getitem__": lambda self, _: self, "__getattr__": attribute, "__iter__": iterate,
    }  # fmt: skip
    return Anything(name, (), body)


def _nothing_to_do(*_: Any, **__: Any) -> None: ...


def _launch(_: Any, *args: Any, **kwargs: Any) -> Any:
    """A call into a third-party module. While an op runs, it is the launch of a kernel, such as one of cuda.tile."""
    if not kernels.is_running() or (len(args) == 1 and callable(args[0]) and not isinstance(args[0], Tensor)):
        return None
    return kernels.kernel(*args, **kwargs)


def _nothing(*_: Any, **__: Any) -> bytes:
    """What a stub of a serialiser gives."""
    return b""


_ABOUT: dict[str, Any] = {"__version__": "999.0", "__file__": "/nowhere/__init__.py", "dumps": _nothing}


class StubModule(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        if name in _ABOUT:
            return _ABOUT[name]
        if name.startswith("__"):
            raise AttributeError(name)
        return named(name)
