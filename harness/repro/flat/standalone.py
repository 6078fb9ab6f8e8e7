"""A script that imports nothing but torch: the layer by its source, its ops registered, its tensors by the subject's recipe."""

import ast
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from harness.execution.evidence import state_of
from harness.matrix.case import Case
from harness.repro.flat.flatten import flattened
from harness.repro.flat.globals import Globals, op_expression
from harness.repro.flat.layer import Layer
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
    found = Globals({**recipe.short, **recipe.zeros} if shapes_only else recipe.short)
    model = Layer(layer)
    methods, functions = flattened(model)
    methods = [_with_ops(node, layer, found) for node in methods]
    found.resolve(methods, functions)
    ops = [registration(name, device.type, found, fakes) for name in list(found.ops)]
    if not shapes_only:
        found.used_in(recipe.oracle)
    tensors = _tensors(layer, recipe, _attributes(methods), shapes_only)
    common = recipe.common if not shapes_only else ""
    text = [common, *found.texts.values(), *ops, tensors, _class(layer, methods, tensors), recipe.inputs]
    whole = "\n\n".join(part for part in text if part)
    known = (*found.imports, "from torch.nn import functional")
    return whole, tuple(line for line in known if _used(line, whole + recipe.oracle))


def _used(line: str, text: str) -> bool:
    return f"{line.split()[-1]}." in text or f"{line.split()[-1]}(" in text


def _with_ops(node: ast.FunctionDef, layer: torch.nn.Module, found: Globals) -> ast.FunctionDef:
    """A method with the ops that the layer has as attributes by their names."""

    class Named(ast.NodeTransformer):
        def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
            value = (
                getattr(layer, node.attr, None)
                if isinstance(node.value, ast.Name) and node.value.id == "self"
                else None
            )
            if isinstance(value, torch._ops.OpOverload):
                found.ops[value._schema.name] = None
                return op_expression(value._schema.name)
            return self.generic_visit(node)

    result: ast.FunctionDef = Named().visit(node)
    return result


def _attributes(methods: list[ast.FunctionDef]) -> list[str]:
    """The attributes of ``self`` that methods read, each once."""
    walked = [node for method in methods for node in ast.walk(method) if isinstance(node, ast.Attribute)]
    return list(dict.fromkeys(n.attr for n in walked if isinstance(n.value, ast.Name) and n.value.id == "self"))


def _tensors(layer: torch.nn.Module, recipe: Recipe, used: list[str], shapes_only: bool) -> str:
    if not shapes_only:
        return recipe.tensors
    state = state_of(layer)
    rows = [f'"{name}": {_zeros(state[name])}' for name in used if name in state]
    return f"tensors = {{{', '.join(rows)}}}"


def _zeros(value: torch.Tensor) -> str:
    return f"torch.zeros({', '.join(map(str, value.shape)) or '()'}, dtype={value.dtype})"


def _class(layer: torch.nn.Module, methods: list[ast.FunctionDef], tensors: str) -> str:
    """The class, an instance of it, and the state of that."""
    own = [node.name for node in methods]
    names = [name for name in _attributes(methods) if name not in own and f'"{name}"' not in tensors]
    state = [f"layer.{name} = {line}" for name in names if (line := _state(layer, name))]
    body = ["class Layer(torch.nn.Module):"]
    for node in methods:
        body += [*(f"    {line}" for line in ast.unparse(node).split("\n")), ""]
    buffers = "[layer.register_buffer(name, tensor) for name, tensor in tensors.items()]"
    return "\n".join([*body, "", "layer = Layer()", buffers, *state])


def _state(layer: Any, name: str) -> str:
    """The first value of an attribute that is no tensor of the recipe; empty where the class ``nn.Module`` has it."""
    if hasattr(torch.nn.Module, name) or name == "__dict__":
        return ""
    value = getattr(layer, name, None)
    if isinstance(value, torch.Tensor):
        return _zeros(value)
    if isinstance(value, list) and all(isinstance(one, torch.Tensor) for one in value):
        return f"[{', '.join(map(_zeros, value))}]"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    raise NotFlat(f"the layer's {name} is a {type(value).__name__}, which no text can make")
