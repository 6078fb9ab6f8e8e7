"""A view of eager torch, or a kernel, that wants contiguous memory: the message has no sizes."""

import re

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.frames import Frame
from harness.diagnosis.readers.pairs import speaks
from harness.diagnosis.readers.views.collective import is_reduced, reduced
from harness.diagnosis.readers.views.cuts import CUT, made_by_cut
from harness.diagnosis.readers.views.plain import FITS, plain
from harness.diagnosis.surroundings import Surroundings

_ATTENDS = re.compile(r"query|_q\b|\bq\b|kv_cache|attn|attention")
# What attention gives: its name in a call of view.
_OUTPUT = re.compile(r"\b(?:attn_|attention_|context_)?(?:out|outputs?|context)\.(?:view|transpose|permute)")


def read_view(facts: Facts, around: Surroundings) -> Reading:
    """The message of eager torch, which has no sizes: what the frames say."""
    if is_reduced(facts):
        return reduced(facts, around)
    if _ATTENDS.search(facts.match.text):
        return _attended(facts)
    cut = next((frame for frame in reversed(facts.frames) if CUT.search(frame.code)), None)
    if cut or (not facts.frames and CUT.search(facts.whole)):
        says = "The code in the text cuts columns off before it, which gives such a tensor."
        ours = _is_ours(cut) if cut else speaks(facts)
        return plain(facts, around, says, FAMILY if ours else UNDECIDED)
    if made := made_by_cut(facts):
        says = "The text shows the line that made it, which cuts columns off."
        ours = speaks(facts) or any(speaks_for(word, made) for word in ("moe", "pad", "shared"))
        return plain(facts, around, says, FAMILY if ours else UNDECIDED)
    if facts.seen("transposed"):
        return plain(facts, around, "The code in the text swaps dimensions before it.", OTHER)
    if facts.in_attention and _OUTPUT.search(facts.code):
        says = "The line flattens an output of attention, whose heads and tokens are most often swapped before it."
        return plain(facts, around, says, OTHER)
    torchs = facts.match.order == 0  # torch's own message; others are of kernels, for any of their inputs
    says = "Padding that was cut off (x[..., :width]) makes such a tensor, and so do transposes; the text does not say which."
    return plain(facts, around, says, UNDECIDED if speaks(facts) or torchs else OTHER)


def _is_ours(cut: Frame) -> bool:
    """Whether the line that cuts columns off is of a layer with experts, or of padding."""
    return any(speaks_for(word, f"{cut.file} {cut.function} {cut.code}") for word in ("moe", "pad", "shared"))


def _attended(facts: Facts) -> Reading:
    """A check whose own words are of attention."""
    return Reading(
        verdict=OTHER,
        stage="attention, a check of its inputs",
        cause="A kernel of attention wants another layout of an input than it is given: a slice of the batch, swapped dimensions, "
        "or a stride that differs where a size is 1, which is_contiguous() does not see.",
        against=("padding of an expert's width: no routed output comes there", FITS),
        look="sizes and strides of that input at the user's line; .clone(memory_format=torch.contiguous_format) makes them anew",
    )
