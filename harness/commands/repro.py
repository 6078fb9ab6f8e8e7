"""``harness repro``: from a failing case to a small script that fails the same way."""

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.base.errors import BadInput, nearest
from harness.base.options import NARROWING, add_device, add_selection, seconds
from harness.base.project import find_or_in_tree
from harness.findings.finding import FINDINGS, FORMAT, Verdict
from harness.matrix.case_id import ID
from harness.matrix.modes import PROOF
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN
from harness.output.terminal import StatusLine
from harness.repro.last_run import recall
from harness.workers.pool import runs_on_cuda

if TYPE_CHECKING:
    from harness.repro.repro import Reproduction, Target

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


def run(chosen: argparse.Namespace) -> int:
    """Write the script; 0 reproduced, 1 not. Raises BadInput."""
    chosen = _resolved(chosen)
    from harness.repro.repro import reproduced

    with StatusLine(lines=False) as report:
        done = None
        for target in _targets(chosen):
            done = reproduced(target, chosen.kind, chosen.shrink, chosen.seconds, report)
            if done.attempt is not None:
                break
    assert done is not None
    _give(done, chosen)
    for line in _told(done):
        print(f"harness: {line}", file=sys.stderr)
    return 0 if done.reproduced else 1


def _told(done: "Reproduction") -> list[str]:
    lines = [done.outcome]
    if done.shrunk is not None:
        bound = ", stopped there" if done.shrunk.stopped else ""
        lines.insert(0, f"shrunk in {done.shrunk.evaluations} evaluations{bound}: {'; '.join(done.phrases)}")
    return lines


def _give(done: "Reproduction", chosen: argparse.Namespace) -> None:
    """Print the script, or write it. Raises BadInput where the file cannot be written."""
    text = done.attempt.script if done.attempt else ""
    if chosen.issue and done.attempt:
        from harness.repro.issue import issue

        text = issue(done)
    if chosen.output and text:
        try:
            Path(chosen.output).write_text(text, "utf-8")
        except OSError as error:
            raise BadInput(
                f"cannot write -o {chosen.output}: {error.strerror}; give a path in a folder that exists"
            ) from None
    if chosen.json:
        print(json.dumps(done.to_json() | ({"file": chosen.output} if chosen.output else {})))
    elif text and not chosen.output:
        print(text, end="")


def _resolved(chosen: argparse.Namespace) -> argparse.Namespace:
    """The options that name one case: those given, those of a case's id, those of a record. Raises BadInput."""
    files = [word for word in chosen.what if Path(word).is_file()]
    ids = [word for word in chosen.what if word not in files]
    if len(files) > 1 or len(ids) > 1:
        raise BadInput(
            f"{' and '.join(files if len(files) > 1 else ids)}: give one case, one file of records, or one of each"
        )
    if not chosen.what and any((chosen.models, chosen.modes, chosen.subject, chosen.hidden, chosen.rules)):
        return chosen
    name = ids[0] if ids else ""
    records = read_records(Path(files[0])) if files else _remembered(chosen, needed=not name)
    record = _record(records, name, chosen)
    if record is not None:
        return _of_command(record, chosen)
    if files:
        raise BadInput(f"{files[0]}: no failing verdict in it" + (f" for case {name!r}" if name else ""))
    return _of_id(name, chosen)


def _remembered(chosen: argparse.Namespace, needed: bool) -> list[dict[str, Any]]:
    try:
        return recall(find_or_in_tree(chosen.subject).root)
    except BadInput:
        if needed:
            raise
        return []


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


def _record(records: list[dict[str, Any]], name: str, chosen: argparse.Namespace) -> dict[str, Any] | None:
    """The first record of this case and these modes; a note says how many others there are."""
    modes = set(chosen.modes)
    fits = [
        record
        for record in records
        if (not name or record.get("case") == name) and (not modes or record.get("mode") in modes)
    ]
    if len(fits) > 1:
        print(
            f"harness: {len(fits) - 1} other failing verdicts; name a case, or --modes, to choose one", file=sys.stderr
        )
    return fits[0] if fits else None


def _of_command(record: dict[str, Any], chosen: argparse.Namespace) -> argparse.Namespace:
    """The options in the command that a record names. Raises BadInput where that is of another command."""
    command = Verdict.from_json(record).reproduce
    words = shlex.split(command)
    if words[:2] not in (["harness", "check"], ["harness", "prove"]):
        raise BadInput(f"case {record.get('case')!r} is run by `{command}`, for which there is no script yet")
    proof = ["--modes", PROOF.name] if words[1] == "prove" else []
    return _parsed([*words[2:], *proof], chosen)


def _of_id(name: str, chosen: argparse.Namespace) -> argparse.Namespace:
    """The options of a case's id. Raises BadInput where no case has it."""
    match = ID.fullmatch(name)
    if match is None:
        raise BadInput(
            f"{name!r} is neither a file nor a case's id; a finding shows the id, and so does `harness check --json`"
        )
    sizes = match.groupdict()
    words = [f"--models={sizes['model']}", f"--rules={sizes['rule']}", f"--kernels={sizes['kernel']}"]
    words += [f"--tp={sizes['tp']}", f"--tokens={sizes['tokens']}", *(["--full"] if sizes["full"] else [])]
    for hidden in ([], [f"--hidden={sizes['hidden']}"]):
        options = _parsed([*words, *hidden], chosen)
        cases = _selection(options).cases()
        if [case.id for case in cases] == [name]:
            return options
    near = nearest(name, [case.id for case in cases], 1)
    raise BadInput(
        f"no case is called {name!r}: its model or its rule has changed" + (f"; now {near[0]}" if near else "")
    )


def _parsed(words: list[str], chosen: argparse.Namespace) -> argparse.Namespace:
    """Options of a command line, with what was given beside a case."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    arguments(parser)
    options, _ = parser.parse_known_args(words)
    for name in ("subject", "modes", "models_file", "vary"):
        if given := getattr(chosen, name):
            setattr(options, name, given)
    for name in ("kind", "shrink", "issue", "output", "json", "seconds"):
        setattr(options, name, getattr(chosen, name))
    options.device = chosen.device if chosen.device != "auto" else options.device
    return options


def _selection(chosen: argparse.Namespace) -> Selection:
    file = str(Path(chosen.models_file).resolve()) if chosen.models_file else str(BUILT_IN)
    names = ("models", "hidden", "tokens", "rules", "kernels", "tp", "modes", "full", "vary")
    selection = Selection(**{name: getattr(chosen, name) for name in names}, models_file=file)
    return replace(selection, cuda=runs_on_cuda(chosen.device))


def _targets(chosen: argparse.Namespace) -> "list[Target]":
    """What the options choose, one for each case and mode. Raises BadInput."""
    tasks = _selection(chosen).tasks()
    project = find_or_in_tree(chosen.subject)
    name = chosen.subject or project.default
    if name == "vllm":
        raise BadInput(
            "there is no script for vLLM's layer, which runs in an environment of its own; see `harness vllm --help`"
        )
    from harness.execution.device import choose_device
    from harness.repro.repro import Target
    from harness.subjects.load import load_subject

    spec = project.subject(name)
    subject = load_subject(spec, project.path)
    device = choose_device(chosen.device)
    return [Target(subject, name, spec, case, mode, device, project.root) for case, mode in tasks]
