"""Whose Python runs an engine: this one, or the environment that the harness builds for the releases of vLLM."""

from harness.engines.declared.engine import Engine
from harness.engines.released.environment import Report, python
from harness.engines.released.targets import BOOT
from harness.engines.vllm.released import VLLM


def command(engine: Engine, report: Report) -> tuple[str, ...]:
    """The command that starts a worker for an engine; empty means this Python. Builds what is missing. Raises BadInput."""
    return (str(python(VLLM, report)), "-P", str(BOOT)) if engine.environment else ()
