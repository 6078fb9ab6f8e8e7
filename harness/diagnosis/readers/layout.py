"""Inductor's assert_size_stride, and torch's own comparison of real with fake: of whose value it is."""

import re

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import TORCHS_OWN, op_name
from harness.diagnosis.readers.blame import of_nobody, of_result
from harness.diagnosis.readers.difference import ASSERT, Difference, Dim, difference, dims
from harness.diagnosis.readers.pairs import as_data, widths
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import audit, checks
from harness.diagnosis.widths import Pair, read_pair

_OP_LINE = re.compile(r"Error in op: ?(?P<op>\w+)")
_INPUT = re.compile(r"assert_size_stride\((?:arg\d+_\d+|primals_\d+|tangents_\d+|L_\w+|l_\w+|arg_\w+)\b|, ?'input'\)")
_RESULT = re.compile(r"assert_size_stride\((?P<value>buf\d+)\b")
_PITCH = "a row pitch"
_CALLS = re.compile(r"\b(?P<value>\w+) ?= ?torch\.ops\.(?P<op>\w+\.\w+)\.\w+\(")


def read_layout(facts: Facts, around: Surroundings) -> Reading:
    """Whose value it is comes first: torch's hint blames a fake whatever the value is."""
    listed = dims(facts)
    if _of_an_input(facts):
        return _input(listed)
    op = facts.op or _maker(facts)
    if op.partition("::")[0] in TORCHS_OWN:
        return _torchs_own(op)
    if not listed:
        return _no_numbers(facts, op)
    if not op and facts.match.kind.id == "size-stride-assert":
        return _nobodys(facts, around, difference(facts, listed), listed)
    return _ops(facts, around, difference(facts, listed), op or "the op that was checked")


def _of_an_input(facts: Facts) -> bool:
    """Whether the assert that failed is on an input: by the op line, else by the last assert that the text has."""
    if line := _OP_LINE.search(facts.whole):
        return line["op"] == "input"
    return bool(_INPUT.search(_failed(facts)))


def _failed(facts: Facts) -> str:
    """The assert that failed, and what follows it: a listing shows those before it too, in a frame that of the frame."""
    in_frames = [frame.code for frame in facts.frames if "assert_size_stride(" in frame.code]
    return in_frames[-1] if in_frames else facts.whole[max(0, facts.whole.rfind("assert_size_stride(")) :]


def _maker(facts: Facts) -> str:
    """The op whose result the assert is on, where the generated code stands in the text."""
    on = ASSERT.search(_failed(facts))
    calls = {found["value"]: op_name(found["op"]) for found in _CALLS.finditer(facts.whole)}
    return calls.get(on["value"], "") if on else ""


def _input(listed: list[Dim]) -> Reading:
    says, rule, sizes = _inputs_difference(listed)
    resized = [read_pair(dim.real, dim.said) for dim in listed if dim.real != dim.said and dim.real and dim.said]
    padded = next((pair for pair in resized if pair.padded), None)
    pitch = read_pair(sizes[0], sizes[1]) if rule == _PITCH else None
    if pitch and pitch.padded:
        return _padded_input(says, pitch)
    if padded:
        says += f" {padded.rounded()}: perhaps a tensor that was padded after it was compiled, or before."
    return Reading(
        verdict=UNDECIDED if padded else OTHER,
        stage="an input of a compiled graph",
        cause=f"The assert is on an input of the compiled graph, not on what an op gave. {says}",
        against=(
            "a wrong fake: no fake makes an input; torch's hint about one does not apply",
            *(() if resized else ("padding: an input's rows may lie further apart for any reason",)),
        ),
        look="the caller: sizes and strides as at the first call, or .contiguous(); an artefact that is used again needs its guards",
        widths=tuple(Width(size, False, (), counted=rule == _PITCH) for size in sizes),
        rule=rule,
        tags=frozenset(("input",)),
    )


def _padded_input(says: str, pair: Pair) -> Reading:
    """An input whose rows lie a padded width apart: a slice of a padded buffer, as the cut of the padding gives one."""
    return Reading(
        verdict=UNDECIDED,
        stage="an input of a compiled graph",
        cause=f"The assert is on an input of the compiled graph, not on what an op gave. {says} {pair.rounded()}: most likely the "
        "padding was cut off by a slice before the call, which leaves the padded pitch.",
        against=("a wrong fake: no fake makes an input; torch's hint about one does not apply",),
        look="the caller: .contiguous() after the cut, or the same layout when it is compiled; an artefact needs its guards",
        widths=widths(pair),
        rule=pair.rounded(),
        alignments=as_data(pair),
        tags=frozenset(("input",)),
    )


