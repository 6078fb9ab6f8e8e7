"""NCCL called by pointer, as engines call it: ``ncclAllReduce`` on an address and a count of elements, through ctypes.

It knows no strides. Of a strided view it sums the first ``numel`` elements from the view's address, padding among them.
"""

import ctypes

import torch
from torch import Tensor, distributed

_ID_BYTES, _SUM = 128, 0
_DTYPES = {torch.float16: 6, torch.float32: 7, torch.float64: 8, torch.bfloat16: 9}
_LIBRARY = "libnccl.so.2"  # torch has loaded it by this name


class _UniqueId(ctypes.Structure):
    _fields_ = (("internal", ctypes.c_ubyte * _ID_BYTES),)


class RawNccl:
    """A communicator of NCCL's own over the ranks of torch's default group. Every rank makes one at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._library, self._communicator = ctypes.CDLL(_LIBRARY), ctypes.c_void_p()
        self._library.ncclGetErrorString.restype = ctypes.c_char_p
        rank, size, unique = distributed.get_rank(), distributed.get_world_size(), self._shared_id(device)
        self._check(self._library.ncclCommInitRank(ctypes.byref(self._communicator), size, unique, rank))

    def __call__(self, x: Tensor, world_size: int) -> Tensor:
        """The sum of ``x.numel()`` elements from ``x.data_ptr()``, in a new tensor. Raises RuntimeError with NCCL's reason."""
        out = torch.empty_like(x)
        stream = ctypes.c_void_p(torch.cuda.current_stream(x.device).cuda_stream)
        addresses = ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(out.data_ptr())
        count = ctypes.c_size_t(x.numel())
        self._check(self._library.ncclAllReduce(*addresses, count, _DTYPES[x.dtype], _SUM, self._communicator, stream))
        return out

    def _shared_id(self, device: torch.device) -> _UniqueId:
        """The id that rank 0 makes, on every rank."""
        unique = _UniqueId()
        if distributed.get_rank() == 0:
            self._check(self._library.ncclGetUniqueId(ctypes.byref(unique)))
        sent = torch.tensor(list(unique.internal), dtype=torch.uint8, device=device)
        distributed.broadcast(sent, 0)
        unique.internal[:] = sent.tolist()
        return unique

    def _check(self, code: int) -> None:
        if code:
            raise RuntimeError(f"NCCL: {self._library.ncclGetErrorString(code).decode()} ({code})")
