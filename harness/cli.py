"""The command line: ``harness check`` and ``harness list``. Imports nothing heavy until a command runs."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from harness.errors import BadInput, nearest

BAD_INPUT, INTERRUPTED = 2, 130

CHECK = """\
Judge padded MoE layers: every model shape, eager, traced, compiled and replayed from a CUDA graph.

examples:
  harness check                                    everything, on the in-tree layer
  harness check --models nemotron-3-nano-30b-a3b   one model
  harness check --hidden 2720 --modes compiled     a hidden size of your own, compiled only
  harness check --subject mypkg.layers:MyMoE       your own layer (docs/subject.md)
  harness check --json verdicts.jsonl              one JSON record a verdict, as it happens

exit code: 0 all ok, 1 findings, 2 bad input or a harness error, 130 Ctrl-C"""


def _names(text: str) -> tuple[str, ...]:
    return _some(tuple(part for part in text.split(",") if part), text)


def _some(found: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    """An empty list would mean no choice, which is everything: hardly what somebody typed it for."""
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} chooses nothing; leave the option out to choose all")
    return found


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return _some(tuple(int(part) for part in text.split(",") if part), text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers like 2688,2880") from None


SELECTION: dict[str, tuple[Callable[[str], object], str]] = {
    "--models": (_names, "model shapes to judge, comma-separated (default: all; see `harness list`)"),
    "--hidden": (_numbers, "hidden sizes in place of each model's own, multiples of 16"),
    "--tokens": (_numbers, "tokens in a batch, 0 or more (default: 1, 2, 7, 16 and 33)"),
    "--modes": (_names, "eager, fake, compiled, cudagraph, or one token mode: compiled-static, compiled-dynamic"),
}
NARROWING: dict[str, tuple[Callable[[str], object], str]] = {
    "--rules": (_names, "alignment rules (default: a plan that meets each of them)"),
    "--kernels": (_names, "wide: the kernel writes the padded width; narrow: the true one"),
    "--tp": (_numbers, "tensor-parallel sizes"),
}


class Parser(argparse.ArgumentParser):
    """argparse with its errors in one line and the nearest valid option offered."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Each command refuses what it does not know itself: the parser above would offer its own options alone."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise BadInput instead of printing the usage over the error."""
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            options = [name for action in self._actions for name in action.option_strings]
            near = nearest(word.partition("=")[0], options)
            message += f"; did you mean {' or '.join(near)}?" if near else ""
        raise BadInput(f"{message} (see `{self.prog} --help`)")


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="harness", description="torch.compile compatibility checks for padded mixture-of-experts kernels."
    )
    top.add_argument("--version", action="version", version=_version())
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    check = commands.add_parser(
        "check", help="judge layers", description=CHECK, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_selection(check.add_argument_group("what to judge").add_argument)
    for option, (kind, about) in NARROWING.items():
        check.add_argument(option, type=kind, default=(), metavar="LIST", help=about)
    check.add_argument("--models-file", metavar="FILE", help="a models file of your own (docs/models.md)")
    check.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: cuda where there is one"
    )
    check.add_argument("--json", metavar="FILE", help="write one JSON record a verdict, as it happens")
    check.add_argument(
        "-j", "--workers", type=int, default=0, help="worker processes (default: one a core, at most 8; 1 on cuda)"
    )
    check.add_argument("-v", "--verbose", action="count", default=0, help="-v every finding; -vv tracebacks too")
    shown = commands.add_parser("list", help="show subjects, ops, models, modes, observers and known bugs")
    shown.add_argument("--json", action="store_true", help="as JSON; its models part is a valid models file")
    shown.add_argument("--subject", default="", help="also show the ops that this subject's module registers")
    return top


def add_selection(add: Callable[..., object]) -> None:
    """The options that the console command and the pytest plugin share."""
    add("--subject", default="in-tree", metavar="NAME", help="what to judge: a name, or package.module:Name")
    for option, (kind, about) in SELECTION.items():
        add(option, type=kind, default=(), metavar="LIST", help=about)
    add("--full", action="store_true", default=False, help="published sizes, nothing shrunk")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("moe-padding-harness")
    except PackageNotFoundError:
        return "not installed"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Bad input is one line on standard error."""
    try:
        chosen = parser().parse_args(arguments)
        if chosen.command == "check":
            from harness.check import check

            return check(chosen)
        if chosen.command == "list":
            from harness.listing import listing

            return listing(chosen)
        parser().print_help()
        return 0
    except BadInput as error:
        print(f"harness: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("harness: interrupted; records written so far are complete", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return BAD_INPUT
