"""Fit samples to the ops as a release declares them. Each op's key in this module is a samples function of the audit."""

import inspect
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from harness.audit.making.asked import Asked, asking, traced
from harness.audit.making.search import Search
from harness.base.exception_text import first_line
from harness.engines.declared.running import registered
from harness.engines.declared.running.capture import Captured
from harness.engines.declared.source.schema import required

Named = tuple[str, dict[str, Any]]
REAL, AROUND = "real", "around a stub kernel"
_TRIES, _MOST = 120, 3
# Names of numbers that are sizes of tensors.
_SIZE = re.compile(r"size|batch|num_|tokens|seq|len|heads|dim|rows|cols")


class NoSamples(Exception):
    """An op has no samples. The text says why."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The samples of an op, whether the harness made them up, and which side ran on them: ``REAL`` or ``AROUND``.

    ``opaque``: the kernel makes the outputs, so that nobody knows them; ``results`` is how many the body unpacks and
    returns, None where it returns what the kernel gives.
    ``undeclared`` counts the tensors that the body returns although the declaration says that it returns nothing.
    """

    samples: list[Named]
    side: str
    made_up: bool = False
    undeclared: int = 0
    opaque: bool = False
    results: int | None = None

    @property
    def empty(self) -> bool:
        """Whether every sample has a tensor of no elements."""
        tensors = ((leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)) for _, given in self.samples)
        return all(any(tensor.numel() == 0 for tensor in some) for some in tensors)


def fitting(captured: Captured) -> Fitted:
    """The samples that this release's op accepts. Raises NoSamples."""
    found = _fitted(captured.key)
    if isinstance(found, str):
        raise NoSamples(found)
    return found


@cache
def _fitted(key: str) -> Fitted | str:
    captured = registered.named(key)
    assert captured.real is not None
    own = registered.ENGINES[0].hook("samples")
    known = own(captured.name) if own else None
    try:
        return _own(captured, known) if known is not None else _made_up(captured)
    except NoSamples as error:
        return str(error)


def _own(captured: Captured, known: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> Fitted:
    """The engine's own samples. A release that lacks a shared argument is called without it; of a special one, not at all."""
    assert captured.real is not None
    parameters = inspect.signature(captured.real).parameters
    fitted: list[Named] = []
    for label, shared, about in known:
        if all(special in parameters for special, value in about.items() if value is not None):
            every = shared | about
            fitted.append((label, {name: every[name] for name in parameters if name in every}))
    lacking = [need for need in required(captured.real) if not all(need in given for _, given in fitted)]
    if lacking:
        raise NoSamples(f"it needs {', '.join(lacking)}, which the harness's samples do not have")
    if not fitted:
        raise NoSamples("it lacks the parameters that the harness's samples need")
    return Fitted(fitted, *_ran(captured, fitted))


def _ran(captured: Captured, fitted: list[Named]) -> tuple[str, bool, int]:
    """The side that ran, that the samples are the engine's, and what came back undeclared."""
    launched, back = False, 0
    for _, given in fitted:
        try:
            out, stub = registered.called(captured, given)
        except Exception:  # the audit's rows say what it raises
            launched = True
            continue
        launched |= stub
        back = max(back, registered.undeclared(captured, out))
    return AROUND if launched else REAL, False, back


def _made_up(captured: Captured) -> Fitted:
    """Arguments made up from the schema, of which the real body accepts some. Raises NoSamples."""
    assert captured.real is not None
    text = registered.SCHEMAS[captured.key].text
    if not text:
        raise NoSamples("torch can infer no schema for it, not even with small changes")
    found = _Found(
        captured, Search(torch._C.parse_schema(f"op{text}"), captured.real, registered.written(captured.key))
    )
    for _ in range(_TRIES):
        found.try_once()
        if found.done or len(found.known) == _MOST:
            break
    if found.known:
        return Fitted([belonging(captured, one) for one in found.known], found.side, True, found.back)
    if not found.opaque and found.beside:
        found.opaque.append(found.beside)
    if not found.opaque:
        raise NoSamples(f"the harness has no samples for it, and it refuses what the harness makes up: {found.refused}")
    if captured.fake is None:
        raise NoSamples("its kernel makes its outputs, not the engine's Python")
    return Fitted(found.opaque[:_MOST], found.side, True, 0, True, found.results)


def refusal(error: BaseException) -> str:
    """What a body raised. An assertion without a text is named by its line."""
    line = next((frame.line for frame in reversed(traceback.extract_tb(error.__traceback__)) if frame.line), "")
    return f"{type(error).__name__}: {first_line(error) if str(error) else line}"


def belonging(captured: Captured, sample: Named) -> Named:
    """A sample whose real and fake outputs have one shape, if a number that names a size is all that stands against it.

    A caller passes ``batch_size`` beside a tensor with that many rows. A body around a stub kernel takes any other number.
    """
    label, given = sample
    if captured.fake is None or _agree(captured, given):
        return sample
    sizes = {size for value in given.values() if isinstance(value, torch.Tensor) for size in value.shape}
    for name in (name for name, value in given.items() if type(value) is int and _SIZE.search(name)):
        for size in sorted(sizes - {given[name]}):
            if _agree(captured, given | {name: size}):
                return f"{label}, {name} {size}", given | {name: size}
    return sample


def _agree(captured: Captured, given: dict[str, Any]) -> bool:
    """Whether real and fake take the arguments and give outputs of the same shapes."""
    try:
        both = registered.called(captured, given)[0], registered.faked(captured, given)
    except Exception:  # the audit's rows say what they raise
        return False
    shapes = [[leaf.shape for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)] for out in both]
    return shapes[0] == shapes[1]


