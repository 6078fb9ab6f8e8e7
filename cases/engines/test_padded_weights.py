"""Scales of blocks whose FP4 codes are zero may be anything finite: zero times it is zero."""

import pytest
import torch
from torch import Tensor

from harness.engines.vllm.paths.compared import WrongWeights, compare

CODES = torch.full((2, 4, 24), 0x21, dtype=torch.uint8)  # [experts, rows, bytes]: three blocks of 16 codes in a row
CODES[..., 16:] = 0x80  # the third is padding: zeros, one of them negative
SCALES = torch.ones(2, 4, 3)
SCALES[..., 2] = 0


def _with(block: int, value: float) -> Tensor:
    changed = SCALES.clone()
    changed[1, 3, block] = value
    return changed


def _compare(found: Tensor) -> None:
    compare("helper", ("w", "scale"), (CODES, found), (CODES, SCALES), codes=(None, CODES))


@pytest.mark.parametrize("value", [1.0, 448.0, -2.0])
def test_a_finite_scale_of_a_block_of_zeros_is_right(value: float) -> None:
    _compare(_with(2, value))


@pytest.mark.parametrize(("block", "value"), [(2, torch.nan), (2, torch.inf), (1, 0.5), (0, 0.0)])
def test_any_other_one_is_wrong(block: int, value: float) -> None:
    with pytest.raises(WrongWeights, match=r"scale \[2, 4, 3\] differs .*expert 1, row 3, column"):
        _compare(_with(block, value))


def test_scales_beyond_the_codes_are_of_zeros() -> None:
    compare("helper", ("scale",), (torch.ones(2, 8, 4),), (torch.zeros(2, 8, 4),), codes=(CODES * 0,))
