"""Torch's settings that are put back after each verdict: those of its compiler, hooks of all modules. And its own functions.

``GlobalState`` holds what each call is watched for. What is here is read around a build and a few calls alone.
"""

import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import torch
from torch import multiprocessing as sharing
from torch.nn import functional
from torch.nn.modules import module as modules

_CONFIGS = (
    "torch._dynamo.config",
    "torch._inductor.config",
    "torch._functorch.config",
    "torch.fx.experimental._config",
    "torch.compiler.config",
)
_HOOKS = [name for name, value in vars(modules).items() if name.startswith("_global_") and isinstance(value, dict)]


def _hooks() -> list[dict[Any, Any]]:
    return [dict(getattr(modules, name)) for name in _HOOKS]


def _set_hooks(before: list[dict[Any, Any]]) -> None:
    for name, hooks in zip(_HOOKS, before, strict=True):
        getattr(modules, name).clear()
        getattr(modules, name).update(hooks)


# What layers call of torch. A function that is exchanged here is exchanged for every other layer of the process.
_OWNERS: tuple[Any, ...] = (torch, functional, torch.Tensor, torch.nn.Module, torch.nn.Linear)


class _Functions:
    """Torch's functions and methods by owner and name, as they are now."""

    def __init__(self) -> None:
        self._of = [(owner, {name: one for name, one in _members(owner).items() if callable(one)}) for owner in _OWNERS]

    def exchanged(self) -> list[tuple[Any, str, Any]]:
        """(owner, name, what it was) of each that is another one now, and none of torch's: torch exchanges some itself."""
        now = [(owner, _members(owner), was) for owner, was in self._of]
        moved = [(o, n, one, new[n]) for o, new, was in now for n, one in was.items() if new.get(n, one) is not one]
        return [(owner, name, one) for owner, name, one, other in moved if not _is_torchs(other)]

    def put_back(self) -> list[str]:
        """Give each owner these functions again; returns the full names of those that were others, ``torch.nn.functional.silu``."""
        moved = self.exchanged()
        for owner, name, one in moved:
            setattr(owner, name, one)
        return [f"{_name(owner)}.{name}" for owner, name, _ in moved]


@cache
def first_functions() -> _Functions:
    """Those that a process began with, read once: there are sixteen hundred, too many to look at after each verdict.

    Read before the first layer of the process: what that one exchanges would be taken for torch's own.
    """
    return _Functions()


def _members(owner: Any) -> Any:
    return {**vars(torch.Tensor.__base__), **vars(owner)} if owner is torch.Tensor else vars(owner)


def _is_torchs(one: Any) -> bool:
    code = getattr(one, "__code__", None)
    return code is not None and code.co_filename.startswith(os.path.dirname(torch.__file__))


def _name(owner: Any) -> str:
    return f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else str(owner.__name__)


def _stance() -> Any:
    frame: Any = sys.modules.get("torch._dynamo.eval_frame")
    return getattr(frame, "_stance", None)


def _set_stance(before: Any) -> None:
    frame: Any = sys.modules["torch._dynamo.eval_frame"]
    if before is not None and hasattr(frame, "_set_stance"):
        frame._set_stance(before)


_PRINT: Any = sys.modules["torch._tensor_str"]
_FILL: Any = sys.modules["torch.utils.deterministic"]
_FUTURE = torch.__future__
# name: (function that reads it, function that restores it)
_STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "hooks of all modules": (_hooks, _set_hooks),
    "torch.compile's stance": (_stance, _set_stance),
    "torch's print options": (lambda: dict(vars(_PRINT.PRINT_OPTS)), lambda one: vars(_PRINT.PRINT_OPTS).update(one)),
    "torch's filling of memory": (
        lambda: _FILL.fill_uninitialized_memory,
        lambda on: setattr(_FILL, "fill_uninitialized_memory", on),
    ),
    "the dtype of CPU autocast": (
        lambda: torch.get_autocast_dtype("cpu"),
        lambda dtype: torch.set_autocast_dtype("cpu", dtype),
    ),
    "autocast's cache": (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    "autograd's use of threads": (torch._C._is_multithreading_enabled, torch._C._set_multithreading_enabled),
    "the NNPACK switch": (torch._C._get_nnpack_enabled, torch._C._set_nnpack_enabled),
    "torch's switch for repeated warnings": (torch.is_warn_always_enabled, torch.set_warn_always),
    "how modules convert parameters": (
        _FUTURE.get_overwrite_module_params_on_conversion,
        _FUTURE.set_overwrite_module_params_on_conversion,
    ),
    "how modules swap parameters": (
        _FUTURE.get_swap_module_params_on_conversion,
        _FUTURE.set_swap_module_params_on_conversion,
    ),
    "how processes share tensors": (sharing.get_sharing_strategy, sharing.set_sharing_strategy),
}


class TorchSwitches:
    """What a layer has no reason to change, as it is now. ``restore`` puts it back and names what had changed."""

    def __init__(self) -> None:
        self._before = {name: read() for name, (read, _) in _STATE.items()}

    def restore(self) -> tuple[str, ...]:
        """Put everything back; returns the names of what had changed."""
        changed = tuple(name for name, (read, _) in _STATE.items() if read() != self._before[name])
        for name in changed:
            _STATE[name][1](self._before[name])
        return changed


def restore_functions() -> tuple[str, ...]:
    """Give torch the functions again that the process began with; returns the names of those that were others."""
    return tuple(first_functions().put_back())


class TorchState:
    """These and the settings of torch's compiler as they are now. ``restore`` puts them back."""

    def __init__(self) -> None:
        self._configs = {name: _overrides(sys.modules[name]) for name in _CONFIGS if name in sys.modules}
        self._switches = TorchSwitches()

    def restore(self) -> None:
        """Put everything back."""
        for name, before in self._configs.items():
            config: Any = sys.modules[name]
            for key, value, was in zip(_readers(config), _overrides(config), before, strict=True):
                if value is not was:
                    _override(config, key, was)
        self._switches.restore()


def _overrides(config: Any) -> list[Any]:
    """What was set of each setting; torch's own mark where nothing was."""
    return [read() for read in _readers(config).values()]


@cache
def _readers(config: Any) -> dict[str, Callable[[], Any]]:
    """What reads what was set, by the setting's name. Found once: there are nine hundred settings, read twice a verdict."""
    return {name: _reader(entry) for name, entry in config._config.items()}


def _reader(entry: Any) -> Callable[[], Any]:
    """In torch 2.13 a setting has a ContextVar, which lives as long as it does; in older releases a plain value."""
    value = entry.user_override
    return value.get if isinstance(value, ContextVar) else partial(getattr, entry, "user_override")


def _override(config: Any, name: str, value: Any) -> None:
    """Set it past the module, then through it, so that torch sees its settings as changed."""
    entry = config._config[name]
    if isinstance(entry.user_override, ContextVar):
        entry.user_override.set(value)
    else:
        entry.user_override = value
    if not entry.alias:
        setattr(config, name, getattr(config, name))
