"""Time calls on a CUDA device by graph replay, and measure the device's two limits."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Call = Callable[[], Tensor]
_REPLAYS = 7
_COPIED = 1 << 30
_SQUARE = 8192


def microseconds(calls: Sequence[Call]) -> float:
    """Median time of one call. One graph replays all calls, each on its own data, so that the cache does not help."""
    for call in calls:  # compile, and let libraries make their handles, before the capture
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    times = sorted(_replayed(graph) for _ in range(_REPLAYS))
    return times[_REPLAYS // 2] * 1000 / len(calls)


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
