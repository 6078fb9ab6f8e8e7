"""What a subject's methods return, checked before anything is concluded from it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.base.errors import BadInput, Skip, nearest
from harness.base.exception_text import is_ctrl_c, raised_text
from harness.base.source import SourceLine
from harness.matrix.case import Case
from harness.subjects.subject import METHODS, Subject

if TYPE_CHECKING:
    from torch import Tensor, device

    from harness.subjects.subject import Layer, Oracle

_CALLED_WITH = {
    "build": ("case", "device"),
    "inputs": ("case", "tokens", "seed", "device"),
    "oracle": ("case", "inputs"),
    "ops": ("case",),
}


class SubjectError(BadInput):
    """A subject's method broke its contract, so nothing can be said of the layer. The text names method and line."""


class CheckedSubject:
    """A subject whose four methods raise SubjectError where they return what the protocol does not allow."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        for name in METHODS:
            _check_signature(subject, name)

    def build(self, case: Case, device: "device") -> "Layer":
        """The layer; anything that can be called."""
        layer = self.subject.build(case, device)
        if not callable(layer):
            raise self._error("build", _shown(layer), "a layer, which can be called")
        return layer

    def inputs(self, case: Case, tokens: int, seed: int, device: "device") -> "tuple[Tensor, ...]":
        """The inputs, as a tuple of tensors with ``tokens`` rows, the first [tokens, hidden]. An absent optional one is None."""
        from torch import Tensor

        inputs = self._call("inputs", case, tokens, seed, device)
        wanted = "a tuple of tensors, with None only for an optional input that is absent, and never first"
        if not isinstance(inputs, tuple | list) or not inputs:
            raise self._error("inputs", _shown(inputs), wanted)
        absent = [place > 0 and value is None for place, value in enumerate(inputs)]
        wrong = next((n for n, value in enumerate(inputs) if not isinstance(value, Tensor) and not absent[n]), None)
        if wrong is not None:
            raise self._error("inputs", f"{_shown(inputs[wrong])} at place {wrong}", wanted)
        first = tuple(inputs[0].shape)
        if first != (tokens, case.hidden):
            raise self._error("inputs", f"a first tensor of shape {list(first)}", f"[{tokens}, {case.hidden}]")
        return tuple(inputs)

    def oracle(self, case: Case, inputs: "tuple[Tensor, ...]") -> "Oracle":
        """The oracle's answer: finite, floating, [tokens, hidden], whole or in named parts."""
        answer: Oracle = self._call("oracle", case, inputs)
        parts = dict(answer) if isinstance(answer, Mapping) else {"": answer}
        if not parts:
            raise self._error("oracle", "a mapping without parts", "one part at least")
        for name, part in parts.items():
            if problem := _not_an_answer(part, (inputs[0].shape[0], case.hidden)):
                of_part = f" for its part {name!r}" if name else ""
                raise self._error("oracle", problem + of_part, f"finite fp32 [{inputs[0].shape[0]}, {case.hidden}]")
        return answer

    def ops(self, case: Case) -> Sequence[str]:
        """The names of the ops, each ``namespace::name``."""
        names = self._call("ops", case)
        wanted = 'a sequence of names such as ("my_ops::experts",)'
        # Text and bytes are sequences too, and an empty one would pass for a layer without a custom op.
        if isinstance(names, (str, bytes, bytearray, memoryview)) or not isinstance(names, Sequence):
            raise self._error("ops", _shown(names), wanted)
        for name in names:
            if not isinstance(name, str) or not all(name.partition("::")):
                raise self._error("ops", f"the name {name!r}", wanted)
        return tuple(names)

    def check_registered(self, case: Case) -> None:
        """Raise SubjectError where ``ops`` names an op that torch does not know. After a call: it may register late."""
        for name in (name.partition("[")[0] for name in self.ops(case)):
            if not _registered(name):
                raise SubjectError(
                    f"ops() names no registered op: {name!r}{_did_you_mean(name)}{_where(self.subject.ops)}"
                )

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self.subject, method)(*arguments)
        except (BadInput, Skip):
            raise
        except BaseException as error:  # an exit would end the worker, and look like a crash of it
            if is_ctrl_c(error):
                raise
            raise SubjectError(f"{method}() raised {raised_text(error)}") from error

    def _error(self, method: str, returned: str, wanted: str) -> SubjectError:
        return SubjectError(f"{method}() returned {returned}; expected {wanted}{_where(getattr(self.subject, method))}")


def _check_signature(subject: Subject, name: str) -> None:
    method: Callable[..., Any] = getattr(subject, name)
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # a builtin has none to read
        return
    try:
        signature.bind(*_CALLED_WITH[name])
    except TypeError as error:
        call = f"{name}({', '.join(_CALLED_WITH[name])})"
        raise SubjectError(f"{name}{signature} does not take {call}: {error}{_where(method)}") from None


def _registered(name: str) -> bool:
    import torch

    namespace, _, short = name.partition("::")
    packet, _, overload = short.partition(".")
    known = getattr(getattr(torch.ops, namespace), packet, None)
    return known is not None and (not overload or overload in known.overloads())


def _did_you_mean(name: str) -> str:
    import torch

    near = nearest(name, torch._C._dispatch_get_all_op_names())
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _not_an_answer(part: Any, shape: tuple[int, int]) -> str:
    """What is wrong with an oracle's answer, or one part of it; empty where nothing is."""
    import torch

    if not isinstance(part, torch.Tensor):
        return _shown(part)
    if tuple(part.shape) != shape:
        return f"shape {list(part.shape)}"
    if not part.is_floating_point():
        return f"dtype {str(part.dtype).removeprefix('torch.')}"
    return "" if bool(torch.isfinite(part).all()) else "NaN or infinity"


def _shown(value: Any) -> str:
    if value is None:
        return "None (is a `return` missing?)"
    try:
        return f"{type(value).__name__} {value!r:.60}"
    except Exception as error:  # a user's __repr__ may raise anything
        return f"{type(value).__name__}, whose __repr__ raises {type(error).__name__}"


def _where(method: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(method), "__code__", None)
    return f" ({SourceLine.at(code.co_filename, code.co_firstlineno)})" if code else ""
