"""The failing verdicts in a file of records."""

import json
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput
from harness.findings.finding import FINDINGS, FORMAT, Verdict


def read_records(file: Path) -> list[dict[str, Any]]:
    """The failing verdicts in a file of records. Raises BadInput, naming the line, on anything else."""
    records = []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip() and '"record": "run"' not in line:  # the line that says of which run the others are
                    records.append(_checked(json.loads(line), f"{file}:{number}"))
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{file} is no file of records; expected JSON lines of `harness check --json FILE`") from None
    return [record for record in records if record.get("status") == FINDINGS]


def _checked(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict) or not isinstance(record.get("status"), str):
        raise BadInput(f"{where}: no verdict's record; expected a line of `harness check --json FILE`")
    number = record.get("format", 1)
    try:
        if number not in range(1, FORMAT + 1):
            raise ValueError
        Verdict.from_json(record)
    except (LookupError, TypeError, ValueError):
        raise BadInput(
            f"{where}: a record of format {number} that cannot be read; this version reads verdicts of format {FORMAT} and "
            "before: run `harness check --json` again"
        ) from None
    return record
