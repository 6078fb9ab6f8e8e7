"""A right output is told from a wrong one by quick tests; they never pass what the exact ones do not."""

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor

from harness.execution import difference
from harness.execution.difference import FACTOR_EXACT, FACTOR_NOISE, FACTOR_TOKENS, compare

TOKENS, HIDDEN = 9, 96
NEAR = max(FACTOR_EXACT + FACTOR_NOISE / (TOKENS * HIDDEN) ** 0.5, FACTOR_TOKENS / TOKENS**0.5)
Parts = dict[str, Tensor]


def _parts(*sizes: float) -> Parts:
    generator = torch.Generator().manual_seed(0)
    return {f"part{i}": size * torch.randn(TOKENS, HIDDEN, generator=generator) for i, size in enumerate(sizes)}


def _alike() -> Parts:
    """Two parts that a fit in fp32 cannot tell apart."""
    first = _parts(1.0)["part0"]
    return {"one": first, "other": first * (1 + 1e-4 * torch.linspace(-1, 1, HIDDEN))}


ORACLES: dict[str, Callable[[], Tensor | Parts]] = {
    "a tensor": lambda: _parts(1.0)["part0"],
    "one part": lambda: _parts(1.0),
    "two parts": lambda: _parts(1.0, 0.5),
    "a small part beside a large one": lambda: _parts(1.0, 1e-3),
    "a part of zeros": lambda: _parts(1.0, 0.0),
    "zeros": lambda: _parts(0.0),
    "three parts": lambda: _parts(1.0, 0.5, 0.2),
    "two parts that are alike": _alike,
    "float64": lambda: {name: part.double() for name, part in _parts(1.0, 0.5).items()},
}
FACTORS = [1 + sign * share * NEAR for sign in (-1, 1) for share in (0, 0.5, 0.85, 0.95, 0.999, 1.001, 1.05, 1.5, 9)]


def _exact(output: Tensor, expected: Tensor | Parts) -> difference.Difference | None:
    with mock.patch.object(difference, "_clearly_within", return_value=False):
        return compare(output, expected)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("oracle", ORACLES)
def test_a_factor_of_the_last_part_is_seen_as_by_the_exact_fit(oracle: str, factor: float) -> None:
    expected = ORACLES[oracle]()
    parts = [expected] if isinstance(expected, Tensor) else [*expected.values()]
    for output in (sum(parts[:-1], factor * parts[-1]), sum(parts[:-1], factor * parts[-1]).bfloat16()):
        assert compare(output, expected) == _exact(output, expected)


def _shifted_column(output: Tensor, by: float) -> None:
    output[:, 5] += by


def _scaled_token(output: Tensor, by: float) -> None:
    output[3] *= 1 + by


def _element(output: Tensor, by: float) -> None:
    output[2, 7] += by


@pytest.mark.parametrize("by", [0.001, 0.01, 0.02, 0.03, 0.05, 0.2, torch.nan, torch.inf])
@pytest.mark.parametrize("change", [_shifted_column, _scaled_token, _element])
def test_a_wrong_column_token_or_element_is_seen_as_by_the_exact_tests(
    change: Callable[[Tensor, float], None], by: float
) -> None:
    expected = _parts(1.0, 0.5)
    output = expected["part0"] + expected["part1"]
    change(output, by)
    assert repr(compare(output, expected)) == repr(_exact(output, expected))


def test_a_right_output_needs_no_exact_fit() -> None:
    expected = _parts(1.0, 0.5)
    with mock.patch.object(difference, "_fit", side_effect=AssertionError("fitted")):
        assert compare((expected["part0"] + expected["part1"]).bfloat16(), expected) is None


def test_no_output_at_all_is_compared_as_before() -> None:
    expected = torch.zeros(0, HIDDEN)
    assert repr(compare(expected, expected)) == repr(_exact(expected, expected))


def _rounded_layer(seed: int, tokens: int, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """(output, oracle) of a layer that keeps its few inner numbers in bfloat16, as a chain of bfloat16 ops does."""
    generator = torch.Generator().manual_seed(seed)
    gate, up = torch.randn(2, tokens, 24, generator=generator)
    down = torch.randn(24, 2880, generator=generator) / 5
    inner = torch.nn.functional.silu(gate.bfloat16()) * up.bfloat16()
    oracle = (torch.nn.functional.silu(gate) * up) @ down
    return (factor * (inner @ down.bfloat16()).float()).bfloat16(), oracle


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_the_rounding_that_a_tokens_elements_share_is_no_factor(tokens: int) -> None:
    assert all(compare(*_rounded_layer(seed, tokens)) is None for seed in range(60))


def test_a_factor_of_as_much_over_many_tokens_is_one() -> None:
    found = compare(*_rounded_layer(0, 257, 0.994))
    assert found is not None
    assert found.off == ("output",)


def test_a_larger_factor_of_one_token_is_one() -> None:
    assert all(compare(*_rounded_layer(seed, 1, 0.97)) is not None for seed in range(10))


@pytest.mark.parametrize(("strange", "part"), [(0, "part0"), (1, "part0"), (2, None)])
def test_one_token_far_from_any_fit_hides_no_factor_by_token(strange: int, part: str | None) -> None:
    parts = _parts(1.0, 1.0)
    factors = torch.tensor([2.5, 1.0, 1.7, 2.5, 1.6, 2.2, 2.5, 1.0, 2.0])[:7, None]
    parts = {name: tensor[:7] for name, tensor in parts.items()}
    output = factors * parts["part0"] + parts["part1"]
    output[:strange] += 1.5 * torch.randn(7, HIDDEN, generator=torch.Generator().manual_seed(1))[:strange]
    found = compare(output, parts)
    assert found is not None
    assert (found.spread[0] if found.spread else None) == part
