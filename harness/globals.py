"""Torch's global state: what a layer must leave as it found it."""

from collections.abc import Callable
from typing import Any, Self

import torch

# name: (how to read it, how to put it back)
_STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic mode": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda kept: torch.use_deterministic_algorithms(kept[0], warn_only=kept[1]),
    ),
    "float32 matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "CPU autocast": (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
}


class GlobalState:
    """A context at whose end ``left`` names what was changed inside, which is then put back.

    Random numbers count too: ``left`` names the generator if its state is another one.
    """

    def __enter__(self) -> Self:
        self._before = {name: read() for name, (read, _) in _STATE.items()}
        self._random = torch.get_rng_state()
        self.left: tuple[str, ...] = ()
        return self

    def __exit__(self, *error: object) -> None:
        changed = [name for name, (read, _) in _STATE.items() if read() != self._before[name]]
        for name in changed:
            _STATE[name][1](self._before[name])
        if not torch.equal(torch.get_rng_state(), self._random):
            changed.append("random generator")
            torch.set_rng_state(self._random)
        self.left = tuple(changed)
