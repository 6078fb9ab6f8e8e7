"""The default plan: which rows of rule, kernel, tp and tokens run for a model, and in which modes."""

from collections.abc import Iterable

from harness.matrix.modes import MODES, ModeInfo
from harness.matrix.paths import PATHS
from harness.matrix.paths import Path as CodePath
from harness.matrix.ranks import LEAST_RANKS
from harness.matrix.shapes import Shape

DEFAULT_TOKENS = 7
DEFAULT_RULE = "trtllm-nvfp4"
# A row is (rule, kernel, tp, tokens). Every mode runs at FULL. PADDED applies where the rule pads the width, since at an
# aligned width a narrow kernel is the wide one; graphs by bucket and torch.compile's own graphs are left out there,
# because one row a model shows what they find.
FULL = ((DEFAULT_RULE, "wide", 2, DEFAULT_TOKENS),)
PADDED = (
    (DEFAULT_RULE, "wide", 1, DEFAULT_TOKENS),
    (DEFAULT_RULE, "narrow", 1, 33),
    (DEFAULT_RULE, "narrow", 2, DEFAULT_TOKENS),
)
# Compiling costs most and shows nothing new where nothing is padded, so these rows run in the other modes, and other
# token counts only in modes with a static token count.
RULES = (
    (DEFAULT_RULE, "wide", 1, DEFAULT_TOKENS),
    ("cutlass-nvfp4", "wide", 2, DEFAULT_TOKENS),
    ("none", "wide", 1, 16),
)
PADDED_MODES = ("eager", "fake", "fake-dynamic", "compiled", "compiled-dynamic", "cudagraph")
RULES_MODES = ("eager", "fake", "fake-dynamic", "cudagraph")
ONE_TOKEN = ((DEFAULT_RULE, "wide", 2, 1),)
ONE_TOKEN_MODES = ("eager", "fake", "fake-dynamic", "cudagraph")
# No CUDA graphs here: graphs by bucket run more tokens than the case has.
TOKENS = (
    (DEFAULT_RULE, "wide", 1, 2),
    (DEFAULT_RULE, "wide", 2, 33),
)
TOKENS_MODES = ("eager", "fake")
# The varied modes judge each structure of layer once, and these rows hold each structure's two kernels.
STRUCTURES = (
    (DEFAULT_RULE, "wide", 2, DEFAULT_TOKENS),
    (DEFAULT_RULE, "narrow", 1, DEFAULT_TOKENS),
)
# A code path of an engine's layer runs once on two ranks and once on one. Graphs by bucket run once, on one: what a path keeps
# for a batch is replaced by a larger one on any number of ranks. Compiling costs most, and no row has it.
PATH_ALONE = (DEFAULT_RULE, "wide", 1, 33)
PATH = ((DEFAULT_RULE, "wide", 2, DEFAULT_TOKENS), PATH_ALONE)
PATH_NARROW = ((DEFAULT_RULE, "narrow", 1, DEFAULT_TOKENS),)
PATH_MODES = ("eager", "fake", "fake-dynamic")
PATH_BUCKETS = "cudagraph-dynamic"
PATH_STRUCTURE = (DEFAULT_RULE, "wide", 1, DEFAULT_TOKENS)
PATH_VARIED = "varied-tokens"
SIZES = "varied-sizes"
# Weights at published sizes take gigabytes, and seconds to make. Two rows cover both kernels and both tensor-parallel
# sizes in every mode; shrunk sizes cover the rest.
TRUE_SIZES = ((DEFAULT_RULE, "narrow", 1, 33),)
# These rules pad the expert width so far that a layer grows up to eight times: one synthetic shape runs each.
SYNTHETIC_ROWS = {
    "synthetic-2304": ("trtllm-mxfp8", "wide", 1, DEFAULT_TOKENS),
    "synthetic-odd-intermediate": ("trtllm-mxfp4", "wide", 2, DEFAULT_TOKENS),
    "synthetic-2880-shared": ("marlin-nvfp4", "wide", 1, DEFAULT_TOKENS),
}

# Real ranks: what is cut off before the collective differs between the kernels, and nothing else of the plan above does.
REAL_RANKS = (
    (DEFAULT_RULE, "wide", LEAST_RANKS, DEFAULT_TOKENS),
    (DEFAULT_RULE, "narrow", LEAST_RANKS, DEFAULT_TOKENS),
)

Row = tuple[str, str, int, int]


def default_rows(shape: Shape, *, full: bool, brief: bool) -> list[tuple[Row, Iterable[str], bool]]:
    """(row, names of its modes, whether it applies only where the rule pads the width) of a model."""
    if full:
        return [(row, MODES, row in TRUE_SIZES) for row in (*FULL, *TRUE_SIZES)]
    if shape.path:
        return [(row, modes, False) for row, modes in _path_rows(PATHS[shape.path])]
    if brief:
        few = ((FULL, MODES), (PADDED, PADDED_MODES), (ONE_TOKEN, ONE_TOKEN_MODES))
        return [(row, names, rows is PADDED) for rows, names in few for row in rows]
    synthetic = [SYNTHETIC_ROWS[shape.name]] if shape.name in SYNTHETIC_ROWS else []
    groups = (
        (FULL, MODES),
        (PADDED, PADDED_MODES),
        ((*RULES, *synthetic), RULES_MODES),
        (ONE_TOKEN, ONE_TOKEN_MODES),
        (TOKENS, TOKENS_MODES),
    )
    return [(row, names, rows is PADDED) for rows, names in groups for row in rows]


def can_run(shape: Shape, mode: ModeInfo) -> bool:
    """Whether a mode can run a shape: a path has sizes of its own, and one that reads data on the host fits into no CUDA graph."""
    if not shape.path:
        return True
    return mode.name != SIZES and (PATHS[shape.path].captured or mode.family != "cudagraph")


def _path_rows(path: CodePath) -> list[tuple[Row, Iterable[str]]]:
    """(row, names of its modes) of a code path."""
    modes = (*PATH_MODES, "cudagraph") if path.captured else PATH_MODES
    rows = (*PATH, *(PATH_NARROW if path.narrow else ()))
    return [(row, (*modes, PATH_BUCKETS) if row == PATH_ALONE and path.captured else modes) for row in rows]


def is_structure(row: Row, shape: Shape) -> bool:
    """Whether a default row of the varied modes is for this shape: a path has a row of its own, if any."""
    return PATHS[shape.path].varied and row == PATH_STRUCTURE if shape.path else row != PATH_STRUCTURE
