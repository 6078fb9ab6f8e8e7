"""Rows that a line takes by a mask, whatever that is made of: in a capture the host waits, in a trace nothing has their number."""

from collections.abc import Callable

import pytest
import torch

from fixtures.diagnosing import diagnosis_of, raised
from harness.diagnosis.statements.masks import counts_rows_of_data, takes_by_mask

CAPTURE = """Traceback (most recent call last):
  File "/srv/net/graphs.py", line 90, in capture
    out = self.run(x)
  File "/srv/net/dispatch.py", line 31, in run
    {code}
RuntimeError: CUDA error: operation not permitted when stream is capturing
"""
TAKES = [
    "mine = rows[owner[rows] == rank]",
    "parts = [rows[owner[rows, 0] == r] for r in range(n)]",
    "parts = {r: rows[(owner[rows] == r) & (rows > 0)] for r in mine}",
    "return rows[~done[rows]]",
    "y = x[idx[seen[idx]] != -1, 0]",
    "y = x.masked_select(ids[rows] == e)",
    "y = torch.masked_select(x, m)",
    "y = x[ids[rows].eq(e)]",
    "y = x[torch.isin(ids[rows], mine).view(-1)]",
    "y = x[expert_mask[e]]",
    "y = x[flags[rows].to(torch.bool)]",
    "x[ids[rows] == e] = y[ids[rows] == e]",
    "x[ids[rows] == e] += 1",
    "y = f(x[ids[rows] == e],",
]
TAKES_NONE = [
    "y = x[ids[rows]]",
    "y = table[key is None]",
    "x[ids[rows] == e] = 0",
    "y = torch.where(ids[rows] == e, x, y)",
    "y = x[rows[:, 0]]",
    "y = x[..., :width]",
    "keep = ids[rows] == e",
    "y = x[unmasked]",
]


@pytest.mark.parametrize("code", TAKES)
def test_a_mask_in_a_capture_makes_the_host_wait(code: str) -> None:
    assert takes_by_mask(code)
    one = diagnosis_of(CAPTURE.format(code=code))
    assert "takes rows by a mask" in one.cause
    assert "waits for the device" in one.cause
    assert ".item()" not in one.look


@pytest.mark.parametrize("code", TAKES_NONE)
def test_other_indices_are_no_mask(code: str) -> None:
    assert not takes_by_mask(code)
    assert "takes rows by a mask" not in diagnosis_of(CAPTURE.format(code=code)).cause


def test_where_with_one_argument_counts_rows() -> None:
    for code in (
        "r = torch.where(ids[rows, 0] == e)",
        "r, _ = (ids[rows] == e).nonzero(as_tuple=True)",
        "r = m.where()",
    ):
        assert counts_rows_of_data(code)
        assert "as many rows as the data says" in diagnosis_of(CAPTURE.format(code=code)).cause
    assert not counts_rows_of_data("r = m.where(a, b)")
    assert not counts_rows_of_data("r = torch.where(m, a, b)")


def test_a_trace_says_that_the_mask_decides() -> None:
    def mine(rows: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        if rows[owner[rows] == 1].numel() > 2:
            return rows + 1
        return rows

    rows, owner = torch.arange(6), torch.arange(8) % 3
    torch._dynamo.reset()
    text = raised(lambda: torch.compile(mine, backend="eager", fullgraph=True)(rows, owner))
    one = diagnosis_of(text)
    assert one.kind == "data-dependent"
    assert "takes rows by a mask: how many that are, only a run knows" in one.cause
    assert "(u0 > 2)" in one.cause


def _by_index(rows: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
    return rows[owner[rows] == 1]


def _by_select(rows: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
    return torch.masked_select(rows, owner[rows] == 1)


@pytest.mark.parametrize("takes", [_by_index, _by_select])
def test_tensors_without_data_cannot_say_how_many(takes: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    rows, owner = (tensor.to("meta") for tensor in (torch.arange(6), torch.arange(8)))
    one = diagnosis_of(raised(lambda: takes(rows, owner)))
    assert "takes rows by a mask" in one.cause
    assert one.verdict == "other"
