"""Statements made shorter, without a change of what they do."""

import ast


def tidy(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements without locals that only pass a value on to the next statement."""
    done: list[ast.stmt] = []
    for place, statement in enumerate(body):
        before = done[-1] if done else None
        passes_on = isinstance(statement, ast.Assign | ast.Return) and isinstance(statement.value, ast.Name)
        if passes_on and isinstance(before, ast.Assign) and isinstance(before.targets[0], ast.Name):
            assert isinstance(statement, ast.Assign | ast.Return)
            name = before.targets[0].id
            if (
                isinstance(statement.value, ast.Name)
                and statement.value.id == name
                and not _read(name, body[place + 1 :])
            ):
                statement.value = before.value
                done.pop()
        done.append(statement)
    return done


def _read(name: str, statements: list[ast.stmt]) -> bool:
    nodes = [node for top in statements for node in ast.walk(top) if isinstance(node, ast.Name)]
    first = next((node for node in nodes if node.id == name), None)
    return first is not None


def is_straight(body: list[ast.stmt]) -> bool:
    """Whether statements return once, at their end."""
    returns = [node for top in body for node in ast.walk(top) if isinstance(node, ast.Return)]
    return bool(body) and isinstance(body[-1], ast.Return) and len(returns) == 1
