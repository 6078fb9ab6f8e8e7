"""Obligations: what must hold of a size for the layer to work, from a trace in which no size is assumed.

The symbol has no value. Where torch can go on by noting that something must hold, it does, and that is an obligation;
where it must know, the trace is made twice, once under each answer. It is fast, and less strict than the partition:
without a value torch answers some questions (is it one? is it contiguous?) by what is usual.
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
from harness.proof.symbols.pieces import Unknown
from harness.proof.symbols.sampled import Sampled, sample
from harness.proof.symbols.traced import SMALLEST, Outcome, run
from harness.proof.words import named
from harness.subjects.subject import Subject

_MOST_WAYS = 16


@dataclass(frozen=True, slots=True)
class Way:
    """One way through the layer: under these assumptions the obligations must hold, and it ends so."""

    symbols: tuple[sympy.Symbol, ...]
    assumed: tuple[Any, ...]
    obligations: tuple[Any, ...]
    outcome: Outcome


def must_hold(subject: Subject, case: Case) -> tuple[str, ...]:
    """What must hold of the sizes, in words; a trace that ends badly says that it never does."""
    try:
        sampled = sample(subject, case)
        ways = [way for place in range(len(sampled.pieces)) for way in obligations(sampled, place)]
    except (NotProvable, Unknown) as error:
        return (f"unknown: {error}",)
    texts: dict[str, None] = {}
    for way in ways:
        names = AXES[: len(way.symbols)]
        where = " and ".join(named(part, way.symbols, names) for part in way.assumed)
        must = [named(part, way.symbols, names) for part in way.obligations]
        ends = [] if way.outcome.ok else [f"never: {named(way.outcome.text, way.symbols, names)}"]
        texts |= dict.fromkeys(f"{part}, where {where}" if where else part for part in must + ends)
    return tuple(texts)


def obligations(sampled: Sampled, place: int) -> list[Way]:
    """Every way through one piece of the layer. Raises NotProvable where they are too many."""
    waiting: list[tuple[tuple[Any, bool], ...]] = [()]
    ways: list[Way] = []
    while waiting:
        assumed = waiting.pop()
        found = _way(sampled, place, assumed)
        error = found.outcome.error
        if isinstance(error, GuardOnDataDependentSymNode) and isinstance(error.cond, Boolean):
            waiting += [(*assumed, (error.cond, answer)) for answer in (False, True)]
        else:
            ways.append(found)
        if len(ways) + len(waiting) > _MOST_WAYS:
            raise NotProvable(f"more than {_MOST_WAYS} ways through the layer without a value for its sizes")
    return ways


def _way(sampled: Sampled, place: int, assumed: Sequence[tuple[Any, bool]]) -> Way:
    env = ShapeEnv()
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)
    mode.cache_enabled = False
    sizes = [env.create_unbacked_symint() for _ in range(sampled.builder.axes)]
    symbols = tuple(size.node.expr for size in sizes)
    for size in sizes:
        torch._check(size >= SMALLEST)
    told = []
    for condition, answer in assumed:
        named = {str(symbol): symbol for symbol in symbols}
        mine = condition.subs({symbol: named[str(symbol)] for symbol in condition.free_symbols})
        told.append(mine if answer else mine.negated if isinstance(mine, Relational) else sympy.Not(mine))
        torch._check(env.create_symboolnode(told[-1]))
    with mode, enable_python_dispatcher():
        layer, inputs = sampled.symbolic(place, sizes)
        made = set(_asserted(env))
        outcome = run(layer, inputs, sampled.builder.ops)
    return Way(symbols, tuple(told), tuple(e for e in _asserted(env) if e not in made), outcome)


def _asserted(env: ShapeEnv) -> list[Any]:
    return list(dict.fromkeys(one.expr for found in env.deferred_runtime_asserts.values() for one in found))
