"""A quantised weight that cannot be made: a rank's share of it is no whole number of the quantisation's blocks."""

import re
from dataclasses import dataclass

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.owners import Owner, owners
from harness.diagnosis.readers.entry import read_entry
from harness.diagnosis.readers.pairs import speaks
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import context_of, flags

# Words that only a check of a weight has, which the creation of a quantised weight makes. Spaces are optional: a terminal may
# have broken the line anywhere.
_OF_WEIGHT = re.compile(
    r"weight ?quantization ?block_|Weight ?(?:in|out)put_(?:partition_)?size|'s ?weight ?= ?\d"
    r"|(?<=in )features size is not (?:a )?multiple of"
)
_NO_SHAPE = re.compile(r"is ?not ?aligned ?with ?the ?quantized ?weight ?shape")
_OF_BLOCKS = re.compile(
    r"\bblock_[nk]\b|group_?size|weight_block_size|(?:weight|quanti[sz]ation) ?(?:block|group)", re.I
)
_SHARE = re.compile(
    r"(?P<side>(?:in|out)put|intermediate|hidden)_?(?:partition_)?size(?:_per_partition| ?per ?rank)?(?: ?of ?[\w' ]{1,40}?weight)?"
    r" ?[=:(]? ?(?P<size>\d+)\)? ?(?:is ?not|must ?be|should ?be) ?(?:evenly ?)?divisible ?by ?[a-z ]{0,40}?"
    r"(?P<block>block_[nk]|min_thread_[nk]|group_?size|weight_block_size|(?:weight|quanti[sz]ation) ?(?:block|group)(?: ?size)?)"
    r"(?:\[\d\])? ?[=:(]? ?(?P<multiple>\d+)"
)
_EXPERTS = re.compile(r"of ?(?:gate|up|down)'s", re.I)
_ATTENDS = re.compile(r"qkv|[oq]_proj|\battn|_attn|[Aa]ttention|kv_[ab]_proj")
_DENSE = re.compile(r"\b[A-Z]\w*MLP\(|lm_head|\bmlp = ")
_RANKS = (16, 8, 4, 2, 1)
_NO_KERNEL = "a kernel's check: the weights are being made, and no kernel ran"
_NOT_CUT = "padding that was not cut off: no two widths meet"


@dataclass(frozen=True, slots=True)
class _Share:
    """What a check says of a weight: its rows or columns, and the block that they are no multiple of."""

    size: int
    multiple: int
    lines: str
    block: str

    @property
    def next(self) -> int:
        """What padding would give."""
        return -(-self.size // self.multiple) * self.multiple


def read_refused(facts: Facts, around: Surroundings) -> Reading:
    """A check of a weight's blocks at its creation; the entry's own words for what a kernel refuses."""
    if _made(facts):
        return _blocks(facts, around)
    # The entry says it of any quantised weight; of one of experts it is of this family.
    return read_entry(facts, around)


def _made(facts: Facts) -> bool:
    """Whether the text shows that the weight was being made, and nothing ran yet."""
    if facts.runs_layer or facts.phase in ("traced", "compiled", "capture"):
        return False
    message = facts.match.text + facts.message
    if _OF_WEIGHT.search(message) or (_NO_SHAPE.search(message) and speaks(facts)):
        return True
    made = any(frame.function.rpartition(".")[2] == "create_weights" for frame in facts.frames)
    return made and bool(_OF_BLOCKS.search(message))


def _blocks(facts: Facts, around: Surroundings) -> Reading:
    share, ranks, verdict = _share(facts), context_of(facts, around).ranks, _verdict(facts)
    of = _models(share.size, facts, around) if share else ()
    return Reading(
        verdict=verdict,
        title="a quantised weight whose blocks do not divide a width",
        stage="creation of the weights, before they are loaded",
        cause=_cause(share, ranks, of),
        against=(_NO_KERNEL, _NOT_CUT),
        look=_look(share, ranks, verdict == FAMILY),
        widths=(Width(share.size, False, tuple(map(str, of))),) if share else (),
        rule=f"{share.size} is no multiple of {share.multiple}; the next one is {share.next}" if share else "",
        tags=frozenset(("blocks",)),
        tries=flags(facts, around, f"--models {of[0].model} --tp {of[0].ranks} --modes eager")
        if verdict != OTHER and of and of[0].ranks > 1
        else (),
    )


def _verdict(facts: Facts) -> str:
    """Of this family where the text names experts; not of it where the frames are of attention or of a dense layer."""
    near = " ".join(f"{frame.function} {frame.code}" for frame in facts.users)
    if _EXPERTS.search(facts.match.text + facts.message):
        return FAMILY
    if _ATTENDS.search(near) and not re.search(r"expert", near, re.I):
        return OTHER
    if speaks(facts):
        return FAMILY
    return OTHER if _DENSE.search(near) else UNDECIDED


def _share(facts: Facts) -> _Share | None:
    found = next(filter(None, map(_SHARE.search, (facts.message, facts.match.text, facts.whole))), None)
    if found is None or not int(found["multiple"]):
        return None
    lines = {"output": "rows", "input": "columns"}.get(found["side"], "values")
    return _Share(int(found["size"]), int(found["multiple"]), lines, found["block"])


def _models(size: int, facts: Facts, around: Surroundings) -> tuple[Owner, ...]:
    """Who has the size as a rank's share on as many ranks as the text names, else anybody; the likeliest first."""
    context = context_of(facts, around)
    found = context.ordered(size)
    split = tuple(owner for owner in found if owner.ranks == context.ranks)
    return split if split and context.ranks > 1 else found or owners(size)


def _cause(share: _Share | None, ranks: int, of: tuple[Owner, ...]) -> str:
    part = "A weight" if ranks == 1 else "A rank's share of a weight" if ranks else "A weight, or a rank's share of it,"
    if share is None:
        return (
            f"{part} is no whole number of the quantisation's groups or packed words, and nothing rounds it up first."
        )
    by = f"{share.multiple} ({share.block})"
    has = f"{part} has {share.size} {share.lines}, which is no multiple of {by}."
    if share.block.startswith("min_thread"):
        why = "The kernel that these weights are made for takes no fewer at once, and nothing pads them."
    else:
        split = "" if ranks == 1 else " which cannot be split over ranks,"
        why = f"There is one scale for each such block,{split} and nothing pads the weight to whole ones."
    return f"{has} {_whole(share, ranks, of)}{why} Padding would make it {share.next}."


def _whole(share: _Share, ranks: int, of: tuple[Owner, ...]) -> str:
    """In words, the width that was split, where the text names the number of ranks."""
    if ranks < 2:
        return ""
    models = list(dict.fromkeys(owner.model for owner in of if owner.ranks == ranks))
    named = f", as {', '.join(models[:3])} {'has' if len(models) == 1 else 'have'} it" if models else ""
    return f"{share.size} x {ranks} ranks = {share.size * ranks}{named}. "


def _look(share: _Share | None, ranks: int, experts: bool) -> str:
    if share is None:
        return "the group size of the checkpoint and the width divided by the ranks: fewer ranks, or a smaller group"
    whole = share.size * ranks
    fits = next((n for n in _RANKS if n < ranks and whole % n == 0 and (whole // n) % share.multiple == 0), 0)
    fewer = f"{fits} ranks, where a share is {whole // fits}" if fits > 1 else "" if ranks == 1 else "fewer ranks"
    spread = "whole experts on each rank (expert parallelism)" if experts else ""
    pads = "a release that pads these weights when it makes them"
    return "; ".join(filter(None, (fewer, spread, pads, "the block size in the checkpoint's quantization_config")))
