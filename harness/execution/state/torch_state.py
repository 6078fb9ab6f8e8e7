"""Torch's settings that no finding reports, put back after each verdict: those of its compiler, and hooks of all modules.

``GlobalState`` holds what a layer must not change. What is here changes what comes after a layer all the same.
"""

import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import torch
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


def _stance() -> Any:
    frame: Any = sys.modules.get("torch._dynamo.eval_frame")
    return getattr(frame, "_stance", None)


def _set_stance(before: Any) -> None:
    frame: Any = sys.modules["torch._dynamo.eval_frame"]
    if before is not None and hasattr(frame, "_set_stance"):
        frame._set_stance(before)


_PRINT: Any = sys.modules["torch._tensor_str"]
_FILL: Any = sys.modules["torch.utils.deterministic"]
# (function that reads it, function that restores it)
_STATE: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (_hooks, _set_hooks),
    (_stance, _set_stance),
    (lambda: dict(vars(_PRINT.PRINT_OPTS)), lambda before: vars(_PRINT.PRINT_OPTS).update(before)),
    (lambda: _FILL.fill_uninitialized_memory, lambda on: setattr(_FILL, "fill_uninitialized_memory", on)),
    (lambda: torch.get_autocast_dtype("cpu"), lambda dtype: torch.set_autocast_dtype("cpu", dtype)),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (torch._C._is_multithreading_enabled, torch._C._set_multithreading_enabled),
    (torch._C._get_nnpack_enabled, torch._C._set_nnpack_enabled),
    (torch.is_warn_always_enabled, torch.set_warn_always),
    (
        torch.__future__.get_overwrite_module_params_on_conversion,
        torch.__future__.set_overwrite_module_params_on_conversion,
    ),
    (torch.__future__.get_swap_module_params_on_conversion, torch.__future__.set_swap_module_params_on_conversion),
)


class TorchState:
    """The settings as they are now. ``restore`` puts them back."""

    def __init__(self) -> None:
        self._configs = {name: _overrides(sys.modules[name]) for name in _CONFIGS if name in sys.modules}
        self._before = [read() for read, _ in _STATE]

    def restore(self) -> None:
        """Put everything back."""
        for name, before in self._configs.items():
            config: Any = sys.modules[name]
            for key, value, was in zip(_readers(config), _overrides(config), before, strict=True):
                if value is not was:
                    _override(config, key, was)
        for (read, write), value in zip(_STATE, self._before, strict=True):
            if read() != value:
                write(value)


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
