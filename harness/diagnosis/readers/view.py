"""A view, or a kernel, that wants contiguous memory."""

import ast
import re

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.frames import Frame
from harness.diagnosis.owners import owners
from harness.diagnosis.readers.ops.quantised import blocks, viewed
from harness.diagnosis.readers.pairs import modes, padded, speaks
from harness.diagnosis.statements.parts import parsed
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks, flags, in_place_of, model_without_widths
from harness.diagnosis.widths import read_pair

# x[..., :width] and x[:, :width]
_CUT = re.compile(r"\[\.\.\., ?: ?\w|\[:, ?: ?\w")
_LINE, _CALLERS = 120, 4
# The name whose view failed.
_VIEWED = re.compile(r"\b(?P<name>[A-Za-z_]\w*)\.(?:view|flatten|view_as)\(")
_CALLS = re.compile(r"all_?reduce|reduce_scatter|all_?gather|all_to_all", re.I)
_REDUCES = re.compile(
    r"all_?reduce|reduce_scatter|all_?gather|all_to_all|symm_mem|pynccl|broadcast_ep|ProcessGroup|distributed_c10d",
    re.I,
)
_ATTENDS = re.compile(r"query|_q\b|\bq\b|kv_cache|attn|attention")
# What attention gives: its name in a call of view.
_OUTPUT = re.compile(r"\b(?:attn_|attention_|context_)?(?:out|outputs?|context)\.(?:view|transpose|permute)")
_FITS = "a wrong width: the number of elements fits"


def read_strided(facts: Facts, around: Surroundings, have: tuple[str, ...], strides: tuple[str, ...]) -> Reading:
    """The message of a fake view: its sizes and strides say whether rows lie further apart than they are wide."""
    numbers = (have[-1:] or ("",)) + (strides[-2:-1] or ("",))
    if len(have) == len(strides) and strides[-1:] == ("1",) and all(number.isdigit() for number in numbers):
        width, pitch = map(int, numbers)
        pair = read_pair(width, pitch) if 0 < width < pitch else None
        if pair is not None and pair.possible:
            reduced = facts.seen("collective")
            return padded(
                pair,
                ("pitch", "collective") if reduced else ("pitch",),
                stage="all-reduce" if reduced else "a view after the unpad",
                operands=(f"rows of {width} that lie {pitch} apart",),
                cause=f"Cutting the padding off gave a strided view, {width} of every {pitch}, and nothing made it "
                f"contiguous: {pair.rounded()}.",
                against=("a wrong width: the sizes are right, the strides are not",),
                look=".contiguous() after the slice, or slice after the view",
                tries=checks(facts, around, pair, modes(facts), shared=False, more=" --tp 2"),
            )
    if have[-1:] and have[-1].isdigit() and _is_symbol(strides, have):
        return _sliced(facts, around, int(have[-1]), strides[-2])
    says = "Its strides are not those of padding that was cut off: dimensions were swapped, or it is a slice of something else."
    return _plain(facts, around, says, OTHER)


def _is_symbol(strides: tuple[str, ...], have: tuple[str, ...]) -> bool:
    """Whether rows are dense and lie a symbol apart, which is not the tensor's own width."""
    return strides[-1:] == ("1",) and len(have) == len(strides) > 1 and not strides[-2].isdigit()


def _sliced(facts: Facts, around: Surroundings, width: int, pitch: str) -> Reading:
    """Columns cut off a wider tensor whose width the trace has as a symbol."""
    known = [str(owner) for owner in owners(width) if owner.part in ("hidden size", "latent size")]
    return Reading(
        verdict=FAMILY if known and speaks(facts) else UNDECIDED,
        stage="a view after a slice of columns",
        operands=(f"rows of {width} that lie {pitch} apart",),
        cause=f"Columns were cut off a wider tensor, which gave a strided view: {width} of every {pitch}. The width of that "
        "tensor is a symbol in the trace, so the text does not say whether the rest was padding. Nothing made it contiguous.",
        against=(_FITS,),
        look=".contiguous() after the slice, or slice after the view; mark the width as static to see its number",
        widths=(Width(width, False, tuple(known)),),
        tags=frozenset(("pitch",)),
        tries=(f"harness check {in_place_of(facts, around)} --modes eager,fake-dynamic",),
    )


def read_view(facts: Facts, around: Surroundings) -> Reading:
    """The message of eager torch, which has no sizes: what the frames say."""
    if _is_reduced(facts):
        return _reduced(facts, around)
    if _ATTENDS.search(facts.match.text):
        return _attended(facts)
    cut = next((frame for frame in reversed(facts.frames) if _CUT.search(frame.code)), None)
    if cut or (not facts.frames and _CUT.search(facts.whole)):
        says = "The code in the text cuts columns off before it, which gives such a tensor."
        ours = _is_ours(cut) if cut else speaks(facts)
        return _plain(facts, around, says, FAMILY if ours else UNDECIDED)
    if made := _made_by_cut(facts):
        says = "The text shows the line that made it, which cuts columns off."
        ours = speaks(facts) or any(speaks_for(word, made) for word in ("moe", "pad", "shared"))
        return _plain(facts, around, says, FAMILY if ours else UNDECIDED)
    if facts.seen("transposed"):
        return _plain(facts, around, "The code in the text swaps dimensions before it.", OTHER)
    if facts.in_attention and _OUTPUT.search(facts.code):
        says = "The line flattens an output of attention, whose heads and tokens are most often swapped before it."
        return _plain(facts, around, says, OTHER)
    torchs = facts.match.order == 0  # torch's own message; others are of kernels, for any of their inputs
    says = "Padding that was cut off (x[..., :width]) makes such a tensor, and so do transposes; the text does not say which."
    return _plain(facts, around, says, UNDECIDED if speaks(facts) or torchs else OTHER)


