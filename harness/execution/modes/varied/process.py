"""The state of the process that a layer must leave as it was: the environment, torch's switches and its settings."""

import functools
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch

from harness.execution.state.global_state import GlobalState, matmul_precision, numpy_random, set_matmul_precision
from harness.execution.state.python_state import PythonState, first_variables
from harness.execution.state.torch_state import TorchSwitches, restore_functions

# Variables that torch, Triton and OpenMP set for themselves when they are first used.
_OF_TORCH = ("TORCHINDUCTOR_", "TRITON_", "KMP_", "OMP_")
_CONFIGS = ("torch._dynamo.config", "torch._inductor.config", "torch._functorch.config")
_BACKENDS = (
    ("torch.backends.cudnn", "allow_tf32"),
    ("torch.backends.cudnn", "benchmark"),
    ("torch.backends.cudnn", "deterministic"),
    ("torch.backends.cudnn", "enabled"),
    ("torch.backends.cuda.matmul", "allow_bf16_reduced_precision_reduction"),
    ("torch.backends.cuda.matmul", "allow_fp16_reduced_precision_reduction"),
    ("torch.backends.quantized", "engine"),
)


@contextmanager
def _written() -> Iterator[set[str]]:
    """The names of the environment's variables that are written inside the block, also with the same value.

    No audit hook: it would stay, and each call of ``id`` would run it, thousands of times in one compile.
    """
    names: set[str] = set()
    real = os.putenv

    @functools.wraps(real)
    def note(name: Any, value: Any) -> None:
        names.add(os.fsdecode(name))
        real(name, value)

    owners: tuple[Any, ...] = os, sys.modules[real.__module__]  # posix has it too
    for owner in owners:
        owner.putenv = note
    try:
        yield names
    finally:
        for owner in owners:
            owner.putenv = real


def new_variables() -> tuple[str, ...]:
    """The environment's variables that were not there before the first layer of the process, without those of torch itself."""
    now = sorted(set(os.environ) - first_variables())
    return tuple(name for name in now if not name.startswith(_OF_TORCH))


class Snapshot:
    """The environment and the settings as they are now."""

    def __init__(self) -> None:
        self.environment, self.settings = dict(os.environ), _settings()
        self._precision, self._python, self._switches = matmul_precision(), PythonState(), TorchSwitches()

    def restore(self) -> tuple[str, ...]:
        """Put everything back; returns what had changed."""
        names = self._restore_precision()
        now = _settings()
        moved = [name for name, value in self.settings.items() if now.get(name, value) != value]
        for name in moved:
            _restore(name, self.settings[name])
        return (
            *self._restore_environment(),
            *names,
            *moved,
            *self._python.restore(),
            *self._switches.restore(),
            *restore_functions(),
        )

    def _restore_precision(self) -> list[str]:
        """By torch's function for it: its other settings of the same thing raise where they meet a value of this one."""
        if matmul_precision() == self._precision:
            return []
        set_matmul_precision(self._precision)
        return ["float32 matmul precision"]

    def _restore_environment(self) -> list[str]:
        names = {*self.environment, *os.environ}
        changed = [name for name in sorted(names) if self.environment.get(name) != os.environ.get(name)]
        changed = [name for name in changed if not name.startswith(_OF_TORCH)]
        for name in changed:
            if name in self.environment:
                os.environ[name] = self.environment[name]
            else:
                del os.environ[name]
        return [f"the environment variable {name}" for name in changed]


class ProcessState:
    """A context manager that puts the process's state back, at its begin and its end. ``changed`` then names what had changed.

    ``written`` names variables of the environment that were there before and were written all the same.
    """

    def __init__(self, before: Snapshot) -> None:
        self._before, self._global = before, GlobalState()
        self.changed: tuple[str, ...] = ()
        self.written: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self._before.restore()
        self._global.__enter__()
        self.draw()  # so that a generator which an earlier layer seeded shows when it is seeded the same way
        self._moved = _generators()
        self._noting = _written()
        self._names = self._noting.__enter__()
        return self

    def draw(self) -> None:
        """Take a number from each generator."""
        torch.rand(1)
        random.random()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.random()

    def __exit__(self, *error: object) -> None:
        self._noting.__exit__(None, None, None)
        written = self._names & set(self._before.environment)
        self.written = tuple(sorted(name for name in written if not name.startswith(_OF_TORCH)))
        self.generators = _generators()
        drew = [name for name, state in self._moved.items() if self.generators[name] != state]
        self._global.__exit__(*error)
        names = [name for name in self._global.changed if "random generator" not in name]
        names += drew
        self.changed = (*names, *self._before.restore())


def _generators() -> dict[str, Any]:
    """The state of each generator of random numbers; numpy's where somebody has imported it."""
    states = {"random generator": torch.get_rng_state().tolist(), "Python's random generator": random.getstate()}
    return states | ({"numpy's random generator": numpy_random()} if "numpy" in sys.modules else {})


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
