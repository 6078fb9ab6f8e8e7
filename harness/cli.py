"""The command line. Each command is a module of ``harness.commands``, imported only when that command runs."""

import argparse
import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from harness.base.errors import BadInput, nearest
from harness.interruption import Interruption

BAD_INPUT, INTERRUPTED = 2, 130
# What a machine lacks: disk, descriptors, memory. It may lack them wherever the harness writes, starts a process or reads.
_NO_RESOURCES = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBADF)
)
# name: (module, what it does). Each module has ``arguments(parser)`` and ``run(chosen)``, which returns the exit code.
COMMANDS = {
    "check": ("harness.commands.check", "check padded MoE layers in every mode; start here"),
    "prove": ("harness.commands.prove", "prove a layer's shapes for all hidden sizes at once"),
    "selftest": ("harness.commands.selftest", "test the harness: plant known faults and show what finds them"),
    "audit": ("harness.commands.audit", "audit any torch custom op: schema, fake, aliasing, compilation"),
    "new-subject": ("harness.commands.new_subject", "write a template for your own layer"),
    "diagnose": ("harness.commands.diagnose", "read a log: name the failure, its cause and the command that tries it"),
    "explain": ("harness.commands.explain", "draw who makes which width in one case, stage by stage"),
    "repro": ("harness.commands.repro", "write a small script that fails the same way as a case"),
    "vllm": ("harness.commands.vllm", "check the MoE layer of vLLM releases, or of a source tree"),
    "sglang": ("harness.commands.sglang", "check the MoE layer of SGLang releases, or of a source tree"),
    "merge": ("harness.commands.records.merge", "put the records of shards together, and say what is missing"),
    "diff": ("harness.commands.records.diff", "compare two runs: what is new, fixed, changed, gone, slower"),
    "waive": ("harness.commands.records.waive", "draft waivers for the findings of a run"),
    "bench": ("harness.commands.bench", "time the project's kernel on a CUDA device against a lower bound"),
    "report": ("harness.commands.records.report", "write one page from the records of many shards, runners and nights"),
    "docs": ("harness.commands.docs", "list the pages of the documentation, or print one"),
    "list": ("harness.commands.listing", "show every name that the other commands take"),
}


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors that suggest the nearest valid option."""

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Reject unknown options in the command's own parser: the top-level parser would suggest only its own options."""
        if self.module:  # a command's options are added only when it runs: its module may be slow to import
            import_module(self.module).arguments(self)
            self.module = ""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse an option with an empty value: an unset variable of a shell script would silently mean the default."""
        if value == "" and action.option_strings and action.const != "":
            about = f"'' is an empty text; give {action.metavar or 'a value'}, or leave the option out"
            raise argparse.ArgumentError(action, about)
        super()._check_value(action, value)

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise BadInput instead of printing the usage before the error."""
        if message.startswith("unrecognized arguments: "):
            word = [*message.removeprefix("unrecognized arguments: ").split(), ""][
                0
            ]  # an empty word is an argument too
            options = [name for action in self._actions for name in action.option_strings]
            near = nearest(word.partition("=")[0], options)
            message += f"; did you mean {' or '.join(near)}?" if near else ""
        raise BadInput(f"{message} (see `{self.prog} --help`)")


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="harness",
        description="Check that padded mixture-of-experts layers give the same result in eager mode, under torch.compile\n"
        "and in CUDA graphs. `harness COMMAND --help` explains each command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
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


def _run(arguments: list[str] | None) -> int:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell closed it: `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
    if cut := [word for word in arguments or () if "\0" in word]:
        raise BadInput(f"{cut[0]!r} holds a NUL character, which no name and no path can have")
    chosen = parser().parse_args(arguments)
    if chosen.command is None:
        parser().print_help()
        return 0
    try:
        os.getcwd()
    except FileNotFoundError:
        raise BadInput("the current folder was removed; change to one that exists") from None
    code: int = import_module(COMMANDS[chosen.command][0]).run(chosen)
    sys.stdout.flush()
    return code


def _drop_unwritten() -> None:
    """Give up what a closed terminal or pipe does not take: Python would try again at its end, and make that exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):  # it has no file, as inside another program
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(text: str) -> None:
    """One line on standard error, where there still is one: a closed terminal takes nothing."""
    with suppress(OSError, ValueError):
        print(f"harness: {text}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code. Bad input gives one line on standard error."""
    with Interruption(ends=arguments is None) as interruption:
        try:
            return _run(arguments)
        except BadInput as error:
            _say(str(error))
            return BAD_INPUT
        except KeyboardInterrupt:
            _say("interrupted; records written so far are complete")
            return interruption.code or INTERRUPTED
        except BrokenPipeError:
            return interruption.code or BAD_INPUT
        except OSError as error:
            if error.errno not in _NO_RESOURCES:
                raise
            # Exit code 1 would say that a layer has findings.
            _say(f"the machine: {error}; records written so far are complete")
            return interruption.code or BAD_INPUT
        finally:
            _drop_unwritten()
