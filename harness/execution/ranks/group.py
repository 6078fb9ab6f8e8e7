"""A process's place among real ranks, and the process group that joins them: NCCL on CUDA, gloo on a CPU."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import torch
from torch import distributed
from torch._C._distributed_c10d import FileStore

from harness.base.errors import BadInput
from harness.execution.device import choose_device

# The team of ranks has a limit for each case and kills what stands still, so that no timeout of torch's is met.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Place:
    """Rank ``rank`` of ``size``. ``meeting`` is the file through which the ranks find each other."""

    rank: int
    size: int
    meeting: str
    device: str

    @property
    def problem(self) -> str:
        """Why these ranks cannot run on this machine; empty where they can."""
        devices = torch.cuda.device_count()
        if choose_device(self.device).type == "cuda" and devices < self.size:
            return f"{self.size} real ranks need {self.size} CUDA devices, and torch sees {devices}; --device cpu runs them on gloo"
        return "" if distributed.is_available() else f"torch {torch.__version__} is built without torch.distributed"

    def join(self) -> torch.device:
        """Join the group and return this rank's device. Raises BadInput where the group cannot be made."""
        self._say_in_environment()
        device = choose_device(self.device)
        if device.type == "cuda":
            device = torch.device("cuda", self.rank)
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        store = FileStore(self.meeting, self.size)
        bound: dict[str, Any] = {"device_id": device} if device.type == "cuda" else {}
        try:
            distributed.init_process_group(
                backend, store=store, rank=self.rank, world_size=self.size, timeout=_PATIENCE, **bound
            )
        except (RuntimeError, ValueError) as error:
            raise BadInput(
                f"--ranks real: rank {self.rank} cannot join a {backend} group of {self.size}: {error}"
            ) from error
        return device

    def _say_in_environment(self) -> None:
        """As launchers do. The network is this machine's own: gloo else looks its name up, which may fail."""
        names = {"RANK": self.rank, "LOCAL_RANK": self.rank, "WORLD_SIZE": self.size, "LOCAL_WORLD_SIZE": self.size}
        os.environ.update({name: str(value) for name, value in names.items()})
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, "lo")

    @classmethod
    def of(cls, settings: dict[str, object]) -> Self:
        """The place that a team's settings hold."""
        return cls(**settings)  # type: ignore[arg-type]
