"""The last run's failing verdicts, in the cache folder: one file for each project."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.base.cache import cache_root
from harness.base.errors import BadInput
from harness.findings.finding import FINDINGS, Verdict

_NONE = "run `harness check` or pytest first, or name a case: harness repro CASE (docs/how-to/repro.md)"


def file_of(root: Path) -> Path:
    """Where the last run of the project at ``root`` is remembered."""
    return cache_root() / "last-run" / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}.jsonl"


def remember(root: Path, run: str, verdicts: Iterable[Verdict]) -> None:
    """Add failing verdicts to the run called ``run``; the verdicts of another run are dropped.

    A cache folder that cannot be written ends no run: the next `harness repro` without a case then says that there is none.
    """
    lines = [json.dumps(one.to_json()) + "\n" for one in verdicts if one.status == FINDINGS]
    file = file_of(root)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # workers of pytest-xdist write to one file
            stream.seek(0)
            head = json.dumps({"run": run}) + "\n"
            if stream.readline() != head:
                stream.truncate(0)
                stream.write(head)
            stream.seek(0, os.SEEK_END)
            stream.writelines(lines)


def recall(root: Path) -> list[dict[str, Any]]:
    """The records of the last run's failing verdicts. Raises BadInput where there are none."""
    file = file_of(root)
    if not file.is_file():
        raise BadInput(f"no run is remembered for {root}: {_NONE}")
    try:
        _, *lines = file.read_text("utf-8").splitlines()
        records = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        raise BadInput(f"the last run of {root} cannot be read: {_NONE}") from None
    if not records:
        raise BadInput(f"the last run of {root} found nothing: {_NONE}")
    return records
