"""The captured ops of the importable engine, registered with torch in a namespace of our own.

The real implementation of each op is the engine's own Python, around stubs of the kernels that it calls.
"""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.engines.declared.engine import Engine
from harness.engines.declared.running import kernels, machine
from harness.engines.declared.running.capture import Captured, capture
from harness.engines.declared.source.scan import SPACE
from harness.engines.declared.source.schema import Schema, complete, hints_of, infer, with_enums

# Arguments that a kernel writes even if no declaration says so: the engine itself names them as outputs.
_OUTPUT = re.compile(r"output|out")
_library = torch.library.Library(SPACE, "FRAGMENT")
CAPTURED: list[Captured] = []
SCHEMAS: dict[str, Schema] = {}
ENGINES: list[Engine] = []


def named(key: str) -> Captured:
    """The captured op of this key. Raises StopIteration."""
    return next(captured for captured in CAPTURED if captured.key == key)


def written(key: str) -> Callable[[str], bool]:
    """A test for the names of an op's arguments: whether a kernel writes the argument."""
    return _written(named(key))


def _written(captured: Captured) -> Callable[[str], bool]:
    declared = () if isinstance(captured.mutates, str) else tuple(captured.mutates or ())
    outputs = {name for name in _parameters(captured) if _is_output(captured, name, declared)}
    return lambda name: name in declared or name in outputs


def _parameters(captured: Captured) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(captured.real).parameters if captured.real else {}


def _is_output(captured: Captured, name: str, declared: Collection[str]) -> bool:
    """Whether an argument is an output by its name.

    ``out`` may be left out, or the op returns nothing but it. ``attn_out`` is as often an input, the output of what ran
    before: of such a name the list of the declaration must have a part, which no argument has.
    """
    assert captured.real is not None
    parameters = _parameters(captured)
    if _OUTPUT.fullmatch(name):
        return _may_be_none(parameters[name]) or not _returns(captured.real)
    return any(one not in parameters and name.endswith(f"_{one}") for one in declared if one.endswith("_out"))


def _may_be_none(parameter: inspect.Parameter) -> bool:
    return parameter.default is None or "None" in str(parameter.annotation) or "Optional" in str(parameter.annotation)


def _returns(function: Callable[..., Any]) -> bool:
    """Whether a function returns tensors of its own, as its annotation says."""
    return hints_of(function).get("return") not in (None, type(None), "None", inspect.Signature.empty)


def running_kernels(captured: Captured, arguments: dict[str, Any]) -> Any:
    """A context in which the stub kernels know these arguments of an op."""
    return kernels.running(arguments, _written(captured))


def _real(captured: Captured, schema: Schema) -> Callable[..., Any]:
    """The op's own body, run as on a GPU. While it runs, its stub kernels know which memory is the caller's."""
    assert captured.real is not None
    body = with_enums(captured.real)
    missing, order = complete(captured.real), schema.names

    @functools.wraps(body)
    def real(*args: Any, **kwargs: Any) -> Any:
        given = missing | dict(zip(order, args, strict=False)) | kwargs
        with running_kernels(captured, given), machine.on_gpu():
            out = body(**given)
            if kernels_own(out) and not gives_nothing(captured):
                return _as_in_schema(_by_the_fake(captured, given), schema, "its fake")
            return _as_in_schema(out, schema, "its body")

    return real


def _by_the_fake(captured: Captured, given: dict[str, Any]) -> Any:
    """In place of what only the kernel knows, what the fake gives. No row compares it with the fake."""
    assert captured.fake is not None
    names = inspect.signature(captured.fake).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in names.values())
    return with_enums(captured.fake)(**{name: value for name, value in given.items() if takes_any or name in names})


