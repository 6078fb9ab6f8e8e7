"""Guards of a symbolic trace: who asked for them, in which line, and at which token counts they hold."""

import sys
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from harness.base.source import SourceLine, is_library

FIXED, AND = "the token count is", " and "
# Batch sizes that a guard on the token count must allow: at and around powers of two.
COUNTS = tuple(2**power + step for power in range(2, 17) for step in (-1, 0, 1))
# From this many tokens on, a guard that torch itself made must hold.
_ENOUGH = 64


class LinedEnv(ShapeEnv):
    """A ShapeEnv that records the user's line of each guard: torch's own record stops at nn.Module.

    ``of_user`` are the guards that the user's own code asked for, each with its line. Torch asks too, such as whether a size is one.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.lines: list[SourceLine | None] = []
        self.of_user: dict[Any, SourceLine | None] = {}

    def evaluate_expr(self, *arguments: Any, **named: Any) -> Any:
        """Evaluate as usual, and record the user's line for each guard that this added."""
        answer = super().evaluate_expr(*arguments, **named)
        if added := self.guards[len(self.lines) :]:
            line = SourceLine.here()
            self.lines += [line] * len(added)
            if _user_asks():
                self.of_user |= {guard.expr: line for guard in added}
        return answer

    def user_fixes(self) -> bool:
        """Whether the user's own code asked whether two sizes are equal, and they are."""
        return any(type(expr).__name__ == "Equality" for expr in self.of_user)

    def blamed(self, specialised: str | None, size: Any) -> tuple[SourceLine | None, int]:
        """The guard that restricts the token count to ``specialised``, if that is what the trace came to: its line and its place.

        Of several guards it is one that the user's own code asked for, if there is one. Where there is none: (None, -1).
        """
        if specialised is None:
            return None, -1
        guards = zip([guard.expr for guard in self.guards], self.lines, strict=False)
        lined = [(expr, place, line) for place, (expr, line) in enumerate(guards) if line is not None]
        if specialised.startswith(FIXED):
            lined = [one for one in lined if type(one[0]).__name__ == "Equality"]
        elif isinstance(size, torch.SymInt):
            lined = [one for one in lined if words(one[0], size.node.expr) in specialised.split(AND)]
        asked = [(self.of_user[expr], place) for expr, place, _ in lined if expr in self.of_user]
        return asked[-1] if asked else (lined[-1][2], lined[-1][1]) if lined else (None, -1)


def words(guard: Any, symbol: Any) -> str:
    """A guard as findings write it."""
    return str(guard).replace(str(symbol), "tokens")


def is_torchs(specialised: str | None, size: Any) -> bool:
    """Whether nobody but torch asked for what the trace is restricted to, and a part of it is of a kind that torch asks for.

    That is a size of 0 or 1, or two sizes or strides that both follow from the token count and may be equal.
    """
    if specialised is None or specialised.startswith(FIXED):
        return False
    env, symbol = size.node.shape_env, size.node.expr
    guards = [guard.expr for guard in env.guards if words(guard.expr, symbol) in specialised.split(AND)]
    equal = [guard for guard in guards if type(guard).__name__ in ("Equality", "Unequality")]
    about = [_of_zero_or_one(guard) for guard in guards]
    about += [bool(guard.lhs.free_symbols and guard.rhs.free_symbols) for guard in equal]
    return any(about) and not any(guard in env.of_user for guard in guards)


def holds(guard: Any, symbol: Any, count: int) -> bool:
    """Whether a guard holds for a token count."""
    return bool(guard.subs(symbol, count) != False)  # noqa: E712


def is_of_few_rows(guard: Any, symbol: Any) -> bool:
    """Whether a guard only says that a size is not 0 or not 1, and such a size comes of a few tokens alone."""
    is_not = _of_zero_or_one(guard) and type(guard).__name__ != "Equality"
    return is_not and all(holds(guard, symbol, count) for count in COUNTS if count >= _ENOUGH)


# By the names of SymPy's relations, what a guard that tells 0 or 1 from more has on its right: ``size >= 2`` does.
_BOUNDS = {
    **dict.fromkeys(("Equality", "Unequality", "StrictGreaterThan", "LessThan"), (0, 1)),
    **dict.fromkeys(("GreaterThan", "StrictLessThan"), (1, 2)),
}


def _of_zero_or_one(guard: Any) -> bool:
    return getattr(guard, "rhs", None) in _BOUNDS.get(type(guard).__name__, ())


def _user_asks() -> bool:
    """Whether the code that needs to know is the user's: the frame next to those that every question passes through."""
    frame: Any = sys._getframe(1)
    while frame and _is_of_symbols(frame.f_code.co_filename):
        frame = frame.f_back
    return frame is not None and not is_library(frame.f_code.co_filename)


def _is_of_symbols(file: str) -> bool:
    """Whether a file holds what every question about a symbol passes through, whoever asks."""
    return "/torch/fx/experimental/" in file or file.endswith("/torch/__init__.py") or file == __file__
