"""Inductor's assert_size_stride, and torch's own comparison of real with fake: which side said what, and of which value."""

import re
from dataclasses import dataclass

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import TORCHS_OWN, Facts, op_name, sizes
from harness.diagnosis.readers.sizes import as_data, widths
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import audit, checks
from harness.diagnosis.widths import Pair, read_pair

_INPUT = re.compile(
    r"assert_size_stride\((?:arg\d+_\d+|primals_\d+|tangents_\d+|L_\w+|l_\w+|arg_\w+)\b|, ?'input'\)|Error in op: ?input\b"
)
_ASSERT = re.compile(r"assert_size_stride\((?P<value>\w+), ?\((?P<sizes>[^()]*)\), ?\((?P<strides>[^()]*)\)")
_MADE_BY = r"\b{} ?= ?torch\.ops\.(?P<op>\w+\.\w+)"
_CALLS = re.compile(r"\b\w+ ?= ?torch\.ops\.(?P<op>\w+\.\w+)\.\w+\(")


@dataclass(frozen=True, slots=True)
class Dim:
    """One dimension that the message lists: what the value has (real) and what the compiled code was told (said)."""

    real: int
    said: int
    real_stride: int | None
    said_stride: int | None
    dim: int


def read_layout(facts: Facts, around: Surroundings) -> Reading:
    """Whose value it is (an input, an op's, torch's own), then what differs: size, row pitch, order of dimensions."""
    dims = _dims(facts)
    if _INPUT.search(facts.whole):
        return _input(facts, dims)
    op = facts.op or _op_of_value(facts)
    if op.partition("::")[0] in TORCHS_OWN:
        return _torchs_own(op, dims)
    if not dims:
        return _no_numbers(op)
    if not op and facts.match.kind.id == "size-stride-assert":
        return _nobody(facts, around, dims)
    return _of_op(facts, around, dims, op or "the op that was checked")


def _dims(facts: Facts) -> list[Dim]:
    found: dict[tuple[int, ...], Dim] = {}
    for match in (facts.match, *facts.texts.every(facts.match)):
        groups = match.groups
        if {"real", "said", "dim"} <= groups.keys():
            numbers = [groups.get(name, "") for name in ("real", "said", "real_stride", "said_stride", "dim")]
            if numbers[0].isdigit() and numbers[1].isdigit():
                real_stride, said_stride = (int(n) if n.isdigit() else None for n in numbers[2:4])
                dim = Dim(int(numbers[0]), int(numbers[1]), real_stride, said_stride, int(numbers[4]))
                found.setdefault((dim.dim, dim.real, dim.said, dim.real_stride or 0), dim)
        elif "real_shape" in groups:
            return _compared(groups)
    return sorted(found.values(), key=lambda dim: dim.dim)


def _compared(groups: dict[str, str]) -> list[Dim]:
    """Dimensions of two written shapes, or of two written strides."""
    real, said = sizes(groups["real_shape"]), sizes(groups["said_shape"])
    pairs = [
        (place, int(a), int(b))
        for place, (a, b) in enumerate(zip(real, said, strict=False))
        if a.isdigit() and b.isdigit()
    ]
    if groups.get("what", "").startswith("Stride"):
        return [Dim(0, 0, a, b, place) for place, a, b in pairs if a != b]
    return [Dim(a, b, None, None, place) for place, a, b in pairs if a != b]


def _op_of_value(facts: Facts) -> str:
    """The op whose result the assert is on, where the generated code stands in the text."""
    on = _ASSERT.search(facts.whole)
    made = re.search(_MADE_BY.format(on["value"]), facts.whole) if on else None
    if made:
        return op_name(made["op"])
    return ""


def _input(facts: Facts, dims: list[Dim]) -> Reading:
    sized = next((dim for dim in dims if dim.real != dim.said), None)
    pitch = next(
        (dim for dim in dims if dim.real == dim.said and (dim.real_stride or 0) > (dim.said_stride or 0)), None
    )
    if sized:
        says = f"It was compiled for size {sized.said} in dimension {sized.dim} and is given {sized.real}."
        numbers: tuple[Width, ...] = (Width(sized.said, False, ()), Width(sized.real, False, ()))
    elif pitch:
        says = f"It was dense when it was compiled (stride {pitch.said_stride}) and is a slice of a wider buffer at the call (rows {pitch.real_stride} apart)."
        numbers = (Width(pitch.said_stride or 0, False, ()), Width(pitch.real_stride or 0, False, ()))
    else:
        says, numbers = "Its sizes or strides at the call are not those that it was compiled for.", ()
    return Reading(
        verdict=OTHER,
        stage="an input of a compiled graph",
        cause=f"The assert is on an input of the compiled graph, not on what an op gave. {says}",
        against=(
            "a wrong fake: no fake makes an input; torch's hint about one does not apply",
            "padding: an input's rows may lie further apart for any reason",
        ),
        look="the caller: the same strides and sizes as at the first call, or .contiguous(); a compiled artefact that is used again needs its guards",
        widths=numbers,
        rule="a row pitch" if pitch and not sized else "no rule",
        tags=frozenset(("input", *(("pitch",) if pitch and not sized else ()))),
    )


