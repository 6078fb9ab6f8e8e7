"""The schema with which torch registers a captured op, as declared or with changes, and what is wrong with the declaration."""

import ast
import contextlib
import enum
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch._library.infer_schema import SUPPORTED_PARAM_TYPES

with contextlib.suppress(
    ImportError
):  # torch has a type for a process group only once this is imported, as compiling does
    import torch.distributed.device_mesh

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema that torch infers. ``refused`` is torch's error for the unchanged declaration, ``changed`` our changes to it."""

    text: str
    refused: str
    changed: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The names of its arguments, in order."""
        return [argument.name for argument in torch._C.parse_schema(f"op{self.text}").arguments]

    @property
    def lost(self) -> bool:
        """Whether it leaves out a parameter of the function."""
        return any(change.startswith("without ") for change in self.changed)


def infer(real: Function, mutates: Any) -> Schema:
    """The schema of a declaration. If torch refuses it, the schema after as few changes as possible, if there is one."""
    refused = _tried(real, mutates)
    if not isinstance(refused, str):
        return Schema(refused[0], "", ())
    changed: list[str] = []
    plain = _plain(real, changed)
    names = list(inspect.signature(real).parameters)
    declared = [mutates] if isinstance(mutates, str) else list(mutates or ())
    known = [name for name in declared if name in names]
    if known != declared or isinstance(mutates, str):
        changed.append(f"mutates_args {mutates!r} as {tuple(known)!r}")
    tensors = [name for name in known if "Tensor" in str(inspect.signature(plain).parameters[name].annotation)]
    if tensors != known:
        changed.append(
            f"mutates_args without {', '.join(name for name in known if name not in tensors)}, which are not tensors"
        )
    inferred = _tried(plain, tensors)
    return Schema("", refused, ()) if isinstance(inferred, str) else Schema(inferred[0], refused, tuple(changed))


def _tried(function: Function, mutates: Any) -> tuple[str] | str:
    """(schema,), or torch's error."""
    try:
        text = torch.library.infer_schema(function, mutates_args=mutates)
        torch._C.parse_schema(f"op{text}")  # torch infers a schema with an enum's default, but cannot parse it
        return (text,)
    except Exception as error:  # mostly ValueError; evaluating an annotation may raise anything
        return _error_text(error)


def _error_text(error: Exception) -> str:
    """Torch's error, without the signature at its end."""
    text = " ".join(str(error).split()).removeprefix("infer_schema(func): ")
    for end in (" Got func with signature", " The valid types are", ": op("):
        text = text.partition(end)[0]
    enum_default = "; a schema has no enum defaults" if "unexpected type, file a bug report" in text else ""
    return text + enum_default


def _plain(real: Function, changed: list[str]) -> Function:
    """The function with annotations that torch has types for: int for an enum, a list of tensors for no return annotation."""
    signature = inspect.signature(real)
    hints = hints_of(real)
    parameters = [
        _parameter(parameter, hints.get(parameter.name), changed) for parameter in signature.parameters.values()
    ]
    lost = [parameter for parameter in parameters if _left_out(parameter)]
    changed += [f"without {parameter.name}: torch has no type for it" for parameter in lost]
    parameters = [parameter for parameter in parameters if parameter not in lost]
    returns = None if hints.get("return") is type(None) else hints.get("return", inspect.Signature.empty)
    if returns is inspect.Signature.empty:
        returns = list[torch.Tensor] if _gives(real) else None
        words = "a list of tensors" if returns else "None"
        changed.append(f"{words} as the missing return annotation")
    returns = _one_of("return", returns, changed)

    def plain(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **kwargs)

    plain.__signature__ = signature.replace(parameters=parameters, return_annotation=returns)  # type: ignore[attr-defined]
    plain.__name__ = getattr(real, "__name__", "real")
    return plain


def _gives(function: Function) -> bool:
    """Whether the body returns a value, or its source cannot be read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return True
    return any(isinstance(node, ast.Return) and node.value is not None for node in _own_statements(tree.body[0]))


def _own_statements(body: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a function that are not of a function or a class inside it."""
    for node in ast.iter_child_nodes(body):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield node
            yield from _own_statements(node)


def _left_out(parameter: inspect.Parameter) -> bool:
    """Whether torch has no type for the parameter, which has a default or may be None."""
    optional = parameter.default is not parameter.empty or type(None) in typing.get_args(parameter.annotation)
    return optional and parameter.annotation not in SUPPORTED_PARAM_TYPES


def complete(function: Function) -> dict[str, Any]:
    """What stands for a parameter without a default that a schema had to leave out: None."""
    return dict.fromkeys(required(function))


