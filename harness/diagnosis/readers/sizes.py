"""Two sizes that meet in an add, a copy or a product and do not fit."""

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts, sizes
from harness.diagnosis.patterns import Match
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks, model_for
from harness.diagnosis.widths import Pair, catalogue, read_pair

# What a message is of where Dynamo does not name the call: a piece of torch's text, and what raises it.
_RAISED_BY = {
    "normalized_shape": "norm",
    "exceeds dimension size": "slice",
    "plit": "split",
    "tensors must match except": "cat",
    "stack expects": "stack",
    "expanded size": "copy or expand",
    "attempting to expand": "copy or expand",
    "indexing result": "indexed write",
    "ExpandView": "broadcast",
}
_ADDS = frozenset(("", "add", "add_", "iadd", "__add__", "__iadd__"))
_NO_LOAD = "a checkpoint of another width: the text has no copy_ and no load of weights"
_NO_FAKE = "a wrong fake: it fails in Inductor's assert when compiled code runs, not where two tensors meet"


def read_sizes(facts: Facts, around: Surroundings) -> Reading:
    """Two tensors that do not broadcast, or a copy between them."""
    if facts.match.kind.id == "hidden-size-assert" and not _pair_of(facts):
        return _checked(facts, around)
    found = _pair_of(facts)
    if found is None:
        return _unknown(facts)
    a, b, dim = found
    pair = read_pair(a, b)
    if dim == 0 and not pair.exact_owners and not facts.loads:
        return rows(facts, a, b)
    if facts.match.kind.id == "hidden-size-assert":
        return _checked(facts, around, pair)
    if pair.latent_of and not facts.loads:
        return _latent(facts, pair, a)
    if facts.loads:
        return _load(facts, around, pair)
    if pair.padded or (pair.possible and _speaks(facts) and not (pair.heads and facts.seen("attention"))):
        return _add(facts, around, pair, a)
    return unrelated(facts, pair)


def read_product(facts: Facts, around: Surroundings) -> Reading:
    """A matrix product whose inner sizes differ."""
    found = _pair_of(facts)
    if found is None:
        return _unknown(facts)
    a, b, _ = found
    pair = read_pair(a, b)
    if pair.latent_of:
        return _latent(facts, pair, a)
    if not pair.padded and not (pair.possible and _speaks(facts)):
        return unrelated(facts, pair)
    left, right = ("padded", "true") if a == pair.wide else ("true", "padded")
    place = (
        "router"
        if facts.seen("gate")
        else "shared expert"
        if facts.seen("shared")
        else "projection beside the routed experts"
    )
    return Reading(
        verdict=FAMILY if pair.padded or facts.seen("pad") else UNDECIDED,
        stage=place,
        operands=(
            f"left, {a} wide: an activation at the {left} width",
            f"right, {b} deep: a weight at the {right} width",
        ),
        cause=f"The {left} width meets a weight of the {right} one at the {place}: {pair.rounded()}. "
        + (
            "The padding was not cut off before it."
            if a == pair.wide
            else "The activation was not padded, or that weight should not be."
        ),
        against=(_NO_FAKE, _latent_word(pair)),
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tags=frozenset(("padded",)),
        tries=checks(facts, around, pair, modes(facts)),
    )


def _latent_word(pair: Pair) -> str:
    return "the latent tensor in place of hidden_states: no model here has these two as hidden and latent width"


def modes(facts: Facts) -> str:
    """The modes of the harness that run what the text was running."""
    return "fake,compiled" if facts.phase in ("traced", "compiled") else "eager"


def widths(pair: Pair, padded: bool = True) -> tuple[Width, ...]:
    """The two sizes of a pair, the narrow one first."""
    return (
        Width(pair.narrow, False, tuple(map(str, pair.owners))),
        Width(pair.wide, padded, tuple(map(str, pair.wide_owners))),
    )


def as_data(pair: Pair) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """The alignments of a pair as plain data."""
    return tuple((alignment.multiple, alignment.rules) for alignment in pair.alignments)


