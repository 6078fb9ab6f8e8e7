"""``harness bench``: time a kernel on a CUDA device, beside what it must beat and the lower bound of the device."""

import argparse
from typing import Any

from harness.base.errors import BadInput, unknown
from harness.base.loading import import_named
from harness.base.options import names, numbers
from harness.base.project import find_or_in_tree
from harness.benchmark.benchmark import REPLAYS, REPLAYS_WITH_PEERS, Ceilings, Cells, timed
from harness.output.records import Records

TOKENS = (1, 8, 64, 256, 1024, 4096)
ABOUT = """\
Time the project's kernel on a CUDA device. Each time is the median of seven replays of a CUDA graph, or of 51 with --peers.
Each call in the graph has its own data, so that the cache does not help. The graphs of all columns take turns. A result is
checked before it is timed: its relative error against an fp32 oracle must be at most 0.01, and that of its worst column at
most 0.05.

The table shows the kernel beside the alternatives that the project names. For the NVFP4 kernel these are torch._grouped_mm in
bf16, and several ways to remove the padding. `floor` is a lower bound on the time: either all weights are read at the measured
copy bandwidth, or all operations run at the measured bf16 matmul rate, whichever takes longer. `x floor` is the kernel's time
as a multiple of it.

--peers adds a column for each other kernel that the project has an adapter for. Its result is checked first, by the same
bounds. A peer that is not installed says so below the table. `x best peer` is the kernel's time as a multiple of the
fastest peer's. Kernels that compute something else, such as products of fp8 activations, have the last columns. They are
checked against an oracle of their own, and `x best peer` leaves them out.

pyproject.toml names what is timed: [tool.harness] bench = "package.module:function" (docs/explanation/kernel.md).

examples:
  harness bench                                    every shape and token count
  harness bench --peers                            beside other public kernels, in the same run
  harness bench --tokens 1,64 --json bench.jsonl   two token counts, with a JSON record for each cell

exit code: 0 timed, 1 a wrong result, 2 no CUDA device or bad input"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness bench``."""
    parser.description = ABOUT
    parser.add_argument("--shapes", type=names, default=(), metavar="NAME,...", help="shapes to time (default: all)")
    default = ", ".join(map(str, TOKENS))
    parser.add_argument(
        "--tokens", type=numbers, default=TOKENS, metavar="N,...", help=f"token counts to time (default: {default})"
    )
    parser.add_argument("--peers", action="store_true", help="time other public kernels in the same run")
    parser.add_argument(
        "--replays",
        type=int,
        metavar="N",
        help=f"replays of each graph (default: {REPLAYS}, with --peers {REPLAYS_WITH_PEERS})",
    )
    parser.add_argument("--json", metavar="FILE", help="write a JSON record for each cell, as soon as it is known")


def run(chosen: argparse.Namespace) -> int:
    """Time every cell, print the table, write the records. Raises BadInput."""
    if min(chosen.tokens) < 1:
        raise BadInput(f"--tokens is {min(chosen.tokens)}; expected 1 or more tokens in a batch")
    replays = chosen.replays if chosen.replays is not None else REPLAYS_WITH_PEERS if chosen.peers else REPLAYS
    if replays < 1:
        raise BadInput(f"--replays is {replays}; expected 1 or more")
    cells, shapes = _cells(chosen.shapes)
    import torch

    from harness.output.terminal import Ticker, new_console

    if not torch.cuda.is_available():
        raise BadInput(f"harness bench times CUDA graphs, and torch {torch.__version__} sees no CUDA device here")
    device = torch.device("cuda")
    ceilings = Ceilings.measured(device)
    results, ticker = [], Ticker(new_console(stderr=True), len(shapes) * len(chosen.tokens), "cells")
    where = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    with Records(chosen.json) as records, ticker.running():
        for cell in cells(device, shapes, chosen.tokens):
            results.append(timed(cell if chosen.peers else cell.alone(), ceilings, replays))
            records.write(results[-1].to_json() | where)
            ticker.step(f"{cell.shape}, {cell.tokens} tokens", not results[-1].correct)
    console = new_console()
    console.print(table(results))
    for line in lines(results):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"torch {where['torch']} on {where['device']}; {ceilings}", highlight=False)
    return 0 if all(result.correct for result in results) else 1


def _cells(asked: tuple[str, ...]) -> tuple[Cells, tuple[str, ...]]:
    """The function that the project names, and the shapes to time. Raises BadInput."""
    project = find_or_in_tree()
    if not project.bench:
        raise BadInput(
            f'pyproject.toml in {project.root} names no benchmark; add [tool.harness] bench = "package.module:function"'
        )
    module, _, name = project.bench.partition(":")
    benchmark: Any = import_named(f"[tool.harness] bench {project.bench!r}", module, project.path)
    if not callable(getattr(benchmark, name, None)) or not hasattr(benchmark, "SHAPES"):
        raise BadInput(
            f"[tool.harness] bench {project.bench!r}: expected {module} to have SHAPES and {name or 'cells'}()"
        )
    for shape in asked:
        if shape not in benchmark.SHAPES:
            raise unknown("shape", shape, benchmark.SHAPES, listed=False)
    return getattr(benchmark, name), asked or tuple(benchmark.SHAPES)


def lines(results: list[Any]) -> list[str]:
    """What is said below the table."""
    apart = {name: arithmetic for result in results for name, arithmetic in result.apart.items()}
    notes = [f"{name} computes something else, and is compared with nothing: {what}" for name, what in apart.items()]
    return notes + [line for result in results for line in result.lines()]


def table(results: list[Any]) -> Any:
    """A row for each cell. Kernels that compute something else have the last columns."""
    from rich.table import Table

    columns, apart = _columns(results)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="microseconds")
    grid.add_column("shape", no_wrap=True)
    ratio = ["x best peer"] if any(result.best_peer for result in results) else []
    for name in ("tokens", *columns, "floor", "x floor", *ratio, "error", "column", *apart):
        grid.add_column(name, justify="right")
    for result in results:
        first = next(iter(result.times.values()), float("nan"))
        errors = f"{result.whole_error:.4f}", f"{result.column_error:.4f}"
        best = [f"{first / result.times[result.best_peer]:.2f}" if result.best_peer else "-"] if ratio else []
        cells = [*_times(result, columns), f"{result.floor:.1f}", f"{first / result.floor:.2f}", *best, *errors]
        cells += _times(result, apart)
        grid.add_row(result.shape, str(result.tokens), *cells, style="" if result.correct else "red")
    return grid


def _columns(results: list[Any]) -> tuple[list[str], list[str]]:
    """The names of all columns of times: of what computes the same, and of the rest."""
    names = dict.fromkeys(name for result in results for name in (*result.times, *result.missing))
    apart = {name for result in results for name in result.apart}
    return [name for name in names if name not in apart], [name for name in names if name in apart]


def _times(result: Any, names: list[str]) -> list[str]:
    return [f"{result.times[name]:.1f}" if name in result.times else "-" for name in names]
