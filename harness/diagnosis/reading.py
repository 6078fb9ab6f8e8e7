"""From the text of one failure to its diagnosis: the kind whose pattern it has, and what the kind's reader makes of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.diagnosis.diagnosis import OTHER, Diagnosis, Reading, Relative, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.known.kinds import Kind, Match, kinds
from harness.diagnosis.known.relatives import relatives
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import EXCEPTION
from harness.diagnosis.log.quoted.named import named_in
from harness.diagnosis.log.texts import Texts
from harness.diagnosis.owners import Context, Owner, owners
from harness.diagnosis.readers import READERS
from harness.diagnosis.readers.meeting.samples import of_samples, read_samples
from harness.diagnosis.readers.meeting.topics import speaks_of
from harness.diagnosis.readers.pairs import NO_FAKE, rule_of
from harness.diagnosis.readers.unnamed import read_unnamed, with_pair
from harness.diagnosis.readers.weights.listed import of_a_width
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import context_of

_TRANSFER = "transfer of a cache of keys and values between engines"
_UNKNOWN = Kind(id="exception", rank=10_000, title="an exception", patterns=(), triggers=())
_OF_SIZES = frozenset(("sizes", "product", "reshape", "view"))  # readers of two tensors that meet
_EAGER = "whether eager code fails too: where it does not, the fake of an op before it says another width"


def diagnosed(failure: Failure, count: int, writers: Sequence[str], around: Surroundings) -> Diagnosis:
    """What a failure is that the log holds ``count`` times, by these processes."""
    return diagnosis_of(facts_of(failure), failure, count, writers, around)


def facts_of(failure: Failure) -> Facts:
    """What the text of a failure says; its kind is ``exception`` where no other knows the text."""
    texts = Texts.of(failure)
    return Facts(texts, *(texts.match(kinds()) or _unknown(texts)))


def diagnosis_of(facts: Facts, failure: Failure, count: int, writers: Sequence[str], around: Surroundings) -> Diagnosis:
    """The diagnosis that follows from the facts of a failure."""
    facts = replace(of_a_width(facts), named=tuple(shape.name for shape in around.models))
    kind, groups = facts.match.kind, facts.match.groups
    reading = _holding(facts, _reading(facts, around))
    return Diagnosis(
        kind=kind.id,
        title=reading.title or kind.title,
        verdict=reading.verdict,
        what=facts.message,
        exception=facts.exception,
        lines=(failure.first, failure.last),
        line=facts.number,
        count=count,
        writers=tuple(writer for writer in writers if writer),
        phase=facts.phase,
        stage=reading.stage or (_TRANSFER if facts.in_transfer else ""),
        op=facts.op or groups.get("op", ""),
        operands=reading.operands,
        tokens=facts.tokens if _counts_tokens(facts, reading) else "",
        widths=_ordered(reading, facts, around),
        rule=rule_of(facts, reading),
        alignments=reading.alignments,
        cause=reading.cause,
        against=reading.against,
        look=reading.look,
        user_line=facts.user_line,
        relatives=_relatives(facts, reading, around),
        tries=reading.tries,
        finding=_finding(facts, reading),
    )


def _ordered(reading: Reading, facts: Facts, around: Surroundings) -> tuple[Width, ...]:
    """The widths with the models of each in an order: first those that fit what else the text says.

    Where a named model has the true width, other models that have the padded one by chance are left out.
    """
    context = context_of(facts, around, [width.size for width in reading.widths])
    told = [_of_models(width, _telling(reading, facts, context, width)) for width in reading.widths]
    if not any(context.names(width.size) for width in told if not width.padded):
        return tuple(told)
    own = {width.size: tuple(map(str, context.own(width.size))) for width in told if width.padded}
    return tuple(replace(width, models=own.get(width.size, width.models)) for width in told)


def _telling(reading: Reading, facts: Facts, context: Context, width: Width) -> Iterable[Owner] | None:
    """The owners of a true width that say something of it; None where a reader chose those that are told.

    Of sizes that are none of this family's, a half or a share is told of a model that the text names, or that has the other
    size: of so many models nearly any size is some share. Where the text speaks of adapters, a size is most often of theirs.
    """
    if not _has_any(width):
        return None
    found = context.ordered(width.size)
    if reading.verdict != OTHER:
        return found
    beside = {one.model for other in reading.widths if other != width for one in owners(other.size) if one.whole}
    adapted, near = speaks_of("adapters", facts), beside.union(context.named)
    return [
        owner for owner in found if owner.model in (context.named if adapted else near) or (owner.whole and not adapted)
    ]


def _of_models(width: Width, found: Iterable[Owner] | None) -> Width:
    return width if found is None else replace(width, models=tuple(map(str, found)))


def _has_any(width: Width) -> bool:
    """Whether a true width is told with everybody who has it, and not with those that a reader chose."""
    return not width.padded and width.models == tuple(map(str, owners(width.size)))


def _counts_tokens(facts: Facts, reading: Reading) -> bool:
    """Whether the rows of a failure's tensors are tokens: those of a layer with experts, or of an activation that is padded."""
    if reading.verdict == OTHER or "blocks" in reading.tags:
        return False
    return reading.rule != "no rule" or facts.seen("moe")


def _reading(facts: Facts, around: Surroundings) -> Reading:
    kind = facts.match.kind
    if kind.reader in _OF_SIZES and of_samples(facts):
        return read_samples(facts)
    if kind is _UNKNOWN:
        return read_unnamed(facts, around)
    reading = READERS[kind.reader](facts, around)
    return reading if kind.reader or reading.verdict != OTHER else with_pair(facts, around, reading)


def _holding(facts: Facts, reading: Reading) -> Reading:
    """The reading without what the text contradicts: two fake tensors that meet in a trace may be of a wrong fake before them."""
    if facts.phase != "traced" or not any(text.startswith(NO_FAKE) for text in reading.against):
        return reading
    against = tuple(text for text in reading.against if not text.startswith(NO_FAKE))
    return replace(reading, against=against, look="; ".join(filter(None, (reading.look, _EAGER))))


def _unknown(texts: Texts) -> tuple[Match, int]:
    """The last exception's line of a failure that no kind knows."""
    for line in reversed(texts.lines):
        if EXCEPTION.match(line.text.lstrip()):
            return Match(_UNKNOWN, 0, {}, " ".join(line.text.split()), 0, False), line.number
    if found := named_in(texts):
        return Match(_UNKNOWN, 0, {}, found[0], 0, False), texts.messages.number(found.start())
    return Match(_UNKNOWN, 0, {}, "", 0, False), texts.lines[0].number


def _relatives(facts: Facts, reading: Reading, around: Surroundings) -> tuple[Relative, ...]:
    return tuple(
        Relative(
            bug.id,
            bug.fixed_by,
            bug.mechanism,
            bug.releases(),
            tuple(bug.status(version) for version in around.versions.get(bug.package, ())),
        )
        for bug in relatives(facts.match.kind.id, reading.tags, facts.whole)
    )


def _finding(facts: Facts, reading: Reading) -> str:
    """The kind of finding that the harness reports of such a failure: the first whose conditions are met."""
    for entry in facts.match.kind.findings:
        met = (
            entry.get("verdict", reading.verdict) == reading.verdict,
            "tag" not in entry or entry["tag"] in reading.tags,
            "text" not in entry or re.search(entry["text"], facts.whole),
        )
        if all(met):
            return str(entry["kind"])
    return "raised"
