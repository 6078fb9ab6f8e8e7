"""Where a run runs: the versions, the GPU, the machine, the commit, the night. Asks no torch, which takes a second."""

import os
import platform
import shlex
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = {"torch": "torch", "triton": "triton", "flashinfer": "flashinfer-python", "vllm": "vllm"}
# What the shards of one run of a CI engine have in common, and what it calls this machine.
_BATCHES = ("HARNESS_BATCH", "GITHUB_RUN_ID", "BUILDKITE_BUILD_ID", "SLURM_ARRAY_JOB_ID", "CI_PIPELINE_ID", "BUILD_TAG")
_MACHINES = ("RUNNER_NAME", "BUILDKITE_AGENT_NAME", "SLURMD_NODENAME", "CI_RUNNER_DESCRIPTION", "NODE_NAME")
_SECONDS = 10.0


@cache
def environment() -> dict[str, str]:
    """What a verdict may depend on besides the code; a value is empty where there is none."""
    return {**_gpu(), **{name: _version(package) for name, package in _PACKAGES.items()}, **_python()}


def _python() -> dict[str, str]:
    return {"python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}"}


def _gpu() -> dict[str, str]:
    """The first GPU that is visible: its name, compute capability and driver."""
    keys = ("gpu", "capability", "driver")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    line = (
        "" if hidden else _output("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
    )
    values = [part.strip() for part in line.splitlines()[0].split(",")] if line else []
    return dict(zip(keys, values if len(values) == len(keys) else ("", "", ""), strict=True))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def runner(chosen: str = "") -> str:
    """The name of the kind of machine: the column of a matrix. Chosen, else the GPU's, else ``cpu``."""
    return chosen or os.environ.get("HARNESS_RUNNER") or environment()["gpu"] or "cpu"


def machine() -> str:
    """The machine's own name."""
    return _first(_MACHINES) or socket.gethostname()


def batch() -> str:
    """What the shards of one night share; empty where no CI engine says it."""
    return _first(_BATCHES)


def _first(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def commit() -> str:
    """The commit of the current folder's repository, with ``+`` where files were changed; empty where there is none."""
    name = _output("git", "rev-parse", "--short=12", "HEAD").strip()
    changed = _output("git", "status", "--porcelain", "--untracked-files=no") if name else ""
    return name + ("+" if changed else "")


def command_line() -> str:
    """The command, in which a path outside the current folder is shortened to its last part: records are published."""
    return " ".join(["harness", *(shlex.quote(_shortened(word)) for word in sys.argv[1:])])


def _shortened(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{_shown(value)}"


def _shown(value: str) -> str:
    if not value.startswith(("/", "~")):
        return value
    place = Path(value)
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else f".../{place.name}"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
