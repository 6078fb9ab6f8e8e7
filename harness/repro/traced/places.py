"""Places: statements that put something where a layer holds a size, by the path of members that leads there."""

import dataclasses
import re
import types
from typing import Any

from harness.execution.members import Path
from harness.repro.flat.syntax import NotFlat

_SUBMODULE = re.compile(r"\._modules\['([^\W\d]\w*)'\]")
Owner = tuple[Any, str]
"""(an object, what the script calls it)"""


def owners(root: Any, name: str, path: Path) -> list[Owner]:
    """The objects on the way to a leaf, the root first, which the script calls ``name``, and the leaf last. Raises NotFlat."""
    found = [(root, name)]
    for step in path:
        found.append(_inside(*found[-1], step))
    return found


def statement(root: Any, name: str, path: Path, text: str) -> str:
    """A statement that puts ``text`` at a path below ``root``. Raises NotFlat where there is no such statement."""
    for (owner, expression), step in zip(reversed(owners(root, name, path[:-1])), reversed(path), strict=True):
        if not isinstance(owner, tuple):
            return _assigned(owner, _SUBMODULE.sub(r".\1", expression), step, text)
        text = _replaced(owner, expression, step, text)
    raise NotFlat(f"the {name} is a tuple")


def _inside(owner: Any, name: str, step: str) -> Owner:
    if isinstance(owner, dict):
        return owner[_key(owner, step)], f"{name}[{_key(owner, step)!r}]"
    if isinstance(owner, list | tuple):
        return owner[int(step)], f"{name}[{step}]"
    if isinstance(owner, types.CellType):
        return owner.cell_contents, f"{name}.cell_contents"
    return getattr(owner, step), f"{name}.{_identifier(step)}"


def _assigned(owner: Any, name: str, step: str, text: str) -> str:
    """A statement for the last step, whose object can be changed."""
    if isinstance(owner, dict):
        return f"{name}[{_key(owner, step)!r}] = {text}"
    if isinstance(owner, list):
        return f"{name}[{step}] = {text}"
    if isinstance(owner, types.CellType):
        return f"{name}.cell_contents = {text}"
    if dataclasses.is_dataclass(owner):  # it may be frozen
        return f'object.__setattr__({name}, "{step}", {text})'
    return f"{name}.{_identifier(step)} = {text}"


def _replaced(owner: Any, name: str, step: str, text: str) -> str:
    """An expression of a tuple with one item replaced."""
    name = _SUBMODULE.sub(r".\1", name)
    if hasattr(owner, "_replace"):
        return f"{name}._replace({owner._fields[int(step)]}={text})"
    return f"(*{name}[:{step}], {text}, *{name}[{int(step) + 1}:])"


def _key(owner: dict[Any, Any], step: str) -> Any:
    """The key of a dictionary by its text. Raises NotFlat where it is no text and no number."""
    key = next(key for key in owner if str(key) == step)
    if not isinstance(key, str | int | float):
        raise NotFlat(f"a dictionary of the layer has the key {step}")
    return key


def _identifier(step: str) -> str:
    if not step.isidentifier():
        raise NotFlat(f"an attribute of the layer is called {step!r}")
    return step
