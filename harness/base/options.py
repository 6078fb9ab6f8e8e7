"""Options that several commands and the pytest plugin share. Imports nothing heavy."""

import argparse
import math
import re
from collections.abc import Callable
from typing import Any

from harness.base.errors import BadInput

# Generous: a case compiles several times, and is judged beside others.
CASE_SECONDS = 300.0
_WEEK = 7 * 24 * 3600.0


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return _some(tuple(part for part in text.split(",") if part), text)


def _some(found: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    """An empty list would mean no choice, which is everything: hardly what somebody typed it for."""
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} chooses nothing; leave the option out to choose all")
    return found


def numbers(text: str) -> tuple[int, ...]:
    """A comma-separated list of whole numbers."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(map(_is_whole, parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers like 2688,2880")
    return _some(tuple(map(int, parts)), text)


def _is_whole(text: str) -> bool:
    """Whether it is a number in ASCII digits. Python's own int() also takes other scripts' digits and ``1_0``."""
    return re.fullmatch(r"[+-]?[0-9]{1,18}", text) is not None


def whole(text: str) -> int:
    """A whole number."""
    if not _is_whole(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def factor(text: str) -> float:
    """How many times as much: more than 1 and at most 1000."""
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not 1 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no factor; expected more than 1, such as 1.5")
    return value


def seconds(text: str) -> float:
    """A time limit: more than 0 and at most a week."""
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value <= _WEEK:
        raise argparse.ArgumentTypeError(f"--seconds is {text}; expected more than 0, and at most a week")
    return value


def _workers(text: str) -> int:
    if (count := whole(text)) < 1:
        raise argparse.ArgumentTypeError(f"--workers is {count}; expected 1 or more; without it, one a core")
    return count


SELECTION: dict[str, tuple[Callable[[str], object], str]] = {
    "--models": (names, "model shapes to judge, comma-separated (default: all; see `harness list`)"),
    "--hidden": (numbers, "hidden sizes in place of each model's own, multiples of 16"),
    "--tokens": (numbers, "tokens in a batch, 0 or more (default: 1, 2, 7, 16 and 33)"),
    "--modes": (
        names,
        "a family (eager, fake, compiled, cudagraph, varied), one mode (compiled-static) or proof (default: all but proof)",
    ),
    "--vary": (
        names,
        "these variations of the family varied alone, such as tokens=65 (default: all; see `harness list`)",
    ),
}
FULL = (
    "published sizes, on one worker; each model runs wide with 2 ranks and 7 tokens, and if its width is padded also narrow "
    "with 1 rank and 33 tokens; cases too large for memory are skipped"
)
NARROWING: dict[str, tuple[Callable[[str], object], str]] = {
    "--rules": (names, "alignment rules (default: a fixed plan, in which some case uses each built-in rule)"),
    "--kernels": (names, "wide: the kernel writes the padded width; narrow: it writes the model's own width"),
    "--tp": (numbers, "tensor-parallel sizes"),
}


def add_selection(add: Callable[..., object]) -> None:
    """The options that the console command and the pytest plugin share."""
    add_subject(add)
    for option, (kind, about) in SELECTION.items():
        add(option, type=kind, default=(), metavar="LIST", help=about)
    add("--full", action="store_true", default=False, help=FULL)


def add_ranks(add: Callable[..., object]) -> None:
    """Whether the ranks of a case are copies in one process, or a process each."""
    about = (
        "copies: one process stands for all ranks; real: a process a rank, each with its own shard, on NCCL or gloo "
        "(docs/how-to/real-ranks.md; default: copies)"
    )
    add("--ranks", default="", metavar="KIND", help=about)
    about = "with --ranks real, how ranks are summed over (default: all that run on the device; see `harness list`)"
    add("--collectives", type=names, default=(), metavar="LIST", help=about)


def add_subject(add: Callable[..., object]) -> None:
    """What is judged; empty where the project says it."""
    about = "what to check: a name from `harness list`, or package.module:Name (default: the project's, else in-tree)"
    add("--subject", default="", metavar="NAME", help=about)


def add_vllm(add: Callable[..., object]) -> None:
    """The source tree that the subject ``vllm`` is taken from."""
    add("--vllm", metavar="PATH", help="a checkout or unpacked source archive of vLLM (docs/how-to/vllm-releases.md)")


def add_waivers(add: Callable[..., object]) -> None:
    """The file of known findings that do not fail a run."""
    add(
        "--waivers",
        metavar="FILE",
        default=None,
        help="known findings, each with a public issue (docs/how-to/waivers.md)",
    )


def add_device(add: Callable[..., object]) -> None:
    """Where cases run."""
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: cuda where there is one")


def add_limits(add: Callable[..., object]) -> None:
    """How long a case may take, and whether a run in which everything was skipped is a success."""
    about = f"time limit for one case in one mode (default: {CASE_SECONDS:.0f})"
    add("--seconds", type=seconds, default=CASE_SECONDS, metavar="N", help=about)
    about = "exit with 0 where every case was skipped (default: 2, since nothing was judged)"
    add("--allow-skipped", action="store_true", help=about)


def refuse_workers(workers: int) -> None:
    """Cases of true size have the device's memory to themselves. Raises BadInput."""
    if workers > 1:
        raise BadInput(
            f"--full with {workers} workers: cases of true size fill the memory, so they run on one; ask for no more"
        )


def add_workers(add: Callable[..., object]) -> None:
    """How many processes work side by side."""
    add(
        "-j",
        "--workers",
        type=_workers,
        default=0,
        metavar="N",
        help="worker processes (default: one a core, at most 8; 1 on cuda)",
    )
