"""Texts that compare ``out`` with a reference: at once, or as finely as the harness does."""

from harness.execution.difference import (
    COLUMN,
    COLUMN_NOISE,
    FACTOR_EXACT,
    FACTOR_NOISE,
    FACTOR_TOKENS,
    TOKEN_TOLERANCE,
    TOLERANCE,
)

VALUES = f'''\
wanted = oracle(batch)
off = ((out.float() - wanted).abs().max() / wanted.square().mean().sqrt()).item()
assert off < {TOLERANCE}, f"$kind: the output is off by {{off:.2g}} of the oracle's scale, tolerance {TOLERANCE}"'''

# Of each token: in a large batch the largest difference is one of a large token.
_OFF = "((out.float() - wanted).abs() / (1e-9 + wanted.abs() + wanted.square().mean(-1, keepdim=True).sqrt())).max()"
OFF = f"""\
def off(out, wanted):  # the largest difference, in units of the reference's scale: rms and magnitude
    return {_OFF}


"""
ONCE = f"""\
off = {_OFF}
assert off < {TOLERANCE}, f"$kind: the output is off by {{off:.2g}} of the reference\""""
OFF_CHECK = (
    f'assert off(out, wanted) < {TOLERANCE}, f"$kind: the output is off by {{off(out, wanted):.2g}} of the reference"'
)

# A small token beside a large one, a whole token, a column or the whole output that is a little wrong: none of these
# makes one element wrong by much of the rms of all.
_COLUMN = f"{COLUMN} + {COLUMN_NOISE} / len(out) ** 0.5"
_FACTOR = f"max({FACTOR_EXACT} + {FACTOR_NOISE} / out.numel() ** 0.5, {FACTOR_TOKENS} / len(out) ** 0.5)"
_FINE_OFF = f"""\
def off(out, wanted):  # the worst element, token, column and factor, each in units of its tolerance
    error, rms = (out.float() - wanted).abs(), wanted.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
    part, factor = error / (rms + wanted.abs()), (out.float() * wanted).sum() / wanted.square().sum()
    worst = part.max(), (error / rms).square().mean(-1).sqrt().max(), part.square().mean(0).sqrt().max(), (factor - 1).abs()
    most = {TOLERANCE}, {TOKEN_TOLERANCE}, {_COLUMN}, {_FACTOR}
    return max(float(value / limit) for value, limit in zip(worst, most))


"""
_FINE_CHECK = 'assert off(out, wanted) < 1, f"$kind: the output is off by {off(out, wanted):.2g} times the tolerance"'


def finer(text: str) -> str:
    """The text with finer comparisons in place of its own; the text itself where it compares no values."""
    if VALUES in text:
        return text.replace(VALUES, f"{_FINE_OFF}wanted = oracle(batch)\n{_FINE_CHECK}")
    return text.replace(OFF, _FINE_OFF).replace(OFF_CHECK, _FINE_CHECK).replace(ONCE, f"{_FINE_OFF}{_FINE_CHECK}")
