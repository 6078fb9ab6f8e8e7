"""Finds the tiles that the table holds: ``python -m kernels.triton.tune --shapes gpt-oss-20b --tokens 1,256``, on a CUDA device.

Each product is timed with the other one fixed, so that the numbers of candidates add up and do not multiply. A config
replaces the table's own if it is faster by more than the noise between two timings.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context

import torch

from harness.base.errors import unknown
from harness.base.options import names, numbers
from harness.benchmark.timing import microseconds
from harness.matrix.shapes import Shape
from kernels.triton import bench
from kernels.triton.config import MANY, TABLE, Config, Long, Sizes, Tiles, choose, row
from kernels.triton.pack import SCALE_WORDS, STEP, WORDS, Packed

# Accumulators must leave a thread registers for dequantising. A launch takes at most this much shared memory.
ACCUMULATORS, SHARED = 160, 200 * 1024
NOISE = 0.01
# What fits a multiprocessor of the kernel for many tokens an expert, whose registers are counted out.
LONG = (Long(128, 2, 4, 16), Long(128, 2, 3, 32), Long(256, 1, 3, 0))
WORKERS = 12


def candidates(bm: int, gated: bool, tokens: int) -> Iterator[Tiles]:
    """Tiles of one product that fit a multiprocessor. Columns are split only at few tokens, where programs are too few."""
    splits = (1, 2, 3, 4, 5, 6, 8) if tokens == 1 else (1, 2) if tokens <= 8 else (1,)
    stages = (3, 4, 5, 6) if tokens == 1 else (2, 3, 4)
    widths = (64, 128, 256) if bm > 16 else (64, 128)
    for bn, warps, depth, split in product(widths, (4, 8), stages, splits):
        halves = 2 if gated else 1
        accumulators = bm * bn * halves / (32 * warps)
        tiles = Tiles(bn, warps, depth, split)
        if accumulators <= ACCUMULATORS and bn >= 16 * warps and tiles.memory(bm, halves) <= SHARED:
            yield tiles


def blocks(sizes: Sizes, tokens: int) -> Sequence[int]:
    """Block lengths around an expert's share of the tokens."""
    share = tokens * sizes.top_k / sizes.experts
    return [bm for bm in (8, 16, 32, 64, 128) if 4 * share >= bm >= share / 2 or (share <= bm <= 16)]


def longs(sizes: Sizes, tokens: int) -> list[Long]:
    """Tiles of the kernel for many tokens an expert whose blocks an expert's share fills."""
    share = tokens * sizes.top_k / sizes.experts
    return [tiles for tiles in LONG if share >= max(MANY, tiles.bm if tiles.parts == 1 else 0)]


def compile_one(task: tuple[Shape, int, Config]) -> None:
    """Runs in a worker process: one call on uninitialised weights, which puts its kernels into Triton's cache."""
    shape, tokens, config = task
    device = torch.device("cuda")
    rows = shape.intermediate * (2 if shape.gated else 1)
    first = _unwritten(shape.experts, rows, shape.hidden, device)
    packed = first, _unwritten(shape.experts, shape.hidden, shape.intermediate, device)
    with suppress(Exception):  # does not fit a multiprocessor, and will not be timed either
        bench.launched(shape, packed, bench.rotated(shape, tokens, device)[0], shape.hidden, config)


def _unwritten(experts: int, rows: int, columns: int, device: torch.device) -> Packed:
    steps = -(-columns // STEP)
    words = torch.empty(experts, steps, rows, WORDS, dtype=torch.int16, device=device)
    scales = torch.empty(experts, steps, rows, SCALE_WORDS, dtype=torch.int32, device=device)
    return Packed(words, scales, torch.ones(experts, device=device))


def tuned(
    layer: bench.Layer, tokens: int, pool: ProcessPoolExecutor, *, only_long: bool
) -> tuple[Config, float, float]:
    """The best config, its time in us, and the time of the table's own."""
    shape, sizes = layer.shape, sizes_of(layer.shape)
    inputs = bench.rotated(shape, tokens, layer.w2.codes.device)

    def time(config: Config) -> float:
        try:
            return microseconds(
                [partial(bench.launched, shape, layer.packed, one, shape.hidden, config) for one in inputs]
            )
        except Exception:  # does not fit a multiprocessor
            return math.inf

    start = choose(sizes, tokens)
    short = replace(start, long=None)
    tried = [short]
    for bm in () if only_long else sorted({start.bm, *blocks(sizes, tokens)}):
        firsts = [replace(short, bm=bm, first=tiles) for tiles in candidates(bm, sizes.gated, tokens)]
        seconds = [replace(short, bm=bm, second=tiles) for tiles in candidates(bm, False, tokens)]
        list(pool.map(compile_one, [(shape, tokens, config) for config in (*firsts, *seconds)]))
        tried.append(Config(bm, min(firsts, key=time).first, min(seconds, key=time).second))
    best = min(tried, key=time)
    many = [replace(best, long=tiles) for tiles in longs(sizes, tokens)]
    list(pool.map(compile_one, [(shape, tokens, config) for config in many]))
    best = min((best, *many), key=time)
    return best, time(best), time(start)


def sizes_of(shape: Shape) -> Sizes:
    """The sizes by which the table names a shape."""
    return Sizes(shape.hidden, shape.intermediate, shape.experts, shape.top_k, shape.gated)


def main() -> None:
    """Tune the shapes and token counts of the command line, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=names, default=tuple(bench.SHAPES))
    parser.add_argument("--tokens", type=numbers, default=(1, 8, 64, 256, 1024, 4096))
    parser.add_argument("--only-long", action="store_true", help="try the kernel for many tokens an expert alone")
    chosen = parser.parse_args()
    for name in chosen.shapes:
        if name not in bench.SHAPES:
            raise SystemExit(str(unknown("shape", name, bench.SHAPES)))
    if not torch.cuda.is_available():
        raise SystemExit("kernels.triton.tune times on a CUDA device, and there is none here")
    from kernels.triton.one_launch import takes_one  # imports triton

    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        for name in chosen.shapes:
            layer = bench.made(bench.SHAPES[name], torch.device("cuda"))
            for tokens in chosen.tokens:
                if takes_one(tokens, layer.shape.top_k):
                    print(
                        f"{name}, {tokens} token: has launches of its own (kernels/triton/one_launch.py), which take no tiles"
                    )
                    continue
                config, time, before = tuned(layer, tokens, pool, only_long=chosen.only_long)
                print(f"{name}, {tokens} tokens: {before:.1f} -> {time:.1f} us, {row(config)}", flush=True)
                if time < before * (1 - NOISE):
                    write(sizes_of(layer.shape), tokens, config)


def write(sizes: Sizes, tokens: int, config: Config) -> None:
    """Put a config into the table."""
    table = json.loads(TABLE.read_text())
    table.setdefault(sizes.key, {})[str(tokens)] = row(config)
    shapes = []
    for key, rows in table.items():
        lines = [f'    "{count}": {json.dumps(rows[count])}' for count in sorted(rows, key=int)]
        shapes.append(f'  "{key}": {{\n' + ",\n".join(lines) + "\n  }")
    TABLE.write_text("{\n" + ",\n".join(shapes) + "\n}\n")


if __name__ == "__main__":
    main()
