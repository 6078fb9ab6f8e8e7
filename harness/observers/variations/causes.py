"""The kind of finding and the likely cause of each variation, by its group or its name."""

from torch import Tensor

from harness.execution.evidence import WHEN_RETURNED, Call, Varied
from harness.observers.second_call import OUTSIDE, not_run
from harness.ops.finite import all_finite

KINDS = {
    "torch": "torch-mode",
    "thread": "torch-mode",
    "before": "torch-mode",
    "process": "global-state",
    "memory": "leak",
    "other": "other-weights",
    "weights": "other-weights",
    "inputs": "stale",
    "written": "stale",
    "calls": "stale",
    "traced": "stale",
    "graphs": "stale-replay",
    "graphs=not-warmed-up": "uninitialised",
    "sizes": "other-sizes",
    "ranks": "ranks-differ",
    "compiled": "compiled-otherwise",
    "compiled=slice": "input-form",
    "graphs-of": "recompiled",
    "tokens": "token-count",
    "growth": "token-count",
    "captured": "token-count",
    "content": "input-contents",
    "form": "input-form",
    "dtype": "input-dtype",
}
# The groups of which each variation calls one layer, whatever was called before.
_ONE_LAYER = ("tokens", "content", "form", "dtype")
_COUNT = "Look for a tile, a grid, a buffer or a branch that is sized for fewer tokens, or for a number type that cannot count them."
_FRESH_TOO = "A layer that was not called before is wrong too"
_COUNTED = {
    "expert": f"{_FRESH_TOO}, and so it is for fewer tokens that all name the same experts: it is the number of tokens of one "
    "expert that matters. Look for room for fewer tokens of one expert, for a tile or a table that holds for fewer, or for a number "
    "type that cannot count them.",
    "batch": f"{_FRESH_TOO}. It is right for fewer tokens that all name the same experts, and no expert has more of them here: "
    f"it is the number of tokens of the batch that matters. {_COUNT}",
}
_TOO_LARGE = (
    "A number type too narrow for the values, such as fp16 inside, a clamp that is missing or in the wrong place, or a router whose "
    "scores reach zero and one: it may choose what is masked with zero."
)
_NO_EXPERT = (
    "An id that names no expert must add nothing. As an index, -1 is the last expert, and in a kernel out of bounds; clamped "
    "it is the first one, whose weight it may overwrite in the same row."
)
_STRIDES = (
    "Something reads or writes the memory by the shape alone: pass the strides on, or make the input contiguous first."
)
CAUSES = {
    "torch": "The layer or its kernel asks for this mode and takes another path there, or relies on what the usual mode does.",
    "torch=inference-tensors": "Inference tensors have no version counter, and cannot be written outside of inference mode: engines "
    "run under it.",
    "thread": "Something that the build put into thread-local memory is missing in another thread.",
    "thread=3": "Work is split by torch's number of threads, and a part of it is left out or done twice. Engines run with many.",
    "before": "The earlier call left something that this one uses: a buffer made under inference mode, or a state half changed.",
    "before=autocast": "The first call decides something for all later ones, such as the dtype of a workspace or of a weight's "
    "copy, and autocast gives another one. Take it from hidden_states.",
    "process": "Code that runs after the layer behaves differently, in this process and in its children.",
    "memory": "A list or a dictionary grows with each call, a tensor refers to the one before it, or a thread or a file that a "
    "call opens is never closed. Where nothing bounds that, the process runs out of it after hours.",
    "memory=each-size": "The layer holds memory for each number of tokens that it ever saw. There are thousands of them: "
    "hold it for the largest, or for a few sizes that the others are rounded up to.",
    "other": "Something is held for all layers of the class: by its shape, by a name, or by no key at all. Hold it in the layer.",
    "other=freed": "Something is held for all layers by the address of a weight and its version: another weight may have both once "
    "the first is freed. Or a layer that is freed takes something with it that others use, or leaves its name to the next one.",
    "other=16": "Something is held in a table for a fixed number of layers, or by a layer's place. Or it is the class's own, and "
    "the layer that was built or called last sets it for all. Hold it in the layer.",
    "weights": "The layer computes with something that it derived from its weights earlier, or that state_dict does not hold: a "
    "repacked copy, a list of views, a Python number.",
    "weights=restored": "state_dict does not hold what load_state_dict takes: each load repacks the weights once more.",
    "weights=eval": "eval(), or each switch between train() and eval(), changes the weights once more, such as by merging a delta.",
    "weights=deepcopy": "The copy computes with the layer that it was made from, or with what that one derived from its weights: "
    "deepcopy leaves a weak reference, a closure, a function and a name in a registry as they are. Give the layer as an argument, "
    "or define __deepcopy__.",
    "weights=each": "load_state_dict writes to a weight that no call reads: the layer computes with something that its build made. "
    "Make it after each load, in a hook of load_state_dict, or where it is used.",
    "weights=later-rows": "What the layer derived from a weight is made anew only where a sample of it has changed, such as its "
    "first rows. Make it after each load.",
    "weights=in-parts": "Each load repacks all weights, those too that came with an earlier one and are repacked already; or what "
    "is derived from a weight is made anew only where a load brings another one. Repack what a load brings, or do it once all is "
    "loaded.",
    "weights=written-in-place": "Something was derived from the weights before: by their address, or by their version, which a "
    "write through .data does not count.",
    "inputs": "Something is cached by a tensor's address, its identity or its version. Another tensor may have the same, and "
    "the same tensor other contents.",
    "inputs=reordered": "Something is cached by a checksum of the contents that does not depend on their order, such as a sum.",
    "written": "The layer holds the tensor that it returned, and returns it or computes with it again.",
    "written=passed-in": "The layer holds something that it derived from its output, such as a padded copy, and takes it where the "
    "same tensor comes in, whatever the caller wrote there.",
    "calls": "The layer counts its calls, or returns buffers in turn.",
    "calls=97-tokens": "The layer counts the calls of a size, as where a kernel is tuned in the first ones.",
    "calls=aliases": "The layer takes an output's memory again once the tensor that it returned is gone, by a weak reference or a "
    "count of references. A slice of that tensor refers to the memory all the same: count the references to the storage.",
    "traced": "A trace left a fake tensor in a cache, or a branch was decided in it.",
    "graphs": "The replay reads a value, a buffer or a branch that was fixed at the capture, or memory that later batches changed.",
    "graphs=reloaded": "The graph reads the memory of the weights before. A load must write into the memory that was captured, and "
    "into what was derived from it, or the graphs must be captured again.",
    "graphs=not-warmed-up": "The capture made something that later calls read, such as a table for this batch size. A capture "
    "executes nothing: before the graph's first replay it has no contents. Make it in the build, or outside of a capture.",
    "sizes=all-experts": "Where every expert is chosen there is no next one: look for a threshold, or for a sort of one more.",
    "sizes=scaling-alone": "Without a shared expert the routed scaling is left out, or not applied once. A layer that never has "
    "a shared expert may leave it out everywhere.",
    "sizes=scaling-below-one": "The routed scaling depends on its size: a clamp, a branch, or an inverse of it.",
    "sizes=top-1": "With one expert for each token the weight is left out, taken for one, or multiplied into the input, before the "
    "activation; or the path for one expert is another.",
    "sizes": "Look for a number type, a tile, an unrolled loop or a branch that holds for fewer.",
    "sizes=130-crowded": "Few experts get every token, and the others none: look for room for fewer tokens of one expert, or for a "
    "number type, a tile or a table that holds for fewer.",
    "sizes=top-23": "Look for a number type, a tile, an unrolled loop or a branch that holds for fewer. Routing weights are smaller "
    "there too, where they are divided by their sum: look for one that is left out or rounded to zero.",
    "sizes=top-8": "Look for a number type, a tile, an unrolled loop or a branch that holds for fewer, or for a buffer whose "
    "size does not allow for the part of a tile that each expert leaves empty.",
    "ranks": "The shards differ here, as they do in use: an index, an offset or a condition of the rank is wrong, or something is "
    "added on each rank that should be added once.",
    "compiled": "A branch on torch.compiler.is_compiling(), on the number of tokens or on a mode was traced, or a value is a "
    "constant of the graph.",
    "compiled=4100-tokens": "A largest number of tokens is a constant of the graph, as in a branch on "
    "torch.compiler.is_compiling(), or a size that a trace took from a hint or a bound.",
    "compiled=slice": f"{_STRIDES} Inductor pads rows too.",
    "compiled=before-eager": "A trace left something in the layer that eager calls read, such as a flag or a folded weight.",
    "compiled=after-eager": "The graph depends on something that eager calls made, such as a workspace or a flag: its number of "
    "rows is a guard or a constant of the graph. Compiled code must not read what eager calls of other sizes leave.",
    "graphs-of": "A guard of the first graph fails: the graph depends on a number, a name or an object that differs from call to "
    "call, or from layer to layer, or a module has a class of its own, as a parametrized one has. At the limit of eight, "
    "torch.compile gives up.",
    "tokens": f"{_FRESH_TOO}: it is the number of tokens that matters, of the batch or of one expert. {_COUNT}",
    "growth": _COUNT,
    "captured": _COUNT,
    "content=zero-row": "A token is divided by its own magnitude, which is zero: 0/0 is NaN. Clamp the divisor.",
    "content=special-rows": "Something tells padding from tokens by one value of a row, divides by what may be zero, or takes one "
    "scale for the whole batch, so that one row decides how exact another one is. Where a single large value makes its own row "
    "wrong, a scale of other columns is used for it, as for a last group of columns that is not whole. Where small "
    "routing weights do, they are left out below a limit, or rounded to zero.",
    "content=logits-shifted": "A softmax does not take off the largest logit first: the exponentials overflow.",
    "content=logits-masked": "A logit of minus infinity masks an expert that no token may choose, such as one that fills the table "
    "up. A mean, a range or a product with zero makes NaN of it.",
    "content=logits-tied": "Equal logits are taken for one: mask the expert that was chosen, not every one of its value.",
    "content=same-rows": "Something tells tokens apart by their values, or one expert gets more tokens than it has room for, or "
    "one without tokens moves what belongs to the next.",
    "content=times-32": _TOO_LARGE,
    "content=times-512": _TOO_LARGE,
    "content=tiny": "A magnitude has a floor that these values lie below, or a number type that ends above them, such as fp16.",
    "content=zero-weights": "A weight of zero is taken for one that is missing, or is divided by.",
    "content=positive": "Something takes the least value for the negative of the largest magnitude, or a sum for zero on average.",
    "content=empty-experts": "An expert without tokens: an offset or a count is taken from the neighbour's, or a loop ends "
    "at the first empty one.",
    "content=negative": "Something takes the magnitude of a value for the value, or a maximum that starts at zero.",
    "content=one-routing": "One expert gets every token, and another one none: look for room for fewer tokens of one expert.",
    "content=weights-above-one": "The routing weights are clamped, normalised once more, or in a format that ends at one.",
    "content=duplicate-ids": "An expert that a row names twice counts once: the routing is written where it must be added. Or, "
    "where only later rows are wrong, an expert has room for each row once, and gets more pairs of a row and a slot than that.",
    "content=minus-one": _NO_EXPERT,
    "content=minus-one-row": _NO_EXPERT,
    "content=minus-one-all": f"{_NO_EXPERT} A batch of padding alone, as of a rank that has no requests, has no expert at all: a "
    "maximum, a divisor or an id that is taken from the others does not exist there.",
    "content=id-experts": "An id equal to the number of experts must add nothing. Used as an index it is out of bounds.",
    "form=slice": _STRIDES,
    "form=hidden-slice": f"{_STRIDES} Whether one input is dense says nothing of another.",
    "form=ids-slice": f"{_STRIDES} Ids and routing weights need not have one pitch.",
    "form=padded-buffer": "The distance from row to row is taken for a sign that the caller has padded. It says nothing of "
    "what lies in the other columns: pad in memory of the layer's own.",
    "form=expanded": f"{_STRIDES} A stride of zero is a stride: uniform weights and dummy batches have it.",
    "form=transposed": _STRIDES,
    "form=transposed-fakes": _STRIDES,
    "form=beside-nan": "What lies beside an input is read and multiplied by zero, and zero times NaN is NaN: read the input's own "
    "columns alone, or set the others to zero.",
    "form=row-offset": "Something begins at the storage's first element: add the storage offset.",
    "form=unaligned": "Wide loads need an aligned address: where it is not, the other path skips or repeats elements.",
    "form=requires-grad": "With an input that requires grad the layer takes another path, such as one for training.",
    "dtype=bfloat16-weights": "Something reads the routing weights as 32-bit numbers, whatever they are: convert them, or raise.",
    "dtype=int64-ids": "Something reads the ids as 32-bit numbers whatever their dtype is: convert them, or raise.",
}


