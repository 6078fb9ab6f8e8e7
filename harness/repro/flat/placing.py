"""A method's body in place of its call: its parameters become the call's arguments, its locals get names of their own."""

import ast
from copy import deepcopy

from harness.repro.flat.syntax import Substitute, stored_names

_TRIVIAL = (ast.Name, ast.Constant)


def placed_body(
    body: list[ast.stmt], arguments: dict[str, ast.expr], names: set[str], deferred: bool
) -> tuple[list[ast.stmt], ast.expr] | None:
    """The statements to put before the call's, and the expression that the call stands for.

    ``arguments`` are by their parameters. ``names`` are those that are taken; new ones are added. ``deferred`` says that the
    call is evaluated under a condition, so that no statement may stand before it; None where one would have to.
    """
    found = _values(body, arguments, names, deferred)
    if found is None:
        return None
    statements, values = found
    placed = [Substitute({key: deepcopy(value) for key, value in values.items()}).visit(part) for part in body]
    result = placed[-1].value
    return [*statements, *placed[:-1]], result if result is not None else ast.Constant(None)


def _values(
    body: list[ast.stmt], arguments: dict[str, ast.expr], names: set[str], deferred: bool
) -> tuple[list[ast.stmt], dict[str, ast.expr]] | None:
    """What stands for each name of the body, and the assignments that this needs."""
    values: dict[str, ast.expr] = {}
    statements: list[ast.stmt] = []
    assigned = stored_names(body)
    for parameter, argument in arguments.items():
        if parameter not in assigned and (isinstance(argument, _TRIVIAL) or _uses(body, parameter) < 2):
            values[parameter] = argument
        elif deferred:
            return None
        else:
            name = _fresh(parameter, names)
            values[parameter] = ast.Name(name, ast.Load())
            statements.append(ast.Assign([ast.Name(name, ast.Store())], argument))
    for local in dict.fromkeys(assigned):
        if local not in values:
            values[local] = ast.Name(_fresh(local, names), ast.Load())
    return statements, values


def _uses(body: list[ast.stmt], name: str) -> int:
    return sum(isinstance(node, ast.Name) and node.id == name for top in body for node in ast.walk(top))


def _fresh(name: str, names: set[str]) -> str:
    """A name for a local that is not taken."""
    fresh = next(text for text in (name, *(f"{name}_{number}" for number in range(2, 99))) if text not in names)
    names.add(fresh)
    return fresh
