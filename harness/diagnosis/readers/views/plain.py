"""A tensor that is not contiguous, of which the text says no more than that."""

from harness.diagnosis.diagnosis import OTHER, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.ops.quantised import blocks, viewed
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import in_place_of

FITS = "a wrong width: the number of elements fits"


def plain(facts: Facts, around: Surroundings, says: str, verdict: str) -> Reading:
    """What is known of it; ``says`` is what made it, in words."""
    return Reading(
        verdict=verdict,
        stage=viewed(facts, _checked(facts)),
        cause=f"A tensor that is not contiguous is viewed, or given to a kernel that wants it contiguous. {says}"
        f"{blocks(facts, _checked(facts))}",
        against=(FITS,),
        look="the tensor's strides at the user's line; .reshape or .contiguous() there",
        tries=(f"harness check {in_place_of(facts, around)} --modes eager",) if verdict != OTHER else (),
    )


def _checked(facts: Facts) -> bool:
    """Whether the message is a kernel's own, of any of its inputs, and not torch's of a view."""
    return facts.match.kind.id == "view" and facts.match.order > 0