def _inputs_difference(listed: list[Dim]) -> tuple[str, str, tuple[int, ...]]:
    """In words, by which rule, and the two numbers."""
    for dim in listed:
        if dim.real != dim.said:
            says = f"It was compiled for size {dim.said} in dimension {dim.dim} and is given {dim.real}."
            return says, "no rule", (dim.said, dim.real)
    off = [dim for dim in listed if dim.real_stride != dim.said_stride]
    if len(off) > 1 or any(1 in (dim.real_stride, dim.said_stride) for dim in off):
        says = "Its dimensions lie in another order in memory than when it was compiled: transposed, or channels last."
        return says, "no rule", ()
    for dim in listed:
        real, said = dim.real_stride or 0, dim.said_stride or 0
        if real > said:
            dense = f"It was dense when it was compiled (stride {said}) and is a slice of a wider buffer at the call"
            return f"{dense} (rows {real} apart).", _PITCH, (said, real)
    return "Its sizes or strides at the call are not those that it was compiled for.", "no rule", ()


def _torchs_own(op: str) -> Reading:
    return Reading(
        verdict=OTHER,
        stage=op,
        cause=f"The value is that of {op}, an op of torch itself: torch's compiler expects of it what its kernel does not give.",
        against=(
            "a custom op's fake: the op is torch's own",
            "padding by an op of the layer: the value is of torch's own",
        ),
        look="torch's issue tracker, by that op's name; another release of torch",
        tags=frozenset(("torchs-own",)),
    )


def _no_numbers(facts: Facts, op: str) -> Reading:
    if "wrong number of dimensions" in facts.whole:
        return _of_other_rank(op)
    return Reading(
        verdict=UNDECIDED,
        stage=op or "a value in compiled code",
        cause="Compiled code met a value of another layout than it was told. The text lacks the line 'expected size ...'.",
        look="the whole message: the lines from AssertionError to 'Error in op'",
        tries=audit(op, "shape,stride,inductor"),
    )


def _of_other_rank(op: str) -> Reading:
    return Reading(
        verdict=UNDECIDED,
        stage=op or "a value in compiled code",
        cause="Compiled code met a value that has more or fewer dimensions than it was told. Either an op's fake, or torch's own "
        "decomposition of one, gives another shape than what runs, or an input has other dimensions than when it was compiled.",
        against=("padding: it changes a size, and no number of dimensions",),
        look="the assert above it: arg7_1 or primals_3 is an input, buf12 or getitem_4 an op's result; what made that value",
        tries=audit(op, "shape,stride,inductor"),
    )


def _nobodys(facts: Facts, around: Surroundings, what: Difference, listed: list[Dim]) -> Reading:
    """No op line and no input's name: nobody can be blamed from this text for sure."""
    calls = sorted({op_name(found["op"]) for found in _CALLS.finditer(facts.whole)})
    names = f" The generated code in the text calls {', '.join(calls)}." if calls else ""
    padded = what.pair is not None and what.pair.padded
    result = _RESULT.search(_failed(facts))
    of = of_result(result["value"]) if result else of_nobody(listed)
    return Reading(
        verdict=FAMILY if padded else UNDECIDED,
        stage=of.stage,
        cause=f"Compiled code was told another layout than it met: {what.says.replace('the fake says', 'it was told')} "
        f"{of.cause}{names}",
        against=of.against,
        look=of.look,
        widths=what.widths,
        rule=what.rule,
        alignments=as_data(what.pair) if what.pair else (),
        tags=what.tags,
        tries=checks(facts, around, what.pair, "eager,compiled", shared=False)
        if padded and what.pair
        else audit(calls[0] if len(calls) == 1 else "", "shape,stride,inductor"),
    )


def _ops(facts: Facts, around: Surroundings, what: Difference, op: str) -> Reading:
    return Reading(
        verdict=FAMILY,
        stage=f"op {op}",
        operands=("real: what the kernel gave", "said: what its fake told the compiler"),
        cause=f"The fake of {op} and its kernel disagree: {what.says} {what.cause}",
        against=(
            "an input of the graph: the text names an op",
            "an add of two widths: that fails while tracing, and here the trace went through",
        ),
        look="the op's register_fake beside what its kernel returns; torch.library.opcheck with these sizes",
        widths=what.widths,
        rule=what.rule,
        alignments=as_data(what.pair) if what.pair else (),
        tags=what.tags | {"op"},
        tries=_tries(facts, around, what, op),
    )


def _tries(facts: Facts, around: Surroundings, what: Difference, op: str) -> tuple[str, ...]:
    """The release that has vLLM's own such bug beside the one that fixed it; the op's audit; the width in the layer here."""
    rows = "shape,stride,inductor" if what.pair or "rows" in what.tags or "packed" in what.tags else "stride,inductor"
    found = audit(op if "::" in op else "", rows)
    if what.pair is None or not what.pair.padded:
        return found
    narrow = " --kernels narrow" if "real-narrow" in what.tags else ""
    if op.startswith("vllm::moe_forward") and narrow:
        known = around.release("vllm") or "0.20.1"
        found = (f"harness vllm {known} 0.20.2" if known != "0.20.2" else "harness vllm 0.20.2", *found)
    return (*found, checks(facts, around, what.pair, "eager,compiled", shared=False, more=narrow)[0])
