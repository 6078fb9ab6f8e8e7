"""Subject: what is tested. Four methods, and how one is found by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from harness.case import Case
from harness.errors import BadInput, nearest
from harness.loading import imported

if TYPE_CHECKING:
    from torch import Tensor, device

    Layer = Callable[..., Tensor]
    Oracle = Tensor | Mapping[str, Tensor]

METHODS = ("build", "inputs", "oracle", "ops")


@runtime_checkable
class Subject(Protocol):
    """What a layer's owner provides. The harness calls nothing else.

    One instance serves many cases in one process. Each call of ``build`` must give a layer that shares no memory with
    another, since the harness looks for layers that write where they should not.
    """

    def build(self, case: Case, device: "device") -> "Layer":
        """A layer for this case: a callable, usually an ``nn.Module``, that takes ``inputs`` and gives [tokens, hidden]."""
        ...

    def inputs(self, case: Case, tokens: int, seed: int, device: "device") -> "tuple[Tensor, ...]":
        """Fresh inputs of the layer. Each tensor's dimension 0 is the tokens; the first is hidden_states [tokens, hidden]."""
        ...

    def oracle(self, case: Case, inputs: "tuple[Tensor, ...]") -> "Oracle":
        """What the layer should give, fp32 [tokens, hidden], by no op of the layer and without padding.

        A mapping of named parts whose sum is the output lets a finding say which part is wrong
        (the in-tree layer gives ``routed`` and ``shared``).
        """
        ...

    def ops(self, case: Case) -> Sequence[str]:
        """Names (``namespace::name``) of the custom ops that each forward must dispatch; the first is the routed experts.

        Where that op gives more than the routed experts' output, ``name[1]`` says which it is, counted from 0.
        """
        ...


def routed_output(ops: Sequence[str]) -> int | None:
    """Which output of the first op is the routed experts', where ``ops`` says so. Raises ValueError on ``name[x]``."""
    place = ops[0].partition("[")[2].rstrip("]") if ops else ""
    return int(place) if place else None


def plain_names(ops: Sequence[str]) -> tuple[str, ...]:
    """The names alone."""
    return tuple(name.partition("[")[0] for name in ops)


def load_subject(spec: str, path: Sequence[str] = ()) -> Subject:
    """The subject named by ``package.module:Name``, an instance or a class without arguments. Raises BadInput.

    ``package.module:where#what`` is an entry of a corpus (``harness.corpus``).

    ``path`` goes in front of the import path: the project's folder, and nothing that the caller did not name.
    """
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise BadInput(f"subject {spec!r} is not of the form package.module:Name, nor a name `harness list` shows")
    module = imported(f"subject {spec!r}", module_name, path)
    if "#" in name:
        from harness.corpus import planted  # a corpus is made of subjects

        return planted(module, name)
    found = _attribute(module, name, spec)
    subject = _instance(found, spec) if isinstance(found, type) else found
    missing = [method for method in METHODS if not callable(getattr(subject, method, None))]
    if missing:
        raise BadInput(f"subject {spec!r} has no method {', '.join(missing)}; a subject needs {', '.join(METHODS)}")
    return cast(Subject, subject)


def _attribute(module: object, name: str, spec: str) -> object:
    try:
        return getattr(module, name)
    except AttributeError:
        near = nearest(name, [public for public in vars(module) if not public.startswith("_")])
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise BadInput(f"subject {spec!r}: the module has no {name!r}{hint}") from None


def _instance(kind: type, spec: str) -> object:
    try:
        return kind()
    except BadInput:
        raise
    except Exception as error:  # a user's constructor may raise anything
        raise BadInput(f"subject {spec!r} cannot be made without arguments: {type(error).__name__}: {error}") from error
