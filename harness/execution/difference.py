"""Comparing an output with the oracle, per column and per token, and fitting a factor for each part of the oracle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from harness.ops.finite import all_finite

# The largest error of an element. A correct layer in bfloat16 stays below half of this. One column is enough to fail.
TOLERANCE = 0.04
# The rms of a token's error, relative to the rms of its parts. A correct layer's worst is 0.0056 over all models. It finds
# a token that is scaled throughout by a factor too near one for any single element to fail.
TOKEN_TOLERANCE = 0.015
# The rms of a column's error over the tokens, relative to the elements' tolerance: this and a share for the noise of few
# tokens. A correct layer's worst is 0.007 at five tokens and 0.0025 at a thousand. It finds one column that is a little wrong
# in every token.
COLUMN, COLUMN_NOISE, _COLUMN_TOKENS = 0.01, 0.02, 4
# An output is its parts times factors where the rest is below this share of the oracle's rms.
_FACTOR_TOLERANCE = 0.03
# How far a correct factor may be from one: a correct layer stays below 0.0023 at two tokens of any model, and below 0.0002 at
# a thousand. Cutting numbers off where they should be rounded gives 0.0027. The fewer elements there are, the more rounding
# noise is in a factor.
FACTOR_EXACT, FACTOR_NOISE = 0.003, 0.1
# A token's elements come from the same few inner numbers, and share their rounding: a layer whose products and activation are
# all bfloat16 had factors of one token up to 0.0061 from one. Tokens are rounded apart.
FACTOR_TOKENS = 0.012
# A factor this much nearer than it must be needs no exact fit, where two parts have at least this share of their length apart.
_CLEAR, _APART = 0.9, 0.01
# An error of so many times the scale is an error of a row whose scale is zero.
_ANY_MULTIPLE = 1e9
# So many elements for each factor in them: fewer are explained by any.
_EQUATIONS = 3
# How many steps of the output's dtype a part must change by, in units of the output's rms. What is less is lost in rounding.
_STEPS = 0.25
# A part's factors by token differ by more than this, and what they leave is below this share of the token's magnitude.
_SPREAD, _SPREAD_REST = 0.25, 0.6


class Spread(NamedTuple):
    """A part, its least and greatest factor of a token, the factors of tokens that one explains exactly, and how many tokens."""

    part: str
    low: float
    high: float
    exact: tuple[float, ...]
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """How an output differs from the oracle.

    ``columns`` and ``tokens`` are the indices of those with an error above the tolerance, of ``width`` columns. ``worst`` is
    the largest error of an element in units of its scale: the rms of its token and the magnitude of its parts. ``factors``
    gives each part's factor by least squares. ``explained`` says that the output is those parts times those factors and
    nothing else. ``off`` names the parts whose factor differs from one by more than rounding explains. ``spread`` is the one
    part whose factor differs from token to token; None where no single part does. ``zero_part`` is the one part of the oracle
    that is zero in all wrong tokens and in no other, or the other way round, and whether it is in the wrong ones. ``noise`` is
    by how much each part's factor may be off for what those parts do not explain, whatever that is. ``in_columns`` are the
    factors in the wrong columns alone, where other columns are right and these factors explain the wrong ones; else it is
    empty.
    """

    columns: list[int]
    tokens: list[int]
    worst: float
    width: int
    factors: dict[str, float]
    explained: bool
    off: tuple[str, ...] = ()
    spread: Spread | None = None
    zero_part: tuple[str, bool] | None = None
    noise: dict[str, float] = field(default_factory=dict)
    in_columns: dict[str, float] = field(default_factory=dict)

    @property
    def range_count(self) -> int:
        """The number of contiguous ranges that the wrong columns form."""
        return sum(after - before > 1 for before, after in pairwise(self.columns)) + bool(self.columns)

    def by(self, whose: str = "its") -> str:
        """``at worst by 0.5 of its scale (tolerance 0.04)``; of an oracle that is zero there no multiple says anything."""
        much = (
            f"{self.worst:.2g} of {whose} scale"
            if self.worst < _ANY_MULTIPLE
            else f"a value where {whose} scale is zero"
        )
        return f"at worst by {much} (tolerance {TOLERANCE})"

    @property
    def ranges(self) -> str:
        """The wrong columns, as ``2624-2687 (64 of 2688)``."""
        return f"{ranges(self.columns)} ({len(self.columns)} of {self.width})"


def total(expected: Tensor | Mapping[str, Tensor]) -> Tensor:
    """The oracle's whole output, the sum of its parts: fp32 [tokens, hidden]."""
    return expected if isinstance(expected, Tensor) else reduce(torch.add, expected.values())


