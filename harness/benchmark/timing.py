"""Time calls on a CUDA device by graph replay, and measure the device's two limits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

Call = Callable[[], Tensor]
Name = TypeVar("Name")
_REPLAYS = 7
_COPIED = 1 << 30
_SQUARE = 8192


def in_turn(named: Mapping[Name, Sequence[Call]], replays: int) -> tuple[dict[Name, float], dict[Name, str]]:
    """By name the median time of one call, and the first line of the error of what cannot run.

    One graph replays all calls of a name, each on its own data, so that the cache does not help. The names take turns.
    """
    graphs: dict[Name, torch.cuda.CUDAGraph] = {}
    failures: dict[Name, str] = {}
    for name, calls in named.items():
        try:
            graphs[name] = _captured(calls)
        except (RuntimeError, ValueError) as error:
            failures[name] = str(error).splitlines()[0]
    for graph in graphs.values():
        graph.replay()
    turns = [{name: _replayed(graphs[name]) for name in in_order(graphs, turn)} for turn in range(replays)]
    medians = {name: median(turn[name] for turn in turns) for name in graphs}
    return {name: time * 1000 / len(named[name]) for name, time in medians.items()}, failures


def in_order(names: Iterable[Name], turn: int) -> list[Name]:
    """The names in the order of a turn. In a few turns each follows each other one equally often (a Williams design).

    In one fixed order each would follow the same kernel. A card at its limit of power may be faster after one that takes less.
    """
    names = list(names)
    count = len(names)
    places = [(place + 1) // 2 if place % 2 else -place // 2 for place in range(count)]  # 0, 1, -1, 2, -2, ...
    order = [names[(place + turn) % count] for place in places]
    return order[::-1] if turn // max(count, 1) % 2 else order


def _captured(calls: Sequence[Call]) -> torch.cuda.CUDAGraph:
    for call in calls:  # compile, and let libraries make their handles, before the capture
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph


def microseconds(calls: Sequence[Call]) -> float:
    """Median time of one call. Raises what it raises."""
    graph = _captured(calls)
    graph.replay()
    return median(_replayed(graph) for _ in range(_REPLAYS)) * 1000 / len(calls)


def _replayed(graph: torch.cuda.CUDAGraph) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per microsecond of a large copy within the device, counting bytes read and bytes written.

    A kernel does the copy: in a graph ``copy_`` becomes a copy node, which reaches only two thirds of this on an H200.
    """
    source = torch.randn(_COPIED // 4, device=device)
    target = torch.empty_like(source)
    return 2 * _COPIED / microseconds([lambda: torch.neg(source, out=target)] * 4)


def matmul_rate(device: torch.device) -> float:
    """Floating-point operations per microsecond of a large bf16 matrix product on random data."""
    left, right = (torch.randn(_SQUARE, _SQUARE, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * _SQUARE**3 / microseconds([lambda: left @ right] * 4)
