"""The `harness` command that tries what a diagnosis says."""

import re
from collections.abc import Iterable

from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.owners import Context, catalogue, published, widths_of
from harness.diagnosis.statements.weights import left_is_weight
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.widths import Pair
from harness.matrix.shapes import Shape

# Models that stand in for one that is not known: with a shared expert, and without.
WITH_SHARED, WITHOUT_SHARED = "nemotron-3-nano-30b-a3b", "gpt-oss-20b"
_NUMBER = re.compile(r"\d+")


def context_of(facts: Facts, around: Surroundings, without: Iterable[int] = ()) -> Context:
    """What the text says beside a width: names of models, the number of ranks, and sizes of the message ``without`` these."""
    found = (size for text in facts.match.groups.values() for size in _NUMBER.findall(text))
    return Context(
        named=tuple(shape.name for shape in around.models),
        alike=frozenset(around.alike),
        ranks=around.ranks_at(facts.number),
        sizes=frozenset(map(int, found)) - set(without),
        most=around.most_at(facts.number),
        shapes=weights_in(facts),
    )


def share_of(facts: Facts, around: Surroundings, pair: Pair) -> str:
    """Of which model the narrow size is a rank's share, in words; empty for none, and where the text excludes them all."""
    context = context_of(facts, around, (pair.narrow, pair.wide))
    found = (owner for owner in pair.owners if owner.ranks and context.allows(owner, pair.narrow))
    return next(map(str, found), "") if pair.sharded else ""


def weights_in(facts: Facts) -> tuple[tuple[int, ...], ...]:
    """The shapes of weights in a message, as far as their sizes are numbers: a product's one factor, both sides of a load."""
    groups = facts.match.groups
    if facts.match.kind.reader == "product":
        found = [_factor(groups, left_is_weight(facts.code))]
    else:
        found = (
            [sizes(groups[name]) for name in ("a_shape", "b_shape") if name in groups] if facts.loads_weights else []
        )
    return tuple(tuple(int(size) for size in shape if size.isdigit()) for shape in found)


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
    return flags(facts, around, f"{_model(facts, around, pair, shared)}{_rule(pair)}{more} --modes {modes}")


def flags(facts: Facts, around: Surroundings, chosen: str) -> tuple[str, ...]:
    """`harness check` with these options: on the layer here, and on vLLM's own where the text is not another engine's."""
    found = [f"harness check {chosen}"]
    release = around.release("vllm")
    if release:
        found.append(f"harness vllm {release} {chosen}")
    elif not facts.seen("sglang"):
        found.append(f"harness check --subject vllm {chosen}")
    return tuple(found)


def in_place_of(facts: Facts, around: Surroundings) -> str:
    """Options for a failure without widths: the model that the text names or whose hidden size its lines have, and the ranks.

    Without a model it is one that stands in; without a number of ranks two, as a collective needs them.
    """
    named = around.models[0].name if around.models else _by_its_lines(facts)
    ranks = around.ranks_at(facts.number)
    split = "" if around.most_at(facts.number) == 1 else f" --tp {ranks if ranks > 1 else 2}"
    return f"--models {named or WITHOUT_SHARED}{split}"


def _by_its_lines(facts: Facts) -> str:
    """The first model whose hidden size stands in the user's lines; empty where they have none, or those of several models."""
    numbers = {int(number) for frame in facts.users for number in _NUMBER.findall(frame.code) if len(number) > 3}
    found = [shape for shape in published() if shape.hidden in numbers]
    return found[0].name if found and len({shape.hidden for shape in found}) == 1 else ""


def model_for(around: Surroundings, pair: Pair) -> Shape | None:
    """The model whose width ``narrow`` is: one that the log names before any other."""
    owners = [owner.model for owner in pair.exact_owners]
    named = [shape for shape in around.models if shape.name in owners]
    return named[0] if named else next((catalogue().shapes[name] for name in owners), None)


def _model(facts: Facts, around: Surroundings, pair: Pair, shared: bool) -> str:
    """The likeliest model that has the narrow size, on as many ranks as it is split over; else one that stands in for it."""
    context = context_of(facts, around, (pair.narrow, pair.wide))
    if exact := _by_its_sizes(around, pair, context):
        return f"--models {exact}"
    found = [owner for owner in context.ordered(pair.narrow) if owner.ranks or owner in pair.exact_owners]
    if found:
        ranks = f" --tp {found[0].ranks}" if found[0].ranks else ""
        return f"--models {found[0].model}{ranks}"
    hidden = f" --hidden {pair.narrow}" if pair.narrow % 16 == 0 else ""
    return f"--models {WITH_SHARED if shared else WITHOUT_SHARED}{hidden}"


def _by_its_sizes(around: Surroundings, pair: Pair, context: Context) -> str:
    """The model that has the narrow size as it stands, where the text names it, or its weight has that model's other width.

    A synthetic model is one here: nobody serves it, and it tries the sizes. Empty where a published one has the size.
    """
    named = next((shape for shape in around.models if pair.narrow in widths_of(shape)), None)
    if named or pair.exact_owners:
        return named.name if named else ""
    beside = {frozenset(shape) for shape in context.shapes if pair.narrow in shape}
    return next(
        (s.name for s in catalogue().shapes.values() if s.latent and frozenset((s.hidden, s.latent)) in beside), ""
    )


def _rule(pair: Pair) -> str:
    """The first rule of the least multiple that any rule has: one that rounds the hidden size so, else an intermediate size."""
    found = [rule for alignment in pair.alignments for rule in alignment.hidden]
    return next((f" --rules {rule}" for rule in (*found, *pair.rules)), "")


def audit(op: str, rows: str) -> tuple[str, ...]:
    """The audit of a named op; MODULE is the one whose import registers it."""
    return (f"harness audit {op} --import MODULE --rows {rows}",) if op else ()
