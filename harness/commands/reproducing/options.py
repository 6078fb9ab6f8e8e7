"""The options of `harness repro`."""

import argparse

from harness.base.options import NARROWING, add_device, add_selection, seconds

ABOUT = """\
Write a small script that shows a finding without the harness. The script has a fixed seed and the case's own sizes. For the
in-tree layer it imports nothing but torch: the layer and its ops stand in it. For another layer it imports your package.
It is run in a fresh process first. It reproduces the finding if it ends with the same error class and names the same
widths, or if the same check fails.

examples:
  harness repro                                     the first finding of the last `harness check` or pytest
  harness repro verdicts.jsonl                      the first finding in the records of `harness check --json`
  harness repro gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-wide-tp1-tokens7 --modes eager
  harness repro --models small --modes compiled --subject mypkg.layers:MyMoE
  harness repro --shrink -o repro.py                the smallest case that shows the same finding, and what matters
  harness repro --issue > report.md                 a bug report in Markdown, without private paths and names

exit code: 0 reproduced, 1 not reproduced (the reason is printed), 2 bad input (docs/how-to/repro.md)"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness repro``."""
    parser.description = ABOUT
    parser.add_argument(
        "what",
        nargs="*",
        metavar="CASE|RECORDS",
        help="a case's id, a file of records, or both (default: the last run)",
    )
    add_selection(parser.add_argument_group("the case, as for harness check").add_argument)
    for option, (kind, about) in NARROWING.items():
        parser.add_argument(option, type=kind, default=(), metavar="LIST", help=about)
    parser.add_argument("--models-file", metavar="FILE", help="read model shapes and alignment rules from this file")
    add_device(parser.add_argument)
    parser.add_argument(
        "--kind", default="", metavar="KIND", help="which finding, if the case has several (default: the first)"
    )
    parser.add_argument("--shrink", action="store_true", help="first make the case as small as the finding allows")
    parser.add_argument("--issue", action="store_true", help="print a bug report in Markdown in place of the script")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the script, or the report, to this file")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the script")
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=120.0,
        metavar="N",
        help="time limit for one run of the script (default: 120)",
    )
