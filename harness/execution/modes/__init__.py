"""Modes: the ways a layer is run, one module each. A mode leaves evidence; none judges."""

from typing import Protocol

from harness.execution.evidence import Run
from harness.execution.rig import Rig


class Mode(Protocol):
    """What each mode's module is."""

    def run(self, rig: Rig, dynamic: bool) -> Run:
        """Run the rig's case in this mode and leave the evidence."""
        ...
