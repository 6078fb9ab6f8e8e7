"""What a case of true size needs of its device's memory, told before anything is allocated."""

import gc
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from harness.base.errors import Skip
from harness.matrix.case import Case, round_up

GIB = 2**30
# The experts that layers are copied from, the layer's own, the copy of its state that eager mode compares it with, and
# the audit's of the op's arguments.
COPIES = 4
# Bytes for each element of an expert: 16 while it is drawn, quantised, padded and packed, 20 while the op dequantises it,
# which a CUDA graph has memory of its own for.
ONE = 40
# Bytes for each element of every expert: the emulation of a CUDA graph keeps what each dispatched op made.
EMULATED = 8
# What libraries take for themselves: workspaces, loaded kernels, blocks that an allocator rounds up.
RESERVE = GIB
# Kernels round columns up further than an alignment rule does; the Triton layout rounds furthest (kernels.triton.pack.STEP).
MOST_ROUNDED = 128


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes: one expert's masters in fp32 and the dense weights in bf16; the experts in NVFP4; everything else."""

    masters: int
    experts: int
    working: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.masters + self.experts + self.working


def needs(case: Case, emulated: bool = False) -> Needs:
    """The most that any mode needs for this case at once; ``emulated`` where there is no CUDA device to capture on."""
    halves, inner = 2 if case.gated else 1, case.padded_intermediate
    w13 = halves * inner * round_up(case.padded, MOST_ROUNDED)
    w2 = case.padded * round_up(inner, MOST_ROUNDED)
    dense = case.hidden * ((halves + 1) * (case.shared or 0) + 2 * (case.latent or 0))
    kept = EMULATED * case.experts * (w13 + w2) if emulated else 0
    # 4 bits and a scale of 8 bits for 16 of them; comparing a tensor with its copy takes a byte for each 8.
    experts = case.experts * (w13 + w2) * 9 // 16
    return Needs(
        masters=4 * (w13 + w2) + COPIES * 2 * dense,
        experts=COPIES * experts + experts // 8,
        working=ONE * (w13 + w2) + kept + _activations(case, halves * inner) + RESERVE,
    )


def _activations(case: Case, rows: int) -> int:
    """Bytes of everything that has a row a token: in a kernel, in the oracle, and what is kept of inputs and outputs."""
    tokens = max(2 * case.tokens, 64)  # modes make some larger batches
    pairs = 8 * case.top_k * (rows + case.padded)
    return tokens * (pairs + 64 * rows + 512 * case.hidden)


@cache
def memory(device: torch.device) -> int:
    """The bytes that this process can have on a device: what was free when it first asked, and what it held already."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    told = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
    available = [int(line.split()[1]) * 1024 for line in told if line.startswith("MemAvailable:")]
    return available[0] if available else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_memory(case: Case, device: torch.device) -> None:
    """Raises Skip with the sum where a case of true size does not fit."""
    gc.collect()  # a layer that raised lives on in the cycle of its traceback
    if reason := shortage(needs(case, device.type != "cuda"), memory(device)):
        raise Skip(reason)


def shortage(need: Needs, there: int) -> str:
    """Why this does not fit in so many bytes, or nothing."""
    if need.total <= there:
        return ""
    parts = ", ".join(f"{name} {getattr(need, name) / GIB:.1f}" for name in ("masters", "experts", "working"))
    return f"needs {need.total / GIB:.1f} GiB on the device ({parts}); it has {there / GIB:.1f}"
