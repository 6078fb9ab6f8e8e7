"""A write of rows into a tensor that is there: the message says which of the two widths is the destination's."""

from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.adds import not_heads
from harness.diagnosis.readers.pairs import NO_FAKE, evident, modes, padded
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import Pair

# As sizes.py names them; each message has the destination first.
WRITES = frozenset(("index_add", "index_copy", "indexed write"))
_COMBINE = "the sum of the experts' outputs (combine)"


def read_write(facts: Facts, around: Surroundings, pair: Pair, first: int, by: str) -> Reading:
    """Rows of one width are written into a tensor of the other; ``first`` is the destination's."""
    cut = first == pair.narrow
    into, came = ("true", "padded") if cut else ("padded", "true")
    why = (
        "The padding was not cut off before that."
        if cut
        else "The destination was made at the padded width, or the padding was cut off too early."
    )
    return padded(
        pair,
        sure=evident(facts, pair),
        stage=f"{by}, {_COMBINE}" if by == "index_add" and facts.seen("moe") else by,
        operands=(f"destination, {first}: at the {into} width", f"source: at the {came} width"),
        cause=f"Rows of the {came} width are written into a tensor of the {into} one by {by}: {pair.rounded()}. {why}",
        against=(NO_FAKE, *not_heads(pair)),
        look="who made the destination and at which width, beside what is written there at the user's line",
        tries=checks(facts, around, pair, modes(facts)),
    )
