"""The names of the variations: what the modes of the family ``varied`` change from one call of a layer to the next.

A name is ``group=what``. The mode that runs a group has one function for each of its names.
"""

from dataclasses import dataclass, replace

from harness.base.errors import BadInput, nearest
from harness.matrix.modes import MODES, VARIED, ModeInfo

_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Group:
    """A group of variations: the mode that runs it, and its names after ``=`` with what each means.

    ``number`` is what any other number means, with ``N`` for it; empty where only the listed names are valid.
    """

    mode: str
    whats: dict[str, str]
    number: str = ""


# Around the sizes of tiles and blocks, and small batches beyond one and two tokens.
TOKEN_COUNTS = (63, 64, 65, 97, 127, 128, 129, 257, 513, 1025)
LARGEST_BATCH = max(TOKEN_COUNTS)
# Each count from the first to the second is tried, since paths for small batches hold for a few counts or for every other one.
SMALL_BATCHES = (2, 40)
EACH_SMALL = "tokens={}-{}".format(*SMALL_BATCHES)
# Between the counts above and beyond them: entries of tables of configurations, tiles and buffers that are just full.
_FULL = (48, 56, 80, 96, 112, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 4096)
# Nearest to an entry of such a table, 48, 1,536 or 2,048, and odd: a tile of any power of two has rows left over.
# 1,793 and 3,841 are one more than multiples of 256, and of 7 or 15: chunks of 384, 448, 640, 768 or 896 rows leave a single one.
_NOT_FULL = (45, 1441, 1793, 2089, 3841)
BETWEEN = tuple(sorted(_FULL + _NOT_FULL))
SOME_BETWEEN = f"tokens={BETWEEN[0]}-{BETWEEN[-1]}"
# More rows than a signed 16-bit number can count.
MANY_TOKENS = 32_800
# Above 64 and above 128, where paths for small batches end.
LARGE_BUCKET = 136

