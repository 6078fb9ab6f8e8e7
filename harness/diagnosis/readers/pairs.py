"""The two sizes in a message, and readings of a pair: padded, or not of this family."""

import re
from dataclasses import replace
from math import prod
from typing import Any

from harness.diagnosis.diagnosis import FAMILY, UNDECIDED, Reading, Width
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.known.kinds import Match
from harness.diagnosis.notation import sizes
from harness.diagnosis.widths import Pair

# Two sizes as the message has them, first and second, and the dimension where it says which.
Sizes = tuple[int, int, int | None]
_HINT = re.compile(r"^\w+: ?hint ?= ?")
_SUM = re.compile(r"(?P<symbol>[su]\d+) ?\+ ?(?P<more>\d+)$")
_PADDED = frozenset(("padded", "perhaps-padded"))
# Names that say nothing of what a tensor holds.
_NAMELESS = re.compile(r"(?:[xyabt]\d*|args?\w*|tensor\d*|data|inputs?)(?:\W|$)", re.I)
# Names of tensors whose first dimension counts something else than tokens: images, blocks of a cache, outputs of a weight.
_NO_TOKENS = re.compile(
    r"pixel|image|img|patch|latents?\b|sample|mel\b|audio|cache|blocks?(?![a-z])|pages?(?![a-z])|weight|bias|param|table",
    re.I,
)
_OF_TOKENS = re.compile(
    r"ids?$|input|position|hidden|state|resid|embed|logits|tok|topk|rout|seq|batch|act|query|^(?:[xyqkvh]\d*|hs|out(?:put)?s?|args?_?\d*)$",
    re.I,
)
# A name with pad in it as a word; and those that speak of tokens or masks, of convolutions or of rows.
_PADS = re.compile(r"(?<![A-Za-z])(?:un)?pad(?:ded|ding|s)?(?![A-Za-z])", re.I)
_NO_WIDTH = re.compile(
    r"\w*(?:pad(?:ding)?_?(?:token|id|idx|index|input|mask|side|value|mode|len|sequence|seq|batch|rows|packed)"
    r"|(?:mask|token|id|rows|seq|sequence|batch)s?_?pad"
    r"|(?:same|zero|left|right)_?pad)\w*|\bpadding ?=",
    re.I,
)
_OF_EXPERTS = re.compile(r"moe|expert|\bw(?:1|2|3|13)(?![a-z0-9])|gate_up|down_proj", re.I)
# Names that layers of language models have, and image models hardly.
_OF_A_LAYER = re.compile(
    r"hidden_states|resid|gate_?up|up_?gate|(?:up|down|gate)_(?:proj|out)|(?<![a-z0-9])w(?:1|2|3|13|_up|_down|_gate)(?![a-z0-9])"
    r"|(?<![a-z])(?:mlp|ffn|llm|gpt|lm_head)|feed_?forward|logits|gemm1|loaded_weight|weight_loader|llama|qwen|deepseek|mixtral"
    r"|nemotron|gemma|glm|kimi|decoder|self\.(?:up|down|gate)\b",
    re.I,
)
_ENGINES = re.compile(r"megatron|tensorrt_llm|lmdeploy|ktransformers", re.I)
_NEAR_LINES = 4
# Eager code is what a text is taken for that has no word of a trace or of compiled code: thus the condition.
NO_FAKE = "a wrong fake, as long as this ran in eager code: no fake is asked there"


def speaks(facts: Facts) -> bool:
    """Whether the text has words of experts or of padding."""
    return facts.seen("moe") or facts.seen("pad") or facts.seen("shared")


def _speaks_of_a_layer(facts: Facts) -> bool:
    engine = facts.seen("vllm") or facts.seen("sglang") or _ENGINES.search(facts.whole)
    return bool(engine or speaks(facts))


def of_a_layer(facts: Facts) -> bool:
    """Whether the text has words of a layer with experts or of its engine, or the log names a model that is known here."""
    return facts.layer or _speaks_of_a_layer(facts) or bool(facts.named)


