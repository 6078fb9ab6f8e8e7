"""``harness bench``: time a kernel on a CUDA device beside what it must beat and what nothing can."""

import argparse
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from harness.errors import BadInput, nearest
from harness.options import names
from harness.project import find
from harness.records import Records

TOKENS = "1,8,64,256,1024,4096"
ABOUT = """\
Time the project's kernel on a CUDA device: by replay of CUDA graphs, on inputs that rotate past the cache, median of
seven. First it must be right: the relative error against an fp32 oracle below 0.01, of the worst column below 0.05.

Beside it stand what the project compares with (for the NVFP4 kernel torch._grouped_mm in bf16, and ways of cutting the
padding off) and the floor: the larger of weight bytes over a measured copy bandwidth, and operations over a measured
bf16 matrix rate. No time is below it.

[tool.harness] bench = "package.module:function" names what is timed; see docs/kernel.md.

exit code: 0 timed, 1 a wrong result, 2 no CUDA device or bad input"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness bench``."""
    parser.description = ABOUT
    parser.add_argument("--shapes", type=names, default=(), metavar="NAME,...", help="shapes; default: all")
    parser.add_argument("--tokens", default=TOKENS, metavar="N,...", help=f"token counts; default: {TOKENS}")
    parser.add_argument("--json", metavar="FILE", help="write one JSON record a cell")


def run(chosen: argparse.Namespace) -> int:
    """Time every cell, print the table, write records. Raises BadInput."""
    tokens = _counts(chosen.tokens)
    source = _source(chosen.shapes)
    import torch

    if not torch.cuda.is_available():
        raise BadInput(f"harness bench times CUDA graphs, and torch {torch.__version__} sees no CUDA device here")
    from rich.console import Console

    from harness.benchmark import timed
    from harness.timing import copy_bandwidth, matmul_rate

    device = torch.device("cuda")
    bandwidth, rate = copy_bandwidth(device), matmul_rate(device)
    results = []
    with Records(chosen.json) as records:
        for cell in source.cells(device, chosen.shapes or source.shapes, tokens):
            results.append(timed(cell, bandwidth, rate))
            records.write(results[-1].to_json() | {"device": torch.cuda.get_device_name(), "torch": torch.__version__})
            print(f"{cell.shape}, {cell.tokens} tokens", file=sys.stderr)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(_table(results))
    console.print(
        f"torch {torch.__version__} on {torch.cuda.get_device_name()}; copy {bandwidth / 1e6:.2f} TB/s, "
        f"bf16 product {rate / 1e6:.0f} TFLOP/s",
        highlight=False,
    )
    return 0 if all(result.right for result in results) else 1


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise BadInput(f"--tokens is {text!r}; expected counts of 1 or more, such as {TOKENS}")
    return counts


@dataclass(frozen=True)
class _Source:
    """The project's cells, and the names of its shapes."""

    cells: Any
    shapes: tuple[str, ...]


def _source(asked: tuple[str, ...]) -> _Source:
    project = find()
    if not project.bench:
        raise BadInput(f'no bench below {project.root}; name one: [tool.harness] bench = "package.module:function"')
    sys.path[:0] = [folder for folder in project.path if folder not in sys.path]
    module, _, name = project.bench.partition(":")
    try:
        found: Any = import_module(module)
        source = _Source(getattr(found, name), tuple(found.SHAPES))
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput(f"[tool.harness] bench {project.bench!r}: {error}; it needs SHAPES and that function") from None
    unknown = [shape for shape in asked if shape not in source.shapes]
    if unknown:
        near = nearest(unknown[0], source.shapes) or source.shapes
        raise BadInput(f"unknown shape {unknown[0]!r}; did you mean {' or '.join(near)}?")
    return source


def _table(results: list[Any]) -> Any:
    from rich.table import Table

    columns = list(dict.fromkeys(name for result in results for name in (*result.times, *result.missing)))
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="microseconds")
    grid.add_column("shape", no_wrap=True)
    for name in ("tokens", *columns, "floor", "x floor", "error", "column"):
        grid.add_column(name, justify="right")
    for result in results:
        cells = [f"{result.times[name]:.1f}" if name in result.times else "-" for name in columns]
        first = next(iter(result.times.values()), float("nan"))
        errors = f"{result.whole_error:.4f}", f"{result.column_error:.4f}"
        cells += [f"{result.floor:.1f}", f"{first / result.floor:.1f}", *errors]
        grid.add_row(result.shape, str(result.tokens), *cells, style="" if result.right else "red")
    return grid