def _speaks(facts: Facts) -> bool:
    return facts.seen("moe") or facts.seen("pad")


def _pair_of(facts: Facts) -> tuple[int, int, int | None] | None:
    """The two sizes that differ and their dimension, from the first match that has them."""
    for match in (facts.match, *facts.texts.every(facts.match)):
        found = _differing(match)
        if found:
            return found
    shapes = [size for size in facts.fakes if size]
    return _last_differing(*shapes[:2]) if len(shapes) == 2 else None


def _differing(match: Match) -> tuple[int, int, int | None] | None:
    groups = match.groups
    if groups.get("a", "").isdigit() and groups.get("b", "").isdigit():
        a, b = int(groups["a"]), int(groups["b"])
        return (a, b, int(groups["dim"]) if groups.get("dim", "").isdigit() else None) if a != b and a and b else None
    if "parts" in groups and groups.get("a", "").isdigit():
        total = sum(int(part) for part in sizes(groups["parts"]) if part.isdigit())
        return (int(groups["a"]), total, None) if total and total != int(groups["a"]) else None
    if "k" in groups and groups["k"].isdigit() and groups.get("b", "").isdigit():
        return int(groups["k"]), int(groups["b"]), None
    if groups.get("a", "").isdigit() and "b_shape" in groups:
        last = sizes(groups["b_shape"])[-1:]
        return (int(groups["a"]), int(last[0]), None) if last and last[0].isdigit() else None
    if "a_shape" in groups and "b_shape" in groups:
        a_sizes, b_sizes = sizes(groups["a_shape"]), sizes(groups["b_shape"])
        if match.kind.reader == "product":
            return _numbers(a_sizes[-1:], b_sizes[-2:-1] or b_sizes[-1:], None)
        return _last_differing(a_sizes, b_sizes)
    return None