def evident(facts: Facts, pair: Pair) -> bool:
    """Whether anything beside two sizes speaks for a layer with experts: words of one, its engine, or a model that has the size.

    Sizes that fit a model and a rule are no more than that: a text of any other model may have them. Of a layer of a language
    model, by the names at the user's lines, they are a hidden size. Words of padding or experts count with one of the two sizes
    wherever the log has them: another test of the same run.
    """
    return bool(pair.beside) or evident_here(facts, pair)


def evident_here(facts: Facts, pair: Pair) -> bool:
    """The same of the failure's own text, and of the models that the log names."""
    if _speaks_of_a_layer(facts) or pair.told or (facts.layer and pair.known):
        return True
    if any(owner.model in facts.named for owner in pair.owners):
        return True
    near = " ".join(f"{frame.file} {frame.function} {frame.code}" for frame in facts.users[-_NEAR_LINES:])
    return bool((pair.known or pair.by_halves()) and _OF_A_LAYER.search(f"{facts.match.text} {near}"))


def names_padding(facts: Facts) -> bool:
    """Whether a line of a layer with experts, or one that led to it, names padding of a width: ``shard_and_pad(w13, w2, 128)``."""
    users = facts.users
    pads = any(_PADS.search(_NO_WIDTH.sub("", frame.code)) for frame in users)
    return pads and any(_OF_EXPERTS.search(f"{frame.function} {frame.code}") for frame in users)


def nameless(facts: Facts, name: str) -> bool:
    """Whether a tensor's name does not tell what its rows are, and the text has no word of a layer with experts or its engine."""
    named = speaks(facts) or facts.seen("vllm") or facts.seen("sglang")
    return bool(_NAMELESS.match(name.removeprefix("L['"))) and not named


def counts_no_tokens(name: str) -> bool:
    """Whether a tensor's name says that its first dimension counts no tokens."""
    return bool(_NO_TOKENS.search(name))


def counts_tokens(name: str) -> bool:
    """Whether a tensor's name is of ids, positions or activations, whose first dimension counts tokens."""
    return bool(_OF_TOKENS.search(name)) and not counts_no_tokens(name)


def modes(facts: Facts) -> str:
    """The modes of the harness that run what the text was running."""
    return "fake,compiled" if facts.phase in ("traced", "compiled") else "eager"


def widths(pair: Pair, padded: bool = True) -> tuple[Width, ...]:
    """The two sizes of a pair, the narrow one first."""
    return (
        Width(pair.narrow, False, tuple(map(str, pair.owners))),
        Width(pair.wide, padded, tuple(map(str, pair.wide_owners))),
    )


def rule_of(facts: Facts, reading: Reading) -> str:
    """What two widths are to each other: where the cause or what is denied names a rounding, never 'no rule' beside it."""
    sizes_told = {width.size for width in reading.widths}
    if reading.rule != "no rule" or len(sizes_told) != 2 or not all(sizes_told):
        return reading.rule
    rounded = facts.pair(*sizes_told).rounded()
    if rounded in reading.cause:
        return f"{rounded}, or no padding" if f"or {rounded}" in reading.cause else rounded
    denied = any(rounded in text for text in reading.against)
    return f"{rounded}: fits the numbers, and is denied below" if denied else reading.rule


def with_words_beside(facts: Facts, reading: Reading) -> Reading:
    """The reading with what the log says elsewhere of one of the two widths, where nothing nearer speaks for padding."""
    sizes_told = {width.size for width in reading.widths}
    if len(sizes_told) != 2 or not all(sizes_told) or reading.tags.isdisjoint(_PADDED):
        return reading
    pair = facts.pair(*sizes_told)
    if not pair.beside or pair.said or evident_here(facts, pair) or pair.beside in reading.cause:
        return reading
    return replace(reading, cause=f'{reading.cause} The log has elsewhere: "{pair.beside}".')


def names_experts(facts: Facts) -> bool:
    """Whether the op that the text names, else the user's line or its function, is one of experts and not of attention."""
    users = facts.users[-1:]
    named = facts.op or " ".join(f"{frame.function} {frame.code}" for frame in users)
    return bool(_OF_EXPERTS.search(named)) and not speaks_for("attention", named)


