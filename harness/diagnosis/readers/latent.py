"""The hidden and the latent width of one model in one message: a part was given the other tensor."""

from harness.diagnosis.diagnosis import FAMILY, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.owners import catalogue
from harness.diagnosis.readers.pairs import modes, widths
from harness.diagnosis.widths import Pair


def read_latent(facts: Facts, pair: Pair, first: int) -> Reading:
    """``first`` is the size of what was given."""
    model = catalogue().shapes[pair.latent_of]
    given, wanted = "latent tensor", "full hidden_states"
    if first != model.latent:
        given, wanted = wanted, given
    place = "gate" if facts.seen("gate") and not facts.seen("shared") else "shared expert"
    shared = place == "shared expert" or not facts.frames
    named = facts.seen("moe") or facts.seen("shared") or "latent" in facts.whole or not facts.frames
    return Reading(
        verdict=FAMILY if named else UNDECIDED,
        stage=place if facts.frames else "shared expert or gate",
        operands=(f"{first}: the {given}",),
        cause=f"A part that works on the {wanted} was given the {given}: {pair.wide} and {pair.narrow} are hidden and "
        f"latent width of {model.name}.",
        against=("padding: no rule rounds one up to the other", *_halved(pair)),
        widths=widths(pair, padded=False),
        rule=f"hidden and latent width of {model.name}",
        tags=frozenset(("hidden-latent", "shared") if shared else ("hidden-latent",)),
        tries=(f"harness check --models {model.name} --modes {modes(facts)}",),
    )


def _halved(pair: Pair) -> tuple[str, ...]:
    if not pair.ratio:
        return ()
    return (
        f"a packed or sharded width ({pair.wide} is {pair.ratio} x {pair.narrow}): then uint8 or a rank is in the text",
    )
