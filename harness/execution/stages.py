"""Which stage of the layer a dispatched op belongs to, inferred from the op, its widths, and where its inputs came from.

A layer needs no annotations. The same matmul is the shared expert's before the routed experts, and the latent
up-projection's after them, so what decides is whether an input came through the routed experts.
"""

from harness.matrix.case import Case
from harness.ops.collectives import is_reduction
from harness.ops.tensor_meta import TensorMeta

BUILD = "weight preparation"
DOWN = "latent down-projection"
PAD = "pad"
ROUTER = "router"
EXPERTS = "routed experts"
UNPAD = "unpad"
SCALING = "routed scaling"
UP = "latent up-projection"
SHARED = "shared expert"
ADD = "shared add"
REDUCE = "all-reduce"
OUTPUT = "output"
SUBMODULES = {"router": ROUTER, "experts": EXPERTS, "shared": SHARED}
"""The stage of each submodule that a subject can declare."""

_MATMULS = {"mm", "addmm", "linear", "matmul", "bmm", "_scaled_mm", "mkldnn_linear"}
_PADS = {"constant_pad_nd", "pad"}
_CUTS = {"slice", "narrow", "split", "split_with_sizes", "as_strided", "index_select"}
_COPIES = {"clone", "contiguous", "copy", "_to_copy", "view", "reshape", "_unsafe_view"}
_ADDS = {"add", "add_", "sub"}
_SCALES = {"mul", "mul_", "div", "div_"}
# How rows are given to experts. A shared expert takes all rows in their order.
_INDEXING = {
    "index",
    "index_select",
    "gather",
    "take_along_dim",
    "sort",
    "argsort",
    "topk",
    "searchsorted",
    "bincount",
    "cumsum",
}
_AFTER = dict.fromkeys(_CUTS | _COPIES, UNPAD) | dict.fromkeys(_SCALES, SCALING) | dict.fromkeys(_MATMULS, UP)


def is_scale(op: str) -> bool:
    """Whether an op multiplies or divides its first input."""
    return op.partition("::")[2] in _SCALES


def is_cut(op: str) -> bool:
    """Whether an op takes a part of its first input, as a view or, by indices, as a copy."""
    return op.partition("::")[2] in _CUTS


def is_matmul(op: str) -> bool:
    """Whether an op is a product with a weight."""
    return op.partition("::")[2] in _MATMULS


def stage_of(
    op: str,
    inputs: tuple[TensorMeta, ...],
    routed: tuple[bool, ...],
    case: Case,
    experts: str,
    submodules: bool = False,
) -> str:
    """The stage of an op outside the declared submodules, or the op's own name where no stage fits.

    ``routed`` says for each input whether it came through the routed experts; ``experts`` is their op's name, empty where
    the layer has none. ``submodules``: the shared expert is a submodule, or there is none.
    """
    if is_reduction(op):
        return REDUCE
    if op == experts:
        return EXPERTS
    name = op.partition("::")[2]
    if any(routed):
        after = _after(name, inputs, routed)
        return name if after == UNPAD and submodules and case.padded == case.width else after
    # Without their op or their submodule nothing tells the routed experts' own matmuls from the shared expert's.
    known = _before(name, inputs, case)
    return name if known == SHARED and (submodules or not experts) else known


def _after(name: str, inputs: tuple[TensorMeta, ...], routed: tuple[bool, ...]) -> str:
    if name in _ADDS:
        return ADD if len(inputs) > 1 and not all(routed) else name
    return _AFTER.get(name, name)


def _before(name: str, inputs: tuple[TensorMeta, ...], case: Case) -> str:
    if name in _PADS:
        return PAD
    if case.latent and name in _MATMULS and case.latent in _matmul_widths(inputs) and inputs[0].width == case.hidden:
        return DOWN
    return SHARED if case.shared and name not in _COPIES | _INDEXING else name


def _matmul_widths(inputs: tuple[TensorMeta, ...]) -> set[object]:
    """The widths that a matmul may give. Both sizes of its weight count, since mm takes [K, N] and linear [N, K]."""
    return {size for meta in inputs[1:] for size in meta.shape}