_FOUND_AGAIN = (
    "Something of an earlier batch is found again for this one: by an address and a version, or by a count or a sum of the "
    "contents that both have."
)
_OVERWRITTEN = (
    "The layer returns a buffer that it writes again, or buffers in turn, and its caller may still hold the output that it "
    "returned in one before."
)
_REPLAY = (
    "It is the replay of a graph, and not the number of tokens, that matters: plain calls are right. The mode cudagraph looks at "
    "that alone."
)
_ZEROS = (
    "A row of zeros is taken for padding, or for no token at all: what is added whatever a token holds, such as a bias, is left "
    "out there. Or something is divided by its magnitude, and a guard puts another value in its place."
)
_OF_PROCESS = (
    "It is what came first that matters, and not the number of tokens. Look for something that the first request sizes and that "
    "is held for all layers of a process: it must grow, or be sized for the most tokens."
)
_EAGER_TOO = "Eager code is wrong for the same tokens: the compiler has no part in it."
_BY_ROW = (
    "A row that is wrong here is wrong among few others too: it is what the row holds that matters, or which experts it names, and "
    "not the number of tokens. The more rows there are, the sooner one is such. A scale or a limit fits some alone."
)


def key_of(varied: Varied) -> str:
    """A variation's key in ``KINDS``: its name, where that is of another kind than its group."""
    return varied.name if varied.name in KINDS else varied.group


