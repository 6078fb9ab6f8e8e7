"""Factors: what a part of the output was multiplied by, compared with the factors that a layer knows."""

from collections.abc import Iterable

from harness.execution import stages
from harness.execution.difference import Difference
from harness.matrix.case import Case

Diagnosis = tuple[str, str, str]
"""(kind, stage, cause)"""

_TWICE = "as if this part was reduced twice"
_MEANS = {
    ("routed", "scaling"): "as if the routed scaling factor was applied twice",
    ("routed", "1/scaling"): "as if the routed scaling factor was not applied",
    ("routed", "tp"): _TWICE,
    ("routed", "1/tp"): "as if this part was not reduced",
    ("shared", "tp"): "as if it is whole on each rank and then summed",
    ("shared", "1/tp"): "as if this part was not reduced",
    ("shared", "scaling"): "as if the routed scaling factor was applied to this part too",
    ("shared", "1/scaling"): "as if this part was divided by the routed scaling factor",
}
# In float16 the shared part is divided by the factor, so that the sum is small, and the routed part is left as it is.
_GUARDED = {
    (
        "routed",
        "scaling",
    ): "as if the routed part was scaled all the same, where a guard of float16 divides the shared part instead",
    ("routed", "1/scaling"): "as if the guard of float16 divided the routed part, where it divides the shared part",
    ("shared", "scaling"): "as if the guard of float16 did not divide this part by the routed scaling factor",
    ("shared", "1/scaling"): "as if this part was divided by the routed scaling factor twice",
}
# What divides by its input's size gives the same for a part of a sum as for the sum.
_NORMALISED = {
    "tp": "if the latent transform normalises, as if it was summed only after it",
    "scaling": "if the latent transform normalises, as if the factor was applied only after it",
}
_STAGES = {"routed": stages.SCALING, "shared": stages.SHARED, "output": stages.OUTPUT}
_RANKS = {"tp", "1/tp"}
_ROUGHLY = 0.25  # a factor of a token whose experts differ holds much noise
_OF_A_TOKEN = 0.03  # where nothing but rounding is left beside it
_TELLS = " The same case with --tp 1 tells them apart."
_SQUARES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # ranks and widths are powers of two


def near(left: float, right: float) -> bool:
    """Whether two factors are the same one, but for rounding."""
    return abs(left - right) <= 0.01 * max(abs(right), min(1.0, 4 * abs(right)))


def number(factor: float) -> str:
    """A factor with three digits, or with as many as it needs to differ from 1."""
    texts = (f"{factor:.{digits}g}" for digits in (3, 4, 5, 6))
    return next((text for text in texts if float(text) != 1), "1")


def known_factors(case: Case) -> dict[str, float]:
    """The factors of a layer by name: tp, 1/tp, scaling, 1/scaling, without those that are 1."""
    known = {"tp": case.tp, "1/tp": 1 / case.tp, "scaling": case.scaling, "1/scaling": 1 / case.scaling}
    return {name: value for name, value in known.items() if value != 1}


def names_of(factor: float, case: Case) -> dict[str, float]:
    """What the factor may be, by name: every one of ``known_factors`` that fits; else one's square; else 1/sqrt(n)."""
    known = known_factors(case)
    squares = {f"{name}^2": known[name] ** 2 for name in ("scaling",) if name in known}
    squares |= {f"1/{name}": 1 / value for name, value in squares.items()}
    for named in (known, squares):
        if fits := {name: value for name, value in named.items() if near(factor, value)}:
            return fits
    sizes = sorted({*_SQUARES, case.hidden, case.intermediate, case.experts, case.latent or 1, case.shared or 1} - {1})
    return {f"1/sqrt({size})": size**-0.5 for size in sizes if near(factor, size**-0.5)}


def scaled(difference: Difference, case: Case) -> Diagnosis:
    """The diagnosis where the output is the oracle's parts, each times a factor, of which one at least is ``off``."""
    factors = difference.factors
    off = {part: factors[part] for part in difference.off}
    part, factor = next(iter(off.items()))
    if len(off) == len(factors) and all(near(other, factor) for other in off.values()) and case.tp > 1:
        if near(factor, 1 / case.tp):
            cause = f"The output is 1/{case.tp} of what it should be, as if it was never reduced."
            return "not-reduced", stages.REDUCE, cause
        if near(factor, case.tp):
            cause = f"The output is {case.tp} times what it should be, as if it was reduced twice."
            return "reduced-twice", stages.REDUCE, cause
    if abs(factor) <= 0.01:
        made_at = stages.SHARED if part == "shared" else stages.EXPERTS  # an only part is added to nothing: it is zero
        where = stages.ADD if len(factors) > 1 else made_at
        return "missing-part", where, f"The {part} part is missing from the output."
    if _is_exchanged(off, case):
        return "scaled", stages.SCALING, _DIVIDED_INSTEAD if case.divides_shared else _EXCHANGED
    text = " ".join(text_of(*item, case) for item in off.items())
    return "scaled", _stage(part, factor, case), text + _UNGUARDED * _is_unguarded(off, case)


