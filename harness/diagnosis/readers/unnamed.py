"""An exception whose words no kind knows: what is left are the sizes that its message has."""

import re
from dataclasses import replace
from itertools import combinations

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import TORCHS_OWN
from harness.diagnosis.readers.pairs import as_data, modes, widths
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import Pair, read_pair

_SIZE = re.compile(r"(?<![\w.#/:-])\d{3,6}(?![\w%/:-]|\.\d)|(?<=\dx)\d{3,6}(?![\w.])|(?<![\w.])\d{3,6}(?=x\d)")
_OF_SIZES = re.compile(r"size|shape|dim|width|\bvs\b|==|!=", re.I)
_OF_OTHERS = re.compile(
    r"://|token|context|request|byte|[KMG]i?B\b|second|\bms\b|\bport\b|vocab|embedding|sequence|batch[_ ]size", re.I
)
_OF_WIDTHS = re.compile(r"hidden|intermediate|width|shape|\.size\((?:-1|1)\)", re.I)
_OF_OURS = re.compile(rf"fake|graph|captur|compil|\bpad|stride|meta tensor|{_OF_WIDTHS.pattern}", re.I)
_PLACE = re.compile(r"[^\s'\"]+\.py\b\S*")  # a file's name says nothing of what failed
_HEADING = re.compile(r"Error when making fake tensor call$")
_OF_INDICES = re.compile(r"\b[Ii]nd(?:ex|ices)\b")  # a place is no width
_OF_WIDTH = re.compile(r"padding|(?:a|two) widths?|a wrong width")  # what a reading says of widths
_NO_WORDS = "padding, fakes and graphs: the message has no words of theirs"
_CUT = re.compile(r"^(?:FAILED|ERROR) \S+\.py::.*\.\.\.$")  # pytest's summary, as wide as the terminal
# A sentence, not the first, that begins with what to do. "Check failed" and the like begin with a noun.
_ADVICE = re.compile(
    r"[.!)\]] (?P<advice>(?:(?:Please|Try|Consider) (?:to )?)?(?i:increas|decreas|reduc|set|us|pass|rais|lower|enabl|disabl|install"
    r"|upgrad|updat|specify|provid|make sure|ensur|run|add|remov|switch)(?:e|t?ing)? (?!fail|of |error|is |was )"
    r"(?:[^.;!]|\.(?=\S)){3,200})(?:[.;!]|$)"
)
# A message that lists more numbers than these is a table, and two of them fit by chance.
_MOST = 6
_LINE = 240


def read_unnamed(facts: Facts, around: Surroundings) -> Reading:
    """The exception's name; where its message has a model's hidden size and that size padded, that it may be of this family."""
    pair = _pair(_message(facts))
    if pair is None and facts.called and _is_custom(facts.op):
        return _fake_call(facts)
    if pair is None and _HEADING.search(facts.match.text):
        return _heading(facts)
    if pair is None:
        said = _PLACE.sub("", _message(facts)) + (f" {facts.code}" if facts.code.startswith("assert") else "")
        if _CUT.search(facts.message) and _OF_SIZES.search(said):
            return _cut(facts)
        of_experts = bool(_OF_WIDTHS.search(said)) and facts.seen("moe")
        return Reading(
            verdict=UNDECIDED if of_experts else OTHER,
            cause=f"{facts.exception or 'An error'}: none of the failures that are known here."
            + (" It speaks of widths, in a text with words of a layer with experts." if of_experts else ""),
            against=() if _OF_OURS.search(said) else (_NO_WORDS,),
            look=_advised(facts) + (facts.user_line or "the last frame of its traceback"),
        )
    return Reading(
        verdict=UNDECIDED,
        cause=f"The message has a model's hidden size and that size padded: {pair.rounded()}. Its words are not known here.",
        against=("chance: only the two sizes speak for padding",),
        look=facts.user_line or "the last frame of its traceback",
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tries=checks(facts, around, pair, modes(facts)),
    )


def _advised(facts: Facts) -> str:
    """What the message itself says to do, quoted, with what parts it from where to look; empty where it says nothing."""
    found = _ADVICE.search(" ".join(_message(facts).split()))
    found = found if found and found["advice"][0].isupper() else None
    return f'what the message says to do ("{found["advice"].rstrip(".")}"); ' if found else ""


def _cut(facts: Facts) -> Reading:
    """A line of pytest's summary that is as wide as the terminal and ends within its message, which speaks of sizes."""
    return Reading(
        verdict=UNDECIDED,
        cause=f"{facts.exception or 'An error'}: the summary has only the beginning of its message, which speaks of sizes.",
        look="the same run with -vv, which cuts no line of the summary, or with another --tb than no",
    )


def with_pair(facts: Facts, around: Surroundings, reading: Reading) -> Reading:
    """A reading that is not of this family; where the message has a model's hidden size and that size padded, it may be."""
    pair = None if _OF_INDICES.search(facts.match.text) else _pair(_message(facts))
    if pair is None:
        return reading
    return replace(
        reading,
        verdict=UNDECIDED,
        cause=f"{reading.cause} The message has a model's hidden size and that size padded: {pair.rounded()}.",
        against=tuple(text for text in reading.against if not _OF_WIDTH.match(text)),
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tries=(*reading.tries, *checks(facts, around, pair, modes(facts))),
    )


def _message(facts: Facts) -> str:
    """The exception's own line, and what a terminal broke off it."""
    text, line = facts.texts.messages.text, facts.match.text
    place = text.find(line)
    return text[place : place + max(len(line), _LINE)] if line and place >= 0 else line


def _pair(message: str) -> Pair | None:
    """The one pair of sizes in a message of which one is a model's hidden size, and the other that size padded."""
    if not _OF_SIZES.search(message) or _OF_OTHERS.search(message):
        return None
    sizes = sorted({int(found[0]) for found in _SIZE.finditer(message)})
    if len(sizes) > _MOST:
        return None
    pairs = [
        pair for pair in (read_pair(a, b) for a, b in combinations(sizes, 2)) if pair.padded and pair.hidden_owners
    ]
    return pairs[0] if len(pairs) == 1 else None


def _is_custom(op: str) -> bool:
    return "::" in op and op.partition("::")[0] not in TORCHS_OWN


def _fake_call(facts: Facts) -> Reading:
    """A custom op that Dynamo could not run on fake tensors; why is not known here, or the text is cut off before it."""
    return Reading(
        verdict=UNDECIDED,
        stage=f"op {facts.op}",
        cause=f"While tracing, {facts.op} failed on fake tensors. The reason is none that is known here, or the text ends before "
        "it: no fake, a fake of other arguments, or two sizes that do not fit would each read so.",
        against=("the kernel: it was not run",),
        look="what stands after 'got' in that line",
        tries=(f"harness audit {facts.op} --import MODULE --rows fake,schema",),
    )


def _heading(facts: Facts) -> Reading:
    """The heading of a message of Dynamo, without the lines that say which call it was and what it met."""
    return Reading(
        verdict=UNDECIDED,
        cause="While tracing, a call failed on fake tensors. This is the heading alone: the lines that say which call, and why, "
        "are not here.",
        against=("the kernel: it was not run",),
        look=facts.user_line or "the line with 'Explanation' that follows it in the log",
    )
