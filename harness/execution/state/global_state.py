"""Global state that a layer must not change: torch's switches and the random number generators."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch.utils import _python_dispatch
from torch.utils._device import DeviceContext


def _device_context() -> Any:
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


def _flushes_denormal() -> bool:
    """Whether this thread's CPU takes the smallest numbers for zero. torch can set that and not say it.

    Python's own numbers show it, as the switch is the CPU's. An op of torch would be seen by whatever watches ops.
    """
    return sys.float_info.min * 0.5 == 0


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Inside a ``with`` block, new floating-point tensors have this dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def matmul_precision() -> str:
    """Torch's float32 matmul precision. torch does not say it where its old and its new settings contradict each other."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "mixed"


def set_matmul_precision(precision: str) -> None:
    """The inverse, which also ends a contradiction; there is no way to make one again."""
    if precision != "mixed":
        torch.set_float32_matmul_precision(precision)


class _Modes:
    """A stack of torch's modes as a layer finds it: what reads it, and what takes off those that were put on since."""

    def __init__(self, stack: Callable[[], list[Any]], pop: Callable[[], object]) -> None:
        self._stack, self._pop = stack, pop

    def read(self) -> tuple[Any, ...]:
        """The modes. The default device is one of them, and has a name of its own."""
        return tuple(mode for mode in self._stack() if not isinstance(mode, DeviceContext))

    def restore(self, before: tuple[Any, ...]) -> None:
        """Take off those above. One that was taken off is not put back: its owner may have ended it."""
        for _ in range(len(self.read()) - len(before)):
            self._pop()


_FUNCTIONS = _Modes(torch.overrides._get_current_function_mode_stack, torch.overrides._pop_mode)
_DISPATCH = _Modes(_python_dispatch._get_current_dispatch_mode_stack, _python_dispatch._pop_mode)

# name: (function that reads it, function that restores it)
_STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (_device_context, lambda before: torch.set_default_device(before and before.device)),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic mode": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda before: torch.use_deterministic_algorithms(before[0], warn_only=before[1]),
    ),
    "float32 matmul precision": (matmul_precision, set_matmul_precision),
    "oneDNN switch": (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    "flush-denormal mode": (_flushes_denormal, torch.set_flush_denormal),
    "autograd's anomaly mode": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "inference mode": (torch.is_inference_mode_enabled, bool),  # only its own guard can end it
    "modes of torch functions": (_FUNCTIONS.read, _FUNCTIONS.restore),
    "modes of dispatch": (_DISPATCH.read, _DISPATCH.restore),
    "CPU autocast": (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
}


def numpy_random() -> tuple[Any, ...] | None:
    """The state of numpy's generator; None while nobody has imported numpy."""
    if "numpy" not in sys.modules:
        return None
    name, keys, *rest = sys.modules["numpy"].random.get_state()
    return name, keys.tobytes(), *rest


def _restore_numpy_random(state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    numpy = sys.modules["numpy"]
    numpy.random.set_state((name, numpy.frombuffer(keys, dtype=numpy.uint32), *rest))


class GlobalState:
    """A context manager that restores the global state at its end. ``changed`` then names what had changed.

    A generator counts as changed where random numbers were drawn from it.
    """

    def __enter__(self) -> Self:
        self._before = {name: read() for name, (read, _) in _STATE.items()}
        self._random, self._python_random = torch.get_rng_state(), random.getstate()
        self._numpy_random = numpy_random()
        self.changed: tuple[str, ...] = ()
        return self

    def __exit__(self, *error: object) -> None:
        changed = [name for name, (read, _) in _STATE.items() if read() != self._before[name]]
        for name in changed:
            _STATE[name][1](self._before[name])
        self.changed = (*changed, *self._restore_generators())

    def _restore_generators(self) -> list[str]:
        changed = []
        if not torch.equal(torch.get_rng_state(), self._random):
            changed.append("random generator")
            torch.set_rng_state(self._random)
        if random.getstate() != self._python_random:
            changed.append("Python's random generator")
            random.setstate(self._python_random)
        if self._numpy_random is not None and numpy_random() != self._numpy_random:
            changed.append("numpy's random generator")
            _restore_numpy_random(self._numpy_random)
        return changed
