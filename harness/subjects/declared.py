"""What a subject declares of its layer: limits and habits that are correct for this layer and a fault in another."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.base.errors import BadInput, nearest
from harness.matrix.case import Case
from harness.matrix.variations import DECLARED as NOT_PROMISED
from harness.subjects.subject import Subject

_FORMS = {
    "tokens": "tokens<=N",
    "reduces": "reduces=N",
    "reduces-by": "reduces-by=namespace::op",
    "experts-in": "experts-in=SUBMODULE",
    "shared-in": "shared-in=SUBMODULE",
    "router-in": "router-in=SUBMODULE",
    "keeps-output": "keeps-output",
    "repacks-weights": "repacks-weights",
    "id-experts": "id-experts",
    **{text: text for text in NOT_PROMISED},
}
_LEAST = {"tokens": 1, "reduces": 0}
_SUBMODULES = ("experts-in", "shared-in", "router-in")
_ENTRY = re.compile(r"\s*([A-Za-z-]+)\s*(?:(<=|=)\s*(\S+)\s*)?")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a subject declares. The defaults are those of a subject that declares nothing.

    ``most_tokens`` is the largest batch that the layer takes. ``reduces`` is the number of reductions over the ranks in a
    forward with tensor parallelism, 0 where the layer's caller reduces, and ``reduces_by`` names ops that make one.
    ``keeps_output``: the output may lie in memory of the layer. ``repacks_weights``: the first call may change the weights in
    place. ``id_experts``: an id equal to the number of experts names no expert, and adds nothing. ``submodules`` has the dotted
    paths of the submodules that hold the routed experts, the shared expert and the router, by those words. ``texts`` has every
    entry; those of ``harness.matrix.variations.DECLARED`` have no field, since they only leave variations out. ``layer_of``
    names the software whose own layer it is, where the subject is the harness's: nobody who reads a finding can declare more.
    """

    most_tokens: int = sys.maxsize
    reduces: int = 1
    reduces_by: tuple[str, ...] = ()
    keeps_output: bool = False
    repacks_weights: bool = False
    id_experts: bool = False
    submodules: tuple[tuple[str, str], ...] = ()
    texts: tuple[str, ...] = ()
    layer_of: str = ""

    @property
    def ends_on_errors(self) -> bool:
        """Whether an error in a call ends the process: then no error of the layer's own is a limit that it may have."""
        return "errors-end" in self.texts


def declared(subject: Subject, case: Case) -> Declared:
    """The subject's ``declares``: a tuple of texts, or a method of the case that returns one. Raises BadInput."""
    value: Any = getattr(subject, "declares", ())
    texts = value(case) if callable(value) else value
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise BadInput(f'declares is {texts!r:.60}; expected a tuple of texts such as ("tokens<=512", "reduces=2")')
    fields: dict[str, Any] = {"texts": tuple(texts), "layer_of": getattr(subject, "layer_of", "")}
    for text in texts:
        _read(text, fields)
    return Declared(**fields)


def _read(text: str, fields: dict[str, Any]) -> None:
    match = _ENTRY.fullmatch(text)
    name, sign, value = match.groups() if match else (text, None, None)
    if name not in _FORMS:
        near = nearest(name, _FORMS)
        hint = (
            f"did you mean {' or '.join(_FORMS[one] for one in near)}?"
            if near
            else f"valid: {', '.join(_FORMS.values())}"
        )
        raise BadInput(f"declares has the unknown entry {text!r}; {hint}")
    if not _fits(name, sign, value):
        number = f", N a number of at least {_LEAST[name]}" if name in _LEAST else ""
        raise BadInput(f"declares has the entry {text!r}; expected {_FORMS[name]}{number}")
    if name == "reduces-by":
        fields["reduces_by"] = (*fields.get("reduces_by", ()), value)
    elif name in _SUBMODULES:
        fields["submodules"] = (*fields.get("submodules", ()), (name.removesuffix("-in"), value))
    elif value is not None:
        fields["most_tokens" if name == "tokens" else name] = int(value)
    elif name not in NOT_PROMISED:
        fields[name.replace("-", "_")] = True


def _fits(name: str, sign: str | None, value: str | None) -> bool:
    """Whether an entry has the form of its name."""
    if name in _LEAST:
        wanted = "<=" if name == "tokens" else "="
        return (
            sign == wanted and value is not None and value.isascii() and value.isdigit() and int(value) >= _LEAST[name]
        )
    if name == "reduces-by":
        return sign == "=" and value is not None and all(value.partition("::"))
    if name in _SUBMODULES:
        return sign == "=" and value is not None and all(value.split("."))
    return sign is None