class _Found:
    """What a search for arguments has found: ``known`` ones, and those for which the kernel makes an output.

    ``beside`` are such arguments that the fake refuses: what is left where it takes none.
    """

    def __init__(self, captured: Captured, search: Search) -> None:
        self._captured, self._search = captured, search
        self.known: list[Named] = []
        self.opaque: list[Named] = []
        self.beside: Named | None = None
        self.results: int | None = None
        self.refused, self.back = "", 0
        self._launched = False

    @property
    def side(self) -> str:
        """The side that ran."""
        return AROUND if self._launched else REAL

    @property
    def done(self) -> bool:
        """Whether there is nothing more to try."""
        return self._search.done

    def try_once(self) -> None:
        """Call the body with the next arguments."""
        asked, given = Asked(), self._search.given
        try:
            out, stub = registered.called(self._captured, traced(given), partial(asking, asked))
        except BaseException as error:  # a body may refuse arguments in any way
            if isinstance(error, KeyboardInterrupt):
                raise
            self.refused = refusal(error)
            self._search.refused(error, asked)
            return
        self._launched |= stub
        opaque = registered.kernels_own(out) and not registered.gives_nothing(self._captured)
        if opaque and (refused := self._fake_refuses(asked, given)):
            # A body that only hands its arguments on takes any: then the fake knows more of them.
            self.beside = self.beside or (_label(given), given)
            self._search.refused(refused, asked)
        elif self._search.took():
            self._keep(out, given, opaque)

    def _fake_refuses(self, asked: Asked, given: dict[str, Any]) -> Exception | None:
        """What the fake raises of arguments that the body took."""
        if self._captured.fake is None:
            return None
        numbers = traced(given)
        try:
            with asking(asked, numbers):
                registered.faked(self._captured, numbers)
        except Exception as error:
            return error
        return None

    def _keep(self, out: Any, given: dict[str, Any], opaque: bool) -> None:
        if opaque:
            self.results = len(out) if isinstance(out, (tuple, list)) else None
        self.back = max(self.back, registered.undeclared(self._captured, out))
        place = self.opaque if opaque else self.known
        if _label(given) not in dict(place):
            place.append((_label(given), given))


def _label(given: dict[str, Any]) -> str:
    shapes = [
        f"{name} {' x '.join(map(str, value.shape)) or 'scalar'} {str(value.dtype).removeprefix('torch.')}"
        for name, value in given.items()
        if isinstance(value, torch.Tensor)
    ]
    return "made up: " + ", ".join(shapes)


def __getattr__(name: str) -> Callable[[], list[tuple[tuple[()], dict[str, Any]]]]:
    for captured in registered.CAPTURED:
        if captured.key == name and captured.real is not None:
            return lambda: [((), given) for _, given in fitting(captured).samples]
    raise AttributeError(name)
