"""The state of the process that a layer must leave as it was: the environment, torch's switches and its settings."""

import functools
import os
import sys
import warnings
from typing import Any, Self

import torch

from harness.execution.global_state import GlobalState

# Variables that torch, Triton and OpenMP set for themselves when they are first used.
_OF_TORCH = ("TORCHINDUCTOR_", "TRITON_", "KMP_", "OMP_")
_CONFIGS = ("torch._dynamo.config", "torch._inductor.config", "torch._functorch.config")
_BACKENDS = (
    ("torch.backends.cuda.matmul", "allow_tf32"),
    ("torch.backends.cudnn", "allow_tf32"),
    ("torch.backends.cudnn", "benchmark"),
    ("torch.backends.cudnn", "deterministic"),
)


class ProcessState:
    """A context manager that restores the process's state at its end. ``changed`` then names what had changed."""

    def __enter__(self) -> Self:
        self._global = GlobalState().__enter__()
        self._environment = dict(os.environ)
        self._settings = _settings()
        self.changed: tuple[str, ...] = ()
        return self

    def __exit__(self, *error: object) -> None:
        settings = _settings()
        moved = [name for name, value in self._settings.items() if settings.get(name, value) != value]
        for name in moved:
            _restore(name, self._settings[name])
        variables = self._restore_environment()
        self._global.__exit__(*error)
        self.changed = (*self._global.changed, *variables, *moved)

    def _restore_environment(self) -> list[str]:
        names = {*self._environment, *os.environ}
        changed = [name for name in sorted(names) if self._environment.get(name) != os.environ.get(name)]
        changed = [name for name in changed if not name.startswith(_OF_TORCH)]
        for name in changed:
            if name in self._environment:
                os.environ[name] = self._environment[name]
            else:
                del os.environ[name]
        return [f"the environment variable {name}" for name in changed]


def _settings() -> dict[str, Any]:
    """Every setting of torch's compiler and its backends, by its full name."""
    values = {f"{owner}.{name}": getattr(_owner(owner), name) for owner, name in _BACKENDS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some settings are deprecated, and say so when they are read
        for module in filter(sys.modules.__contains__, _CONFIGS):
            config: Any = sys.modules[module]
            names = [name for name, entry in config._config.items() if not getattr(entry, "alias", None)]
            values |= {f"{module}.{name}": _plain(getattr(config, name)) for name in names}
    return values


def _plain(value: Any) -> Any:
    """A value that can be compared later: a setting that holds a list or an object may be changed in place."""
    return value if isinstance(value, int | float | str | None) else repr(value)


def _owner(path: str) -> Any:
    return functools.reduce(getattr, path.split(".")[1:], torch)


def _restore(name: str, value: Any) -> None:
    """Give a setting its value again; one whose value is known as text alone stays as it is."""
    path, _, setting = name.rpartition(".")
    if isinstance(getattr(_owner(path), setting), int | float | str | None):
        setattr(_owner(path), setting, value)
