"""Capture the ops of an importable engine: recorders stand in for the functions that declare ops, before any module uses them."""

import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.base.errors import BadInput
from harness.base.exception_text import first_line
from harness.engines.declared.engine import Engine
from harness.engines.declared.running import building, machine, recorders, standin
from harness.engines.declared.running.anything import Anything
from harness.engines.declared.running.building import built
from harness.engines.declared.running.kernels import Kernels
from harness.engines.declared.running.recorded import Recorded, Recorder
from harness.engines.declared.running.unrun import read
from harness.engines.declared.source.scan import Declared, declarations
from harness.engines.declared.source.sites import package

Function = Callable[..., Any]
STRANGE = "its function is one of a package that is not here"
COMPILED = "its implementation is compiled; only its fake is in Python"


@dataclass
class Captured:
    """One op as the engine declares it. ``name`` is what rows call it, ``key`` its name among the captured ops."""

    declared: Declared
    real: Function | None = None
    fake: Function | None = None
    mutates: Any = ()
    reason: str = ""
    name: str = ""
    key: str = ""


def capture(engine: Engine) -> list[Captured]:
    """Every op that the importable engine declares. Raises BadInput if there is none, or the engine has other helpers."""
    folder = package(engine)
    found = [one for one in declarations(folder) if one.module not in engine.helpers]
    reals = [one for one in found if one.real]
    if not reals:
        raise BadInput(f"{folder} declares no op; expected a {engine.title} that does")
    recorder = _recording(engine, folder)
    with machine.fake_cuda(engine.environ):
        failed = built(engine, reals, recorder)
        recorders.add_definitions(recorder)
        captured = [_one(declared, recorder, folder, failed, found) for declared in reals]
    known = {one.declared.op for one in captured} | {one.name for one in captured}
    fakes = {one.op: one for one in found if not one.real and one.op not in known and one.own}
    captured += [Captured(one, reason=COMPILED, name=f"{one.own}.{one.op}") for one in fakes.values()]
    return _with_names(engine, captured)


def _with_names(engine: Engine, captured: list[Captured]) -> list[Captured]:
    """Give each op a name of its own: a second declaration of a name gets a number."""
    seen: dict[str, int] = {}
    for one in captured:
        own, _, short = one.name.rpartition("::")
        base = short if own in ("", engine.space) else f"{own}.{short}"
        base = base or f"unnamed at {Path(one.declared.file).name}:{one.declared.line}"
        seen[base] = seen.get(base, 0) + 1
        one.name = base + (f"__{seen[base]}" if seen[base] > 1 else "")
        one.key = "".join(letter if letter.isalnum() or letter == "_" else "__" for letter in one.name)
    return captured


def _recording(engine: Engine, folder: Path) -> Recorder:
    """Replace the helpers by recorders as soon as the module that has them is imported."""
    recorder, patch = Recorder(), engine.hook("patch")

    def then(module: ModuleType) -> None:
        for name in engine.helpers.get(module.__name__, ()):
            helper = getattr(module, name, None)
            if callable(helper) and inspect.isfunction(helper) and helper.__module__ == module.__name__:
                setattr(module, name, recorders.wrapped(helper, recorder))
        if patch is not None:
            patch(module)

    standin.install(engine, then)
    recorders.install(recorder)
    if not engine.runs_init:
        file = str(folder / "__init__.py")
        spec = importlib.machinery.ModuleSpec(engine.package, None, origin=file, is_package=True)
        root = importlib.util.module_from_spec(spec)
        root.__path__, root.__file__ = [str(folder)], file
        sys.modules[engine.package] = root
    _import_helpers(engine)
    return recorder


def _import_helpers(engine: Engine) -> None:
    """Import the modules with the engine's helpers first. Raises BadInput if none can be imported, or all lack them."""
    problems: list[str] = []
    for module, names in engine.helpers.items():
        try:
            with machine.fake_cuda(engine.environ):
                imported = importlib.import_module(module)
        except Exception as error:
            problems.append(f"{module} does not import: {type(error).__name__}: {first_line(error)}")
            continue
        lacking = [name for name in names if not callable(getattr(imported, name, None))]
        problems += [f"{module} has no {name}; expected {' and '.join(names)} there" for name in lacking]
        if not lacking:
            return
    raise BadInput(problems[0])


def _one(
    declared: Declared, recorder: Recorder, folder: Path, failed: dict[Declared, str], every: Sequence[Declared]
) -> Captured:
    captured = Captured(declared, reason=failed.get(declared, ""), name=_qualified(declared))
    recorded = recorder.at(str(folder.parent / declared.file), declared.first, declared.last)
    if recorded is None and declared.module in sys.modules:
        recorded = read(declared, every)
    if recorded is not None:
        captured.real, captured.mutates = recorded.real, recorded.mutates
        captured.fake = recorded.fake or recorder.fake_of(recorded)
        short = recorded.name.rpartition("::")[2]
        # Without the suffix of the architecture.
        captured.name = _qualified(declared) if declared.op and short.startswith(declared.op) else _own_name(recorded)
        captured.reason = ""
        if _is_stub(recorded.real):
            captured.real, captured.reason = None, STRANGE
    elif not captured.reason:
        captured.reason = f"{declared.function or declared.module} ran, but did not declare it"
    return captured


def _own_name(recorded: Recorded) -> str:
    """The name of an op, or its function's where a stand-in made up the whole name."""
    short = recorded.name.rpartition("::")[2]
    made_up = short == building.STAND_IN or not short.isidentifier()
    return str(getattr(recorded.real, "__name__", short)) if made_up else recorded.name


def _is_stub(function: object) -> bool:
    return any(isinstance(one, (Anything, Kernels)) for one in (function, type(function)))


def _qualified(declared: Declared) -> str:
    return f"{declared.own}::{declared.op}" if declared.own else declared.op
