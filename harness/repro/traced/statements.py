"""Statements that put symbolic sizes into a layer and into its inputs, wherever these hold a number or a tensor that varies."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from harness.execution.members import Path
from harness.matrix.case import Case
from harness.proof.fixed import Fixed
from harness.proof.symbols.formula import Formula, fit
from harness.proof.symbols.layer_formulas import TensorFormula
from harness.repro.flat.syntax import NotFlat
from harness.repro.traced.numbers import empty, number
from harness.repro.traced.places import Owner, owners, statement
from harness.repro.writing.imported import scalars

_ROOTS = {"0": "layer", "1": "batch"}


class Statements(NamedTuple):
    """Lines for ``layer`` and for ``batch``, its inputs. ``of_case`` says that a line changes the case that the layer keeps."""

    lines: tuple[str, ...]
    of_case: bool


def statements(shown: Fixed) -> Statements:
    """Those for a layer of the structure that shows something. Raises NotFlat where one has no such statement."""
    root = shown.symbolic.builder.build(shown.sizes[0])
    found = list(dict.fromkeys(_lines(shown, root)))
    return Statements(tuple(found), any(line.startswith("vars(") for line in found))


def text_of(formula: Formula | TensorFormula, leaf: Any) -> str:
    """A number or a tensor over symbols, in place of a leaf."""
    return empty(formula, leaf) if isinstance(formula, TensorFormula) else number(formula)


def _lines(shown: Fixed, root: list[Any]) -> Iterator[str]:
    shared = shown.symbolic.structures[shown.structure].shared
    for (part, *rest), formula in shown.formulas.items():
        chain = owners(root[int(part)], _ROOTS[part], tuple(rest))
        if not any(
            id(owner) in shared for owner, _ in chain[:-1]
        ):  # what all layers share is left alone, as in the proof
            yield _line(shown, chain, tuple(rest), text_of(formula, chain[-1][0]))


def _line(shown: Fixed, chain: list[Owner], path: Path, text: str) -> str:
    case = next((name for owner, name in chain if isinstance(owner, Case)), "")
    if case:
        return f"vars({case}).update({_of_case(shown)})"
    if not path:
        raise NotFlat("the layer itself is a number")
    return statement(*chain[0], path, text)


def _of_case(shown: Fixed) -> str:
    """The sizes of a script's case that vary, as keyword arguments."""
    sizes = shown.symbolic.structures[shown.structure].sizes
    cases = [scalars(shown.symbolic.builder.at(at)) for at in sizes]
    return ", ".join(f"{name}={text}" for name in cases[0] if (text := _varying([c[name] for c in cases], shown)))


def _varying(values: list[Any], shown: Fixed) -> str:
    """The formula of a number of the case as text; empty where it does not vary, or is no number. Raises NotFlat."""
    if len(set(values)) == 1 or not isinstance(values[0], int):
        return ""
    sizes = shown.symbolic.structures[shown.structure].sizes
    formula = fit(values, sizes, shown.symbolic.builder.case.alignment.hidden)
    if formula is None:
        raise NotFlat("the layer keeps its case, of which a size follows no formula")
    return number(formula)