def compare(output: Tensor, expected: Tensor | Mapping[str, Tensor]) -> Difference | None:
    """The difference of an output from the oracle; None where every element, token and factor is within its tolerance.

    NaN and infinity never pass. Raises ValueError where the oracle itself is not finite.
    """
    whole = total(expected)
    if not all_finite(whole):
        raise ValueError("the subject's oracle is not finite; an oracle gives fp32 numbers")
    parts = {"output": expected} if isinstance(expected, Tensor) else dict(expected)
    magnitude, rms = _magnitude(expected)
    signed = output.float() - whole
    error, token_error = _errors(signed, magnitude, rms)
    if _clearly_within(error, token_error) and _factors_clearly_one(signed, [*parts.values()]):
        return None
    bad = ~(error <= TOLERANCE)
    elements = bool(bad.any())
    if not elements:  # wrong elements locate a fault better than wrong tokens do
        bad = ~(token_error <= TOKEN_TOLERANCE).expand_as(error) | _wrong_columns(error)
    factors, rest = _fit(output.float(), parts)
    explained = _explains(rest, whole)
    # A factor near one keeps every element within its tolerance, and still scales a whole part.
    names = tuple(n for n, part in parts.items() if part.any() and _is_off(factors[n], part, whole, output.dtype))
    off = explained and bool(names)
    if not bad.any() and not off:
        return None
    return Difference(
        columns=(bad.any(0) | off).nonzero().flatten().tolist(),
        tokens=(bad.any(1) | off).nonzero().flatten().tolist(),
        worst=float(error.nan_to_num(torch.inf).max()),
        width=output.shape[-1],
        factors=factors,
        explained=explained and (elements or off),
        off=names,
        spread=None if explained else _spread(output.float(), parts, rms),
        zero_part=_zero_part(bad.any(1), parts),
        noise={name: _noise(rest, part) for name, part in parts.items()},
        in_columns=_in_columns(output.float(), parts, bad.any(0)),
    )


def _explains(rest: Tensor, whole: Tensor) -> bool:
    """Whether what the factors leave is rounding."""
    return bool(rest <= _FACTOR_TOLERANCE * whole.square().mean().sqrt())


def _in_columns(output: Tensor, parts: Mapping[str, Tensor], wrong: Tensor) -> dict[str, float]:
    """The parts' factors in the wrong columns, where others are right and the factors explain the wrong ones; else nothing."""
    if wrong.all() or not wrong.any() or int(wrong.sum()) * output.shape[0] < _EQUATIONS * len(parts):
        return {}
    there = {name: part[:, wrong] for name, part in parts.items()}
    factors, rest = _fit(output[:, wrong], there)
    return factors if _explains(rest, total(there)) else {}


def _noise(rest: Tensor, part: Tensor) -> float:
    """How far a rest that has nothing to do with a part moves the part's factor. A rest may be the same in every token."""
    size = float(part.square().mean().sqrt())
    return float(rest) / size / part.shape[-1] ** 0.5 if size else torch.inf


def _zero_part(wrong: Tensor, parts: Mapping[str, Tensor]) -> tuple[str, bool] | None:
    """The one part that is zero in exactly the wrong tokens, or in exactly the others, and whether it is in the wrong ones."""
    if len(parts) < 2 or wrong.all():
        return None
    zero = {name: ~part.any(-1) for name, part in parts.items()}
    found = [
        (n, same) for n, one in zero.items() for same in (True, False) if torch.equal(one, wrong if same else ~wrong)
    ]
    return found[0] if len(found) == 1 else None