def _last_differing(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[int, int, int | None] | None:
    for back in range(1, min(len(a), len(b)) + 1):
        if a[-back] != b[-back]:
            return _numbers(a[-back:][:1], b[-back:][:1], len(a) - back if len(a) > 1 else None)
    return None


def _numbers(a: tuple[str, ...], b: tuple[str, ...], dim: int | None) -> tuple[int, int, int | None] | None:
    if a and b and a[0].isdigit() and b[0].isdigit() and a != b and "0" not in (a[0], b[0]):
        return int(a[0]), int(b[0]), dim
    return None


def _unknown(facts: Facts) -> Reading:
    return Reading(
        verdict=UNDECIDED if _speaks(facts) else OTHER,
        cause="Two sizes do not fit, and the text does not give both as numbers.",
        look="the whole message, from the exception's name to its end",
    )


def _add(facts: Facts, around: Surroundings, pair: Pair, first: int) -> Reading:
    by = facts.called or next((name for text, name in _RAISED_BY.items() if text in facts.match.text), "")
    if by not in _ADDS:
        return _other_op(facts, around, pair, by)
    model = model_for(around, pair)
    shared = model is None or model.shared_intermediate is not None or facts.seen("shared")
    where = "shared add" if shared else "an add after the routed experts"
    sure = bool(facts.frames) or facts.phase == "traced" or first == pair.narrow
    cause = f"The padding was not cut off before the {where.removeprefix('an ')}: {pair.rounded()}."
    if not sure:
        cause = f"{pair.rounded()}. In an add, the padding was not cut off before it; at load, a checkpoint's width meets a parameter made at the padded one."
    narrow, wide = ("second", "first") if first == pair.wide else ("first", "second")
    return Reading(
        verdict=FAMILY if pair.padded else UNDECIDED,
        stage=where
        if sure
        else f"{where}; or the load of the weights, where copy_ or load_weights stands above this line",
        operands=(
            f"{narrow}, {pair.narrow}: at the true width" + (" (the shared expert's output)" if shared else ""),
            f"{wide}, {pair.wide}: still padded (the routed experts' output)",
        ),
        cause=cause,
        against=(_NO_FAKE, *((_NO_LOAD,) if sure else ()), *_not_heads(pair)),
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tags=frozenset(("padded", "add", *(() if sure else ("load-or-add",)))),
        tries=checks(facts, around, pair, modes(facts), shared),
    )


def _other_op(facts: Facts, around: Surroundings, pair: Pair, by: str) -> Reading:
    """Two widths that meet in something else than an add."""
    return Reading(
        verdict=FAMILY if pair.padded else UNDECIDED,
        stage=by,
        operands=(f"{pair.narrow}: at the true width", f"{pair.wide}: padded"),
        cause=f"A padded width and the true one meet in {by}: {pair.rounded()}. The padding was not cut off before it, or is asked for where it is gone.",
        against=(_NO_FAKE, *_not_heads(pair)),
        look="which of the two sizes is the model's own and which the kernel's, at the user's line",
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tags=frozenset(("padded",)),
        tries=checks(facts, around, pair, modes(facts)),
    )


def _not_heads(pair: Pair) -> tuple[str, ...]:
    if not pair.heads:
        return ()
    few, many, size = pair.heads
    return (
        f"attention heads ({few} and {many} of {size}): a rule for padding fits and nothing in the text is of attention",
    )


def _load(facts: Facts, around: Surroundings, pair: Pair) -> Reading:
    if not pair.padded and not (pair.possible and _speaks(facts)):
        return unrelated(facts, pair, "a checkpoint's tensor and the parameter it is copied to")
    return Reading(
        verdict=FAMILY if pair.padded else UNDECIDED,
        stage="load of the weights",
        operands=(f"{pair.narrow}: the checkpoint's", f"{pair.wide}: the parameter's, made at the padded width"),
        cause=f"A checkpoint's width meets a parameter that was made at the padded one: {pair.rounded()}.",
        against=("the add of routed and shared output: the text stands in a copy or a load of weights", _NO_FAKE),
        look="whoever makes the parameters: pad after loading, or copy into a slice of them",
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tags=frozenset(("padded", "load")),
        tries=checks(facts, around, pair, "eager"),
    )


def _latent(facts: Facts, pair: Pair, first: int) -> Reading:
    model = catalogue().shapes[pair.latent_of]
    given = "latent tensor" if first == model.latent else "full hidden_states"
    wanted = "full hidden_states" if first == model.latent else "latent tensor"
    place = "gate" if facts.seen("gate") and not facts.seen("shared") else "shared expert"
    tags = {"hidden-latent"} | ({"shared"} if place == "shared expert" or not facts.frames else set())
    half = f"a packed or halved width ({pair.wide} is {pair.ratio} x {pair.narrow}): possible too, and then uint8 or a shard is in the text"
    return Reading(
        verdict=FAMILY,
        stage=place if facts.frames else "shared expert or gate",
        operands=(f"{first}: the {given}",),
        cause=f"A part that works on the {wanted} was given the {given}: {pair.wide} and {pair.narrow} are hidden and latent width of {model.name}.",
        against=("padding: no rule rounds one up to the other", *((half,) if pair.ratio else ())),
        widths=widths(pair, padded=False),
        rule=f"hidden and latent width of {model.name}",
        tags=frozenset(tags),
        tries=(f"harness check --models {model.name} --modes {modes(facts)}",),
    )


def _checked(facts: Facts, around: Surroundings, pair: Pair | None = None) -> Reading:
    """A kernel's own check of hidden_states against its weight: a padding is subtracted that was not added, or not at all."""
    model = around.models[0] if around.models else None
    if pair is None and model is not None:
        pair = read_pair(model.hidden, model.hidden - 128)
    sizes_read = widths(pair, padded=False) if pair else ()
    words = (
        f" For {model.name} these are {model.hidden} and {model.hidden} - 128 = {model.hidden - 128}." if model else ""
    )
    return Reading(
        verdict=FAMILY,
        stage="routed experts, the kernel's check of its first weight",
        cause="The width of hidden_states is not that of the weight less its padding. The padding of the weights"
        f" (VLLM_MOE_PADDING or SGLANG_MOE_PADDING, 128) is taken off a weight that was loaded without it.{words}",
        against=(
            "a wrong fake: the check compares real tensors",
            "the add of routed and shared output: it comes after this kernel",
        ),
        look="the weights' last dimension beside hidden_states.shape[-1]; the same run with that variable set to 0",
        widths=sizes_read,
        rule="the weights' padding of 128 elements",
        alignments=((128, ()),),
        tags=frozenset(("padded-weight",)),
        tries=(f"harness check --models {model.name if model else 'mixtral-8x7b'} --modes eager",),
    )


def rows(facts: Facts, a: int, b: int) -> Reading:
    """Two numbers of rows: tokens, and the bucket that they are filled up to."""
    few, many = sorted((a, b))
    filled = is_bucket(few, many)
    speaks = filled and (_speaks(facts) or facts.seen("replay") or "token" in facts.whole)
    return Reading(
        verdict=FAMILY if speaks else UNDECIDED if filled else OTHER,
        stage="rows of a batch" + (", at replay" if facts.seen("replay") else ""),
        cause=f"Numbers of rows differ, {few} and {many}"
        + (
            f": {many} is the bucket that a batch of {few} is filled up to, and what was made for the real rows meets it."
            if filled
            else "."
        ),
        against=("padding of widths: dimension 0 counts rows",),
        look="which of the two tensors was made for the real tokens and which for the filled batch",
        widths=(Width(few, False, ()), Width(many, bool(filled), ())),
        rule=f"{many} = bucket of {few}" if filled else "",
        tags=frozenset(("bucket",)) if filled else frozenset(),
        tries=(f"harness check --modes cudagraph-dynamic --tokens {few}",) if filled else (),
    )


def is_bucket(few: int, many: int) -> bool:
    """Whether ``many`` rows is what a batch of ``few`` is filled up to: a power of two, or the next multiple of 8 or 16."""
    power = 1 << max(0, few - 1).bit_length()
    return few < many <= 4096 and many in (power, -(-few // 8) * 8, -(-few // 16) * 16, -(-few // 4) * 4)


def unrelated(facts: Facts, pair: Pair, what: str = "two sizes that meet") -> Reading:
    """Two sizes that padding does not explain: what else the numbers say."""
    if pair.heads and not pair.ratio or pair.heads and facts.seen("attention"):
        few, many, size = pair.heads
        says, kind = (
            f"{pair.narrow} = {few} x {size} and {pair.wide} = {many} x {size} are numbers of attention heads.",
            "heads",
        )
    elif pair.ratio in (2, 4, 8, 16):
        says, kind = (
            f"{pair.wide} is {pair.ratio} x {pair.narrow}: two values a byte (packed FP4), gate and up as one, or shards of {pair.ratio} ranks.",
            "halves",
        )
    elif pair.possible:
        says, kind = f"{pair.rounded()}, which may be chance: nothing beside the numbers speaks for padding.", "chance"
    else:
        says, kind = "Neither is the other rounded up, halved or sharded.", "nothing"
    return Reading(
        verdict=OTHER,
        cause=f"{what[:1].upper()}{what[1:]} do not fit, {pair.narrow} and {pair.wide}. {says}",
        against=(_not_padding(pair, kind),),
        look="the shapes of both at the user's line; the model's configuration (heads, ranks, quantisation)",
        widths=widths(pair, padded=False),
        rule=says.rstrip(".") if kind != "nothing" else "no rule",
        tags=frozenset((kind,)),
    )


def _not_padding(pair: Pair, kind: str) -> str:
    if kind == "chance":
        return (
            f"padding would add {pair.extra:.0%}, and neither is the width of a model with experts that is known here"
        )
    if pair.possible:
        return f"padding: {pair.rounded()} fits too, and is the less likely"
    return "padding: no alignment makes one of the other"
