"""``harness list``: subjects, ops, models, modes, observers, known bugs and the faults of the corpus."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from rich.table import Table

from harness.base.project import BUILT_IN, Project, find_or_in_tree
from harness.matrix.modes import EVERY_MODE
from harness.matrix.ranks import COLLECTIVES
from harness.matrix.shapes import load
from harness.matrix.variations import names_of, words_of
from harness.observers import OBSERVERS, RAISING
from harness.output.terminal import new_console
from harness.subjects.load import load_subject

ABOUT = """\
List every name that other commands take or print:
  subjects     layers to judge, for --subject
  ops          custom ops that the subject's module registers
  models       model shapes, for --models
  alignment    alignment rules that say how widths are padded, for --rules
  modes        ways to run a layer, for --modes
  variations   what the modes of the family varied change, for --vary
  observers    what looks for each kind of error
  faults       planted errors, for `harness selftest` and --subject
  known bugs   public bugs that a finding can be similar to

examples:
  harness list
  harness list --subject mypkg.layers:MyMoE      with the ops of your own layer
  harness list --json > names.json

exit code: 0, or 2 bad input"""
Rows = list[dict[str, Any]]
_SHORT = {"intermediate": "inter", "shared_intermediate": "shared", "top_k": "top-k"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness list``."""
    parser.description = ABOUT
    parser.add_argument("--json", action="store_true", help="print JSON, which --models-file accepts too")
    parser.add_argument(
        "--subject",
        default="",
        metavar="NAME",
        help="show the ops of this subject's module: a name, or package.module:Name",
    )


def run(chosen: argparse.Namespace) -> int:
    """Print every name that can be given on the command line. Raises BadInput."""
    parts = everything(chosen.subject)
    if chosen.json:
        print(json.dumps(parts, indent=1))
        return 0
    console = new_console()
    for title, rows in parts.items():
        console.print(_table(title, _dicts(rows)))
        console.print()
    return 0


def everything(subject: str = "") -> dict[str, Any]:
    """All lists by title. The ops are those of the given subject's module, or of the project's default subject."""
    from harness.ops.registry import registered
    from harness.verdict.known_bugs import known_bugs  # these two import torch

    project = find_or_in_tree(subject)
    catalogue = load()
    if subject or project.default in project.subjects:
        load_subject(project.subject(subject or project.default), project.path)
    ops = [
        {"op": op.name, "schema": op.schema, "devices": ", ".join(op.reals), "samples": bool(op.samples)}
        for op in registered().values()
    ]
    return {
        "subjects": [{"name": name, "import": path} for name, path in (BUILT_IN | project.subjects).items()],
        "ops": ops,
        "models": [_without(asdict(shape), "source", "path") for shape in catalogue.shapes.values()],
        "alignment": {rule.name: _without(asdict(rule), "name") for rule in catalogue.rules.values()},
        "modes": [{"mode": mode.name, "chosen by": mode.family, "about": mode.about} for mode in EVERY_MODE.values()],
        "collectives": [
            {"collective": one.name, "on": "CUDA" if one.needs_cuda else "CPU, CUDA", "about": one.about}
            for one in COLLECTIVES.values()
        ],
        "variations": [
            {"variation": name, "mode": mode.name, "about": words_of(name)}
            for mode in EVERY_MODE.values()
            for name in names_of(mode.name)
        ],
        "observers": [{"observer": o.name, "looks for": o.about} for o in OBSERVERS]
        + [{"observer": name, "looks for": about} for name, about in RAISING.items()],
        "faults": _faults(project),
        "known bugs": [{"id": bug.id, "fixed by": bug.fixed_by, "mechanism": bug.mechanism} for bug in known_bugs()],
    }


def _faults(project: Project) -> Rows:
    """The faults of the project's corpus. Correct variants appear only in ``harness selftest``."""
    if not project.corpus:
        return []
    from harness.selftest.corpus import load_corpus

    faults = load_corpus(project.corpus, project.path).faults.values()
    return [{"id": fault.id, "mechanism": fault.mechanism, "trigger": fault.trigger} for fault in faults]


def _without(fields: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in keys}


def _dicts(rows: Any) -> Rows:
    return [{"name": name} | row for name, row in rows.items()] if isinstance(rows, dict) else list(rows)


def _table(title: str, rows: Rows) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(rows[0] if rows else ("none",)):
        # The first column holds names to be typed or searched for: never split, however narrow the console.
        longest = max((len(str(next(iter(row.values())))) for row in rows), default=0)
        table.add_column(
            _SHORT.get(column, column), overflow="fold", no_wrap=place == 0, min_width=longest if place == 0 else None
        )
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table
