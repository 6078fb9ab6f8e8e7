"""Triton without a GPU: its language and its helpers are the real ones, and a launch of a kernel is that of a stub."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

# What host code asks about the device, for one B200.
_PROPERTIES = {
    "max_shared_mem": 232448, "multiprocessor_count": 148, "warpSize": 32, "max_num_regs": 65536, "mem_bus_width": 8192,
    "sm_clock_rate": 1965000, "mem_clock_rate": 3996000,
}  # fmt: skip


def stub(kernel: Callable[..., Any]) -> None:
    """Replace the launch of every Triton kernel by ``kernel``. Nothing is done if Triton is not installed."""
    try:
        from triton.backends.compiler import GPUTarget
        from triton.runtime import autotuner, driver, jit
    except ImportError:
        return

    def run(_: Any, *args: Any, grid: Any = None, warmup: bool = False, **kwargs: Any) -> Any:
        kernel(*args, **kwargs)
        return SimpleNamespace(n_regs=0, n_spills=0, num_warps=4)

    for launcher in (jit.JITFunction, autotuner.Autotuner, autotuner.Heuristics):
        launcher.run = run
    utils = SimpleNamespace(get_device_properties=lambda *_: _PROPERTIES)
    driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: GPUTarget("cuda", 100, 32),
            get_current_device=lambda: 0,
            get_active_torch_device=lambda: "cuda:0",
            get_current_stream=lambda *_: 0,
            get_device_capability=lambda *_: (10, 0),
            utils=utils,
        )
    )
