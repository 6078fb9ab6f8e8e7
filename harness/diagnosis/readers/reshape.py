"""Reshapes and views that do not fit: a width taken from the wrong place, or a slice that is not contiguous."""

import re
from math import prod

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts, sizes
from harness.diagnosis.readers.sizes import as_data, modes, unrelated, widths
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import Pair, alignments, catalogue, read_pair


def read_reshape(facts: Facts, around: Surroundings) -> Reading:
    """A reshape whose sizes do not multiply to the number of elements, or a view that the strides do not allow."""
    groups = facts.match.groups
    if "strides" in groups:
        return _strided(facts, around, sizes(groups["have"]), sizes(groups["strides"]))
    want = sizes(groups["want"])
    found = _widths(facts, around, want, groups["elements"])
    if found is None:
        return _unknown(facts, want, groups["elements"])
    have, wanted = found
    pair = read_pair(have, wanted)
    if not pair.padded and not (pair.possible and (facts.seen("moe") or facts.seen("pad")) and not pair.heads):
        return unrelated(
            facts, pair, f"the width of the tensor ({have}) and the one that the reshape asks for ({wanted})"
        )
    padded = wanted == pair.wide
    return Reading(
        verdict=FAMILY if pair.padded else UNDECIDED,
        stage="final reshape, after the routed experts",
        operands=(f"the tensor is {have} wide", f"the reshape asks for {wanted}"),
        cause=f"The reshape takes the {'padded' if padded else 'true'} width, and the tensor has the {'true' if padded else 'padded'} one: {pair.rounded()}. "
        + ("The padding is already cut off there." if padded else "The padding was not cut off before it."),
        against=(
            "a tensor that is not contiguous: the number of elements is wrong whatever the strides are",
            "a wrong fake: it fails in Inductor's assert, not in a reshape",
        ),
        look="where the reshape has its width from: the model's hidden size, not the experts' own",
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tags=frozenset(("padded", "want-padded" if padded else "have-padded")),
        tries=checks(facts, around, pair, modes(facts), shared=False),
    )


