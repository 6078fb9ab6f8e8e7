"""An einsum's equation: whether its second operand is a batch of matrices, or a single one."""

import ast
import re
from dataclasses import dataclass

from harness.diagnosis.statements.factors import named
from harness.diagnosis.statements.parts import parsed

# The equation where torch shows the call that failed in a trace.
_TRACED = re.compile(r"einsum\b[^(]{0,60}\(\*\(['\"](?P<equation>[^'\"]{3,80})['\"]")
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class Equation:
    """The indices of two operands and of the result, each a name; ``...`` stands for all others."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    out: tuple[str, ...]

    def is_of_a_batch(self, left: bool) -> bool:
        """Whether one index runs along both operands and the result, or the weight has more than a matrix has.

        ``left`` says that the weight is the left operand.
        """
        shared = set(self.left) & set(self.right) & set(self.out)
        return bool(shared) or len(self.left if left else self.right) > _MATRIX


def equation_of(code: str, text: str) -> Equation | None:
    """The equation of the one einsum at a line, else of the one that ``text`` shows; None where neither has one of two operands."""
    tree = parsed(code)
    calls = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    written = [one for call in calls if named(call) in ("einsum", "contract") for one in _written(call)]
    traced = _TRACED.search(text)
    found = written or ([traced["equation"]] if traced else [])
    return _read(found[0]) if len(found) == 1 else None


def _written(call: ast.Call) -> list[str]:
    values = [
        arg.value
        for arg in (*call.args, *(keyword.value for keyword in call.keywords))
        if isinstance(arg, ast.Constant)
    ]
    return [value for value in values if isinstance(value, str)]


def _read(text: str) -> Equation | None:
    """An equation as torch writes it, a letter for each index, or as einops does, with words between spaces."""
    given, _, out = text.partition("->")
    words = bool(re.search(r"[a-z]{2}", text, re.I)) and " " in text
    operands = [_indices(part, words) for part in given.split(",")]
    if len(operands) != 2:
        return None
    left, right = operands
    # Without a result, torch sums over each index that both have.
    result = _indices(out, words) if "->" in text else tuple(set(left) ^ set(right))
    return Equation(left, right, result)


def _indices(part: str, words: bool) -> tuple[str, ...]:
    return tuple(re.findall(r"\.\.\.|\w+" if words else r"\.\.\.|\w", part))
