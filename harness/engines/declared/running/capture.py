"""Capture the ops of an importable engine: recorders stand in for the functions that declare ops, before any module uses them."""

import ast
import contextlib
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from harness.base.errors import BadInput
from harness.base.exception_text import first_line
from harness.engines.declared.engine import Engine
from harness.engines.declared.running import machine, recorders, standin
from harness.engines.declared.running.recorders import Recorded, Recorder
from harness.engines.declared.source.scan import Declared, declarations
from harness.engines.declared.source.schema import required
from harness.engines.declared.source.sites import package

Function = Callable[..., Any]
# The arguments for the parameters of a factory that have no default.
_ARCHITECTURE = {
    "backend": "", "device_arch": "100", "arch": "100", "enable_rubin": False, "target": "sm100", "uri": "stub",
    "module_name": "stub", "jit_module": standin.Kernels(), "act_func_name": "silu",
}  # fmt: skip
_BACKENDS = ("100", "fa2", "fa3", "trtllm-gen")  # a factory declares the ops of one
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
        failed = _built(engine, reals, recorder)
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


def _built(engine: Engine, wanted: Sequence[Declared], recorder: Recorder) -> dict[Declared, str]:
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


def _one(
    declared: Declared, recorder: Recorder, folder: Path, failed: dict[Declared, str], every: Sequence[Declared]
) -> Captured:
    captured = Captured(declared, reason=failed.get(declared, ""), name=_qualified(declared))
    recorded = recorder.at(str(folder.parent / declared.file), declared.first, declared.last)
    if recorded is None and declared.module in sys.modules:
        recorded = _read(declared, every)
    if recorded is not None:
        captured.real, captured.mutates = recorded.real, recorded.mutates
        captured.fake = recorded.fake or recorder.fake_of(recorded)
        short = recorded.name.rpartition("::")[2]
        # Without the suffix of the architecture.
        captured.name = _qualified(declared) if declared.op and short.startswith(declared.op) else recorded.name
        captured.reason = ""
    elif not captured.reason:
        captured.reason = f"{declared.function or declared.module} ran, but did not declare it"
    return captured


def _qualified(declared: Declared) -> str:
    return f"{declared.own}::{declared.op}" if declared.own else declared.op


def _read(declared: Declared, every: Sequence[Declared]) -> Recorded | None:
    """A declaration that was not run, since it is for another platform or machine: its functions, from its module's names."""
    names = vars(sys.modules[declared.module])
    node = declared.node
    try:
        if isinstance(node, ast.Call):
            return _from_call(declared, node, names)
        if isinstance(node, ast.FunctionDef) and not declared.function:
            fakes = [one.node for one in every if not one.real and one.op == declared.op and one.file == declared.file]
            fake = next((_defined(one, names, declared) for one in fakes if isinstance(one, ast.FunctionDef)), None)
            return Recorded(declared.op, _defined(node, names, declared), _mutates(node, names), fake)
    except Exception:  # a name that only the other platform has
        return None
    return None


def _from_call(declared: Declared, node: ast.Call, names: dict[str, Any]) -> Recorded | None:
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    function = given.get("op_func") or (node.args[1] if len(node.args) > 1 else None)
    if function is None:
        return None
    real = _value(function, names, declared)
    mutates = _value(given["mutates_args"], names, declared) if "mutates_args" in given else ()
    fake = _value(given["fake_impl"], names, declared) if "fake_impl" in given else None
    return Recorded(declared.op, real, mutates, fake)


def _value(node: ast.expr, names: dict[str, Any], declared: Declared) -> Any:
    return eval(compile(ast.Expression(node), names["__file__"], "eval"), names)


def _defined(node: ast.FunctionDef, names: dict[str, Any], declared: Declared) -> Function:
    """The function of a definition that was not run, without its decorators."""
    fields: dict[str, Any] = {name: getattr(node, name, None) for name in node._fields}
    bare = ast.FunctionDef(**fields | {"decorator_list": []})
    module = ast.Module([ast.copy_location(bare, node)], [])
    scope: dict[str, Any] = {}
    exec(compile(module, names["__file__"], "exec"), names, scope)
    made: Function = scope[node.name]
    return made


def _mutates(node: ast.FunctionDef, names: dict[str, Any]) -> Any:
    for decorator in node.decorator_list:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "mutates_args":
                return eval(compile(ast.Expression(keyword.value), "mutates_args", "eval"), names)
    return ()
