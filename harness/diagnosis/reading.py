"""From the text of one failure to its diagnosis: the kind whose pattern it has, and what the kind's reader makes of it."""

import re
from collections.abc import Sequence
from dataclasses import replace

from harness.diagnosis.diagnosis import OTHER, Diagnosis, Reading, Relative
from harness.diagnosis.facts import Facts
from harness.diagnosis.known.kinds import Kind, Match, kinds
from harness.diagnosis.known.relatives import relatives
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import EXCEPTION
from harness.diagnosis.log.quoted.named import named_in
from harness.diagnosis.log.texts import Texts
from harness.diagnosis.readers import READERS
from harness.diagnosis.readers.device.filling import with_rows_told
from harness.diagnosis.readers.device.sanitizer import short
from harness.diagnosis.readers.meeting.samples import of_samples, read_samples
from harness.diagnosis.readers.models import with_models
from harness.diagnosis.readers.ops.layers import of_the_layer
from harness.diagnosis.readers.pairs import NO_FAKE, rule_of, with_words_beside
from harness.diagnosis.readers.unnamed import read_unnamed, with_pair
from harness.diagnosis.readers.weights.batch import rows_are_tokens
from harness.diagnosis.readers.weights.halves import with_halves
from harness.diagnosis.readers.weights.listed import of_a_width
from harness.diagnosis.stated.answers import as_stated
from harness.diagnosis.stated.ends import led_to
from harness.diagnosis.stated.stated import stated_in
from harness.diagnosis.surroundings import Surroundings

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
    names = tuple(shape.name for shape in around.models)
    stated = stated_in(around.start, [line.text for line in facts.texts.lines], facts.whole, around.blocking)
    stated = replace(stated, ranks=around.ranks_at(facts.number))
    facts = replace(of_a_width(facts), named=names, told=around.dispatchers, foreign=around.foreign, stated=stated)
    kind, groups = facts.match.kind, facts.match.groups
    reading = with_rows_told(_holding(facts, _reading(facts, around)), facts, around)
    told = with_models(reading, facts, around)
    reading = with_words_beside(facts, with_halves(replace(reading, rule=rule_of(facts, reading)), facts, told))
    if words := led_to(facts.texts.lines, facts.number):
        reading = replace(reading, cause=f'{reading.cause} The exception that it led to says: "{words}".')
    reading = as_stated(reading, stated.settings, facts.phase, next(iter(names), ""), facts.user_line)
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
        op=facts.op or groups.get("op", "") or short(groups.get("kernel") or ""),
        operands=reading.operands,
        tokens=facts.tokens if _counts_tokens(facts, reading) else "",
        widths=told,
        rule=reading.rule,
        alignments=reading.alignments,
        cause=reading.cause,
        against=reading.against,
        look=reading.look,
        user_line=facts.user_line,
        relatives=_relatives(facts, reading, around),
        tries=reading.tries,
        finding=_finding(facts, reading),
    )


def _counts_tokens(facts: Facts, reading: Reading) -> bool:
    """Whether the rows of a failure's tensors are tokens: those of a layer with experts, or of an activation that is padded."""
    if reading.verdict == OTHER or not reading.tags.isdisjoint(("blocks", "weight")):
        return False
    return (reading.rule != "no rule" or facts.seen("moe")) and bool(facts.tokens) and rows_are_tokens(facts)


def _reading(facts: Facts, around: Surroundings) -> Reading:
    kind = facts.match.kind
    if kind.reader in _OF_SIZES and of_samples(facts):
        return read_samples(facts)
    if kind is _UNKNOWN:
        return read_unnamed(facts, around)
    reading = READERS[kind.reader](facts, around)
    if not kind.reader and reading.verdict == OTHER:
        reading = with_pair(facts, around, reading)
    return of_the_layer(facts, reading)


def _holding(facts: Facts, reading: Reading) -> Reading:
    """The reading without what the text contradicts: tensors that meet in a trace or in compiled code may be of a wrong fake."""
    if facts.phase not in ("traced", "compiled") or NO_FAKE not in reading.against:
        return reading
    against = tuple(text for text in reading.against if text != NO_FAKE)
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
