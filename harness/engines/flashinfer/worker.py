"""A worker's side: what one FlashInfer declares, op by op, and whether real and fake agree where they think of CUDA."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput


def start(settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """A function that describes every op of the FlashInfer on ``path``. Raises BadInput where there is none to capture."""
    sys.path[:0] = settings["path"]
    try:
        from harness.engines.flashinfer.captured import registered
    except BadInput:
        raise
    except Exception as error:
        told = f"FlashInfer on {', '.join(settings['path']) or 'the import path'} cannot be captured"
        raise BadInput(f"{told}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error

    def answer(_: Any) -> dict[str, Any]:
        return {"ops": [_told(found, registered) for found in registered.CAPTURED]}

    return answer


def _told(found: Any, registered: Any) -> dict[str, Any]:
    from harness.engines.flashinfer import breaches, elsewhere, scripts
    from harness.engines.flashinfer.declared.functions import SPACE
    from harness.engines.flashinfer.declared.schema import differences
    from harness.engines.flashinfer.samples import table

    told: dict[str, Any] = {"op": found.name, "where": f"{found.declared.file}:{found.declared.line}"}
    told |= {"reason": found.reason, "fake": found.fake is not None, "samples": [], "unsampled": ""}
    told |= {"differs": [], "notes": [], "refused": "", "mended": [], "auditable": False}
    told |= {"trivial": False, "elsewhere": [], "breaches": [], "scripts": {}}
    if found.real is None:
        return told
    schema = registered.SCHEMAS[found.name]
    told |= {"refused": schema.refused, "mended": list(schema.mended), "auditable": bool(schema.text)}
    # Torch makes the fake of an op that writes an argument and returns nothing.
    told["trivial"] = schema.text.endswith("-> ()") and "!" in schema.text
    told["scripts"] = {f"{row} ": scripts.script(found, {}, row) for row in ("declared schema", "parameters")}
    if found.fake is not None:
        told["differs"], told["notes"] = differences(found.real, found.fake)
        told["fake_where"] = _where(found.fake)
    try:
        told["samples"] = [label for label, _ in table.fitting(found.name, found.real)]
    except table.Unsampled as error:
        told["unsampled"] = str(error)
    if told["samples"] and found.fake is not None:
        told["elsewhere"] = elsewhere.compare(found)
    if told["samples"] and told["auditable"]:
        told["breaches"] = breaches.breaches(found, f"{SPACE}::{found.name}")
        for label, some in table.fitting(found.name, found.real):
            told["scripts"] |= {f"{row} {label}": scripts.script(found, some, row) for row in breaches.ROWS}
    return told


def _where(function: Any) -> str:
    import inspect

    inner = inspect.unwrap(function)
    parts = Path(inner.__code__.co_filename).parts
    return f"{'/'.join(parts[len(parts) - parts[::-1].index('flashinfer') - 1 :])}:{inner.__code__.co_firstlineno + 1}"
