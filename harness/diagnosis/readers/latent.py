"""The hidden and the latent width of one model in one message: a part was given the other tensor, or the two are others."""

import re

from harness.diagnosis.diagnosis import FAMILY, UNDECIDED, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.owners import catalogue
from harness.diagnosis.readers.meeting.relations import multiple
from harness.diagnosis.readers.pairs import modes, widths
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.widths import Pair
from harness.matrix.shapes import Shape

# Not the latents of an image model, and not latent attention.
_LATENT = re.compile(r"latent(?!s|[ _]?(?:attention|diffusion|image|space))", re.I)


def read_latent(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    """``first`` is the size of what was given. The two numbers alone are those of many models, so a word has to be beside them."""
    model = catalogue().shapes[pair.latent_of]
    if not _speaks(facts, around, model):
        return _either(facts, pair, model)
    given, wanted = _given(first, model)
    place = "gate" if facts.seen("gate") and not facts.seen("shared") else "shared expert"
    shared = place == "shared expert" or not facts.frames
    return Reading(
        verdict=FAMILY,
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


def _given(first: int, model: Shape) -> tuple[str, str]:
    """In words, what was given and what was wanted."""
    given, wanted = "latent tensor", "full hidden_states"
    return (given, wanted) if first == model.latent else (wanted, given)


def _speaks(facts: Facts, around: Surroundings, model: Shape) -> bool:
    """Whether the log names the model, the text has a latent tensor, or the user's line is of a layer with experts."""
    line = f"{facts.user_line} {facts.function}"
    near = any(speaks_for(word, line) for word in ("moe", "shared", "gate"))
    return model in around.models or near or bool(_LATENT.search(facts.whole))


def _either(facts: Facts, pair: Pair, model: Shape) -> Reading:
    """Two sizes of which nothing beside the numbers says that they are the two widths of that model."""
    return Reading(
        verdict=UNDECIDED,
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. {pair.wide} is {pair.ratio} x {pair.narrow}"
        f"{multiple(pair.ratio)}; or two sizes of the model's own. They are hidden and latent width of {model.name} too: only "
        "in that model a part may have been given the wrong one of its two tensors.",
        against=("padding: no rule rounds one up to the other",),
        look="the shapes of both at the user's line, and which model runs",
        widths=widths(pair, padded=False),
        rule="no rule",
        tries=(f"harness check --models {model.name} --modes {modes(facts)}",),
    )


def _halved(pair: Pair) -> tuple[str, ...]:
    if not pair.ratio:
        return ()
    return (
        f"a packed or sharded width ({pair.wide} is {pair.ratio} x {pair.narrow}): then uint8 or a rank is in the text",
    )