GROUPS = {
    "tokens": Group(
        "varied-tokens",
        {
            EACH_SMALL.partition("=")[2]: "each number of tokens from {} to {}".format(*SMALL_BATCHES),
            **{str(count): f"{count:,} tokens" for count in TOKEN_COUNTS},
            SOME_BETWEEN.partition("=")[
                2
            ]: f"{len(BETWEEN)} other numbers of tokens from {BETWEEN[0]} to {BETWEEN[-1]:,}",
            str(MANY_TOKENS): f"{MANY_TOKENS:,} tokens",
        },
        "N tokens",
    ),
    "growth": Group(
        "varied-tokens",
        {
            "7-60-7-130-7": "batches of 7, 60, 7, 130 and 7 tokens on one layer",
            "0-7": "a first batch of no tokens and then one of 7 on one layer",
            "1-7": "a first batch of one token and then one of 7 on one layer",
        },
    ),
    "captured": Group(
        "varied-tokens", {str(LARGE_BUCKET): f"a graph for {LARGE_BUCKET} tokens"}, "a graph for N tokens"
    ),
    "torch": Group(
        "varied-surroundings",
        {
            "not-deterministic": "torch's default mode, without deterministic algorithms",
            "default-bfloat16": "a default dtype of bfloat16",
            "autocast": "autocast to half precision",
            "matmul-high": "a float32 matmul precision of high",
            "inference-tensors": "inputs that were made under inference mode, and a call under it",
        },
    ),
    "thread": Group(
        "varied-surroundings",
        {
            "other": "a call in another thread than the one that built the layer",
            "3": "a call where torch has 3 threads",
        },
    ),
    "before": Group(
        "varied-surroundings",
        {
            "inference-mode": "a call after a first one under inference mode",
            "autocast": "a call after a first one under autocast to half precision",
            "errors": "a call after calls that raised",
        },
    ),
    "process": Group(
        "varied-surroundings",
        {"build": "the state of the process around a build", "calls": "the state of the process around calls"},
    ),
    "memory": Group(
        "varied-surroundings",
        {
            "40-calls": "memory that is alive after 40 calls",
            "each-size": "memory that is alive after calls of many sizes",
        },
    ),
    "other": Group(
        "varied-layers",
        {
            "before": "a layer that was built after one of its class with other weights was called",
            "between": "a layer, and one of its class with other weights called in between",
            "16": "16 layers of one class",
            "freed": "a layer whose weights lie in the memory of one that was called and freed",
        },
    ),
    "weights": Group(
        "varied-layers",
        {
            "reloaded": "other weights, loaded after a call",
            "loaded-again": "its own weights, loaded after a call and after other weights",
            "restored": "its own weights, saved and loaded before any call",
            "assigned": "other weights, assigned by load_state_dict after a call",
            "each": "other values of one weight after the other, loaded before a call",
            "later-rows": "other values in the later half of each weight, loaded after a call",
            "in-parts": "other weights, loaded in two parts before any call",
            "saved-after-use": "a layer restored from another one that was saved after a call",
            "deepcopy": "a deepcopy of a used layer, with other weights loaded",
            "data-swapped": "other weights, swapped in by .data after a call",
            "written-in-place": "other weights, written by .data.copy_() after a call",
            "eval": "a layer after eval() was called twice, and after train() and eval()",
            "from-another": "the state_dict of another rank's layer, loaded",
        },
    ),
    "inputs": Group(
        "varied-caches",
        {
            "refilled": "inputs that are refilled in place",
            "made-again": "inputs that are freed and made again",
            "reordered": "the same rows in another order",
        },
    ),
    "written": Group(
        "varied-caches",
        {
            "output": "the same inputs, after the caller wrote to the output",
            "passed-in": "an output as the next hidden_states, after the caller wrote to it",
        },
    ),
    "calls": Group(
        "varied-caches",
        {
            "64": "64 calls, all outputs saved",
            "aliases": "8 calls, only an alias of each output saved",
            "97-tokens": "4 calls with 97 tokens",
        },
    ),
    "traced": Group("varied-caches", {"first": "a real call, after a trace over fake tensors"}),
    "graphs": Group(
        "varied-caches",
        {
            "smallest-first": "graphs captured from the smallest to the largest, after many batch sizes",
            "reloaded": "a graph, replayed after other weights were loaded",
            "not-warmed-up": "a call of a size that was captured before it ever ran, and not replayed yet",
        },
    ),
    "sizes": Group(
        "varied-sizes",
        {
            "520-experts": "520 experts",
            "top-23": "29 experts, of which each token takes 23",
            "top-8": "16 experts, of which each token takes 8",
            "all-experts": "as many experts for each token as there are",
            "top-1": "one expert for each token, with a weight of its own",
            "wide-experts": "experts of an inner width of 528",
            "224-rows": "experts whose first projection has 224 rows",
            "130-crowded": "130 experts, where all tokens choose the same ones",
            "narrow": "the narrowest layer, with 1,025 tokens",
            "scaling-alone": "a routed scaling without a shared expert",
            "scaling-below-one": "a routed scaling of 0.4",
        },
    ),
    "ranks": Group("varied-sizes", {"8": "eight ranks with shards of their own"}, "N ranks with shards of their own"),
    "graphs-of": Group(
        "varied-compiled", {"calls": "six compiled calls of one layer", "layers": "four compiled layers of one class"}
    ),
    "compiled": Group(
        "varied-compiled",
        {
            "reloaded": "a compiled call after other weights were loaded",
            "after-eager": "calls compiled for other sizes after an eager one",
            "1-token": "a call compiled for 1 token",
            "0-tokens": "a call compiled for no tokens",
            "256-tokens": "a call compiled for 256 tokens",
            "201-tokens": "a call compiled for 201 tokens",
            "4100-tokens": "a call with 4,100 tokens, compiled for any number of them",
            "before-eager": "an eager call after a compiled one",
            "inference-mode": "a call compiled under inference mode",
            "slice": "inputs that are columns of wider buffers, the layer compiled",
        },
    ),
    "content": Group(
        "varied-contents",
        {
            "zero-row": "a row of zeros",
            "same-rows": "rows that are all alike",
            "times-32": "hidden_states times 32",
            "times-512": "hidden_states times 512",
            "tiny": "hidden_states divided by 8,192",
            "negative": "hidden_states that are all negative",
            "positive": "hidden_states that are all positive",
            "one-routing": "384 tokens that all choose the same experts",
            "empty-experts": "an expert that no token chooses: the first, the last, or one between",
            "weights-above-one": "routing weights above one",
            "zero-weights": "routing weights of zero in the first slot of every row",
            "duplicate-ids": "one expert's id in every slot of a row",
            "minus-one": "id -1, which names no expert, in one slot of every row, each slot in turn",
            "minus-one-row": "id -1, which names no expert, in all slots of one row",
            "minus-one-all": "id -1, which names no expert, in all slots of all rows",
            "special-rows": "rows of special values beside ordinary ones",
            "logits-shifted": "router logits that are larger by 100",
            "logits-masked": "a router logit of minus infinity in each row",
            "logits-tied": "router logits of which the largest in each row are equal",
            "id-experts": "the number of experts as an id, which names no expert, in one slot of every row, each slot in turn",
        },
    ),
    "form": Group(
        "varied-forms",
        {
            "beside-nan": "inputs that are columns of wider buffers, with NaN beside them",
            "slice": "inputs that are columns of wider buffers",
            "hidden-slice": "hidden_states that are columns of a wider buffer, the other inputs dense",
            "ids-slice": "expert ids that are columns of a wider buffer, the other inputs dense",
            "padded-buffer": "hidden_states in a buffer of the padded width, with NaN in its other columns",
            "row-offset": "inputs that begin at the third row of longer buffers",
            "unaligned": "inputs that begin one element after an aligned address",
            "expanded": "inputs that are one row, expanded with a stride of zero",
            "transposed": "inputs whose memory is transposed",
            "transposed-fakes": "inputs whose memory is transposed, each op's fake beside it",
            "requires-grad": "hidden_states that require grad",
        },
    ),
    "dtype": Group(
        "varied-forms",
        {
            "int64-ids": "expert ids of dtype int64",
            "bfloat16-weights": "routing weights of dtype bfloat16",
            "float16": "hidden_states of dtype float16",
            "float32": "hidden_states of dtype float32",
        },
    ),
}

