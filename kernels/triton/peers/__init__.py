"""Peers: other kernels that do the same work, for ``harness bench --peers``. One small adapter for each.

Belongs here: an adapter for each peer, and the glue that a peer's products need to be a whole layer.
May import: harness, kernels.layer, and of kernels.triton what is not an adapter.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kernels.triton.peers import humming

if TYPE_CHECKING:
    from harness.benchmark.benchmark import Peer
    from kernels.triton.peers.work import Work

# The peers by the name of their column. Each gives its forms, the fastest of which is its time, or raises NotInstalled.
PEERS: Mapping[str, "Callable[[Work], Sequence[Peer]]"] = {
    "humming": humming.forms,
}