def _fake(function: Callable[..., Any], schema: Schema) -> Callable[..., Any]:
    """The op's own fake, run as on the same GPU."""
    body = with_enums(function)
    lost = [name for name in inspect.signature(function).parameters if name not in schema.names]
    missing = {name: None for name in complete(function) if name in lost} if schema.lost else {}

    @functools.wraps(body)
    def fake(*args: Any, **kwargs: Any) -> Any:
        with machine.on_gpu():
            if missing:  # the parameter that the schema left out may stand in the middle
                args, kwargs = (), missing | dict(zip(schema.names, args, strict=False)) | kwargs
            return _as_in_schema(body(*args, **kwargs), schema, "its fake")

    return fake


def _as_in_schema(out: Any, schema: Schema, who: str) -> Any:
    """Put a single tensor into a list if the schema says a list: an engine may return either.

    Nothing is returned where the schema says so. A row reports a tensor that the body returns nevertheless. Raises TypeError for
    a list in place of one tensor: torch would refuse it with a text of pybind's.
    """
    if schema.text.endswith("-> Tensor") and isinstance(out, (list, tuple)):
        raise TypeError(f"{who} returns a {type(out).__name__} of {len(out)}, and the declaration says one tensor")
    if schema.text.endswith("-> ()"):
        return None
    if not schema.text.endswith("-> Tensor[]"):
        return out
    return [out] if isinstance(out, torch.Tensor) else list(out) if isinstance(out, tuple) else out


def _define(captured: Captured, schema: Schema) -> None:
    key = captured.key
    _library.define(key + schema.text)
    # Without a tensor argument there is no device to dispatch on. torch.library.custom_op uses the same key then.
    dispatched = "CPU" if "Tensor" in schema.text else "CompositeExplicitAutograd"
    _library.impl(key, _real(captured, schema), dispatched)
    fake = captured.fake or (_no_fake if dispatched != "CPU" else None)
    if fake is not None:
        torch.library.register_fake(f"{SPACE}::{key}", _fake(fake, schema), lib=_library)


def _no_fake(*_: Any, **__: Any) -> None:
    """In place of a missing fake, as custom_op does it. Otherwise torch would trace through the body of an op of numbers."""
    raise RuntimeError("no fake is declared")


def called(
    captured: Captured,
    arguments: dict[str, Any],
    inside: Callable[[dict[str, Any]], AbstractContextManager[Any]] | None = None,
) -> tuple[Any, bool]:
    """What the real body returns, on a copy of the arguments, and whether a stub kernel ran. Raises what the body raises.

    ``inside`` gives a context for the copy, in which the body runs.
    """
    assert captured.real is not None
    given = tree_map_only(torch.Tensor, torch.clone, arguments)  # the body may write them
    before = kernels.launches()
    with running_kernels(captured, given), machine.on_gpu(), inside(given) if inside else nullcontext():
        out = with_enums(captured.real)(**(complete(captured.real) | given))
    return out, kernels.launches() > before


def faked(captured: Captured, arguments: dict[str, Any]) -> Any:
    """What the op's own fake gives for arguments. Raises what the fake raises."""
    with machine.on_gpu():
        return _by_the_fake(captured, arguments)


def undeclared(captured: Captured, out: Any) -> int:
    """How many tensors the body returns although the declaration says that it returns nothing."""
    return sum(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(out)) if gives_nothing(captured) else 0


def gives_nothing(captured: Captured) -> bool:
    """Whether the declaration says that the op returns nothing."""
    return SCHEMAS[captured.key].text.endswith("-> ()")


def kernels_own(out: Any) -> bool:
    """Whether a result holds what only the kernel knows, which a stub does not have."""
    return any(not isinstance(leaf, (torch.Tensor, int, float, bool, str, type(None))) for leaf in tree_leaves(out))


def register(engine: Engine) -> None:
    """Capture the importable engine, and register its ops. Raises BadInput. A second call does nothing."""
    if ENGINES:
        return
    ENGINES.append(engine)
    CAPTURED.extend(capture(engine))
    for captured in CAPTURED:
        if captured.real is not None:
            SCHEMAS[captured.key] = schema = infer(captured.real, captured.mutates)
            if schema.text:
                _define(captured, schema)
