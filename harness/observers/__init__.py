"""Observers: each looks for one thing in the evidence.

Belongs here: a module with `look(run)` for each entry of OBSERVERS. It reads evidence and runs nothing.
May import: base to findings.

`look` returns None where the run holds no evidence for it, else its findings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.execution.evidence import Run
    from harness.findings.finding import Finding

    Look = Callable[[Run], list[Finding] | None]


@dataclass(frozen=True, slots=True)
class ObserverInfo:
    """An observer's name, its module, and one line about what it looks for."""

    name: str
    module: str
    about: str

    @property
    def look(self) -> "Look":
        """The module's ``look``."""
        function: Look = import_module(self.module).look
        return function


def _info(name: str, about: str) -> ObserverInfo:
    return ObserverInfo(name, f"harness.observers.{name.replace(' ', '_').replace('-', '_')}", about)


OBSERVERS = (
    _info("widths", "the output has the shape, stride and dtype of hidden_states; each op's widths fit"),
    _info("contract", "real and fake of every custom op agree: count, shape, stride, offset, dtype, device"),
    _info("dispatch", "the custom ops really ran, in the graph or in eager"),
    _info("alias", "nothing writes to inputs or weights without declaring it, and no output shares their memory"),
    _info("poison", "no NaN reaches the output from the padded tail or from memory that nothing wrote"),
    _info("values", "every column agrees with the oracle"),
    _info(
        "second call",
        "later calls and replays with other inputs agree with the oracle too; earlier outputs stay as they were",
    ),
    _info("tokens", "one token and zero tokens work"),
    _info("varied", "calls with one thing varied, such as the token count, agree with the oracle too"),
    _info("repeated call", "the first inputs give the same bits when they are run again, under inference mode"),
    _info("global state", "a call leaves torch's global state as it was"),
    _info("collectives", "the input of an all-reduce is contiguous, and there is exactly one"),
    _info("recompiles", "a second call does not recompile; a dynamic token count stays dynamic"),
)
# Observers without a module: what they look for raises, and harness/findings/readers/ writes the finding.
RAISING = {
    "graph breaks": "Dynamo traces the layer into one graph",
    "capture": "nothing in a capture waits for the device or depends on its data; torch.compile skips no graph",
    "addresses": "memory that a graph reads is at each replay where it was at the capture",
}