def depends_on_earlier(call: Call) -> bool:
    """Whether it is earlier calls, and not what was varied, that make a call wrong: a fresh layer is right."""
    assert call.varied is not None
    return call.fresh_differs is False and call.varied.group in _ONE_LAYER


def _many_before(call: Call) -> str:
    """How many calls it takes, where one is too few."""
    if not call.earlier:
        return ""
    return f" One call before is too few: here came {len(call.earlier)}, of {sum(call.earlier):,} tokens in all."


IN_GROUPS = "sizes=top-8", "sizes=520-experts"
_OF_GROUPS = (
    " Or, where a router chooses groups of experts first, which only some numbers of experts can be in: look at how groups are "
    "ranked, how others are masked (minus infinity: zero is chosen before a negative score), and what the weights are divided by."
)


def _of_what_came_first(call: Call) -> str:
    """What a capture, an earlier batch or the first request did to a call; empty where no look has shown one of these."""
    if call.own_count_too or call.by_other_inputs:
        return _REPLAY if call.own_count_too else _FOUND_AGAIN
    if call.not_run:
        return not_run(call)
    return _OF_PROCESS if call.of_process else ""


def cause(call: Call) -> str:
    """What makes a layer wrong in a varied call, as far as other calls tell."""
    assert call.varied is not None
    if call.reference == WHEN_RETURNED:
        return CAUSES.get(call.varied.name, _OVERWRITTEN)
    if what_came_first := _of_what_came_first(call):
        return what_came_first
    if call.fresh_differs is False:
        return (
            "A layer that was not called before is right for the same inputs: this one depends on earlier calls. It reuses "
            f"something of one, or counts them.{_many_before(call)}"
        )
    if call.outside:
        return OUTSIDE
    if call.eager_too:
        return f"{_EAGER_TOO} {_BY_ROW if call.by_row else _COUNT}"
    if call.by_row:
        return _BY_ROW
    if call.right_in_other_order:
        return (
            "A layer that was not called before is right for the same rows in another order: it is not the values that "
            "matter. Something is held for all layers by the contents of one input, and found again for others."
        )
    if call.counted:
        return _COUNTED[call.counted]
    if call.varied.name == "content=zero-row" and isinstance(call.snapshot, Tensor) and all_finite(call.snapshot):
        return _ZEROS
    usual = CAUSES.get(call.varied.name) or CAUSES.get(call.varied.group, "")
    return usual + _OF_GROUPS if call.varied.name in IN_GROUPS and takes_no_ids(call) else usual


def takes_no_ids(call: Call) -> bool:
    """Whether the layer is given no expert ids."""
    return all(tensor is None or tensor.is_floating_point() for tensor in call.before)
