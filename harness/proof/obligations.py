"""Obligations: what must hold of the sizes for the layer to work, from a trace over unbacked symbols, which have no value.

Where torch can defer a check it adds a runtime assert: that is an obligation. Where it must know whether a condition holds,
the layer is traced twice, once under each answer, so that there are several execution paths. This is faster than the
partition and less strict: without a value torch assumes the usual answer to some questions, such as whether a size is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv

from harness.matrix.case import Case
from harness.proof.symbols.builder import AXES, NotProvable
from harness.proof.symbols.structures import UnknownStructure
from harness.proof.symbols.symbolic_layer import SymbolicLayer, symbolic_layer
from harness.proof.symbols.trace import SMALLEST, Outcome, run_layer
from harness.proof.wording import named
from harness.subjects.subject import Subject

_MOST_PATHS = 16


@dataclass(frozen=True, slots=True)
class ExecutionPath:
    """One path through the layer: its assumptions, the obligations that must hold under them, and its outcome."""

    symbols: tuple[sympy.Symbol, ...]
    assumed: tuple[Any, ...]
    obligations: tuple[Any, ...]
    outcome: Outcome


def must_hold(subject: Subject, case: Case) -> tuple[str, ...]:
    """What must hold of the sizes, as text. A path that fails gives ``never: ...``."""
    try:
        symbolic = symbolic_layer(subject, case)
        paths = [path for index in range(len(symbolic.structures)) for path in obligations(symbolic, index)]
    except (NotProvable, UnknownStructure) as error:
        return (f"unknown: {error}",)
    return tuple(dict.fromkeys(text for path in paths for text in _texts(path)))


def _texts(path: ExecutionPath) -> list[str]:
    names = AXES[: len(path.symbols)]
    where = " and ".join(named(condition, path.symbols, names) for condition in path.assumed)
    must = [named(condition, path.symbols, names) for condition in path.obligations]
    failure = [] if path.outcome.ok else [f"never: {named(path.outcome.text, path.symbols, names)}"]
    return [f"{text}, where {where}" if where else text for text in must + failure]


def obligations(symbolic: SymbolicLayer, structure: int) -> list[ExecutionPath]:
    """Every execution path of the layer of one structure. Raises NotProvable where there are too many."""
    waiting: list[tuple[tuple[Any, bool], ...]] = [()]
    paths: list[ExecutionPath] = []
    while waiting:
        assumed = waiting.pop()
        path = _path(symbolic, structure, assumed)
        error = path.outcome.error
        if isinstance(error, GuardOnDataDependentSymNode) and isinstance(error.cond, Boolean):
            waiting += [(*assumed, (error.cond, answer)) for answer in (False, True)]
        else:
            paths.append(path)
        if len(paths) + len(waiting) > _MOST_PATHS:
            raise NotProvable(f"more than {_MOST_PATHS} execution paths without a value for the sizes")
    return paths


def _path(symbolic: SymbolicLayer, structure: int, assumed: Sequence[tuple[Any, bool]]) -> ExecutionPath:
    env = ShapeEnv()
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)
    mode.cache_enabled = False
    sizes = [env.create_unbacked_symint() for _ in range(symbolic.builder.axes)]
    symbols = tuple(size.node.expr for size in sizes)
    for size in sizes:
        torch._check(size >= SMALLEST)
    conditions = [_with_answer(condition, answer, symbols) for condition, answer in assumed]
    for condition in conditions:
        torch._check(env.create_symboolnode(condition))
    with mode, enable_python_dispatcher():
        layer, inputs = symbolic.over(structure, sizes)
        before = set(_runtime_asserts(env))  # those of the build and of the assumptions are no obligations
        outcome = run_layer(layer, inputs, symbolic.builder.ops)
    return ExecutionPath(
        symbols, tuple(conditions), tuple(e for e in _runtime_asserts(env) if e not in before), outcome
    )


def _with_answer(condition: Any, answer: bool, symbols: Sequence[sympy.Symbol]) -> Any:
    """A condition of an earlier trace over the symbols of this one; negated if the answer is False."""
    by_name = {str(symbol): symbol for symbol in symbols}
    renamed = condition.subs({symbol: by_name[str(symbol)] for symbol in condition.free_symbols})
    if answer:
        return renamed
    return renamed.negated if isinstance(renamed, Relational) else sympy.Not(renamed)


def _runtime_asserts(env: ShapeEnv) -> list[Any]:
    return list(dict.fromkeys(one.expr for asserts in env.deferred_runtime_asserts.values() for one in asserts))
