"""Capture the declarations of an importable FlashInfer: recorders replace its decorators before any module uses them."""

import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch._library.custom_ops import CustomOpDef

from harness.base.errors import BadInput
from harness.base.exception_text import first_line
from harness.engines.flashinfer.captured import machine, standin
from harness.engines.flashinfer.declared.functions import DECORATORS, Declared, declarations
from harness.engines.flashinfer.declared.schema import required
from harness.engines.flashinfer.declared.sites import package

Function = Callable[..., Any]
# What FlashInfer's host code asks about the machine. The answers are those of one Blackwell GPU.
_MACHINE: dict[str, Function] = {
    "get_compute_capability": lambda *_: machine.CAPABILITY,
    "device_support_pdl": lambda *_: False,
    "setup_cubin_loader": lambda *_: None,
    "_use_cuda_norm": lambda *_: True,  # so that it does not use the DSL's kernels, even if the DSL is installed
}
# The names of functions in FlashInfer that return a module to compile.
_GENERATES = re.compile(r"gen_\w+|_gen_(\w+_)?module")
# Runners whose kernels are written in CuTe's Python.
_RUNNERS = "flashinfer.prims_ts.moe.runner"
# The arguments for the parameters of a factory that have no default.
_ARCHITECTURE = {"backend": "100", "device_arch": "100", "arch": "100", "enable_rubin": False, "target": "sm100"}


@dataclass
class Captured:
    """One op as FlashInfer declares it, with the functions that it passed to its two decorators."""

    declared: Declared
    real: Function | None = None
    fake: Function | None = None
    mutates: Any = ()
    reason: str = ""
    name: str = ""


@dataclass
class _Recorder:
    """Records what the two decorators get, by file and line."""

    real: dict[tuple[str, int], tuple[str, Function, Any]] = field(default_factory=dict)
    fake: dict[str, Function] = field(default_factory=dict)

    def register_custom_op(self, name: str, fn: Function | None = None, /, **options: Any) -> Any:
        """In place of FlashInfer's decorator: record the function and return it."""

        def record(function: Function) -> Function:
            inner = inspect.unwrap(function)
            place = inner.__code__.co_filename, inner.__code__.co_firstlineno
            self.real[place] = name.partition("::")[2], function, options.get("mutates_args")
            return function

        return record if fn is None else record(fn)

    def register_fake_op(self, name: str, fn: Function | None = None) -> Any:
        """In place of FlashInfer's decorator for fakes."""

        def record(function: Function) -> Function:
            self.fake[name.partition("::")[2]] = function
            return function

        return record if fn is None else record(fn)


def capture() -> list[Captured]:
    """Every op for MoE, and for FP4 or FP8 quantisation, that the importable FlashInfer declares. Raises BadInput."""
    folder = package()
    wanted = [declared for declared in declarations(folder) if declared.audited]
    if not wanted:
        raise BadInput(
            f"{folder} declares no op for MoE or quantisation with @{DECORATORS[0]}; expected a FlashInfer that does"
        )
    recorder = _record(folder)
    with machine.fake_cuda():
        failed = _built([declared for declared in wanted if declared.real], recorder)
    return [_one(declared, recorder, folder, failed) for declared in wanted if declared.real]


def _record(folder: Path) -> _Recorder:
    """Replace the decorators by recorders. FlashInfer's ``__init__`` is not run, since it imports all of FlashInfer."""
    standin.install(no_machine)
    root = ModuleType("flashinfer")
    root.__path__ = [str(folder)]
    root.__file__ = str(folder / "__init__.py")
    sys.modules["flashinfer"] = root
    recorder = _Recorder()
    try:
        with machine.fake_cuda():
            utils = importlib.import_module("flashinfer.utils")
    except Exception as error:
        raise BadInput(f"flashinfer.utils does not import: {type(error).__name__}: {first_line(error)}") from error
    for name in DECORATORS:
        if not callable(getattr(utils, name, None)):
            raise BadInput(f"flashinfer.utils has no {name}; expected the decorators {' and '.join(DECORATORS)} there")
        setattr(utils, name, getattr(recorder, name))
    return recorder


def _built(wanted: Sequence[Declared], recorder: _Recorder) -> dict[Declared, str]:
    """Import each module and call each function that declares ops. Returns the reason for each that fails."""
    failed: dict[Declared, str] = {}
    for declared in wanted:
        try:
            module = importlib.import_module(declared.module)
            if declared.function and (str(Path(str(module.__file__))), declared.first) not in recorder.real:
                given = given_to(declared.module, declared.function)
                inspect.unwrap(getattr(module, declared.function))(**given)
        except Exception as error:  # without a GPU, a module of FlashInfer may raise anything
            failed[declared] = f"{declared.function or declared.module}: {type(error).__name__}: {first_line(error)}"
    _registered(recorder)
    return failed


def _registered(recorder: _Recorder) -> None:
    """Record the ops that FlashInfer itself registers with torch. They are audited like the others."""
    for module in [module for name, module in sys.modules.items() if name.startswith("flashinfer.")]:
        for op in [value for value in vars(module).values() if isinstance(value, CustomOpDef)]:
            if op._namespace == "flashinfer":
                written = tuple(argument.name for argument in op._opoverload._schema.arguments if argument.is_write)
                code = inspect.unwrap(op._init_fn).__code__
                recorder.real[code.co_filename, code.co_firstlineno] = op._name, op._init_fn, written
                if op._abstract_fn is not None:
                    recorder.fake[op._name] = op._abstract_fn


def given_to(module: str, factory: str) -> dict[str, Any]:
    """The arguments for a function that declares ops. Raises TypeError if it has an unknown parameter."""
    inner = inspect.unwrap(getattr(sys.modules[module], factory))
    needed = required(inner)
    unknown = [name for name in needed if name not in _ARCHITECTURE]
    if unknown:
        raise TypeError(f"it needs {', '.join(unknown)}; expected only {', '.join(_ARCHITECTURE)}")
    return {name: _ARCHITECTURE[name] for name in needed}


def no_machine(module: ModuleType) -> None:
    """Patch a module of FlashInfer so that it compiles nothing, and questions about the GPU have answers."""
    if module.__name__ == "flashinfer.autotuner":
        module.AutoTuner.choose_one = lambda self, op, runners, *_, **__: (runners[0], -1)
        return
    for name, value in list(vars(module).items()):
        if name in _MACHINE:
            setattr(module, name, _MACHINE[name])
        elif _GENERATES.fullmatch(name) and callable(value):
            setattr(module, name, lambda *_, **__: standin.Spec())
        elif name.startswith("is_prims_ts_") and name.endswith("_supported"):
            setattr(module, name, lambda *_, **__: (True, ""))
        elif module.__name__ == _RUNNERS and "forward" in getattr(value, "__dict__", ()):
            value.forward = standin.forward


def _one(declared: Declared, recorder: _Recorder, folder: Path, failed: dict[Declared, str]) -> Captured:
    captured = Captured(declared, reason=failed.get(declared, ""), name=declared.op)
    with contextlib.suppress(KeyError):
        captured.name, captured.real, captured.mutates = recorder.real[
            str(folder.parent / declared.file), declared.first
        ]
        captured.fake = recorder.fake.get(captured.name)
        if declared.op and captured.name.startswith(declared.op):
            captured.name = declared.op  # without the suffix of the architecture
    if captured.real is None and not captured.reason:
        captured.reason = f"{declared.function or declared.module} ran, but did not declare it"
    return captured
