"""Which slots of a routing name no expert, and what the other slots of those rows name."""

import torch
from torch import Tensor


def missing_ids(ids: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """(the ids, which of them are missing) of a routing [tokens, top_k], without a duplicate that was not there.

    Each slot in turn is missing. The slot after it, or the first after the last, names expert 0, then the last expert, then
    the one that it had: an id that is clamped or wrapped meets the expert that it is taken for. In the rows of the third
    kind all slots but that one are missing. Where rows have one slot, it is missing in every second row.
    """
    ids = ids.clone()
    tokens, top_k = ids.shape
    rows = torch.arange(tokens, device=ids.device)
    slot, kind = rows % top_k, rows // top_k % 3
    live = (slot + 1) % top_k
    if top_k == 1:
        return ids, (rows % 2 == 0)[:, None]
    _exchange(ids, rows[kind == 0], live[kind == 0], 0)
    _exchange(ids, rows[kind == 1], live[kind == 1], experts - 1)
    missing = slot[:, None] == torch.arange(top_k, device=ids.device)
    missing |= (kind == 2)[:, None] & (live[:, None] != torch.arange(top_k, device=ids.device))
    return ids, missing


def _exchange(ids: Tensor, rows: Tensor, slots: Tensor, expert: int) -> None:
    """Let these slots name this expert; a slot of the same row that did names what was there."""
    before = ids[rows, slots][:, None]
    ids[rows] = torch.where(ids[rows] == expert, before, ids[rows])
    ids[rows, slots] = expert
