"""A layer over symbolic sizes by its source: its class, and statements that make one with its numbers and tensors."""

import ast
from typing import Any, NamedTuple

import torch

from harness.execution.members import Path
from harness.proof.fixed import Fixed
from harness.proof.symbols.formula import Formula
from harness.repro.flat.class_text import class_lines, kept_attributes, state
from harness.repro.flat.flatten import flattened
from harness.repro.flat.globals import Globals
from harness.repro.flat.layer import Layer
from harness.repro.flat.op_names import OpsOfLayer
from harness.repro.flat.registration import registration
from harness.repro.flat.syntax import NotFlat
from harness.repro.traced.numbers import empty_like
from harness.repro.traced.statements import text_of
from harness.subjects.recipe import Recipe

_HOLDERS = ("_buffers", "_parameters")


class Flat(NamedTuple):
    """Text of ops and the class, its imports, lines that make ``layer`` and ``batch``."""

    text: str
    imports: tuple[str, ...]
    lines: tuple[str, ...]


def flat(shown: Fixed, recipe: Recipe, real: bool) -> Flat:
    """The layer by its source. Its ops have fakes, and implementations if ``real``. Raises NotFlat."""
    layer, batch = shown.symbolic.builder.build(shown.sizes[0])
    if not isinstance(layer, torch.nn.Module):
        raise NotFlat(f"the layer is a {type(layer).__name__}, not a torch.nn.Module")
    varying = shown.formulas
    found = Globals({**recipe.short, **recipe.zeros}, "cpu")
    methods, functions = flattened(_OverSymbols(layer, {path[1] for path in varying if len(path) == 2}))
    methods = [OpsOfLayer(found.ops, layer).visit(node) for node in methods]
    found.resolve(methods, functions)
    ops = [registration(name, "cpu", found, fakes=True, real=real) for name in list(found.ops)]
    lines = [f"layer.{name} = {text}" for name in kept_attributes(methods) if (text := _value(shown, layer, name))]
    inputs = ", ".join(_input(shown, value, ("1", str(place))) for place, value in enumerate(batch))
    inputs += "," * (len(batch) == 1)
    text = "\n\n".join(part for part in (*found.texts.values(), *ops, "\n".join(class_lines(methods))) if part)
    imports = (*found.imports, "from torch.nn import functional")
    return Flat(text.rstrip(), imports, ("layer = Layer()", *lines, f"batch = {inputs}"))


class _OverSymbols(Layer):
    """A built layer whose attributes that vary with its sizes are no constants."""

    def __init__(self, layer: torch.nn.Module, varying: set[str]) -> None:
        super().__init__(layer)
        self.varying = varying

    def constant(self, name: str) -> ast.Constant | None:
        """The value of an attribute that has it at every size. Raises NotFlat for a number that a property makes."""
        if name in self.varying:
            return None
        found = super().constant(name)
        made = isinstance(getattr(type(self.layer), name, None), property)
        if found is not None and made and isinstance(found.value, int) and not isinstance(found.value, bool):
            raise NotFlat(f"the property {name} may vary with the sizes")
        return found


def _value(shown: Fixed, layer: Any, name: str) -> str:
    """What stands for an attribute; empty for one that every module has. Raises NotFlat for one that holds what varies."""
    formulas = shown.formulas
    paths: list[Path] = [("0", name), *(("0", holder, name) for holder in _HOLDERS)]
    for path in paths:
        if path in formulas:
            return text_of(formulas[path], getattr(layer, name))
    if any(path[:2] == ("0", name) for path in formulas):
        raise NotFlat(f"{name} holds what varies with the sizes")
    value = getattr(layer, name, None)
    return empty_like(value) if isinstance(value, torch.Tensor) else state(layer, name)


def _input(shown: Fixed, value: Any, path: Path) -> str:
    formula = shown.formulas.get(path)
    if isinstance(formula, Formula) or not isinstance(value, torch.Tensor | int | float | bool | None):
        raise NotFlat(f"input {path[-1]} is a {type(value).__name__}")
    return text_of(formula, value) if formula else empty_like(value)
