"""Torch's settings that are put back after each verdict: those of its compiler, hooks of all modules, its own functions.

``GlobalState`` holds what each call is watched for. What is here is read around a build and a few calls alone.
"""

import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
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
    """Torch's functions and methods by owner and name. They are compared by identity; a name that is new is an import's."""

    def __init__(self) -> None:
        inherited = [vars(torch.Tensor.__base__) if owner is torch.Tensor else {} for owner in _OWNERS]
        members = [{**old, **vars(owner)} for owner, old in zip(_OWNERS, inherited, strict=True)]
        self._members = [{name: one for name, one in some.items() if callable(one)} for some in members]

    def __eq__(self, before: object) -> bool:
        return isinstance(before, _Functions) and not list(self._exchanged(before))

    __hash__ = None  # type: ignore[assignment]

    def _exchanged(self, before: "_Functions") -> Iterator[tuple[Any, str, Any]]:
        """(owner, name, what it was) of each that is another one now."""
        for owner, now, was in zip(_OWNERS, self._members, before._members, strict=True):
            yield from ((owner, name, one) for name, one in was.items() if now.get(name) is not one)

    def names_of(self, before: "_Functions") -> list[str]:
        """The full name of each that is another one now, such as ``torch.nn.functional.linear``."""
        return [f"{_name(owner)}.{name}" for owner, name, _ in self._exchanged(before)]

    def put_back(self) -> None:
        """Give each owner these functions again."""
        for owner, name, one in _Functions()._exchanged(self):
            setattr(owner, name, one)


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
    "torch's functions": (_Functions, _Functions.put_back),
    "how processes share tensors": (sharing.get_sharing_strategy, sharing.set_sharing_strategy),
}


class TorchSwitches:
    """What a layer has no reason to change, as it is now. ``restore`` puts it back and names what had changed."""

    def __init__(self) -> None:
        self._before = {name: read() for name, (read, _) in _STATE.items()}

    def restore(self) -> tuple[str, ...]:
        """Put everything back; returns the names of what had changed."""
        changed = {name: now for name, (read, _) in _STATE.items() if (now := read()) != self._before[name]}
        for name in changed:
            _STATE[name][1](self._before[name])
        named = [_names(name, now, self._before[name]) for name, now in changed.items()]
        return tuple(one for names in named for one in names)


def _names(name: str, now: Any, before: Any) -> list[str]:
    return now.names_of(before) if isinstance(now, _Functions) else [name]


class TorchState:
    """These and the settings of torch's compiler as they are now. ``restore`` puts them back."""

    def __init__(self) -> None:
        self._configs = {name: dict(_overrides(sys.modules[name])) for name in _CONFIGS if name in sys.modules}
        self._switches = TorchSwitches()

    def restore(self) -> None:
        """Put everything back."""
        for name, before in self._configs.items():
            for key, value in _overrides(sys.modules[name]):
                if value is not before[key]:
                    _override(sys.modules[name], key, before[key])
        self._switches.restore()


def _overrides(config: Any) -> Iterator[tuple[str, Any]]:
    """What was set of each setting, by its name; torch's own mark where nothing was. torch 2.13 has a ContextVar there."""
    for name, entry in config._config.items():
        value = entry.user_override
        yield name, value.get() if isinstance(value, ContextVar) else value


def _override(config: Any, name: str, value: Any) -> None:
    """Set it past the module, then through it, so that torch sees its settings as changed."""
    entry = config._config[name]
    if isinstance(entry.user_override, ContextVar):
        entry.user_override.set(value)
    else:
        entry.user_override = value
    if not entry.alias:
        setattr(config, name, getattr(config, name))
