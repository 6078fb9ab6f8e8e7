"""Run what declares ops: import each module, and call each factory with arguments for one architecture."""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.base.exception_text import first_line
from harness.engines.declared.engine import Engine
from harness.engines.declared.running import standin
from harness.engines.declared.running.kernels import Kernels
from harness.engines.declared.running.recorded import Recorder
from harness.engines.declared.source.scan import Declared
from harness.engines.declared.source.schema import required

STAND_IN = "stub"  # the name of whatever an engine would build
# The arguments for the parameters of a factory that have no default.
_ARCHITECTURE = {
    "backend": "", "device_arch": "100", "arch": "100", "enable_rubin": False, "target": "sm100", "uri": STAND_IN,
    "module_name": STAND_IN, "jit_module": Kernels(), "act_func_name": "silu",
}  # fmt: skip
_BACKENDS = ("100", "fa2", "fa3", "trtllm-gen")  # a factory declares the ops of one


def built(engine: Engine, wanted: Sequence[Declared], recorder: Recorder) -> dict[Declared, str]:
    """Import each module and call each function that declares ops. Returns the reason for each that fails."""
    failed: dict[Declared, str] = {}
    for declared in wanted:
        with contextlib.suppress(_Failed):
            failed[declared] = "?"
            _build(declared, recorder, failed)
            del failed[declared]
    again = [declared for declared in failed if any(f"import of {name}" in failed[declared] for name in engine.hidden)]
    with standin.all_shown(engine):  # what does not import without a hidden package, tries again with a stub of it
        for declared in again:
            with contextlib.suppress(_Failed):
                _build(declared, recorder, failed)
                del failed[declared]
    return failed


class _Failed(Exception):
    """A module or a factory raised. The reason is noted."""


def _build(declared: Declared, recorder: Recorder, failed: dict[Declared, str]) -> None:
    try:
        module = importlib.import_module(declared.module)
        file = str(Path(str(module.__file__)))
        if not declared.function or recorder.at(file, declared.first, declared.last):
            return
        factory = getattr(module, declared.function, None)
        if inspect.isclass(factory) or factory is None:
            return
        for backend in _BACKENDS:
            given = given_to(declared.module, declared.function)
            inspect.unwrap(factory)(**given | ({"backend": backend} if "backend" in given else {}))
            if "backend" not in given or recorder.at(file, declared.first, declared.last):
                return
    except BaseException as error:  # without a GPU, a module may raise anything, and may exit
        if isinstance(error, KeyboardInterrupt):
            raise
        where = declared.function or declared.module
        failed[declared] = f"{where}: {type(error).__name__}: {first_line(error)}"
        raise _Failed from error


def given_to(module: str, factory: str) -> dict[str, Any]:
    """The arguments for a function that declares ops: an architecture, and what a parameter's name suggests."""
    inner = inspect.unwrap(getattr(sys.modules[module], factory))
    return {name: _ARCHITECTURE[name] if name in _ARCHITECTURE else _suggested(name) for name in required(inner)}


def _suggested(name: str) -> Any:
    if name.endswith("dtype"):
        return torch.bfloat16
    return False if name.startswith(("use", "is", "has", "enable", "q_seq")) else 64
