"""The `harness` command that tries what a diagnosis says."""

import re
from collections.abc import Iterable

from harness.diagnosis.facts import Facts
from harness.diagnosis.owners import Context, catalogue
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
    )


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


def model_for(around: Surroundings, pair: Pair) -> Shape | None:
    """The model whose width ``narrow`` is: one that the log names before any other."""
    owners = [owner.model for owner in pair.exact_owners]
    named = [shape for shape in around.models if shape.name in owners]
    return named[0] if named else next((catalogue().shapes[name] for name in owners), None)


def _model(facts: Facts, around: Surroundings, pair: Pair, shared: bool) -> str:
    """The likeliest model that has the narrow size, on as many ranks as it is split over; else one that stands in for it."""
    context = context_of(facts, around, (pair.narrow, pair.wide))
    found = [owner for owner in context.ordered(pair.narrow) if owner.ranks or owner in pair.exact_owners]
    if found:
        ranks = f" --tp {found[0].ranks}" if found[0].ranks else ""
        return f"--models {found[0].model}{ranks}"
    hidden = f" --hidden {pair.narrow}" if pair.narrow % 16 == 0 else ""
    return f"--models {WITH_SHARED if shared else WITHOUT_SHARED}{hidden}"


def _rule(pair: Pair) -> str:
    """The first rule of the least multiple that any rule has: one that rounds the hidden size so, else an intermediate size."""
    found = [rule for alignment in pair.alignments for rule in alignment.hidden]
    return next((f" --rules {rule}" for rule in (*found, *pair.rules)), "")


def audit(op: str, rows: str) -> tuple[str, ...]:
    """The audit of a named op; MODULE is the one whose import registers it."""
    return (f"harness audit {op} --import MODULE --rows {rows}",) if op else ()