def may_be_heads(facts: Facts, pair: Pair) -> bool:
    """Whether two sizes may be numbers of attention heads: the text speaks of attention, and no op or line is of experts."""
    return bool(pair.heads) and facts.seen("attention") and not names_experts(facts)


def as_data(pair: Pair) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """The alignments of a pair as plain data."""
    return tuple((alignment.multiple, alignment.names) for alignment in pair.alignments)


def padded(pair: Pair, tags: tuple[str, ...] = (), sure: bool = True, named: bool = False, **rest: Any) -> Reading:
    """The reading of a padded width and its true one: of this family, or undecided where the numbers alone are weak.

    ``sure`` says whether anything beside an alignment speaks for padding. Without it the answer names the other reading too.
    ``named`` says whether the lines of the text name padding: then weak numbers are no chance, where an alignment fits them.
    """
    sure, strong = sure or named or bool(pair.said), pair.padded or (named and pair.strong)
    cause = rest["cause"] + (f' The text says: "{pair.said}".' if pair.said else "")
    lower, other = f"{cause[:1].lower()}{cause[1:]}", () if sure else (_or_two(pair),)
    if not strong:
        cause, other = f"Perhaps padding: {lower}", (_or_chance(pair),)
    elif not sure:
        cause = f"If this is padding: {lower}"
    rest["cause"] = " ".join((cause, *pair.by_halves(), *other))
    return Reading(
        verdict=FAMILY if strong and sure else UNDECIDED,
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        # No public bug is named for numbers alone.
        tags=frozenset(
            ("padded", *tags) if strong and sure else ("padded-numbers",) if strong else ("perhaps-padded",)
        ),
        **rest,
    )


def _or_two(pair: Pair) -> str:
    """The other reading of two sizes of which no model known here has the narrow one."""
    if pair.known:
        return "Or no padding at all: nothing beside the numbers speaks for it."
    return (
        f"Or no padding at all: {pair.narrow} and {pair.wide} may be two sizes of the model's own, as no model known here has "
        f"{pair.narrow} and no word in these lines is of experts or padding."
    )


def _or_chance(pair: Pair) -> str:
    """The other reading of two sizes for which nothing but an alignment speaks."""
    return f"Or no padding: an alignment makes {pair.wide} of {pair.narrow}, as it does of many numbers by chance."


def other_pairs(facts: Facts, first: Pair) -> list[Pair]:
    """Further pairs of a message that names several, each once, where an alignment makes one of the other."""
    return [
        pair for pair in _every_pair(facts) if pair.possible and (pair.narrow, pair.wide) != (first.narrow, first.wide)
    ]


def unexplained(facts: Facts, first: Pair) -> list[Pair]:
    """Further pairs of a message that names several, which are neither padding nor a whole multiple of each other."""
    pairs = [pair for pair in _every_pair(facts) if (pair.narrow, pair.wide) != (first.narrow, first.wide)]
    return [pair for pair in pairs if not pair.possible and not pair.ratio]


def _every_pair(facts: Facts) -> list[Pair]:
    """The sizes in which the shapes of a message differ, each pair once."""
    found = {}
    for match in (facts.match, *facts.texts.every(facts.match)):
        a, b = (sizes(match.groups.get(name, "")) for name in ("a_shape", "b_shape"))
        for x, y in zip(a, b, strict=False):
            if x.isdigit() and y.isdigit() and x != y and int(x) and int(y):
                pair = facts.pair(int(x), int(y))
                found[pair.narrow, pair.wide] = pair
    return list(found.values())


def pair_of(facts: Facts) -> Sizes | None:
    """The two sizes that differ, from the first match that has them; None where the text does not give both as numbers."""
    for match in (facts.match, *facts.texts.every(facts.match)):
        if found := _differing(match):
            return found
    shapes = [size for size in facts.fakes if size]
    return _last_differing(*shapes) if len(shapes) == 2 else None


