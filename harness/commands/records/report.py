"""``harness report``: records of any number of shards, runners and nights as one page."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.base.clashes import refuse_clashes
from harness.base.errors import BadInput
from harness.base.options import whole
from harness.nightly.files import RecordsFile, expanded
from harness.nightly.history import History
from harness.nightly.ingest import Ingest, night_named
from harness.nightly.payload import Payload
from harness.nightly.render import page

ABOUT = """\
Write one HTML page from the records of any number of shards, runners and nights. The page opens from disk, without a
server and without a network. It shows what is new, fixed, flaky, incomplete or no longer run since the night before, with
what changed in the environment; the matrix of models, modes and backends; and each finding with its command.

A night lasts from noon to noon UTC and has the date on which it ends. Each runner's newest night is compared with its
nights before. --history keeps the results for the next call; without it, give the records of the earlier nights too.
Adding a file twice changes nothing.

examples:
  harness report night.jsonl -o page.html                        one run
  harness report shards/ -o page.html --history history.sqlite   tonight's shards, beside the nights before
  harness report -o page.html --history history.sqlite           the page again, from the history alone

exit code: 0 the page was written, 1 it was written and some lines of the records could not be used (each file is named),
2 bad input, and no page (docs/how-to/read-the-nightly-page.md)"""
_UNUSED = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness report``."""
    parser.description = ABOUT
    parser.add_argument(
        "records", nargs="*", metavar="RECORDS", help="files of --json, plain or gzipped, or folders with such files"
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the page to write")
    parser.add_argument("--history", metavar="FILE", help="an SQLite file to add the records to; made if there is none")
    parser.add_argument("--nights", type=whole, default=14, metavar="N", help="newest nights to show (default: 14)")
    parser.add_argument(
        "--night",
        type=_night,
        metavar="DATE",
        help="the night of records that do not say when they began (default: when their file was written)",
    )


def run(chosen: argparse.Namespace) -> int:
    """Write the page; 0 all records used, 1 some not. Raises BadInput."""
    if not (chosen.records or chosen.history):
        raise BadInput("give records files of --json, or --history FILE, or both")
    read = [("RECORDS", name) for name in chosen.records] + ([("--history", chosen.history)] if chosen.history else [])
    refuse_clashes([("-o", chosen.output)], read)
    if chosen.nights < 1:
        raise BadInput(f"--nights is {chosen.nights}; expected 1 or more")
    if chosen.history and not chosen.records and not os.path.isfile(chosen.history):
        raise BadInput(f"--history {chosen.history}: there is no such file; give records files to begin it with")
    files = [RecordsFile(path) for path in expanded(chosen.records)]
    with _place(chosen.history) as place, History.opened(place) as history:
        ingest = Ingest(history, chosen.night)
        for file in files:
            ingest.add(file)
        lines = [line for file in files for line in file.notes.lines]
        if not history.runs():
            expected = "there is no record to show, expected files that `harness check --json FILE` writes"
            raise BadInput(": ".join([expected, *filter(None, ["; ".join(lines)])]))
        for line in lines:
            print(f"harness: {BadInput(line)}", file=sys.stderr)
        overview, details = Payload(history, chosen.nights).make()
    _write(Path(chosen.output), page(overview, details))
    _summary(overview, sum(file.notes.records for file in files), chosen.output)
    return _UNUSED if any(file.notes.foreign or file.notes.error for file in files) else 0


@contextmanager
def _place(history: str | None) -> Iterator[Path]:
    """The history file, or one that lasts as long as the call."""
    if history:
        yield Path(history)
        return
    with tempfile.TemporaryDirectory(prefix="harness-report-") as folder:
        yield Path(folder) / "history.sqlite"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise BadInput(f"cannot write -o {path}: {error.strerror}; give a path in a folder that exists") from None


def _summary(overview: dict, records: int, output: str) -> None:  # type: ignore[type-arg]
    print(f"{output}: {records:,} record(s) added, {len(overview['cells'].get('state', []))} cells")
    for runner in overview["runners"]:
        before = f"compared with {runner['before']}" if runner["before"] else "no earlier night"
        print(f"  {runner['name']}: night of {runner['newest']}, {before}")


def _night(text: str) -> int:
    try:
        return night_named(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; expected one such as 2026-11-27") from None
