"""Batches that tell a limit on the tokens of one expert from one on those of a batch."""

from torch import Tensor

from harness.matrix.case import Case

Batch = tuple[Tensor, ...]


def of_one_token(inputs: Batch, count: int) -> Batch:
    """So many copies of the first token: all of them go to the same experts."""
    return tuple(t if t is None else t[:1].repeat(count, *(1,) * (t.dim() - 1)) for t in inputs)


def busiest(case: Case, inputs: Batch) -> int:
    """How many tokens the busiest expert gets, by the ids or the logits among the inputs; 0 where neither is given."""
    given = [t for t in inputs[1:] if t is not None and t.dim() == 2]
    ids = next((t for t in given if not t.is_floating_point()), None)
    logits = next((t for t in given if t.is_floating_point() and t.shape[-1] == case.experts), None)
    if ids is None and logits is not None:
        ids = logits.float().topk(min(case.top_k, case.experts)).indices
    if ids is None:
        return 0
    return max((int((ids == expert).any(-1).sum()) for expert in ids.unique() if expert >= 0), default=0)


def spreads(case: Case) -> bool:
    """Whether tokens can go to different experts: not where each goes to all of them."""
    return case.top_k < case.experts
