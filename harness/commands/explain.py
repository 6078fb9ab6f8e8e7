"""``harness explain``: who makes which width in one case, as a picture."""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from harness.account.account import Account
from harness.account.svg import svg
from harness.account.text import ASCII, UNICODE, Row, rendered
from harness.base.errors import BadInput, DeviceLost, Skip
from harness.base.exception_text import raised_text
from harness.base.options import NARROWING, add_device, add_selection
from harness.base.project import find_or_in_tree
from harness.engines.released.targets import Target, target
from harness.matrix.case import Case
from harness.matrix.case_id import case_of
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN
from harness.output.terminal import StatusLine
from harness.workers.account_tasks import job
from harness.workers.process import WorkerProcess

ABOUT = """\
Show who makes which width in one case of a layer: each stage with its shape, stride and dtype, the rule that made the
width, the ops and the line of your code; where the shared expert's branch meets the routed one; and where the real run,
its fake or its trace, and the oracle part. A correct layer has such a picture too.

The case is an id, as findings and pytest print it, or options that choose exactly one.

examples:
  harness explain nemotron-3-nano-30b-a3b-hidden2688-padded2816-trtllm-nvfp4-wide-tp2-tokens7
  harness explain --models nemotron-3-nano-30b-a3b --kernels wide --tp 2
  harness explain --subject mypkg.layers:MyMoE --models gpt-oss-20b --kernels narrow --tp 1
  harness explain --subject vllm==0.24.0 --models gpt-oss-20b --kernels wide --tp 1
  harness explain --svg case.svg CASE            a picture for an issue or a slide
  harness explain --json CASE                    the same as data

exit code: 0 nothing found, 1 findings, 2 bad input (docs/how-to/explain.md)"""
_STYLES = {"name": "bold", "text": "", "dim": "dim", "bad": "bold red", "good": "green"}
_PIPED, _SHOWN = 120, 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness explain``."""
    parser.description = ABOUT
    parser.add_argument("case", nargs="?", default="", metavar="CASE", help="the id of a case")
    add_selection(parser.add_argument_group("which case, without an id").add_argument)
    for option, (kind, about) in NARROWING.items():
        parser.add_argument(option, type=kind, default=(), metavar="LIST", help=about)
    parser.add_argument("--models-file", metavar="FILE", help="read model shapes and rules from this file")
    add_device(parser.add_argument)
    parser.add_argument("--svg", metavar="FILE", help="write the picture to this file")
    parser.add_argument("--json", action="store_true", help="print the account as one JSON object")


def run(chosen: argparse.Namespace) -> int:
    """Show the account of one case; 0 nothing found, 1 findings. Raises BadInput."""
    case = _case(chosen)
    account = _account(chosen, case)
    if chosen.svg:
        _write(chosen.svg, svg(account))
    if chosen.json:
        print(json.dumps(account.to_json()))
    else:
        _show(account)
    return 1 if account.findings else 0


def _case(chosen: argparse.Namespace) -> Case:
    """The one case that an id or the options choose. Raises BadInput where several match."""
    models_file = os.path.realpath(chosen.models_file) if chosen.models_file else str(BUILT_IN)
    if chosen.case:
        return case_of(chosen.case, models_file)
    names = ("models", "hidden", "tokens", "rules", "kernels", "tp", "full")
    options = {name: getattr(chosen, name) for name in names}
    cases = Selection(**options, modes=chosen.modes or ("eager",), models_file=models_file).cases()
    if len(cases) == 1:
        return cases[0]
    shown = ", ".join(case.id for case in cases[:_SHOWN]) + (", ..." if len(cases) > _SHOWN else "")
    raise BadInput(
        f"{len(cases)} cases match, and one is explained; give an id or narrow them with --models, --rules, --kernels, --tp "
        f"and --tokens: {shown}"
        if cases
        else "no case matches; give the id of a case, or options that `harness check` judges something with"
    )


def _account(chosen: argparse.Namespace, case: Case) -> Account:
    project = find_or_in_tree(chosen.subject)
    name = chosen.subject or project.default
    engine = None if name in project.subjects else target(name)
    if engine is not None:
        return _of_engine(engine, case)
    from harness.account.build import account  # these import torch
    from harness.execution.device import choose_device
    from harness.execution.rig import BuildFailed
    from harness.subjects.load import load_subject
    from harness.verdict.reproduce import reproduce

    subject = load_subject(project.subject(name), project.path)
    device = choose_device(chosen.device).type
    try:
        return account(subject, case, device, name, reproduce(case, "eager", name, device))
    except BuildFailed as error:
        raise BadInput(f"the layer cannot be built for {case.id}: {raised_text(error.__cause__ or error)}") from None
    except (Skip, DeviceLost) as error:
        raise BadInput(f"{case.id} cannot be run here: {error}") from None


def _of_engine(engine: Target, case: Case) -> Account:
    """The account that a worker makes in the engine's own environment."""
    with StatusLine(lines=False) as report:
        plan = engine.plan(Selection(models_file=case.shape.source or str(BUILT_IN)), 1, report)
        report(f"running {case.id} on {engine.spec}")
        worker = WorkerProcess(job(plan, case.id))
        try:
            worker.wait_until_ready()
            answer = worker.ask(0)
            died = "" if answer else worker.exit_reason()
        finally:
            worker.kill()
    if answer is None or "account" not in answer:
        raise BadInput(f"{case.id} on {engine.spec}: {answer['reason'] if answer else f'the worker died ({died})'}")
    if answer.get("reason"):
        print(f"harness: {answer['status']}: {answer['reason']}", file=sys.stderr)
    return Account.from_json(answer["account"])


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; give a file in a folder that exists") from None
    print(f"harness: wrote {path}", file=sys.stderr)


def _show(account: Account) -> None:
    watched = sys.stdout.isatty()
    asked = os.environ.get("COLUMNS", "").isdecimal()
    width = shutil.get_terminal_size().columns if watched or asked else _PIPED
    rows = rendered(account, width, UNICODE if _can_print(UNICODE.step + UNICODE.bad + UNICODE.meets) else ASCII)
    if watched:
        _coloured(list(rows))
        return
    for row in rows:
        print("".join(text for _, text in row).rstrip())


def _can_print(signs: str) -> bool:
    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _coloured(rows: list[Row]) -> None:
    from rich.text import Text

    from harness.output.terminal import new_console

    console = new_console()
    for row in rows:
        console.print(Text.assemble(*((text, _STYLES[style]) for style, text in row)), soft_wrap=True)