# These run where they are named and not otherwise. Most layers are made for one dtype, and say so nowhere. What a restored
# layer shows, ``weights=loaded-again`` shows too. Right layers prepare weights when they are loaded, and tables in the first
# call of a size: they promise nothing for a write past both, or for a capture before that call. Many engines capture graphs
# anew after a load, and call few sizes of batches, so that a buffer for each is bounded. Many a fake is ``empty_like``, which
# passes transposed strides on, of an op that is never given any.
BY_NAME_ONLY = (
    "dtype=float16",
    "dtype=float32",
    "weights=restored",
    "weights=written-in-place",
    "graphs=not-warmed-up",
    "graphs=reloaded",
    "form=transposed-fakes",
    "memory=each-size",
)

# What a subject can declare that its layer does not promise, and the variations that are left out then.
DECLARED = {
    "no-strides": (
        "form=slice",
        "form=hidden-slice",
        "form=ids-slice",
        "form=padded-buffer",
        "form=beside-nan",
        "form=expanded",
        "form=transposed",
        "form=transposed-fakes",
        "compiled=slice",
    ),
    "no-offsets": ("form=row-offset", "form=unaligned"),
    "no-grad": ("form=requires-grad",),
    "no-large-values": ("content=times-32", "content=times-512"),
    "no-small-values": ("content=tiny",),
    "no-missing-ids": ("content=minus-one", "content=minus-one-row", "content=minus-one-all"),
    "no-duplicate-ids": ("content=duplicate-ids",),
    "no-other-dtypes": ("dtype=int64-ids", "dtype=bfloat16-weights"),
    "no-autocast": ("torch=autocast", "before=autocast"),
    "no-default-dtype": ("torch=default-bfloat16",),
    "no-threads": ("thread=other", "thread=3"),
    "no-trace-first": ("traced=first",),
    "errors-end": ("before=errors",),
    "no-reload": (
        "weights=reloaded",
        "weights=loaded-again",
        "weights=assigned",
        "weights=each",
        "weights=later-rows",
        "weights=in-parts",
        "weights=deepcopy",
        "weights=restored",
        "weights=data-swapped",
        "weights=written-in-place",
        "weights=from-another",
        "compiled=reloaded",
        "graphs=reloaded",
    ),
    "no-state-dict": (*(f"weights={what}" for what in GROUPS["weights"].whats), "compiled=reloaded", "graphs=reloaded"),
    "largest-first": ("graphs=smallest-first",),
    "traced-whole": ("graphs-of=layers",),
}


def names_of(mode: str) -> list[str]:
    """The names of the variations that a mode runs, in order."""
    return [f"{group}={what}" for group, entry in GROUPS.items() if entry.mode == mode for what in entry.whats]


def default_names(mode: str) -> list[str]:
    """The names of the variations that a mode runs where none is chosen."""
    return [name for name in names_of(mode) if name not in BY_NAME_ONLY]


def words_of(name: str) -> str:
    """What a variation is, in plain words."""
    group, _, what = name.partition("=")
    entry = GROUPS[group]
    return entry.whats.get(what) or entry.number.replace("N", f"{int(what):,}")


def growth_counts(name: str) -> tuple[int, ...]:
    """The token counts of a variation of the group ``growth``, in order: ``growth=1-7`` gives (1, 7)."""
    return tuple(map(int, name.partition("=")[2].split("-")))


def check_names(names: tuple[str, ...]) -> None:
    """Raise BadInput, with the nearest names, where one of these names no variation."""
    every = [name for mode in MODES.values() if mode.family == VARIED for name in names_of(mode.name)]
    for name in names:
        if not _is_valid(name):
            near = nearest(name, every) or [*GROUPS][:_SAMPLES]
            raise BadInput(
                f"--vary {name}: no such variation; did you mean {' or '.join(near)}? `harness list` has all"
            )


def _is_valid(name: str) -> bool:
    group, _, what = name.partition("=")
    entry = GROUPS.get(group)
    if entry is None:
        return False
    number = bool(entry.number) and what.isascii() and what.isdigit() and len(what) < 7 and int(what) > 1
    return what in entry.whats or number


def with_variations(modes: list[ModeInfo], names: tuple[str, ...]) -> list[ModeInfo]:
    """Those of the modes that run one of the named variations, told which; all modes where no name is given."""
    if not names:
        return modes
    if not any(mode.family == VARIED for mode in modes):
        raise BadInput(
            f"--vary {','.join(names)}: no mode of the family varied is chosen; leave --modes out, or name one"
        )
    mine = {mode: tuple(n for n in names if GROUPS[n.partition("=")[0]].mode == mode.name) for mode in modes}
    return [replace(mode, vary=some) for mode, some in mine.items() if some]
