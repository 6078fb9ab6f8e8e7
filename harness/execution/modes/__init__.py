"""Modes: the ways to run a layer, one module each. A mode leaves evidence and does not judge it."""

from typing import Protocol

from harness.execution.evidence import Run
from harness.execution.rig import Rig


class Mode(Protocol):
    """What each mode's module provides."""

    def run(self, rig: Rig, dynamic: bool) -> Run:
        """Run the rig's case in this mode and return the evidence. ``dynamic``: the token count is dynamic."""
        ...
