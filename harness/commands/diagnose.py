"""``harness diagnose``: what a failure in a log is, and the command that tries it."""

import argparse
import json
import sys

from harness.base.errors import BadInput
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Report
from harness.diagnosis.log.source import opened
from harness.diagnosis.render import rendered

ABOUT = """\
Read a text that holds a torch failure (a server log, CI output, pytest's, a pasted issue) and say what each failure is:
which widths meet, which is the padded one and by which rule, the stage, the likely cause and what speaks against the
next, public relatives and whether the release in the log has them, and the harness command that tries exactly that.
A failure of another kind is named as such.

examples:
  harness diagnose server.log
  kubectl logs pod | harness diagnose
  harness diagnose --json ci.log

exit code: 0 a failure of this family, 1 others only, 2 none, or a log that cannot be read (docs/how-to/diagnose.md)"""
_STYLES = {"head": "bold", "name": "cyan", "family": "bold red", "undecided": "yellow", "other": "green"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness diagnose``."""
    parser.description = ABOUT
    parser.add_argument("log", nargs="?", default="-", metavar="LOG", help="a file, or - for standard input (default)")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object on standard output")


def run(chosen: argparse.Namespace) -> int:
    """Diagnose a log; 0 this family, 1 others only. Raises BadInput for none and for a log that cannot be read."""
    if chosen.log == "-" and sys.stdin.isatty():
        print("harness: reading the log from the terminal; end with Ctrl-D", file=sys.stderr)
    name = "standard input" if chosen.log == "-" else chosen.log
    with opened(chosen.log) as file:
        report = diagnose(file, name)
    if chosen.json:
        print(json.dumps(report.to_json()))
    if not report.failures:
        raise BadInput(
            f"{name}: no failure in it, {report.lines:,} line(s); expected a traceback or a message of torch, "
            "so give more of the log, from before the first error"
        )
    if not chosen.json:
        _show(report)
    return report.exit_code


def _show(report: Report) -> None:
    if not sys.stdout.isatty():
        for line in rendered(report):
            print("".join(text for _, text in line))
        return
    from rich.text import Text

    from harness.output.terminal import new_console

    console = new_console()
    for line in rendered(report):
        console.print(Text.assemble(*((text, _STYLES.get(style, "")) for style, text in line)), soft_wrap=True)
