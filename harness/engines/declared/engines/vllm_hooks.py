"""What vLLM needs of a stand-in."""

from types import ModuleType

from harness.engines.declared.engine import Samples


def patch(module: ModuleType) -> None:
    """Nothing yet."""


def samples(name: str) -> Samples | None:
    """No samples of its own."""
    return None
