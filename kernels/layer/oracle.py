"""The layer's expected output, by plain fp32 arithmetic on the master weights.

The oracle shares no code with the op, the format or the layer, so that no mistake of theirs can be in both. Nothing is
padded, and nothing is quantised or rounded except where the kernel is defined to do so (``Rounding``). Routing sends each
expert the tokens that chose it, while the op masks experts.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Expert = Callable[[int], tuple[Tensor, Tensor]]
Step = Callable[[Tensor], Tensor]


class Rounding(NamedTuple):
    """What a kernel rounds by definition, and so its oracle: the first product's input and output, the second's input."""

    x: Step
    projected: Step
    inner: Step


def exact(x: Tensor) -> Tensor:
    """``x``."""
    return x


EXACT = Rounding(exact, exact, exact)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return 1 / (1 + torch.exp(-x))


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU in the form that uses tanh."""
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Tensor) -> Tensor:
    """The sigmoid linear unit."""
    return x * sigmoid(x)


def relu2(x: Tensor) -> Tensor:
    """The square of positive values, zero for others."""
    return torch.where(x > 0, x * x, 0.0)


POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {"silu": silu, "gelu-tanh": gelu_tanh, "relu2": relu2}


def activated(rows: Tensor, activation: str, gated: bool) -> Tensor:
    """[..., 2I], gate and then up, or [..., I] where not gated, to [..., I]. Raises KeyError on another activation."""
    if not gated:
        return POINTWISE[activation](rows)
    half = rows.shape[-1] // 2
    gate, up = rows[..., :half], rows[..., half:]
    if activation == "clamped-swiglu":
        bounded = torch.minimum(gate, gate.new_tensor(7.0))
        return bounded * sigmoid(1.702 * bounded) * (torch.clip(up, -7.0, 7.0) + 1)
    return POINTWISE[activation](gate) * up


def product(x: Tensor, weight: Tensor) -> Tensor:
    """fp32 x [T, K] by weight [N, K] of any float dtype, 512 rows at a time: an fp32 copy of a whole projection is slow."""
    return torch.cat([x @ rows.float().T for rows in torch.split(weight, 512)], -1)


def routed_output(
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    expert: Expert,
    activation: str,
    gated: bool,
    rounding: Rounding = EXACT,
) -> Tensor:
    """Tokens x [T, H] through their experts, ids and weights [T, K], to [T, H]. A negative id names no expert.

    ``expert`` returns an expert's w13 [2I or I, H] and w2 [H, I]. It is called once for each expert that a token chose,
    so that at true sizes only one expert exists in fp32 at a time.
    """
    x = rounding.x(x)
    out = torch.zeros_like(x)
    for chosen in ids[ids >= 0].unique().tolist():
        token, place = (ids == chosen).nonzero(as_tuple=True)
        w13, w2 = expert(chosen)
        inner = rounding.inner(activated(rounding.projected(x[token] @ w13.float().T), activation, gated))
        out.index_add_(0, token, weights[token, place, None].float() * (inner @ w2.float().T))
    return out


def layer_output(
    inputs: tuple[Tensor, ...],
    expert: Expert,
    *,
    activation: str,
    gated: bool,
    scaling: float,
    tp: int,
    shared: tuple[Tensor, Tensor] | None = None,
    latent: tuple[Tensor, Tensor] | None = None,
    rounding: Rounding = EXACT,
) -> dict[str, Tensor]:
    """The parts of the layer's output, fp32 [T, H]: ``routed`` (scaled, out of the latent space) and ``shared``.

    ``inputs`` is hidden_states [T, H], topk_ids [T, K] and topk_weights [T, K]; weights are the unpadded masters, of
    any float dtype, the experts' as in ``routed_output``. Ranks are identical, so a sum over ``tp`` of them is ``tp``
    times each part.
    """
    hidden, ids, weights = inputs[0].float(), inputs[1], inputs[2]
    x = product(hidden, latent[0]) if latent else hidden
    routed = scaling * routed_output(x, ids, weights, expert, activation, gated, rounding)
    parts = {"routed": product(routed, latent[1]) if latent else routed}
    if shared:
        parts["shared"] = product(activated(product(hidden, shared[0]), activation, gated), shared[1])
    return {name: tp * part for name, part in parts.items()}
