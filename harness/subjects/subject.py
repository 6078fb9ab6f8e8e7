"""Subject: the four methods through which the harness tests a layer."""

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

    One instance serves many cases in one process. Each call of ``build`` must return a layer that shares no memory with
    another: the harness looks for layers that write where they should not.

    A subject may also have ``declares``, texts that say what is right for its layer only: see ``harness.subjects.declared``.
    """

    def build(self, case: Case, device: "device") -> "Layer":
        """A layer for this case: a callable, usually an ``nn.Module``, that takes ``inputs`` and returns [tokens, hidden]."""
        ...

    def inputs(self, case: Case, tokens: int, seed: int, device: "device") -> "tuple[Tensor, ...]":
        """Fresh inputs of the layer. Dimension 0 of each is the tokens; the first is hidden_states, [tokens, hidden].

        An optional input is None where it is absent, which ``seed`` may decide.
        """
        ...

    def oracle(self, case: Case, inputs: "tuple[Tensor, ...]") -> "Oracle":
        """The correct output, fp32 [tokens, hidden], computed without padding and without any op of the layer.

        It may be a mapping of named parts whose sum is the output, such as ``routed`` and ``shared``. A finding can
        then say which part is wrong.
        """
        ...

    def ops(self, case: Case) -> Sequence[str]:
        """Names (``namespace::name``) of the custom ops that each forward must dispatch; the first is the routed experts'.

        Where that op returns more than the routed experts' output, ``name[1]`` says which output that is, counted from 0.
        """
        ...


def routed_output(ops: Sequence[str]) -> int | None:
    """Which output of the first op is the routed experts'; None where ``ops`` does not say. Raises ValueError on ``name[x]``."""
    index = ops[0].partition("[")[2].rstrip("]") if ops else ""
    return int(index) if index else None


def plain_names(ops: Sequence[str]) -> tuple[str, ...]:
    """The names without the index of an output and without an overload: a record knows an op by its plain name."""
    return tuple(name.partition("[")[0].partition(".")[0] for name in ops)
