"""Comparing an output with its oracle, per column, and telling from the difference what went wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

# A right layer in bfloat16 stays below half of this; one column of 2880 that is off by this much is a finding.
TOLERANCE = 0.04
# The rms of a token's error, of the rms of what it is made of: the right layer's worst is 0.0056 over all models. A token
# that is off by one factor throughout shows here long before one of its elements does.
TOKEN_TOLERANCE = 0.015
# What the parts leave unexplained of a merely scaled output, and how near one a right factor is.
_FACTOR_TOLERANCE = 0.03
# The right layer stays below 0.0023 at two tokens of any model; of few elements a factor is known less well.
_FACTOR_EXACT, _FACTOR_NOISE = 0.004, 0.1


@dataclass(frozen=True, slots=True)
class Difference:
    """How an output differs: bad columns and tokens, worst error in units of the oracle's rms, factors per part."""

    columns: list[int]
    tokens: list[int]
    worst: float
    width: int
    factors: dict[str, float]
    explained: bool

    @property
    def runs(self) -> int:
        """How many ranges of neighbours the bad columns are."""
        return sum(after - before > 1 for before, after in pairwise(self.columns)) + bool(self.columns)

    @property
    def ranges(self) -> str:
        """The bad columns, ``2624-2687 (64 of 2688)``."""
        return f"{ranges(self.columns)} ({len(self.columns)} of {self.width})"


def total(expected: Tensor | Mapping[str, Tensor]) -> Tensor:
    """The whole output that an oracle's answer stands for, fp32 [tokens, hidden]."""
    return expected if isinstance(expected, Tensor) else torch.stack(list(expected.values())).sum(0)


def compare(output: Tensor, expected: Tensor | Mapping[str, Tensor]) -> Difference | None:
    """None where every element is within TOLERANCE and every part's factor is one; NaN and infinity never pass."""
    whole = total(expected)
    if not torch.isfinite(whole).all():
        raise ValueError("the subject's oracle is not finite; an oracle gives fp32 numbers")
    magnitude, rms = _magnitude(expected)
    error = (output.float() - whole).abs()
    token_error = error.square().mean(-1, keepdim=True).sqrt() / rms
    # Rounding errors grow with the token's parts and with their own magnitude at the element.
    error = error / (rms + magnitude)
    bad = ~(error <= TOLERANCE)
    elements = bool(bad.any())
    if not elements:  # where some are wrong, they say more than their tokens
        bad = ~(token_error <= TOKEN_TOLERANCE).expand_as(error)
    parts = {"output": expected} if isinstance(expected, Tensor) else dict(expected)
    factors, rest = _fit(output.float(), parts)
    explained = bool(rest <= _FACTOR_TOLERANCE * whole.square().mean().sqrt())
    # A factor near one stays below the tolerance of each element, and still scales a whole part.
    near = _FACTOR_EXACT + _FACTOR_NOISE / whole.numel() ** 0.5
    off = explained and any(abs(factors[name] - 1) > near for name, part in parts.items() if part.any())
    if not bad.any() and not off:
        return None
    return Difference(
        columns=(bad.any(0) | off).nonzero().flatten().tolist(),
        tokens=(bad.any(1) | off).nonzero().flatten().tolist(),
        worst=float(error.nan_to_num(torch.inf).max()),
        width=output.shape[-1],
        factors=factors,
        explained=explained and (elements or off),
    )


def _magnitude(expected: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """How large the parts are at each element [tokens, hidden], and the rms of that at each token [tokens, 1].

    Of the parts and not of their sum: errors do not shrink where two parts cancel.
    """
    parts = [expected] if isinstance(expected, Tensor) else list(expected.values())
    magnitude = torch.stack([part.abs() for part in parts]).sum(0)
    return magnitude, magnitude.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)


def _fit(output: Tensor, parts: Mapping[str, Tensor]) -> tuple[dict[str, float], Tensor]:
    """The least-squares factor of each part in the output, and the rms of what the parts do not explain."""
    basis = torch.stack([part.flatten() for part in parts.values()]).double()
    target = output.flatten().double().nan_to_num(0.0)
    # A part that is zero throughout fits any factor; the pseudo-inverse gives it none.
    solution = torch.linalg.pinv(basis @ basis.T, hermitian=True) @ (basis @ target)
    rest = target - solution @ basis
    return dict(zip(parts, solution.tolist(), strict=True)), rest.square().mean().sqrt()


def ranges(numbers: list[int], most: int = 4) -> str:
    """Sorted numbers as ranges: ``0-3, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{low}-{high}" if high > low else str(low) for low, high in runs[:most]]
    return ", ".join(shown) + (f" and {len(runs) - most} more ranges" if len(runs) > most else "")
