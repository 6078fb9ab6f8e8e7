"""Observers: one thing to look for each.

Belongs here: a module with `look(run)` for each entry of OBSERVERS. It reads evidence and runs nothing.
May import: base to findings.

`look` gives None where the run holds nothing for it to look at, else its findings.
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
    _info("alias", "nothing writes to inputs or weights undeclared, and no output shares their memory"),
    _info("poison", "no NaN gets out: of the padded tail, or of memory that nothing wrote"),
    _info("values", "every column agrees with the oracle"),
    _info("second call", "other inputs give other outputs, replays too; the first output stays as it was"),
    _info("tokens", "one token and zero tokens work"),
    _info("repeated call", "the same inputs give the same bits again, under inference mode too"),
    _info("global state", "a call leaves torch's global state as it was"),
    _info("collectives", "what enters an all-reduce is contiguous, and it is reduced exactly once"),
    _info("recompiles", "another call compiles nothing again; a dynamic token count stays dynamic"),
)
# Observers that speak through an exception alone; explain.py writes their findings.
RAISING = {
    "graph breaks": "Dynamo traces the layer into one graph",
    "capture": "nothing in a capture waits for the device or depends on its data; torch.compile's own is not skipped",
    "addresses": "what a graph reads from outside lies at each replay where it lay at the capture",
}
