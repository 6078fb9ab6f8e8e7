"""``harness waive``: drafts of waivers for the findings of a run."""

import argparse
import sys

from harness.base.printable import printable
from harness.runs.gathering import Gathering
from harness.runs.waiving import drafts

ABOUT = """\
Draft a waiver for each kind of finding in a run's records. A draft names the cases and modes that have the finding, no more.
Its issue is empty: write the public issue there, or the file is refused. Findings that are waived already are left out, and
so are errors of the harness, which nothing excuses.

examples:
  harness check --json verdicts.jsonl
  harness waive verdicts.jsonl > waivers.toml      then name the issues in it
  harness check --waivers waivers.toml

exit code: 0 drafts were written, 1 there is nothing to waive, 2 bad input"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness waive``."""
    parser.description = ABOUT
    parser.add_argument("records", nargs="+", metavar="RECORDS", help="files of --json, or of `harness merge`")


def run(chosen: argparse.Namespace) -> int:
    """Print the drafts; 0 if there are some, else 1. Raises BadInput."""
    gathering = Gathering(chosen.records)
    entries = list(drafts(gathering))
    if not gathering.runs:
        raise gathering.nothing()
    for note in gathering.notes:
        print(f"harness: {printable(note)}", file=sys.stderr)
    if entries:
        print("\n\n".join(entries))
    else:
        print("harness: no finding that a waiver could excuse", file=sys.stderr)
    return 0 if entries else 1
