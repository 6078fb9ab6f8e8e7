"""The `harness` command that tries what a diagnosis says."""

import re
from collections.abc import Iterable

from harness.diagnosis.facts import Facts
from harness.diagnosis.known.context import Context
from harness.diagnosis.known.hidden import hidden_in, model_of
from harness.diagnosis.notation import sizes
from harness.diagnosis.owners import catalogue, widths_of
from harness.diagnosis.stated.engines import on_engine
from harness.diagnosis.statements.shown import is_joined, reshapes_weight, shown_weights
from harness.diagnosis.statements.weights import left_is_weight
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.widths import Pair
from harness.matrix.shapes import Shape

# Models that stand in for one that is not known: with a shared expert, and without.
WITH_SHARED, WITHOUT_SHARED = "nemotron-3-nano-30b-a3b", "gpt-oss-20b"
MADE_UP = "synthetic-2304"  # where the log names a model that is not known here: no other model's name stands for it
_NUMBER = re.compile(r"\d+")


def context_of(facts: Facts, around: Surroundings, without: Iterable[int] = ()) -> Context:
    """What the text says beside a width: names of models, the number of ranks, and sizes of the message ``without`` these."""
    found = (size for text in facts.match.groups.values() for size in _NUMBER.findall(text))
    differ = frozenset(without)
    shapes = weights_in(facts, differ)
    beside = {size for shape in shapes for size in shape}
    return Context(
        named=tuple(shape.name for shape in around.models),
        alike=frozenset(around.alike),
        ranks=around.ranks_at(facts.number),
        sizes=frozenset(map(int, found)).union(beside) - differ,
        most=around.most_at(facts.number),
        shapes=shapes,
        differ=differ,
        joined=is_joined(f"{facts.op} {facts.function} {facts.code}"),
        foreign=bool(around.foreign),
    )


def share_of(facts: Facts, around: Surroundings, pair: Pair) -> str:
    """Of which model the narrow size is a rank's share, in words; empty for none, and where the text excludes them all."""
    context = context_of(facts, around, (pair.narrow, pair.wide))
    found = (owner for owner in pair.owners if owner.ranks and context.allows(owner, pair.narrow))
    return next(map(str, found), "") if pair.sharded else ""


def weights_in(facts: Facts, differ: frozenset[int] = frozenset()) -> tuple[tuple[int, ...], ...]:
    """The shapes of weights in a text, as far as their sizes are numbers.

    A product's one factor, both sides of a load, what a reshape makes of a weight; and those that the text shows beside these.
    """
    groups = facts.match.groups
    found: list[tuple[str, ...]] = []
    if facts.match.kind.reader == "product":
        found = [_factor(groups, left_is_weight(facts.code))]
    elif facts.loads_weights:
        found = [sizes(groups[name]) for name in ("a_shape", "b_shape") if name in groups]
    elif "want" in groups and reshapes_weight(facts.function, facts.code):
        found = [sizes(groups["want"])]
    numbers = (tuple(int(size) for size in shape if size.isdigit()) for shape in found)
    return (*numbers, *shown_weights(facts.whole, differ))


def _factor(groups: dict[str, str], left: bool) -> tuple[str, ...]:
    """The shape of one factor; of an einsum the inner size alone."""
    if shape := groups.get("a_shape" if left else "b_shape", ""):
        return sizes(shape)
    if left:
        return groups.get("m2", groups.get("m", "")), groups.get("k", groups.get("a", ""))
    return groups.get("b", ""), groups.get("n", "")


def checks(
    facts: Facts, around: Surroundings, pair: Pair, modes: str, shared: bool = True, more: str = ""
) -> tuple[str, ...]:
    """Commands that try a padded width; ``shared`` for a layer with a shared expert, ``more`` for further options."""
    model, options = _model(facts, around, pair, shared)
    return flags(facts, around, f"--models {model}{options}{_rule(facts, pair, model)}{more} --modes {modes}")


def flags(facts: Facts, around: Surroundings, chosen: str) -> tuple[str, ...]:
    """`harness check` with these options: on the layer here, and on that of the engine whose code or name the text has."""
    return (f"harness check {chosen}", *on_engine(facts.stated.engine, around, chosen))


def in_place_of(facts: Facts, around: Surroundings) -> str:
    """Options for a failure without widths: a model, and the ranks; without a number of ranks two, as a collective needs them."""
    ranks = around.ranks_at(facts.number)
    split = "" if around.most_at(facts.number) == 1 else f" --tp {ranks if ranks > 1 else 2}"
    return f"--models {model_without_widths(facts, around)}{split}"


def model_without_widths(facts: Facts, around: Surroundings) -> str:
    """The model that the text names, else whose hidden size the user's lines have, else the log; else one that stands in."""
    if around.models:
        return around.models[0].name
    if around.foreign:
        return MADE_UP
    numbers = {int(number) for frame in facts.users for number in _NUMBER.findall(frame.code) if len(number) > 3}
    return model_of(numbers) or model_of(hidden_in(around.start)) or WITHOUT_SHARED


def model_for(around: Surroundings, pair: Pair) -> Shape | None:
    """The model whose width ``narrow`` is: one that the log names before any other."""
    owners = [owner.model for owner in pair.exact_owners]
    named = [shape for shape in around.models if shape.name in owners]
    return named[0] if named else next((catalogue().shapes[name] for name in owners), None)


def _model(facts: Facts, around: Surroundings, pair: Pair, shared: bool) -> tuple[str, str]:
    """The likeliest model that has the narrow size, with options: as many ranks as split it; else one that stands in for it."""
    context = context_of(facts, around, (pair.narrow, pair.wide))
    if exact := _by_its_sizes(around, pair, context):
        return exact, ""
    found = [owner for owner in context.ordered(pair.narrow) if owner.ranks or owner in pair.exact_owners]
    if found:
        return found[0].model, f" --tp {found[0].ranks}" if found[0].ranks else ""
    hidden = f" --hidden {pair.narrow}" if pair.narrow % 16 == 0 else ""
    return MADE_UP if around.foreign else WITH_SHARED if shared else WITHOUT_SHARED, hidden


def _by_its_sizes(around: Surroundings, pair: Pair, context: Context) -> str:
    """The model that has the narrow size as it stands, where the text names it, or its weight has that model's other width.

    A synthetic model is one here: nobody serves it, and it tries the sizes. Empty where a published one has the size.
    """
    named = next((shape for shape in around.models if pair.narrow in widths_of(shape)), None)
    if named or pair.exact_owners or around.foreign:
        return named.name if named else ""
    beside = {frozenset(shape) for shape in context.shapes if pair.narrow in shape}
    return next(
        (s.name for s in catalogue().shapes.values() if s.latent and frozenset((s.hidden, s.latent)) in beside), ""
    )


def _rule(facts: Facts, pair: Pair, model: str) -> str:
    """The first rule that the text names; else of the least multiple that any has: one of the hidden size, else the inner one."""
    gated = catalogue().shapes[model].gated
    hidden = [rule for alignment in pair.alignments for rule in alignment.hidden]
    inner = [rule for one in pair.alignments for rule in (*one.inner, *(one.gated if gated else one.plain))]
    return next((f" --rules {rule}" for rule in facts.stated.first((*hidden, *inner))), "")


def audit(op: str, rows: str) -> tuple[str, ...]:
    """The audit of a named op; MODULE is the one whose import registers it."""
    return (f"harness audit {op} --import MODULE --rows {rows}",) if op else ()
