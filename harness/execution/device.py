"""The device that layers run on."""

import torch

from harness.base.errors import BadInput


def choose_device(name: str) -> torch.device:
    """The device called ``cpu``, ``cuda``, or ``auto``: cuda where there is one. Raises BadInput without CUDA."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"--device cuda: torch {torch.__version__} sees no CUDA device here; leave --device out")
    return torch.device(name)


def loss(device: torch.device) -> str:
    """The error that makes a device unusable for this process, such as an illegal access; empty while it still works."""
    if device.type != "cuda":
        return ""
    try:
        torch.cuda.synchronize(device)  # a kernel's error is reported at the next sync, and at every one after it
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    return ""