def _differing(match: Match) -> Sizes | None:
    """The pair of a match, by the groups that its pattern has."""
    groups = match.groups
    if "parts" in groups:
        total = sum(int(part) for part in sizes(groups["parts"]) if part.isdigit())
        return _numbers(groups["a"], str(total), int(groups["dim"]) if groups.get("dim", "").isdigit() else None)
    if {"back", "a_shape", "b"} <= groups.keys() and groups["back"].isdigit():
        shape, back = sizes(groups["a_shape"]), -int(groups["back"])
        return _numbers(size_at(shape, back), groups["b"], len(shape) + back if len(shape) > 1 else None)
    if "product" in groups:
        return _numbers(groups["a"], str(prod(int(size) for size in sizes(groups["product"]) if size.isdigit())), None)
    a = groups.get("k", groups.get("a", ""))
    if a and "b" in groups:
        dim = groups.get("dim", "")
        return _numbers(a, groups["b"], int(dim) if dim.isdigit() else None)
    if a and "b_shape" in groups:
        return _numbers(a, size_at(sizes(groups["b_shape"]), -1), None)
    if "a_shape" in groups and "b_shape" in groups and "dim" in groups:
        place = int(groups["dim"])
        a_shape, b_shape = sizes(groups["a_shape"]), sizes(groups["b_shape"])
        return _numbers("".join(a_shape[place : place + 1]), "".join(b_shape[place : place + 1]), place)
    if "a_shape" in groups and "b_shape" in groups:
        return _of_shapes(match, sizes(groups["a_shape"]), sizes(groups["b_shape"]))
    return None


def _of_shapes(match: Match, a: tuple[str, ...], b: tuple[str, ...]) -> Sizes | None:
    if match.kind.reader == "product":  # the inner sizes: the last of the left, the last but one of the right
        return _numbers(size_at(a, -1), size_at(b, -2) or size_at(b, -1), None)
    return _last_differing(a, b)


def rows_alone(facts: Facts) -> bool:
    """Whether the message has two shapes of more than one dimension that agree in every one but the first."""
    groups = facts.match.groups
    a, b = sizes(groups.get("a_shape", "")), sizes(groups.get("b_shape", ""))
    return len(a) == len(b) > 1 and a[1:] == b[1:] and not facts.said("of the mask")


def size_at(shape: tuple[str, ...], place: int) -> str:
    """The size at a place counted from the end, -1 the last; empty where the shape is too short."""
    return shape[place] if len(shape) >= -place else ""


def _last_differing(a: tuple[str, ...], b: tuple[str, ...]) -> Sizes | None:
    """The last two sizes that differ; a size of 1 fits any other, so it counts only where no other two differ."""
    differing = [back for back in range(1, min(len(a), len(b)) + 1) if a[-back] != b[-back]]
    clashing = [back for back in differing if "1" not in (a[-back], b[-back])]
    for back in clashing or differing:
        return _numbers(a[-back], b[-back], len(a) - back if len(a) > 1 else None)
    return None


def _numbers(a: str, b: str, dim: int | None) -> Sizes | None:
    """The sizes as numbers; None for a symbol without a hint, for nothing, and for two that agree."""
    a, b = _HINT.sub("", a), _HINT.sub("", b)
    a, b = _added(a, b), _added(b, a)
    if a.isdigit() and b.isdigit() and a != b and int(a) and int(b):
        return int(a), int(b), dim
    return None


def _added(size: str, other: str) -> str:
    """``s27 + 64`` as a number where the other size is what s27 most likely is: a number that it was padded from."""
    found = _SUM.match(size)
    return str(int(other) + int(found["more"])) if found and other.isdigit() else size


def symbolic(facts: Facts) -> str:
    """The size that the message has as a symbol and a number added to it, ``s27 + 64``; empty for none."""
    groups = facts.match.groups
    shapes = [sizes(text) for name, text in groups.items() if name.endswith("_shape")]
    shapes.append(tuple(groups[name] for name in "ab" if name in groups))
    found = (_SUM.match(size) for shape in shapes for size in shape)
    return next((f"{one['symbol']} + {one['more']}" for one in found if one), "")


def supposed(facts: Facts, pair: Pair) -> str:
    """In words, what a symbol in the message was taken for; empty where both sizes are numbers."""
    size = symbolic(facts)
    return f"The text says {size}, which is {pair.wide} if the symbol is {pair.narrow}. " if size else ""