def _made_by_cut(facts: Facts) -> str:
    """The last assignment in the text of what is viewed, where it cuts columns off; pytest prints the lines before.

    What is viewed may have another name in the function that called the user's line's.
    """
    viewed = _VIEWED.search(facts.code)
    given = (name for frame in reversed(facts.users[-_CALLERS:-1]) for name in _given(frame.code))
    names = (viewed["name"], *given) if viewed else ()
    return next((value for name in names if (value := _cut_of(name, facts.whole))), "")


def _given(code: str) -> list[str]:
    """The names that a line gives to calls."""
    tree = parsed(code)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
    return [given.id for call in calls for given in call.args if isinstance(given, ast.Name)]


def _cut_of(name: str, text: str) -> str:
    """The last assignment of a name in a text, its value as pytest prints it aside, where it cuts columns off."""
    made = [*re.finditer(rf"(?<![\w.]){name} = (?!{name}\.(?:view|flatten)|tensor\((?:\[|\.\.\.))", text)]
    value = text[made[-1].start() :][:_LINE].partition(" > ")[0] if made else ""
    cut = _CUT.search(value)
    return value if cut and re.fullmatch(rf"{name} = [\w.]+(?:\([^()]*\))?", value[: cut.start()]) else ""


def _is_ours(cut: Frame) -> bool:
    """Whether the line that cuts columns off is of a layer with experts, or of padding."""
    return any(speaks_for(word, f"{cut.file} {cut.function} {cut.code}") for word in ("moe", "pad", "shared"))


def _is_reduced(facts: Facts) -> bool:
    """Whether a collective was given the tensor: by the user's line and those around it, where the text has frames."""
    if not facts.frames:
        return facts.seen("collective")
    near = " ".join(f"{frame.function} {frame.code} {frame.file}" for frame in facts.frames[-3:])
    line = f"{facts.function} {facts.code} {facts.user_line} {facts.match.text}"
    return bool(_REDUCES.search(near) or _REDUCES.search(line))


def _attended(facts: Facts) -> Reading:
    """A check whose own words are of attention."""
    return Reading(
        verdict=OTHER,
        stage="attention, a check of its inputs",
        cause="A kernel of attention wants another layout of an input than it is given: a slice of the batch, swapped dimensions, "
        "or a stride that differs where a size is 1, which is_contiguous() does not see.",
        against=("padding of an expert's width: no routed output comes there", _FITS),
        look="sizes and strides of that input at the user's line; .clone(memory_format=torch.contiguous_format) makes them anew",
    )


def _reduced(facts: Facts, around: Surroundings) -> Reading:
    model = around.models[0] if around.models else None
    ranks = around.ranks_at(facts.number)
    torchs = facts.match.order == 0
    own = torchs and bool(_VIEWED.search(facts.code))  # then any number of ranks fails
    does = "flattens its input with view(-1)" if torchs else "wants contiguous memory"
    does = "takes its input through a view at the user's line" if own else does
    return Reading(
        verdict=FAMILY if torchs or speaks(facts) else UNDECIDED,
        stage=_collective(facts),
        cause=f"A collective {does} and was given a tensor that is not contiguous. "
        f"Cutting the padding off gives such a view{'' if torchs else ', and so do transposes and other slices'}.",
        against=(
            _FITS
            if not torchs
            else "a wrong width: a view of another number of elements reads 'is invalid for input of size'",
            *(() if own else ("one rank: without a collective nothing asks for it, so it needs two",)),
        ),
        look=".contiguous() before the collective, or cut the padding off after it",
        rule=f"the log names {model.name}, hidden size {model.hidden}" if model else "",
        tags=frozenset(("collective",) if torchs or speaks(facts) else ("contiguous",)),
        tries=flags(
            facts,
            around,
            f"--models {model_without_widths(facts, around)} --tp {max(ranks, 2)} --modes eager,compiled",
        ),
    )


def _collective(facts: Facts) -> str:
    """The collective that the user's line calls, else the one that the text names; an all-reduce where it names none."""
    found = _CALLS.search(f"{facts.function} {facts.code}") or _CALLS.search(facts.whole)
    return found[0].lower().replace("_", "-").replace("allreduce", "all-reduce") if found else "all-reduce"


def _checked(facts: Facts) -> bool:
    """Whether the message is a kernel's own, of any of its inputs, and not torch's of a view."""
    return facts.match.kind.id == "view" and facts.match.order > 0


def _plain(facts: Facts, around: Surroundings, says: str, verdict: str) -> Reading:
    return Reading(
        verdict=verdict,
        stage=viewed(facts, _checked(facts)),
        cause=f"A tensor that is not contiguous is viewed, or given to a kernel that wants it contiguous. {says}"
        f"{blocks(facts, _checked(facts))}",
        against=(_FITS,),
        look="the tensor's strides at the user's line; .reshape or .contiguous() there",
        tries=(f"harness check {in_place_of(facts, around)} --modes eager",) if verdict != OTHER else (),
    )
