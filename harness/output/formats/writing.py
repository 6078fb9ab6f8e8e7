"""``--output FORMAT[=FILE]``: which formats a run writes, where to, and the writing."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.base.errors import BadInput
from harness.output.formats.ctrf import ctrf
from harness.output.formats.github import annotations, summary
from harness.output.formats.items import Item, items
from harness.output.formats.junit import junit
from harness.output.formats.sarif import sarif
from harness.runs.header import RunHeader
from harness.runs.results import Result

TEXT, JSON, GITHUB = "text", "json", "github"
Renderer = Callable[[Sequence[Item], RunHeader], str]
RENDERERS: dict[str, Renderer] = {"junit": junit, "ctrf": ctrf, GITHUB: annotations, "sarif": sarif}
FORMATS = (TEXT, JSON, *RENDERERS)


@dataclass(frozen=True, slots=True)
class Output:
    """A format and its file; an empty ``file`` is standard output."""

    format: str
    file: str = ""


def output(text: str) -> Output:
    """The type of ``--output``: ``junit=padding.xml``."""
    name, equals, file = text.partition("=")
    if name not in FORMATS or (equals and not file):
        raise argparse.ArgumentTypeError(
            f"--output is {text!r}; expected FORMAT or FORMAT=FILE, such as junit=padding.xml; formats: {', '.join(FORMATS)}"
        )
    return Output(name, "" if file == "-" else file)


def add_output(add: Callable[..., object]) -> None:
    """The option, repeatable."""
    about = f"also write the results as {', '.join(FORMATS)}; without FILE to standard output; repeatable"
    add("--output", action="append", type=output, default=[], metavar="FORMAT[=FILE]", help=about)


def check(outputs: Sequence[Output]) -> None:
    """Raise BadInput where two formats would share standard output, or a file cannot be written."""
    streams = [one.format for one in outputs if not one.file and one.format != TEXT]
    if len(streams) > 1:
        raise BadInput(f"--output {streams[0]} and {streams[1]} would both go to standard output; give one a =FILE")
    for one in outputs:
        place = Path(one.file or ".")
        if not os.path.isdir(place.parent) or _is_no_place(place):
            raise BadInput(f"cannot write --output {one.format}={one.file}; give a file in a folder that exists")


def _is_no_place(file: Path) -> bool:
    """Whether a file of this name cannot be: it is a folder, or the name is too long."""
    try:
        return file != Path() and file.is_dir()
    except OSError:
        return True


def takes_standard_output(outputs: Sequence[Output]) -> bool:
    """Whether a format for machines goes there, so that the report goes to standard error."""
    return any(not one.file and one.format != TEXT for one in outputs)


def write(outputs: Sequence[Output], results: list[Result], header: RunHeader) -> None:
    """Write every format but ``json``, which is written as the run goes on. Raises BadInput."""
    chosen = [one for one in outputs if one.format in RENDERERS]
    github = os.environ.get("GITHUB_ACTIONS") == "true"
    if not chosen and not github:
        return
    every = items(results)
    for one in chosen:
        _put(one.file, RENDERERS[one.format](every, header))
    if github and not any(one.format == GITHUB for one in chosen):
        (sys.stderr if takes_standard_output(outputs) else sys.stdout).write(annotations(every, header))
    if github and (place := os.environ.get("GITHUB_STEP_SUMMARY")):
        _append(place, summary(every, header))


def _put(file: str, text: str) -> None:
    if not file:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        Path(file).write_text(text, "utf-8")
    except OSError as error:
        raise BadInput(f"cannot write --output {file}: {error.strerror}; the records are complete") from None


def _append(file: str, text: str) -> None:
    """Add to GitHub's summary. Where that is impossible the verdict still stands, and one line says so."""
    try:
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        print(f"harness: cannot write $GITHUB_STEP_SUMMARY {file}: {error.strerror}", file=sys.stderr)
