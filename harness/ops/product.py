"""The product of rows and a weight of half precision, summed in float32."""

import torch
from torch import Tensor


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows @ weight.T``, rounded once, as a GPU's kernel does it.

    Without AVX-512 a CPU's own product of half precision took 1.3 times as long for 7 rows, and 8 times as long for 1,025.
    """
    if rows.dtype != weight.dtype or rows.dtype not in (torch.bfloat16, torch.float16):
        return rows @ weight.T  # which raises where the dtypes differ
    return (rows.float() @ weight.float().T).to(rows.dtype)
