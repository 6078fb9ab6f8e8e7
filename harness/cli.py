"""The command line. Each command is a module of ``harness.commands``, loaded when it is the one that was typed."""

import argparse
import sys
from importlib import import_module
from typing import Any

from harness.base.errors import BadInput, nearest

BAD_INPUT, INTERRUPTED = 2, 130
# name: (module, what it does). A module has ``arguments(parser)`` and ``run(chosen)``, which returns the exit code.
COMMANDS = {
    "check": ("harness.commands.check", "judge layers"),
    "prove": ("harness.commands.prove", "prove a layer's shapes at every hidden size at once"),
    "selftest": ("harness.commands.selftest", "plant known faults and say who sees them"),
    "audit": ("harness.commands.audit", "audit any registered torch op: what holds and what does not"),
    "new-subject": ("harness.commands.new_subject", "write a template for a layer of your own"),
    "vllm": ("harness.commands.vllm", "judge releases of vLLM, or a source tree of it"),
    "bench": ("harness.commands.bench", "time the kernel on a CUDA device, beside its floor"),
    "docs": ("harness.commands.docs", "list the pages of the documentation, or print one"),
    "list": ("harness.commands.listing", "show subjects, ops, models, modes, observers, known bugs and faults"),
}


class Parser(argparse.ArgumentParser):
    """argparse with its errors in one line and the nearest valid option offered."""

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Each command refuses what it does not know itself: the parser above would offer its own options alone."""
        if self.module:  # a command's parser gets its options only when it is the command
            import_module(self.module).arguments(self)
            self.module = ""
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
    for name, (module, about) in COMMANDS.items():
        command = commands.add_parser(name, help=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.module = module
    return top


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
        if chosen.command is None:
            parser().print_help()
            return 0
        code: int = import_module(COMMANDS[chosen.command][0]).run(chosen)
        return code
    except BadInput as error:
        print(f"harness: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("harness: interrupted; records written so far are complete", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return BAD_INPUT
