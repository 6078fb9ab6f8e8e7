"""A guard on a stride: the same tensor came in another layout."""

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import evident, padded
from harness.diagnosis.widths import read_pair

_AGAINST = "a token count: the guard is on a stride, and sizes were equal"


def read_layout_guard(facts: Facts, name: str, index: int, want: int, got: int) -> Reading:
    """The stride of a dimension was ``want`` when it was compiled, and is ``got``."""
    pair = read_pair(want, got) if want and got and want != got else None
    if pair is not None and pair.padded:
        return padded(
            pair,
            ("pitch",),
            sure=evident(facts, pair),
            stage=f"stride of dimension {index} of {name}",
            operands=(f"one call: rows {want} apart", f"another call: rows {got} apart"),
            cause=f"{name} comes dense in one call and as a slice of a padded buffer in another, with rows {pair.wide} apart: "
            f"{pair.rounded()}. Each layout compiles once.",
            against=(_AGAINST, "an error of the layer: each variant compiles"),
            look="who cuts the padding off: .contiguous() there, or the same layout in each call",
            tries=("harness check --modes compiled",),
        )
    rows = min(want, got) > 1
    return Reading(
        verdict=UNDECIDED if pair is not None and pair.known and rows else OTHER,
        stage=f"stride of dimension {index} of {name}",
        cause=f"{name} comes in another layout: its stride in dimension {index} was {want} when it was compiled and is {got}. "
        + (
            "It is a slice of a wider tensor in one of the calls. "
            if rows
            else "Its dimensions lie in another order in memory. "
        )
        + "Each layout compiles once.",
        against=(_AGAINST, "an error of the layer: each variant compiles"),
        look="who makes that tensor in each of the calls: a slice, a transpose, or .contiguous()",
        widths=tuple(Width(size, False, (), counted=True) for size in sorted({want, got}) if size > 1),
        rule="no rule",
        tags=frozenset(("shapes",)),
    )