def _widths(facts: Facts, around: Surroundings, want: tuple[str, ...], elements: str) -> tuple[int, int] | None:
    """The width of the tensor and the width that is asked for, in elements."""
    if not want or not want[-1].isdigit():
        return None
    wanted, leading = int(want[-1]), want[:-1]
    if len(want) > 2 and wanted in (32, 64, 80, 96, 128, 192, 256) and want[-2].isdigit():  # heads and their dimension
        wanted, leading = wanted * int(want[-2]), want[:-2]
    total = _known(elements, leading)
    if total is None:
        return None
    count, rest = total
    if rest is not None:
        return (count // rest, wanted) if count % rest == 0 and count // rest not in (1, wanted) else None
    shown = [size[-1] for size in facts.fakes if size and size[-1].isdigit()]
    if shown and count % int(shown[0]) == 0 and int(shown[0]) != wanted:
        return int(shown[0]), wanted
    return _guessed(count, wanted, around)


def _known(elements: str, leading: tuple[str, ...]) -> tuple[int, int | None] | None:
    """The elements, and the product of the leading sizes where it is known; a common symbol is left out of both."""
    number, _, symbol = elements.partition("*")
    if not number.isdigit() and symbol.isdigit():
        number, symbol = symbol, number
    if not number.isdigit():
        return None
    known = [int(size) for size in leading if size.isdigit()]
    unknown = [size for size in leading if not size.isdigit()]
    if not unknown:
        return (int(number), prod(known)) if not symbol else None
    if unknown == [symbol]:
        return int(number), prod(known)
    return int(number), None


def _guessed(count: int, wanted: int, around: Surroundings) -> tuple[int, int] | None:
    """With -1 tokens: the width of a model that divides the elements and is ``wanted`` before or after padding."""
    shapes = [*around.models, *catalogue().shapes.values()]
    every = dict.fromkeys(size for shape in shapes for size in (shape.hidden, shape.latent, shape.intermediate) if size)
    for size in every:
        if count % size == 0 and size != wanted and any(a.rules for a in alignments(*sorted((size, wanted)))):
            return size, wanted
    return None


def _unknown(facts: Facts, want: tuple[str, ...], elements: str) -> Reading:
    known = [int(size) for size in want if size.isdigit()]
    total = prod(known) if len(known) == len(want) else 0
    number = int(elements) if elements.isdigit() else 0
    ratio = total / number if number else 0
    speaks = facts.seen("pad")
    says = (
        f"The shape has {ratio:g} x as many elements as the tensor."
        if ratio and (ratio % 1 == 0 or (1 / ratio) % 1 == 0)
        else ""
    )
    halves = " Gate and up as one, packed FP4, or shards of ranks differ by whole factors." if says else ""
    return Reading(
        verdict=UNDECIDED if speaks and not says else OTHER,
        cause=f"A reshape to [{', '.join(want)}] does not fit {elements} elements. {says}{halves}".strip(),
        against=("padding: no width of a model known here gives these numbers",),
        look="the tensor's shape at the user's line",
        tags=frozenset(("halves",)) if says else frozenset(),
    )


def _strided(facts: Facts, around: Surroundings, have: tuple[str, ...], strides: tuple[str, ...]) -> Reading:
    """The message of a fake view: sizes and strides say whether rows lie further apart than they are wide."""
    if (
        len(have) > 1
        and len(strides) == len(have)
        and have[-1].isdigit()
        and strides[-2].isdigit()
        and strides[-1] == "1"
    ):
        width, pitch = int(have[-1]), int(strides[-2])
        if pitch > width:
            pair = read_pair(width, pitch)
            if pair.possible:
                return _sliced(facts, around, pair)
    return _not_contiguous(
        facts,
        "Its sizes and strides are not those of padding that was cut off: dimensions were swapped, or it is a slice of something else.",
        OTHER,
    )


def _sliced(facts: Facts, around: Surroundings, pair: Pair) -> Reading:
    collective = facts.seen("collective")
    return Reading(
        verdict=FAMILY if pair.padded else UNDECIDED,
        stage="all-reduce" if collective else "a view after the unpad",
        operands=(f"rows of {pair.narrow} that lie {pair.wide} apart",),
        cause=f"Cutting the padding off gave a strided view, {pair.narrow} of every {pair.wide}, and nothing made it contiguous: {pair.rounded()}.",
        against=("a wrong width: the sizes are right, the strides are not",),
        look=".contiguous() after the slice, or slice after the view",
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tags=frozenset({"pitch", "padded", *(("collective",) if collective else ())}),
        tries=checks(facts, around, pair, modes(facts), shared=False, more=" --tp 2"),
    )


def read_view(facts: Facts, around: Surroundings) -> Reading:
    """A view or a kernel that wants contiguous memory; the message has no sizes."""
    if facts.seen("collective"):
        return _reduced(facts, around)
    code = " ".join(frame[3] for frame in facts.frames) or facts.whole
    if facts.seen("transposed") and not re.search(r"\[\.\.\., ?:|\[:, ?:", code):
        return _not_contiguous(facts, "The code in the text swaps dimensions before it.", OTHER)
    cut = re.search(r"\[\.\.\., ?: ?\w|\[:, ?: ?\w", code) is not None
    speaks = facts.seen("moe") or facts.seen("pad") or cut
    wants = "view size is not compatible" in facts.match.text.replace(
        "viewsizeisnotcompatible", "view size is not compatible"
    )
    verdict = FAMILY if cut and facts.seen("moe") else UNDECIDED if speaks or wants else OTHER
    return _not_contiguous(
        facts,
        "Padding that was cut off (x[..., :width]) makes such a tensor, and so do transposes; the text does not say which."
        if not cut
        else "The code in the text cuts columns off before it, which gives such a tensor.",
        verdict,
    )


def _reduced(facts: Facts, around: Surroundings) -> Reading:
    model = around.models[0] if around.models else None
    chosen = f"--models {model.name if model else 'gpt-oss-20b'} --tp 2 --modes eager,compiled"
    release = around.release("vllm")
    vllm = (
        (f"harness vllm {release} {chosen}" if release else f"harness check --subject vllm {chosen}",)
        if facts.seen("vllm")
        else ()
    )
    return Reading(
        verdict=FAMILY,
        stage="all-reduce",
        cause="A collective flattens its input with view(-1) and was given a tensor that is not contiguous. Cutting the padding off gives such a view.",
        against=(
            "a wrong width: a view of another number of elements reads 'shape is invalid for input of size'",
            "one rank: without a collective nothing flattens it, so it needs two",
        ),
        look=".contiguous() before the collective, or cut the padding off after it",
        rule=_named(model),
        tags=frozenset(("collective",)),
        tries=(f"harness check {chosen}", *vllm),
    )


def _named(model: object) -> str:
    return (
        ""
        if model is None
        else f"the log names {getattr(model, 'name', '')}, hidden size {getattr(model, 'hidden', '')}"
    )


def _not_contiguous(facts: Facts, says: str, verdict: str) -> Reading:
    return Reading(
        verdict=verdict,
        stage=facts.called or "a view",
        cause=f"A tensor that is not contiguous is viewed, or given to a kernel that wants it contiguous. {says}",
        against=("a wrong width: the number of elements fits",),
        look="the tensor's strides at the user's line; .reshape or .contiguous() there",
        tries=("harness check --models gpt-oss-20b --tp 2 --modes eager",) if verdict != OTHER else (),
    )
