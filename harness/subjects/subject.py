"""Subject: what is tested. Four methods that a layer's owner provides."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from harness.matrix.case import Case

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
