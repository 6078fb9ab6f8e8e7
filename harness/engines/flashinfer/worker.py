"""The worker that captures one FlashInfer and describes each op that it declares."""

import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput


def start(settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """Returns a function from patterns of names to the ops of the FlashInfer on ``path`` that match one, described.

    No pattern stands for every op. ``names`` holds all names. Raises BadInput if the FlashInfer cannot be captured.
    """
    sys.path[:0] = settings["path"]
    try:
        from harness.engines.flashinfer.captured import registered
    except BadInput:
        raise
    except Exception as error:
        problem = f"FlashInfer on {', '.join(settings['path']) or 'the import path'} cannot be captured"
        raise BadInput(f"{problem}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error

    def answer(patterns: list[str]) -> dict[str, Any]:
        every = registered.CAPTURED
        wanted = [one for one in every if not patterns or any(fnmatchcase(one.name, pattern) for pattern in patterns)]
        described = [_description(captured, registered) for captured in wanted]
        return {"ops": described, "names": [captured.name for captured in every]}

    return answer


def _description(captured: Any, registered: Any) -> dict[str, Any]:
    from harness.engines.flashinfer import breaches, off_cpu, scripts
    from harness.engines.flashinfer.declared.functions import SPACE
    from harness.engines.flashinfer.declared.schema import differences
    from harness.engines.flashinfer.samples import table

    described: dict[str, Any] = {"op": captured.name, "where": f"{captured.declared.file}:{captured.declared.line}"}
    described |= {"reason": captured.reason, "fake": captured.fake is not None, "samples": [], "unsampled": ""}
    described |= {"differs": [], "notes": [], "refused": "", "changed": [], "auditable": False}
    described |= {"trivial": False, "off_cpu": [], "breaches": [], "scripts": {}}
    if captured.real is None:
        return described
    schema = registered.SCHEMAS[captured.name]
    described |= {"refused": schema.refused, "changed": list(schema.changed), "auditable": bool(schema.text)}
    # Torch makes the fake of an op that writes an argument and returns nothing.
    described["trivial"] = schema.text.endswith("-> ()") and "!" in schema.text
    described["scripts"] = {f"{row} ": scripts.script(captured, {}, row) for row in ("declared schema", "parameters")}
    if captured.fake is not None:
        described["differs"], described["notes"] = differences(captured.real, captured.fake)
        described["fake_where"] = _where(captured.fake)
    try:
        described["samples"] = [label for label, _ in table.fitting(captured.name, captured.real)]
    except table.NoSamples as error:
        described["unsampled"] = str(error)
    if described["samples"] and captured.fake is not None:
        described["off_cpu"] = off_cpu.compare(captured)
    if described["samples"] and described["auditable"]:
        described["breaches"] = breaches.breaches(captured, f"{SPACE}::{captured.name}")
        for label, some in table.fitting(captured.name, captured.real):
            described["scripts"] |= {f"{row} {label}": scripts.script(captured, some, row) for row in breaches.ROWS}
    return described


def _where(function: Any) -> str:
    import inspect

    inner = inspect.unwrap(function)
    parts = Path(inner.__code__.co_filename).parts
    return f"{'/'.join(parts[len(parts) - parts[::-1].index('flashinfer') - 1 :])}:{inner.__code__.co_firstlineno + 1}"
