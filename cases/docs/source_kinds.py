"""The kinds of findings that the source can make, read from its syntax tree: the first argument of the list of kinds.

A kind is a text in a call of ``Finding(kind=...)``. Where a function passes it on, its callers are read; where it comes
out of another function, that function's returned tuples are read. What cannot be followed is an error and not a gap.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_SAVED = {"_renamed", "_finding"}  # a record that is read back makes no kind of its own


class Unresolved(Exception):
    """A kind that this reader cannot follow to a text."""


@dataclass(frozen=True)
class Source:
    """One module's syntax tree, its constants and its functions."""

    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed module."""
        return ast.parse(self.path.read_text("utf-8"))

    @cached_property
    def constants(self) -> dict[str, str]:
        """Names that the module binds to a text."""
        return {
            target.id: node.value.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """Every function of the module by name."""
        return {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}

    def calls(self, name: str) -> Iterator[tuple[ast.FunctionDef, ast.Call]]:
        """Each call of a function by its plain name, with the function around it."""
        for function in self.functions.values():
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                    yield function, node


def kinds(folder: Path) -> dict[str, set[str]]:
    """Each kind that a module below ``folder`` can make, with the modules' names. Raises Unresolved."""
    sources = [Source(path) for path in sorted(folder.rglob("*.py"))]
    constants = {name: text for source in sources for name, text in source.constants.items()}
    found: dict[str, set[str]] = {}
    for source in sources:
        for function, call in source.calls("Finding"):
            for kind in _kinds_of_call(source, function, call, constants):
                found.setdefault(kind, set()).add(source.path.name)
    return found


def _kinds_of_call(source: Source, function: ast.FunctionDef, call: ast.Call, constants: dict[str, str]) -> set[str]:
    given = next((word.value for word in call.keywords if word.arg == "kind"), None)
    if given is None and function.name in _SAVED:
        return set()
    if given is None:
        raise Unresolved(f"{source.path}:{call.lineno}: Finding() without kind=")
    return _texts(source, function, given, constants)


def _texts(source: Source, function: ast.FunctionDef, node: ast.expr, constants: dict[str, str]) -> set[str]:
    """Every text that an expression inside a function can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return _texts(source, function, node.body, constants) | _texts(source, function, node.orelse, constants)
    if isinstance(node, ast.Name) and node.id in constants:
        return {constants[node.id]}
    if isinstance(node, ast.Name) and node.id in _parameters(function):
        place = _parameters(function).index(node.id)
        return set().union(*(_texts(source, *at, constants) for at in _passed(source, function.name, node.id, place)))
    if isinstance(node, ast.Name) and (maker := _unpacked(source, function, node.id)):
        return _first_returned(source, maker, constants)
    raise Unresolved(f"{source.path}:{node.lineno}: cannot follow kind={ast.unparse(node)}")


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args]


def _passed(source: Source, name: str, parameter: str, place: int) -> list[tuple[ast.FunctionDef, ast.expr]]:
    """What the module's callers give for a parameter, each with the function that gives it."""
    given = []
    for function, call in source.calls(name):
        named = [word.value for word in call.keywords if word.arg == parameter]
        given.append((function, named[0] if named else call.args[place]))
    if not given:
        raise Unresolved(f"{source.path}: nothing in its module calls {name}")
    return given


def _unpacked(source: Source, function: ast.FunctionDef, name: str) -> str:
    """The function whose returned tuple begins with this local name; empty where there is none."""
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Tuple):
            continue
        first, value = node.targets[0].elts[0], node.value
        if isinstance(first, ast.Name) and first.id == name and isinstance(value, ast.Call):
            return value.func.id if isinstance(value.func, ast.Name) and value.func.id in source.functions else ""
    return ""


def _first_returned(source: Source, name: str, constants: dict[str, str]) -> set[str]:
    """The first elements of the tuples that a function returns, through the functions that it returns from."""
    function, found = source.functions[name], set()
    for node in ast.walk(function):
        if not isinstance(node, ast.Return):
            continue
        if isinstance(node.value, ast.Tuple):
            found |= _texts(source, function, node.value.elts[0], constants)
        elif isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            found |= _first_returned(source, node.value.func.id, constants)
        else:
            raise Unresolved(f"{source.path}:{node.lineno}: {name} returns no tuple")
    return found
