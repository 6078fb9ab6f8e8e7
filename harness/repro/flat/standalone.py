"""A script that imports nothing but torch: the layer by its source, its ops registered, its tensors by the subject's recipe."""

from collections.abc import Iterator, Sequence

import torch

from harness.execution.evidence import state_of
from harness.matrix.case import Case
from harness.repro.flat.class_text import attributes, class_text, zeros
from harness.repro.flat.flatten import flattened
from harness.repro.flat.globals import Globals
from harness.repro.flat.layer import Layer
from harness.repro.flat.op_names import OpsOfLayer
from harness.repro.flat.registration import registration
from harness.repro.flat.syntax import NotFlat
from harness.repro.writing.parts import Parts
from harness.subjects.recipe import Recipe
from harness.subjects.subject import Subject


def standalone(subject: Subject, case: Case, device: torch.device) -> tuple[list[Parts], str]:
    """The parts of such scripts, the smallest first, and why there are none, in words.

    The smallest compute no values: weights are zeros, and kernels give zeros where the recipe has text for that.
    """
    recipes = getattr(subject, "recipes", None)
    if recipes is None:
        return [], "the subject has no recipes (docs/reference/subject.md)"
    try:
        layer = subject.build(case, device)
        if not isinstance(layer, torch.nn.Module):
            return [], f"the layer is a {type(layer).__name__}, not a torch.nn.Module"
        return list(_levels(layer, recipes(case), device)), ""
    except NotFlat as error:
        return [], str(error)
    except Exception as error:
        return [], f"its source cannot be flattened: {type(error).__name__}: {error}"


def _levels(layer: torch.nn.Module, recipes: Sequence[Recipe], device: torch.device) -> Iterator[Parts]:
    yield _parts(layer, recipes[0], device, shapes_only=True)
    for recipe in recipes:
        yield _parts(layer, recipe, device, shapes_only=False)


def _parts(layer: torch.nn.Module, recipe: Recipe, device: torch.device, shapes_only: bool) -> Parts:
    text, imports = _text(layer, recipe, device, shapes_only, fakes=True)
    short, _ = _text(layer, recipe, device, shapes_only, fakes=False)
    return Parts(text, imports, "torch alone", True, recipe.oracle, shapes_only, short)


def _text(
    layer: torch.nn.Module, recipe: Recipe, device: torch.device, shapes_only: bool, fakes: bool
) -> tuple[str, tuple[str, ...]]:
    """The text that defines the layer and its inputs, and the imports of it and of the oracle."""
    found = Globals({**recipe.short, **recipe.zeros} if shapes_only else recipe.short, device.type)
    model = Layer(layer)
    methods, functions = flattened(model)
    methods = [OpsOfLayer(found.ops, layer).visit(node) for node in methods]
    found.resolve(methods, functions)
    ops = [registration(name, device.type, found, fakes) for name in list(found.ops)]
    if not shapes_only:
        found.used_in(recipe.oracle)
    tensors = _tensors(layer, recipe, attributes(methods), shapes_only)
    common = recipe.common if not shapes_only else ""
    text = [common, *found.texts.values(), *ops, tensors, class_text(layer, methods, tensors), recipe.inputs]
    whole = "\n\n".join(part for part in text if part)
    known = (*found.imports, "from torch.nn import functional")
    return whole, tuple(line for line in known if _used(line, whole + recipe.oracle))


def _used(line: str, text: str) -> bool:
    return f"{line.split()[-1]}." in text or f"{line.split()[-1]}(" in text


def _tensors(layer: torch.nn.Module, recipe: Recipe, used: list[str], shapes_only: bool) -> str:
    if not shapes_only:
        return recipe.tensors
    state = state_of(layer)
    rows = [f'"{name}": {zeros(state[name])}' for name in used if name in state]
    return f"tensors = {{{', '.join(rows)}}}"
