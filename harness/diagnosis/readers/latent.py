"""The hidden and the latent width of one model in one message: a part was given the other tensor, or the two are others."""

import re

from harness.diagnosis.code import operands
from harness.diagnosis.diagnosis import FAMILY, UNDECIDED, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.owners import catalogue
from harness.diagnosis.readers.callers import part_called
from harness.diagnosis.readers.pairs import modes, widths
from harness.diagnosis.readers.weights.multiples import multiple
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.widths import Pair
from harness.matrix.shapes import Shape

# Not the latents of an image model, and not latent attention.
_NEAR = 3
_RESIDUAL = re.compile(r"resid|skip", re.I)
_ROUTED = re.compile(r"rout(?:ed|er_out)|fused|expert|moe", re.I)
# What is told of an add, by whose output has the latent width.
_NOT_UP = {
    "residual": "What the layer gave has the latent width: it was not projected up to the hidden one before that.",
    "routed": "The routed experts' output has the latent one: it was not projected up to the hidden one before the add.",
    "shared": "The shared expert's output has the latent one: it was given the latent tensor, or was made for that width.",
    "": "The routed experts' output was not projected up from it, or the shared expert was given the latent tensor.",
}
_LATENT = re.compile(r"latent(?!s|[ _]?(?:attention|diffusion|image|space))", re.I)


def read_latent(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    """``first`` is the size of what was given. The two numbers alone are those of many models, so a word has to be beside them."""
    model = catalogue().shapes[pair.latent_of]
    if not _speaks(facts, around, model):
        return _either(facts, pair, model)
    if facts.match.kind.id == "broadcast":
        return _added(facts, pair, model, first)
    given, wanted = _given(first, model)
    place = _place(facts)
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


def _added(facts: Facts, pair: Pair, model: Shape, first: int) -> Reading:
    """The two widths meet in an add or a copy: what has the latent one was not projected up, or the other was not projected down.

    Where the line names whose output each operand is, their order in the message decides: ``first`` is the first one's size.
    """
    residual = bool(_RESIDUAL.search(facts.code))
    shared = not residual and speaks_for("shared", facts.code)
    latent = _latent_part(facts, first == model.latent)
    return Reading(
        verdict=FAMILY,
        stage="residual add" if residual else "shared add" if shared else "",
        operands=_operands(pair, latent),
        cause=f"{pair.wide} and {pair.narrow} are hidden and latent width of {model.name}. "
        f"{_NOT_UP['residual' if residual else latent]}",
        against=("padding: no rule rounds one up to the other", *_whole(shared and latent == "routed"), *_halved(pair)),
        look="the shared expert's input, and the width that its last projection is made for"
        if latent == "shared"
        else "the projection from the latent width to the hidden one, and whether it is called on this path",
        widths=widths(pair, padded=False),
        rule=f"hidden and latent width of {model.name}",
        tags=frozenset(("hidden-latent", "shared") if shared and latent != "routed" else ("latent-add",)),
        tries=(f"harness check --models {model.name} --modes {modes(facts)}",),
    )


def _latent_part(facts: Facts, first: bool) -> str:
    """Whose output has the latent width, shared or routed, by the names of the operands; ``first`` where the first one has it.

    Empty where the line does not tell.
    """
    named = operands(facts.code, 2)
    shared, routed = ([bool(part(name)) for name in named] for part in (_is_shared, _is_routed))
    if sum(shared) == 1:
        return "shared" if shared[not first] else "routed"
    return "routed" if sum(routed) == 1 and routed[not first] else ""


def _is_shared(name: str) -> bool:
    return speaks_for("shared", name)


def _is_routed(name: str) -> bool:
    return not _is_shared(name) and bool(_ROUTED.search(name))


def _operands(pair: Pair, latent: str) -> tuple[str, ...]:
    if not latent:
        return ()
    narrow = "the routed experts' output" if latent == "routed" else "the shared expert's output"
    wide = "the other operand" if latent == "shared" else "what it is added to"
    return f"{pair.narrow}: {narrow}, at the latent width", f"{pair.wide}: {wide}, at the hidden width"


def _whole(shared: bool) -> tuple[str, ...]:
    """What the operands' sizes deny, where the other one is the shared expert's and has the hidden width."""
    return ("the shared expert: its output has the hidden width",) if shared else ()


def _callers(facts: Facts) -> str:
    """The code of the frames that lead to the user's line, the nearest ones."""
    return " ".join(frame.code for frame in facts.users[-_NEAR:])


def _place(facts: Facts) -> str:
    """The part that was given the wrong one: by the frames, else by words of the text."""
    called = part_called(facts)
    if called in ("router", "shared expert"):
        return "gate" if called == "router" else called
    return "gate" if facts.seen("gate") and not facts.seen("shared") else "shared expert"


def _given(first: int, model: Shape) -> tuple[str, str]:
    """In words, what was given and what was wanted."""
    given, wanted = "latent tensor", "full hidden_states"
    return (given, wanted) if first == model.latent else (wanted, given)


def _speaks(facts: Facts, around: Surroundings, model: Shape) -> bool:
    """Whether the log names the model, the text has a latent tensor, or the user's line is of a layer with experts."""
    line = f"{facts.user_line} {facts.function} {part_called(facts)}"
    near = any(speaks_for(word, line) for word in ("moe", "shared", "gate"))
    return model in around.models or near or bool(_LATENT.search(facts.whole))


def _either(facts: Facts, pair: Pair, model: Shape) -> Reading:
    """Two sizes of which nothing beside the numbers says that they are the two widths of that model."""
    return Reading(
        verdict=UNDECIDED,
        stage="shared expert" if speaks_for("shared", _callers(facts)) else "",
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
