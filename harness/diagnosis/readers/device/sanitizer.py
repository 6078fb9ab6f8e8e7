"""What compute-sanitizer says of a fault: the kernel that faults, and whether that is one of experts."""

import re
from typing import NamedTuple

from harness.diagnosis.diagnosis import OTHER, Reading
from harness.diagnosis.facts import Facts

NAMED = "compute-sanitizer names the kernel, and its own backtrace the call that launched it."
_MOST = 4  # kernels that are named
_RETURNS = re.compile(r"^(?:(?:void|__global__|static)(?: |(?=\w+::)))+")
_NAMELESS = re.compile(r"\(anonymous ?namespace\)::|<unnamed>::|\(anonymous class\)::")
_OF_EXPERTS = re.compile(
    r"(?<!me)moe|MoE|MOE|[Ee]xpert|[Rr]outed|[Rr]outing|[Tt]op_?[Kk]|grouped_?g?e?mm|GroupedG|group_gemm|GroupProblem|group_?mm"
    r"|[Pp]ermute"
)


class _Sort(NamedTuple):
    """A sort of kernels that take no expert: its words in a name, what it is of, and where to look."""

    name: re.Pattern[str]
    of: str
    look: str


_OTHERS = (
    _Sort(
        re.compile(r"cache|Cache|paged_?kv|PagedKV|kv_?scatter|swap_?blocks"),
        "a cache of keys and values",
        "the slots or blocks that it is given (slot_mapping, block tables) against the size of that cache",
    ),
    _Sort(
        re.compile(r"rope(?![a-z])|rotary|Rotary|RoPE|Rope"),
        "rotary positions",
        "the positions that it is given against the rows of the table of cos and sin",
    ),
    _Sort(
        re.compile(
            r"attn|[Aa]ttention|flash_(?:fwd|bwd)|fmha|FMHA|[Ff]lashMLA|flash_?mla|(?<![a-z])mla(?![a-z])|[Pp]refillWith|DecodeWith"
        ),
        "attention",
        "the lengths and the block tables that it is given against the size of the cache of keys and values",
    ),
    _Sort(
        re.compile(r"(?<![a-z])(?:\w+_)?(?:rms|layer|group)_?norm|(?:RMS|Rms|Layer|Group)Norm|norm_(?:kernel|quant)"),
        "a norm",
        "the sizes, the strides and the alignment of the tensors that it is given",
    ),
    _Sort(
        re.compile(r"[Ee]mbedding|embed(?![a-z])|vocab"),
        "an embedding",
        "the greatest id that it is given against the rows of the table",
    ),
    _Sort(
        re.compile(r"sampl(?:e|ing)|Sampl(?:e|ing)|logits|penalt|min_p(?![a-z])"),
        "sampling",
        "the ids and the rows of logits that it is given, against the vocabulary",
    ),
    _Sort(
        re.compile(r"selective_scan|(?<![a-z])ssm|(?<![a-z])ssd_|causal_conv1d|chunk_scan|chunk_state|gated_delta"),
        "a state-space layer",
        "the state's indices that it is given against the size of the cache of states",
    ),
)


def kernels_in(facts: Facts) -> tuple[str, ...]:
    """The kernels in which compute-sanitizer found faults, in the order of the text, each once."""
    matches = (facts.match, *facts.texts.every(facts.match))
    return tuple(dict.fromkeys(short(name) for one in matches if (name := one.groups.get("kernel") or "")))


def some(kernels: tuple[str, ...]) -> str:
    """The names of kernels in words, the first ones of many."""
    more = " and others" if len(kernels) > _MOST else ""
    return ", ".join(kernels[:_MOST]) + more


def is_report(facts: Facts) -> bool:
    """Whether the text has a report of compute-sanitizer, which may have no kernel's name."""
    return "Invalid __" in facts.match.text


def short(kernel: str) -> str:
    """A kernel's name without what it returns and the arguments of its template."""
    return _RETURNS.sub("", _NAMELESS.sub("", kernel.strip())).partition("<")[0].partition("(")[0].strip()


def is_of_experts(kernel: str) -> bool:
    """Whether a kernel's name is one of experts."""
    return bool(_OF_EXPERTS.search(kernel))


def read_named(kernels: tuple[str, ...], what: str) -> Reading | None:
    """The reading where every kernel that faults is plainly none of experts; None where one may be."""
    sorts = [_sort(kernel) for kernel in kernels]
    known = [sort for sort in sorts if sort is not None]
    if not known or len(known) < len(sorts):
        return None
    of = " and of ".join(dict.fromkeys(sort.of for sort in known))
    return Reading(
        verdict=OTHER,
        stage=f"a kernel of {of}",
        cause=f"{what} {NAMED} By its name it is a kernel of {of}: no expert, and no width of one, goes into it.",
        against=(
            f"a kernel of experts: the one that faults is of {of}, whatever line the process reports the fault at",
        ),
        look="; ".join(dict.fromkeys(sort.look for sort in known)),
    )


def _sort(kernel: str) -> _Sort | None:
    return None if is_of_experts(kernel) else next((sort for sort in _OTHERS if sort.name.search(kernel)), None)