def errors(output: Tensor, expected: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The error of each element and of each token, in the units of their tolerances."""
    return _errors(output.float() - total(expected), *_magnitude(expected))


def _errors(signed: Tensor, magnitude: Tensor, rms: Tensor) -> tuple[Tensor, Tensor]:
    error = signed.abs()
    # Rounding errors grow with the magnitude of the token and with that of the element.
    return error / (rms + magnitude), error.square().mean(-1, keepdim=True).sqrt() / rms


def _clearly_within(error: Tensor, token_error: Tensor) -> bool:
    """Whether no element, token or column is wrong, by the largest of each: it shows NaN too, in a fifth of the time."""
    if not error.numel() or not error.amax() <= TOLERANCE or not token_error.amax() <= TOKEN_TOLERANCE:
        return False
    return error.shape[0] < _COLUMN_TOKENS or bool(_column_rms(error).amax() <= _column_limit(error))


def _factors_clearly_one(signed: Tensor, parts: list[Tensor]) -> bool:
    """Whether the factors of one part or of two are near one, ``signed`` being what the output has beyond their sum.

    fp32 is exact enough, as only the factors' distance from one is fitted. False where that is close to what is allowed, and
    where two parts are so alike that a fit cannot tell them apart.
    """
    rest, flat = signed.flatten().float(), [part.flatten().float() for part in parts]
    near = _CLEAR * (FACTOR_EXACT + FACTOR_NOISE / rest.numel() ** 0.5)
    square, along = [float(part.dot(part)) for part in flat], [float(part.dot(rest)) for part in flat]
    if len(flat) == 1:
        return bool(abs(along[0]) <= near * square[0])
    if len(flat) != 2:
        return False
    both = float(flat[0].dot(flat[1]))
    scale = square[0] * square[1] - both * both
    off = (along[0] * square[1] - along[1] * both, along[1] * square[0] - along[0] * both)
    return bool(scale > _APART * square[0] * square[1]) and all(abs(one) <= near * scale for one in off)


def _column_rms(error: Tensor) -> Tensor:
    return error.square().mean(0).sqrt()


def _column_limit(error: Tensor) -> float:
    limit: float = COLUMN + COLUMN_NOISE / error.shape[0] ** 0.5
    return limit


def _wrong_columns(error: Tensor) -> Tensor:
    """[tokens, columns], of elements' errors: the columns that are wrong on average, in their worst elements."""
    if error.shape[0] < _COLUMN_TOKENS:
        return torch.zeros_like(error, dtype=torch.bool)
    rms = _column_rms(error)
    wrong: Tensor = (rms > _column_limit(error)) & (error >= rms)
    return wrong


def within(output: Tensor, expected: Tensor | Mapping[str, Tensor]) -> bool:
    """Whether every element and every token is within its tolerance. A part's factor is not looked at, which costs most."""
    return bool(right_tokens(output, expected).all())


def right_tokens(output: Tensor, expected: Tensor | Mapping[str, Tensor]) -> Tensor:
    """[tokens]: whether every element of a token, and the token as a whole, is within its tolerance."""
    magnitude, rms = _magnitude(expected)
    error = (output.float() - total(expected)).abs_()
    by_token = error.square().mean(-1, keepdim=True).sqrt_() / rms
    return (error <= TOLERANCE * (rms + magnitude)).all(-1) & (by_token <= TOKEN_TOLERANCE).squeeze(-1)


def _spread(output: Tensor, parts: Mapping[str, Tensor], rms: Tensor) -> Spread | None:
    """The one part whose factor differs from token to token. Every other part's is near one, and little else is left."""
    basis = torch.stack(list(parts.values()), 1).double()  # [tokens, parts, hidden]
    target = output.double().nan_to_num(0.0)
    if output.shape[0] < 2 or output.shape[1] < 2 * len(parts):
        return None
    # On the CPU: for so small matrices CUDA's solver takes half a mebibyte each, 16 GiB for 32,800 tokens.
    inverse = torch.linalg.pinv((basis @ basis.mT).cpu(), hermitian=True).to(basis.device)
    fit = inverse @ (basis @ target[..., None])  # [tokens, parts, 1]
    rest = (target - (fit * basis).sum(1)).square().mean(-1).sqrt()
    if _many(rest > _SPREAD_REST * rms.squeeze(-1)):
        return None
    factors = dict(zip(parts, fit.squeeze(-1).T, strict=True))
    wide = [name for name, by_token in factors.items() if _many((by_token - by_token.median()).abs() > _SPREAD)]
    others = [factors[name] for name in factors if name not in wide]
    if len(wide) != 1 or any(_many((other - 1).abs() > _SPREAD) for other in others):
        return None
    by_token = factors[wide[0]]
    exact = by_token[rest <= _FACTOR_TOLERANCE * rms.squeeze(-1)].tolist()
    return Spread(wide[0], float(by_token.min()), float(by_token.max()), tuple(exact), len(output))


def _is_off(factor: float, part: Tensor, whole: Tensor, dtype: torch.dtype) -> bool:
    """Whether a part's factor differs from one by more than a correct layer's does, the part's size considered."""
    near = max(FACTOR_EXACT + FACTOR_NOISE / whole.numel() ** 0.5, FACTOR_TOKENS / whole.shape[0] ** 0.5)
    # Rounding is in proportion to the whole output, and so is its share in the factor of a part that is small beside it.
    ratio = float(whole.square().mean().sqrt() / part.square().mean().sqrt())
    step = torch.finfo(dtype).eps if dtype.is_floating_point else 1.0
    return bool(abs(factor - 1) > near + _STEPS * step * max(ratio - 1, 0))


def _many(tokens: Tensor) -> bool:
    """Whether more than one token, and one in ten, is marked: where experts differ, single tokens are far from any fit."""
    return int(tokens.sum()) > max(1, 0.1 * len(tokens))


def _magnitude(expected: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The sum of the parts' absolute values [tokens, hidden], and its rms for each token [tokens, 1].

    Not the absolute value of their sum: rounding errors do not shrink where two parts cancel.
    """
    parts = [expected] if isinstance(expected, Tensor) else list(expected.values())
    magnitude = reduce(torch.add, [part.abs() for part in parts])
    return magnitude, magnitude.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)


def _fit(output: Tensor, parts: Mapping[str, Tensor]) -> tuple[dict[str, float], Tensor]:
    """The least-squares factor of each part in the output, and the rms of the remainder."""
    basis = torch.stack([part.flatten() for part in parts.values()]).double()
    target = output.flatten().double().nan_to_num(0.0)
    # Any factor fits a part that is zero throughout; the pseudo-inverse makes it zero.
    solution = torch.linalg.pinv(basis @ basis.T, hermitian=True) @ (basis @ target)
    rest = target - solution @ basis
    return dict(zip(parts, solution.tolist(), strict=True)), rest.square().mean().sqrt()


def ranges(numbers: list[int], most: int = 4) -> str:
    """Sorted numbers as ranges, at most ``most`` of them: ``0-3, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{low}-{high}" if high > low else str(low) for low, high in runs[:most]]
    return ", ".join(shown) + (f" and {len(runs) - most} more ranges" if len(runs) > most else "")
