"""Whose Python runs an engine: this one, or the environment that the harness builds for the releases of vLLM."""

from harness.engines.declared.engine import Engine
from harness.engines.vllm.environment import Report, python
from harness.engines.vllm.targets import BOOT


def command(engine: Engine, report: Report) -> tuple[str, ...]:
    """The command that starts a worker for an engine; empty means this Python. Builds what is missing. Raises BadInput."""
    return (str(python(report)), "-P", str(BOOT)) if engine.environment else ()