_UNGUARDED = (
    " Both parts lack the division by the routed scaling factor: the guard of float16 is not taken, or does not divide."
)
_DIVIDED_INSTEAD = (
    "The routed part is divided by the routed scaling factor, and the shared part is not: the guard of float16 divides the wrong "
    "one, or the two were exchanged before."
)
_EXCHANGED = (
    "The shared part is multiplied by the routed scaling factor, and the routed part is not: the factor is applied to the "
    "wrong one, or the two were exchanged before."
)


def _is_exchanged(off: dict[str, float], case: Case) -> bool:
    """Whether the shared part has the scaling that the routed part lacks."""
    if case.scaling == 1 or {*off} != {"routed", "shared"}:
        return False
    return near(off["routed"], 1 / case.scaling) and near(off["shared"], case.scaling)


def _is_unguarded(off: dict[str, float], case: Case) -> bool:
    """Whether routed and shared part both are as large as without a division that float16 asks for."""
    return case.divides_shared and len(off) > 1 and all(near(factor, case.scaling) for factor in off.values())


def _stage(part: str, factor: float, case: Case) -> str:
    """The stage of a part. A factor that can be nothing but the ranks' is the all-reduce's."""
    fits = set(names_of(factor, case))
    if part == "output" and fits & {"scaling", "1/scaling"}:
        return stages.SCALING
    if part == "shared" and case.divides_shared and _is_of_scaling(factor, case):
        return stages.SCALING  # in float16 it is the shared part that the scale is applied to
    if part == "shared" and fits == {"1/tp"}:
        return stages.REDUCE
    return stages.REDUCE if part in ("routed", "output") and fits and fits <= _RANKS else _STAGES.get(part, part)


def _is_of_scaling(factor: float, case: Case) -> bool:
    """Whether a factor is the scaling or its square, or one over them; there is a scaling."""
    return any(near(factor, case.scaling**power) for power in (-2, -1, 1, 2))


def text_of(part: str, factor: float, case: Case) -> str:
    """``The shared part is 0.4 times what it should be, and 0.4 = 1/scaling, as if ...``."""
    fits = names_of(factor, case)
    text = f"The {part} part is {number(factor)} times what it should be"
    if not fits:
        return f"{text}."
    return f"{text}, and {number(next(iter(fits.values())))} = {' = '.join(fits)}{_meaning(part, fits, case)}."


def _meaning(part: str, names: Iterable[str], case: Case) -> str:
    known = _MEANS | _GUARDED if case.divides_shared else _MEANS
    means = [known[part, name] for name in names if (part, name) in known]
    if part == "routed" and case.latent is not None:
        means += [_NORMALISED[name] for name in names if name in _NORMALISED]
    return f", {', or '.join(means)}" if means else ""


def reduced_less(cause: str) -> str:
    """The same cause where there are too few all-reduces: then nothing was reduced twice."""
    return cause.replace(f"{_TWICE}, or ", "").replace(f", {_TWICE}", "")


def by_token(difference: Difference, case: Case) -> Diagnosis | None:
    """The diagnosis where one part has another factor in each token.

    A token mixes what its experts give. A factor is named where it is that of a whole token: what else makes a part of the
    experts smaller, such as weights that are rounded to zero, gives factors between as well.
    """
    if difference.spread is None:
        return None
    part, low, high, exact, tokens = difference.spread
    fits = {
        n: value for n, value in known_factors(case).items() if _lies_within(low, high, value) and _any(exact, value)
    }
    if not fits:
        return None
    text = f"No one factor fits the {part} part: by token it lies between {low:.2g} and {high:.2g} ({tokens} tokens)"
    known = ", or ".join(f"{number(value)} = {name}{_meaning(part, [name], case)}" for name, value in fits.items())
    where = f", on a part of the experts or tokens.{_TELLS if len(fits) > 1 else ''}"
    return "wrong-part", _stage_of_any(part, fits, case), f"{text}, and {known}{where}"


def _any(factors: Iterable[float], value: float) -> bool:
    """Whether one of the tokens' factors is ``value``, but for what rounding is in the factor of one token."""
    return any(abs(factor - value) <= _OF_A_TOKEN * max(abs(value), 1) for factor in factors)


def _lies_within(low: float, high: float, value: float) -> bool:
    """Whether the factors of tokens lie between 1 and ``value``."""
    least, most = sorted((1.0, value))
    return low >= least * (1 - _ROUGHLY) and high <= most * (1 + _ROUGHLY)


def _stage_of_any(part: str, fits: dict[str, float], case: Case) -> str:
    """The stage that all the factors point to; where they do not agree, the part's own."""
    candidates = {_stage(part, value, case) for value in fits.values()}
    return candidates.pop() if len(candidates) == 1 else _STAGES.get(part, part)