def _torchs_own(op: str, dims: list[Dim]) -> Reading:
    return Reading(
        verdict=OTHER,
        stage=op,
        cause=f"The value is {op}'s, an op of torch itself: what torch's compiler expects of it is not what its kernel gives.",
        against=("a custom op's fake: the op is torch's own", "padding: the layer's code has no part in it"),
        look="torch's issue tracker, by that op's name; another release of torch",
        tags=frozenset(("torchs-own",)),
    )


def _no_numbers(op: str) -> Reading:
    return Reading(
        verdict=UNDECIDED,
        stage=op or "a value in compiled code",
        cause="Compiled code met a value of another layout than it was told. The text does not have the numbers, the line 'expected size ...'.",
        look="the whole message: the lines from AssertionError to 'Error in op'",
        tries=audit(op, "shape,stride,inductor"),
    )


def _nobody(facts: Facts, around: Surroundings, dims: list[Dim]) -> Reading:
    """Neither an op line nor an input's name: nobody can be blamed from this text."""
    what = _difference(facts, dims)
    calls = sorted({op_name(found["op"]) for found in _CALLS.finditer(facts.whole)})
    names = f" The generated code in the text calls {', '.join(calls)}." if calls else ""
    return Reading(
        verdict=FAMILY if what.pair and what.pair.padded else UNDECIDED,
        stage="a value in compiled code: the text has neither an op line nor the name of an input",
        cause=f"Compiled code was told another layout than it met: {what.says} Either an op's fake says it wrongly, or an input is laid out otherwise than when it was compiled.{names}",
        against=("a wrong fake alone: without the line 'Error in op' an input is possible too",),
        look="the lines below it ('Error in op'), or the assert above it: arg7_1 or primals_3 is an input, buf12 an op's result",
        widths=what.widths,
        rule=what.rule,
        alignments=as_data(what.pair) if what.pair else (),
        tags=what.tags,
        tries=(
            checks(facts, around, what.pair, "eager,compiled", shared=False)
            if what.pair and what.pair.padded
            else audit(calls[0] if len(calls) == 1 else "", "shape,stride,inductor")
        ),
    )


@dataclass(frozen=True, slots=True)
class _Difference:
    says: str
    cause: str
    rule: str
    tags: frozenset[str]
    pair: Pair | None = None
    widths: tuple[Width, ...] = ()


def _of_op(facts: Facts, around: Surroundings, dims: list[Dim], op: str) -> Reading:
    what = _difference(facts, dims)
    named = op if "::" in op else ""
    narrow = " --kernels narrow" if "real-narrow" in what.tags else ""
    releases = (
        ("harness vllm 0.20.1 0.20.2",)
        if named.startswith("vllm::moe_forward") and {"padded", "real-narrow"} <= what.tags
        else ()
    )
    judged = (
        checks(facts, around, what.pair, "eager,compiled", shared=False, more=narrow)[:1]
        if what.pair and what.pair.padded
        else ()
    )
    return Reading(
        verdict=FAMILY,
        stage=f"op {op}",
        operands=("real: what the kernel gave", "said: what its fake told the compiler"),
        cause=f"The fake of {op} and its kernel disagree: {what.says} {what.cause}".strip(),
        against=(
            "an input of the graph: the text names an op",
            "an add of two widths: that fails while tracing, and here the trace went through",
        ),
        look="the op's register_fake beside what its kernel returns; torch.library.opcheck with these sizes",
        widths=what.widths,
        rule=what.rule,
        alignments=as_data(what.pair) if what.pair else (),
        tags=what.tags | {"op"},
        tries=(*_version_tries(releases, around), *audit(named, _rows(what)), *judged),
    )


def _rows(what: _Difference) -> str:
    return "shape,stride,inductor" if what.pair or "rows" in what.tags else "stride,inductor"


def _version_tries(releases: tuple[str, ...], around: Surroundings) -> tuple[str, ...]:
    known = around.release("vllm")
    return (f"harness vllm {known} 0.20.2",) if releases and known and known != "0.20.2" else releases


def _difference(facts: Facts, dims: list[Dim]) -> _Difference:
    """What differs between real and said."""
    last = max((dim.dim for dim in dims), default=0)
    sized = [dim for dim in dims if dim.real != dim.said]
    if sized:
        dim = next((d for d in sized if d.dim == last or d.dim > 0), sized[0])
        return _sized(dim, single=len(dims) == 1)
    return _strided(facts, dims)


