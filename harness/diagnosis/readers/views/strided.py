"""A view of a fake tensor, whose message has sizes and strides."""

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.owners import owners
from harness.diagnosis.readers.pairs import modes, padded, speaks
from harness.diagnosis.readers.views.plain import FITS, plain
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks, in_place_of
from harness.diagnosis.widths import read_pair


def read_strided(facts: Facts, around: Surroundings, have: tuple[str, ...], strides: tuple[str, ...]) -> Reading:
    """The message of a fake view: its sizes and strides say whether rows lie further apart than they are wide."""
    numbers = (have[-1:] or ("",)) + (strides[-2:-1] or ("",))
    if len(have) == len(strides) and strides[-1:] == ("1",) and all(number.isdigit() for number in numbers):
        width, pitch = map(int, numbers)
        pair = read_pair(width, pitch) if 0 < width < pitch else None
        if pair is not None and pair.possible:
            reduced = facts.seen("collective")
            return padded(
                pair,
                ("pitch", "collective") if reduced else ("pitch",),
                stage="all-reduce" if reduced else "a view after the unpad",
                operands=(f"rows of {width} that lie {pitch} apart",),
                cause=f"Cutting the padding off gave a strided view, {width} of every {pitch}, and nothing made it "
                f"contiguous: {pair.rounded()}.",
                against=("a wrong width: the sizes are right, the strides are not",),
                look=".contiguous() after the slice, or slice after the view",
                tries=checks(facts, around, pair, modes(facts), shared=False, more=" --tp 2"),
            )
    if have[-1:] and have[-1].isdigit() and _is_symbol(strides, have):
        return _sliced(facts, around, int(have[-1]), strides[-2])
    says = "Its strides are not those of padding that was cut off: dimensions were swapped, or it is a slice of something else."
    return plain(facts, around, says, OTHER)


def _is_symbol(strides: tuple[str, ...], have: tuple[str, ...]) -> bool:
    """Whether rows are dense and lie a symbol apart, which is not the tensor's own width."""
    return strides[-1:] == ("1",) and len(have) == len(strides) > 1 and not strides[-2].isdigit()


def _sliced(facts: Facts, around: Surroundings, width: int, pitch: str) -> Reading:
    """Columns cut off a wider tensor whose width the trace has as a symbol."""
    known = [str(owner) for owner in owners(width) if owner.part in ("hidden size", "latent size")]
    return Reading(
        verdict=FAMILY if known and speaks(facts) else UNDECIDED,
        stage="a view after a slice of columns",
        operands=(f"rows of {width} that lie {pitch} apart",),
        cause=f"Columns were cut off a wider tensor, which gave a strided view: {width} of every {pitch}. The width of that "
        "tensor is a symbol in the trace, so the text does not say whether the rest was padding. Nothing made it contiguous.",
        against=(FITS,),
        look=".contiguous() after the slice, or slice after the view; mark the width as static to see its number",
        widths=(Width(width, False, tuple(known)),),
        tags=frozenset(("pitch",)),
        tries=(f"harness check {in_place_of(facts, around)} --modes eager,fake-dynamic",),
    )
