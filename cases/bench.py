"""What the budgets are measured with: whole processes, each beside ``import torch``, whose time tells the machine's.

Run from the checkout's root: ``python -m cases.bench``.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from fixtures.failing_logs import SHAPES, log_of

IMPORT = [sys.executable, "-c", "import torch"]
QUICK = {
    "harness --help": ([sys.executable, "-m", "harness", "--help"], "at most 0.3 s"),
    "collect -k padding": (
        [sys.executable, "-m", "pytest", "-k", "padding", "--collect-only", "-q"],
        "at most 1.5 x import torch",
    ),
}


def seconds(command: list[str], cache: str = "") -> float:
    """Wall-clock seconds of a command that must succeed."""
    environment = os.environ | ({"HARNESS_CACHE": cache} if cache else {})
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def beside(name: str, command: list[str], budget: str, runs: int = 5, cache: str = "") -> None:
    """Time a command in turn with ``import torch``, and print the medians and their ratio."""
    pairs = [(seconds(command, cache), seconds(IMPORT)) for _ in range(runs)]
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    print(
        f"{name:<33}{ours:8.2f} s   {ours / theirs:6.1f} x import torch ({theirs:.2f} s)   budget {budget}", flush=True
    )


def diagnose() -> None:
    """Time what is said of 10 MB of failures, for each shape that a log may have."""
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            path = Path(folder) / "log.txt"
            path.write_bytes(log_of(shape))
            command = [sys.executable, "-m", "harness", "diagnose", str(path)]
            beside(f"diagnose {shape}", command, "at most 1.0 x import torch", runs=3)


def main() -> None:
    """Every budget that stands in the README."""
    seconds(IMPORT)
    for name, (command, budget) in QUICK.items():
        beside(name, command, budget)
    diagnose()
    check = [sys.executable, "-m", "harness", "check"]
    padding = [sys.executable, "-m", "pytest", "-k", "padding", "-n", "2", "-q"]
    with tempfile.TemporaryDirectory() as cache:
        beside("harness check, cold", check, "at most 120 s", runs=1, cache=cache)
        beside("harness check, warm", check, "at most 30 s", runs=3, cache=cache)
        beside("pytest -k padding, warm", padding, "at most 60 s", runs=1, cache=cache)
        beside("harness prove", [sys.executable, "-m", "harness", "prove"], "at most 20 s", runs=3, cache=cache)
        selftest = [sys.executable, "-m", "harness", "selftest"]
        seconds(selftest, cache)  # its own faults compile what nothing before it has
        beside("harness selftest, warm", selftest, "at most 60 s", runs=1, cache=cache)


if __name__ == "__main__":
    main()
