"""A batch of which most tokens choose the same experts."""

from typing import Any

import torch
from torch import Tensor

from harness.execution.modes.varied.inputs import Inputs
from harness.execution.modes.varied.varied_run import VariedRun

Batch = tuple[tuple[Tensor, ...], Any]
# The tokens that choose as they did, and how many batches of one token less there are to choose from.
_SPREAD, _SIZES = 4, 4


def crowded_batch(varied: VariedRun, tokens: int) -> tuple[Batch, str]:
    """A batch of which the first tokens choose as they did, and the others all the same; how to say so.

    It has so many tokens, or up to three less, that bfloat16 has a smaller number for those of one expert. Where the layer is given
    neither ids nor logits, the batch is a plain one.
    """
    batch = varied.batch(tokens)
    inputs = Inputs.of(batch[0], varied.rig.case)
    if tokens <= _SPREAD + _SIZES or (inputs.ids_at is None and inputs.logits_at is None):
        return batch, ""
    others = {name: _repeated(getattr(inputs, name)) for name in ("ids", "weights", "logits") if _has(inputs, name)}
    ids = others["ids"] if "ids" in others else others["logits"].topk(varied.rig.case.top_k, -1).indices
    sizes = range(tokens, tokens - _SIZES, -1)
    tokens = next((size for size in sizes if _loses_some(ids[:size])), tokens)
    crowded = tuple(tensor if tensor is None else tensor[:tokens] for tensor in inputs.put(**others).tensors)
    return (crowded, varied.rig.oracle(crowded)), f", {tokens - _SPREAD} of which choose the same experts"


def _has(inputs: Inputs, name: str) -> bool:
    return getattr(inputs, f"{name}_at") is not None


def _loses_some(ids: Tensor) -> bool:
    """Whether bfloat16 rounds the number of some expert's tokens down."""
    counts = torch.bincount(ids.flatten().long().clamp(min=0))
    return bool((counts.bfloat16().long() < counts).any())


def _repeated(rows: Tensor) -> Tensor:
    """The rows with one of them in place of all that come after it."""
    rows[_SPREAD:] = rows[_SPREAD]
    return rows
