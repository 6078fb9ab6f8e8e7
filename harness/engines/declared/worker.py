"""The worker that captures one engine and describes each op that it declares."""

import inspect
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput
from harness.engines.declared.engine import Engine, engine


def start(settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """Returns a function from patterns of names to the ops of the engine on ``path`` that match one, described.

    No pattern stands for every op. ``names`` holds all names. Raises BadInput if the engine cannot be captured.
    """
    sys.path[:0] = [folder for folder in settings["path"] if folder not in sys.path]
    described = engine(settings["engine"])
    try:
        from harness.engines.declared.running import registered

        registered.register(described)
    except BadInput:
        raise
    except Exception as error:
        problem = f"{described.title} on {', '.join(settings['path']) or 'the import path'} cannot be captured"
        raise BadInput(f"{problem}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error

    def answer(patterns: list[str]) -> dict[str, Any]:
        every = registered.CAPTURED
        wanted = [one for one in every if not patterns or any(fnmatchcase(one.name, pattern) for pattern in patterns)]
        ops = [_description(captured, registered, described) for captured in wanted]
        return {"ops": ops, "names": [captured.name for captured in every]}

    return answer


def _description(captured: Any, registered: Any, described: Engine) -> dict[str, Any]:
    from harness.engines.declared.source.schema import differences

    about: dict[str, Any] = {"op": captured.name, "key": captured.key}
    about |= {"where": f"{captured.declared.file}:{captured.declared.line}"}
    about |= {"reason": captured.reason, "fake": captured.fake is not None, "samples": [], "unsampled": ""}
    about |= {"differs": [], "notes": [], "refused": "", "changed": [], "auditable": False}
    about |= {
        "trivial": False,
        "off_cpu": [],
        "breaches": [],
        "scripts": {},
        "side": "",
        "made_up": False,
        "empty": False,
    }
    about |= {"undeclared": 0, "opaque": False, "count": ()}
    if captured.real is None:
        return about
    schema = registered.SCHEMAS[captured.key]
    about |= {"refused": schema.refused, "changed": list(schema.changed), "auditable": bool(schema.text)}
    # Torch makes the fake of an op that writes an argument and returns nothing.
    about["trivial"] = schema.text.endswith("-> ()") and "!" in schema.text
    if captured.fake is not None:
        about["differs"], about["notes"] = differences(captured.real, captured.fake)
        about["fake_where"] = _where(captured.fake, described.package)
    _sampled(captured, about)
    script = described.hook("script")
    if script is not None:
        about["scripts"] = _scripts(script, captured, about)
    return about


def _sampled(captured: Any, about: dict[str, Any]) -> None:
    """Add what needs the op's samples: which ones there are, what real and fake do on them."""
    from harness.engines.declared import breaches, off_cpu
    from harness.engines.declared.samples import table
    from harness.engines.declared.source.scan import SPACE

    try:
        fitted = table.fitting(captured)
    except table.NoSamples as error:
        about["unsampled"] = str(error)
        return
    about |= {"samples": [label for label, _ in fitted.samples], "side": fitted.side, "made_up": fitted.made_up}
    about |= {"undeclared": fitted.undeclared, "opaque": fitted.opaque, "empty": fitted.empty}
    if fitted.opaque:
        about["count"] = _counts(captured, fitted)
    if captured.fake is not None and not fitted.opaque:
        about["off_cpu"] = off_cpu.compare(captured)
    if about["auditable"]:
        about["breaches"] = breaches.breaches(captured, f"{SPACE}::{captured.key}")


def _counts(captured: Any, fitted: Any) -> tuple[int, int] | tuple[()]:
    """How many results the body takes from its kernel and returns, and how many its fake gives; empty if nobody knows."""
    from harness.engines.declared.running import registered

    if fitted.results is None:
        return ()
    try:
        given = registered.faked(captured, fitted.samples[0][1])
    except Exception:  # the row `fake` says what it raises
        return ()
    return fitted.results, len(given) if isinstance(given, (tuple, list)) else 1


def _scripts(script: Callable[..., str], captured: Any, about: dict[str, Any]) -> dict[str, str]:
    """A script for each row that may break, by ``row sample``."""
    from harness.engines.declared import breaches
    from harness.engines.declared.samples import table

    scripts = {f"{row} ": script(captured, {}, row) for row in ("declared schema", "parameters")}
    if about["samples"] and about["auditable"]:
        for label, some in table.fitting(captured).samples:
            scripts |= {f"{row} {label}": script(captured, some, row) for row in breaches.ROWS}
    return scripts


def _where(function: Any, package: str) -> str:
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    parts = Path(code.co_filename).parts if code else ()
    if code is None or package not in parts:
        return ""
    return f"{'/'.join(parts[len(parts) - parts[::-1].index(package) - 1 :])}:{code.co_firstlineno + 1}"
