"""A torch.compile compatibility test harness for padded mixture-of-experts kernels.

One direction: Case -> Subject.build -> layer -> Mode.run -> evidence -> observers -> Finding -> Verdict -> output.

The names below are what a subject, a corpus or a custom op of your own needs. The rooms behind them may move; these stay.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.base.errors import BadInput, Skip
    from harness.matrix.case import Case
    from harness.ops.by_name import by_name
    from harness.ops.collectives import all_reduce
    from harness.ops.registry import register_op
    from harness.selftest.corpus import Correct, Fault
    from harness.subjects.subject import Subject

__all__ = ["BadInput", "Case", "Correct", "Fault", "Skip", "Subject", "all_reduce", "by_name", "register_op"]

_HOMES = {
    "BadInput": "harness.base.errors",
    "Case": "harness.matrix.case",
    "Correct": "harness.selftest.corpus",
    "Fault": "harness.selftest.corpus",
    "Skip": "harness.base.errors",
    "Subject": "harness.subjects.subject",
    "all_reduce": "harness.ops.collectives",
    "by_name": "harness.ops.by_name",
    "register_op": "harness.ops.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line must not pay for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
