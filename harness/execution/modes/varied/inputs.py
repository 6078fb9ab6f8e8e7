"""A layer's inputs by what they are: hidden_states, expert ids, routing weights, the router's logits.

The harness knows them by their form alone. The first is hidden_states. Expert ids are integers [tokens, top_k], all of them
below the number of experts; routing weights are floats of the same shape. Other inputs are left as they are.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.matrix.case import Case


@dataclass(frozen=True)
class Inputs:
    """Inputs of a layer, with the places of the expert ids, the routing weights and the router's logits; None where it has none."""

    tensors: tuple[Tensor, ...]
    ids_at: int | None
    weights_at: int | None
    experts: int
    logits_at: int | None = None
    top_k: int = 1

    @classmethod
    def of(cls, tensors: tuple[Tensor, ...], case: Case) -> "Inputs":
        """The inputs with their ids and weights, known by dtype, shape and range."""
        shape = (tensors[0].shape[0], case.top_k)
        like = [place for place, tensor in enumerate(tensors) if place and tensor is not None and tensor.shape == shape]
        ids = [p for p in like if _is_ids(tensors[p], case.experts)]
        weights = [p for p in like if tensors[p].is_floating_point()]
        if len(ids) == 1 and len(weights) <= 1:
            return cls(tensors, ids[0], weights[0] if weights else None, case.experts)
        return cls(tensors, None, None, case.experts, _logits_at(tensors, case), case.top_k)

    @property
    def hidden(self) -> Tensor:
        """hidden_states."""
        return self.tensors[0]

    @property
    def ids(self) -> Tensor:
        """A copy of the expert ids."""
        assert self.ids_at is not None
        return self.tensors[self.ids_at].clone()

    @property
    def weights(self) -> Tensor:
        """A copy of the routing weights."""
        assert self.weights_at is not None
        return self.tensors[self.weights_at].clone()

    @property
    def logits(self) -> Tensor:
        """A copy of the router's logits."""
        assert self.logits_at is not None
        return self.tensors[self.logits_at].clone()

    def put(
        self,
        hidden: Tensor | None = None,
        ids: Tensor | None = None,
        weights: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> "Inputs":
        """The same inputs with some of the four exchanged."""
        new = {0: hidden, self.ids_at: ids, self.weights_at: weights, self.logits_at: logits}
        new.pop(None, None)
        tensors = tuple(tensor if (other := new.get(p)) is None else other for p, tensor in enumerate(self.tensors))
        return replace(self, tensors=tensors)


def _logits_at(tensors: tuple[Tensor, ...], case: Case) -> int | None:
    """The one input of floats [tokens, experts], where it is alone."""
    shape = (tensors[0].shape[0], case.experts)
    like = [p for p, t in enumerate(tensors) if p and t is not None and t.shape == shape and t.is_floating_point()]
    return like[0] if len(like) == 1 and case.experts > case.top_k else None


def _is_ids(tensor: Tensor, experts: int) -> bool:
    integer = not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool
    return integer and bool(((tensor >= 0) & (tensor < experts)).all())