def _sized(dim: Dim, single: bool) -> _Difference:
    says = f"size {dim.real} in dimension {dim.dim}, where the fake says {dim.said}."
    if not dim.real or not dim.said:
        return _Difference(says, "", "no rule", frozenset(("rows",)))
    pair = read_pair(dim.real, dim.said)
    side = "real-narrow" if dim.real < dim.said else "real-wide"
    if dim.dim == 0 and not pair.exact_owners:
        return _Difference(
            says,
            "Dimension 0 counts rows: the fake gives another number of them.",
            "no rule",
            frozenset(("rows", side)),
            None,
            widths(pair, padded=False),
        )
    if pair.padded or (pair.possible and not pair.ratio and not pair.heads):
        cause = (
            "the kernel wrote the true width and the fake says the padded one"
            if side == "real-narrow"
            else "the kernel wrote the padded width and the fake says the true one"
        )
        return _Difference(
            says,
            f"{cause[0].upper()}{cause[1:]}: {pair.rounded()}.",
            pair.rounded(),
            frozenset(("padded", side)),
            pair,
            widths(pair),
        )
    if pair.ratio == 2:
        cause = f"{pair.wide} is 2 x {pair.narrow}: the width of packed FP4 (two values a byte), or of gate and up as one, was taken for the output's."
        return _Difference(
            says,
            cause,
            f"{pair.wide} = 2 x {pair.narrow}",
            frozenset(("packed", side)),
            None,
            widths(pair, padded=False),
        )
    return _Difference(
        says,
        "No rule for padding makes one of the other.",
        "no rule",
        frozenset(("sizes", side)),
        None,
        widths(pair, padded=False),
    )


def _strided(facts: Facts, dims: list[Dim]) -> _Difference:
    """Sizes agree, strides do not: rows further apart, or dimensions in another order in memory."""
    off = [dim for dim in dims if dim.real_stride != dim.said_stride and dim.real_stride and dim.said_stride]
    listed = ", ".join(f"{dim.real_stride} in dimension {dim.dim} where the fake says {dim.said_stride}" for dim in off)
    says = f"the sizes agree, the strides do not ({listed or 'see the message'})."
    if (
        len(off) == 1
        and min(off[0].real_stride or 0, off[0].said_stride or 0) > 1
        and max(dim.dim for dim in dims) == off[0].dim
    ):
        real, said = off[0].real_stride or 0, off[0].said_stride or 0
        pair = read_pair(real, said)
        if pair.possible and not (pair.heads and facts.seen("attention")):
            return _pitched(facts, says, pair, real)
    return _Difference(
        says,
        "One of them has two dimensions swapped in memory: most often the fake is dense (torch.empty, empty_like) and the kernel gives a transposed or permuted view.",
        _heads_rule(dims),
        frozenset(("permuted",)),
        None,
        tuple(
            Width(size, False, ())
            for size in sorted({s for d in off for s in (d.real_stride or 0, d.said_stride or 0) if s > 128})
        ),
    )


def _pitched(facts: Facts, says: str, pair: Pair, real: int) -> _Difference:
    """A row pitch of the padded width on one side: a narrow tensor in a padded buffer, or a padded width."""
    on = _ASSERT.search(facts.whole)
    told = sizes(f"({on['sizes']})")[-1:] if on else ()
    if real == pair.narrow:
        sure = bool(told) and told[0] == str(pair.wide)
        cause = f"The kernel wrote rows of {pair.narrow} and the fake says rows of {pair.wide}: {pair.rounded()}."
        if not sure:
            cause += " The fake gives the padded width, or a slice of a padded buffer, which is the rarer."
        return _Difference(
            says, cause, pair.rounded(), frozenset(("padded", "real-narrow", "pitch")), pair, widths(pair)
        )
    cause = f"The kernel gives {pair.narrow} columns of rows that lie {pair.wide} apart, a view of its padded buffer, and the fake says a dense tensor: {pair.rounded()}."
    return _Difference(
        says, cause, pair.rounded(), frozenset(("padded", "real-wide", "pitch", "view")), pair, widths(pair)
    )


def _heads_rule(dims: list[Dim]) -> str:
    """2560 = 20 x 128: strides that are numbers of heads times the head dimension, both of which are in the message."""
    small = {dim.real for dim in dims} | {dim.real_stride for dim in dims} | {dim.said_stride for dim in dims}
    parts = []
    for stride in sorted({s for dim in dims for s in (dim.real_stride, dim.said_stride) if s and s > 128}):
        found = next(
            (
                f"{stride} = {stride // size} x {size}"
                for size in (128, 64)
                if size in small and stride % size == 0 and stride // size in small
            ),
            "",
        )
        parts += [found] if found else []
    return f"{', '.join(parts)}: no padding" if parts else "no rule"
