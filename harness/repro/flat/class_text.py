"""The text of a layer's class: its methods, an instance, and the first values of its attributes."""

import ast
from typing import Any

import torch

from harness.repro.flat.syntax import NotFlat


def attributes(methods: list[ast.FunctionDef]) -> list[str]:
    """The attributes of ``self`` that methods read, each once."""
    walked = [node for method in methods for node in ast.walk(method) if isinstance(node, ast.Attribute)]
    return list(dict.fromkeys(n.attr for n in walked if isinstance(n.value, ast.Name) and n.value.id == "self"))


def zeros(value: torch.Tensor) -> str:
    """An expression of zeros with a tensor's shape and dtype."""
    return f"torch.zeros({', '.join(map(str, value.shape)) or '()'}, dtype={value.dtype})"


def class_text(layer: torch.nn.Module, methods: list[ast.FunctionDef], tensors: str) -> str:
    """The class, an instance of it, and the state of that."""
    names = [name for name in kept_attributes(methods) if f'"{name}"' not in tensors]
    set_first = [f"layer.{name} = {line}" for name in names if (line := state(layer, name))]
    buffers = "[layer.register_buffer(name, tensor) for name, tensor in tensors.items()]"
    return "\n".join([*class_lines(methods), "", "layer = Layer()", buffers, *set_first])


def kept_attributes(methods: list[ast.FunctionDef]) -> list[str]:
    """The attributes of ``self`` that methods read and that are none of them."""
    own = [node.name for node in methods]
    return [name for name in attributes(methods) if name not in own]


def class_lines(methods: list[ast.FunctionDef]) -> list[str]:
    """The lines of the class ``Layer``."""
    body = ["class Layer(torch.nn.Module):"]
    for node in methods:
        body += [*(f"    {line}" for line in ast.unparse(node).split("\n")), ""]
    return body


def state(layer: Any, name: str) -> str:
    """The first value of an attribute that is no tensor of the recipe; empty where the class ``nn.Module`` has it."""
    if hasattr(torch.nn.Module, name) or name == "__dict__":
        return ""
    value = getattr(layer, name, None)
    if isinstance(value, torch.Tensor):
        return zeros(value)
    if isinstance(value, list) and all(isinstance(one, torch.Tensor) for one in value):
        return f"[{', '.join(map(zeros, value))}]"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    raise NotFlat(f"the layer's {name} is a {type(value).__name__}, which no text can make")
