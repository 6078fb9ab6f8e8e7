"""The layer: it pads for the kernel, cuts the padding off, and adds the shared expert."""

import torch
from torch.nn.functional import linear, pad

from own_kernel.ops import experts


class Layer(torch.nn.Module):
    """Experts and a shared expert at ``hidden``; the kernel wants the multiple of its block, ``padded``."""

    def __init__(self, routed: torch.Tensor, shared: torch.Tensor, padded: int) -> None:
        super().__init__()
        self.hidden = routed.shape[0]
        self.more = padded - self.hidden
        self.register_buffer("routed", pad(routed, (0, self.more, 0, self.more)))
        self.register_buffer("shared", shared)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[tokens, hidden] in, and out."""
        routed = experts(pad(hidden_states, (0, self.more)), self.routed)
        routed = routed[:, : self.hidden]
        return routed + linear(hidden_states, self.shared)
