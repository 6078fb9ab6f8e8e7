"""How much device memory a case of true size needs, computed before anything is allocated."""

import gc
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from harness.base.errors import Skip
from harness.matrix.case import Case, round_up

GIB = 2**30
# Copies of all experts that exist at once: the source that layers are copied from, the layer's own, the copy of its state
# that eager mode compares it with, and the audit's copy of the op's arguments.
COPIES = 4
# Bytes for each element of a single expert: 16 while it is drawn, quantised, padded and packed; 20 while the op
# dequantises it, for which a CUDA graph has memory of its own.
ONE = 40
# Bytes for each element of every expert: the emulation of a CUDA graph saves the output of each dispatched op.
EMULATED = 8
# Memory that libraries take: workspaces, loaded kernels, blocks that an allocator rounds up.
RESERVE = GIB
# Kernels round columns up to more than an alignment rule does. The Triton layout rounds to the most (kernels.triton.pack.STEP).
MOST_ROUNDED = 128


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes: ``masters`` for one expert in fp32 and the dense weights in bf16, ``experts`` in NVFP4, ``working`` for the rest."""

    masters: int
    experts: int
    working: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.masters + self.experts + self.working


def needs(case: Case, emulated: bool = False) -> Needs:
    """The most that any mode needs for this case at once. ``emulated``: no CUDA device captures, so a graph is emulated."""
    halves, inner = 2 if case.gated else 1, case.padded_intermediate
    w13 = halves * inner * round_up(case.padded, MOST_ROUNDED)
    w2 = case.padded * round_up(inner, MOST_ROUNDED)
    dense = case.hidden * ((halves + 1) * (case.shared or 0) + 2 * (case.latent or 0))
    saved = EMULATED * case.experts * (w13 + w2) if emulated else 0
    # 4 bits each, and a scale of 8 bits for every 16. Comparing a tensor with its copy takes a byte for every 8.
    experts = case.experts * (w13 + w2) * 9 // 16
    return Needs(
        masters=4 * (w13 + w2) + COPIES * 2 * dense,
        experts=COPIES * experts + experts // 8,
        working=ONE * (w13 + w2) + saved + _activations(case, halves * inner) + RESERVE,
    )


def _activations(case: Case, rows: int) -> int:
    """Bytes of everything with one row for each token: in a kernel, in the oracle, in saved inputs and outputs."""
    tokens = max(2 * case.tokens, 64)  # modes run some larger batches
    pairs = 8 * case.top_k * (rows + case.padded)
    return tokens * (pairs + 64 * rows + 512 * case.hidden)


@cache
def memory(device: torch.device) -> int:
    """The bytes that this process can use on a device: free ones at the first call, and those it had allocated by then."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return available[0] if available else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_memory(case: Case, device: torch.device) -> None:
    """Raises Skip, with the sum, if a case of true size does not fit."""
    gc.collect()  # a layer that raised stays alive in the reference cycle of its traceback
    if reason := shortage(needs(case, device.type != "cuda"), memory(device)):
        raise Skip(reason)


def shortage(need: Needs, available: int) -> str:
    """Why this does not fit into ``available`` bytes, or an empty string."""
    if need.total <= available:
        return ""
    parts = ", ".join(f"{name} {getattr(need, name) / GIB:.1f}" for name in ("masters", "experts", "working"))
    return f"needs {need.total / GIB:.1f} GiB on the device ({parts}); it has {available / GIB:.1f}"
