"""Which cases in which modes `harness repro` tries: those of the options, of a case's id, or of a record."""

import argparse
import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput
from harness.base.project import find_or_in_tree
from harness.commands.reproducing.options import arguments
from harness.commands.reproducing.records import read_records
from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.case_id import ID, case_of, id_and_mode
from harness.matrix.modes import PROOF, VARIED, ModeInfo, by_default, choose
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN
from harness.matrix.variations import with_variations
from harness.repro.last_run import recall
from harness.workers.pool import runs_on_cuda

# What is asked of the script, whatever command a record names.
_OF_THE_SCRIPT = ("kind", "shrink", "issue", "output", "json", "seconds")
_CHOOSING = ("models", "modes", "subject", "hidden", "rules")


@dataclass(frozen=True, slots=True)
class Choice:
    """Cases in modes, to be tried in turn until one fails, and the options of the command that names them."""

    options: argparse.Namespace
    tasks: list[tuple[Case, ModeInfo]]


def choice(chosen: argparse.Namespace) -> Choice:
    """What the command line chooses. Raises BadInput."""
    files = [word for word in chosen.what if os.path.isfile(word)]
    ids = [word for word in chosen.what if word not in files]
    if len(files) > 1 or len(ids) > 1:
        raise BadInput(
            f"{' and '.join(files if len(files) > 1 else ids)}: give one case, one file of records, or one of each"
        )
    if not chosen.what and any(getattr(chosen, name) for name in _CHOOSING):
        return Choice(chosen, _selection(chosen).tasks())
    return _recorded(files, ids[0] if ids else "", chosen)


def _recorded(files: list[str], text: str, chosen: argparse.Namespace) -> Choice:
    """The case of a record, else the case with this id."""
    name, mode = id_and_mode(text)
    if mode and not chosen.modes:
        chosen.modes = (mode,)
    records = read_records(Path(files[0])) if files else _remembered(chosen, needed=not name)
    record = _record(records, name, chosen)
    if record is not None:
        options = _of_command(record, chosen)
        return Choice(options, _selection(options).tasks())
    if files:
        raise BadInput(f"{files[0]}: no failing verdict in it" + (f" for case {name!r}" if name else ""))
    return Choice(chosen, _of_id(name, chosen))


def _remembered(chosen: argparse.Namespace, needed: bool) -> list[dict[str, Any]]:
    try:
        return recall(find_or_in_tree(chosen.subject).root)
    except BadInput:
        if needed:
            raise
        return []


def _record(records: list[dict[str, Any]], name: str, chosen: argparse.Namespace) -> dict[str, Any] | None:
    """The first record of this case and these modes; a note says how many others there are."""
    modes = {mode.name for mode in choose(list(chosen.modes), runs_on_cuda(chosen.device))}
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


def _of_id(name: str, chosen: argparse.Namespace) -> list[tuple[Case, ModeInfo]]:
    """The case with this id, in the modes that such a case runs in. Raises BadInput where no case has it."""
    if ID.fullmatch(name) is None:
        raise BadInput(
            f"{name!r} is neither a file nor a case's id; a finding shows the id, and so does `harness check --json`"
        )
    case, cuda = case_of(name, _models_file(chosen)), runs_on_cuda(chosen.device)
    usual = [mode for mode in by_default(cuda) if (mode.family == VARIED) == bool(case.small_of or chosen.vary)]
    modes = choose(list(chosen.modes), cuda) if chosen.modes else usual
    return [(case, mode) for mode in with_variations(modes, chosen.vary)]


def _parsed(words: list[str], chosen: argparse.Namespace) -> argparse.Namespace:
    """Options of a command line, with what was given beside a case."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    arguments(parser)
    options, _ = parser.parse_known_args(words)
    for name in ("subject", "modes", "models_file", "vary"):
        if given := getattr(chosen, name):
            setattr(options, name, given)
    for name in _OF_THE_SCRIPT:
        setattr(options, name, getattr(chosen, name))
    options.device = chosen.device if chosen.device != "auto" else options.device
    return options


def _models_file(chosen: argparse.Namespace) -> str:
    return os.path.realpath(chosen.models_file) if chosen.models_file else str(BUILT_IN)


def _selection(chosen: argparse.Namespace) -> Selection:
    names = ("models", "hidden", "tokens", "rules", "kernels", "tp", "modes", "full", "vary")
    selection = Selection(**{name: getattr(chosen, name) for name in names}, models_file=_models_file(chosen))
    return replace(selection, cuda=runs_on_cuda(chosen.device))