def _parameter(parameter: inspect.Parameter, hint: Any, changed: list[str]) -> inspect.Parameter:
    kind, optional = enumeration(hint) or _constants(hint), type(None) in typing.get_args(hint)
    hint, default = _one_of(parameter.name, hint, changed), parameter.default
    if isinstance(default, enum.Enum):
        default = default.value
    if kind:
        changed.append(f"{parameter.name}: {kind.__name__} as int")
        hint = int | None if optional or default is None else int
    return parameter.replace(annotation=parameter.empty if hint is None else hint, default=default)


def _one_of(name: str, hint: Any, changed: list[str]) -> Any:
    """The tensor type in a union of tensors and something else: torch has no type for both."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if typing.get_origin(hint) not in (typing.Union, types.UnionType) or len(kinds) < 2:
        return hint
    many = [kind for kind in kinds if typing.get_origin(kind) in (list, tuple)]
    returned = name == "return" and many and all("Tensor" in str(kind) for kind in many)
    chosen = list[torch.Tensor] if returned else torch.Tensor if torch.Tensor in kinds else hint
    if chosen is not hint:
        changed.append(f"{name}: {str(hint).replace('typing.', '')} as {getattr(chosen, '__name__', chosen)}")
    return chosen


def enumeration(hint: Any) -> type[enum.Enum] | None:
    """The enum in an annotation, alone or optional."""
    kinds = [kind for kind in (hint, *typing.get_args(hint)) if isinstance(kind, type) and issubclass(kind, enum.Enum)]
    return kinds[0] if kinds else None


def _constants(hint: Any) -> type | None:
    """The class in an annotation that only names integers, which is an enum in all but name."""
    for kind in [kind for kind in (hint, *typing.get_args(hint)) if isinstance(kind, type)]:
        values = [value for name, value in vars(kind).items() if name[0] != "_"]
        if values and all(isinstance(value, int) for value in values):
            return kind
    return None


def hints_of(function: Function) -> dict[str, Any]:
    """The annotations, with strings evaluated if possible."""
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # a name that is imported only for type checkers
        return dict(getattr(inspect.unwrap(function), "__annotations__", {}))


def with_enums(function: Function) -> Function:
    """The function with ints for its enum parameters: the dispatcher has no enums."""
    hints = hints_of(function)
    names = list(inspect.signature(function).parameters)
    kinds = {name: enumeration(hints.get(name)) for name in names}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = [_enum(kinds.get(name), value) for name, value in zip(names, args, strict=False)] + [
            *args[len(names) :]
        ]
        return function(*given, **{name: _enum(kinds.get(name), value) for name, value in kwargs.items()})

    return call


def _enum(kind: type[enum.Enum] | None, value: Any) -> Any:
    return kind(value) if kind and isinstance(value, int) else value


def required(function: Function) -> list[str]:
    """The parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    many = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in many]


def differences(real: Function, fake: Function) -> tuple[list[str], list[str]]:
    """How the fake's parameters differ from the real ones: differences that break a call, and notes on those that do not."""
    ours, theirs = (dict(inspect.signature(function).parameters) for function in (real, fake))
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in theirs.values()):
        return [], ["the fake takes any arguments (*args)"]
    renamed = _renamed(ours, theirs)
    theirs = {renamed.get(name, name): parameter for name, parameter in theirs.items()}
    lacks = [name for name in ours if name not in theirs]
    extra = [name for name, parameter in theirs.items() if name not in ours]
    order = [name for name in theirs if name in ours] != [name for name in ours if name in theirs]
    breaking = [f"the fake lacks {', '.join(lacks)}"] if lacks else []
    breaking += [f"the fake has {', '.join(extra)}, which the real op lacks"] if extra else []
    breaking += ["the fake has its parameters in another order"] if order else []
    notes = [f"the fake calls {name} {own}, which torch never sees" for own, name in renamed.items()]
    for name in ours:
        if name in theirs and ours[name].default != theirs[name].default:
            one, other = ours[name].default, theirs[name].default
            text = f"{name} defaults to {_default(one)} in the real op and to {_default(other)} in the fake"
            (notes if one is inspect.Parameter.empty else breaking).append(text)
    return breaking, notes


def _renamed(ours: Mapping[str, inspect.Parameter], theirs: Mapping[str, inspect.Parameter]) -> dict[str, str]:
    """The fake's names for parameters that stand in the same places. torch gives a fake its arguments by place."""
    by_place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if len(ours) != len(theirs):
        return {}
    pairs = zip(ours.values(), theirs.values(), strict=True)
    return {
        own.name: one.name
        for one, own in pairs
        if one.name not in theirs and own.name not in ours and one.kind == own.kind == by_place
    }


def _default(value: Any) -> str:
    return "nothing" if value is inspect.Parameter.empty else repr(value)
