"""Every kind of finding, with its meaning in one line. Data: docs/reference/findings.md has an entry for each."""

PAGE = "docs/reference/findings.md"

KINDS = {
    # shapes and form of the output
    "width-mismatch": "Two tensors of different widths meet at one op.",
    "wrong-shape": "The output is not [tokens, hidden].",
    "strided-output": "The output has the right shape, and it is a view that is not contiguous.",
    "wrong-dtype": "The output has another dtype than hidden_states.",
    "wrong-device": "The output is on another device than hidden_states.",
    "not-a-tensor": "The layer returns something other than one tensor.",
    "raised": "The layer raised an exception that no other kind describes.",
    # an op and its fake
    "fake-differs": "The real op and its fake implementation disagree about an output.",
    "no-fake": "The op has no fake implementation, or the fake raises.",
    "fake-impure": "The fake implementation writes to its inputs, or two calls give two answers.",
    "signature": "The op's schema and the signature of one of its implementations disagree.",
    "op-raised": "A custom op raised an exception.",
    # which ops ran
    "never-dispatched": "A custom op that the subject names did not run.",
    "unused": "The custom op runs, and the output does not depend on its result.",
    # values
    "wrong-values": "The output differs from the oracle, and no factor, range of columns or few tokens explain how.",
    "wrong-columns": "A few ranges of columns differ from the oracle, and the other columns are right.",
    "wrong-tokens": "Some tokens differ from the oracle, and the other tokens are right.",
    "wrong-part": "One part of the layer, routed or shared, is wrong and the other is right.",
    "missing-part": "One part of the layer is missing from the output.",
    "scaled": "One part of the output is the oracle's times a constant factor.",
    "few-tokens": "The layer is right for a batch and wrong for one token.",
    "token-count": "The layer is right for a small batch and wrong for another number of tokens.",
    "input-contents": "The layer is right for random inputs and wrong for special ones, such as a row of zeros.",
    "input-form": "The layer is right for dense inputs and wrong for the same values in other memory, or under grad mode.",
    "input-dtype": "The layer is right for one dtype of its inputs and wrong for another, where it could raise an error.",
    # memory
    "uninitialised": "Memory that nothing wrote reaches the output.",
    "padding-leaks": "What the kernel leaves in the padded columns reaches the output.",
    "padding-tokens-leak": "The rows that fill a batch up to its captured size reach other tokens.",
    "mutated-input": "An op or the layer changes an input without declaring it.",
    "mutated-state": "A call changes the layer's weights or buffers, and later calls read them.",
    "undeclared-alias": "An op returns memory of an argument, or two outputs share memory, without declaring it.",
    "untrue-alias": "An op's schema declares that its output shares an argument's memory, and it does not.",
    "writes-beside": "The layer writes into its caller's buffer, beside the columns or rows that are its input.",
    "shared-output": "The layer's output lies in the memory of an input or of its own state.",
    "output-overwritten": "The next call changes an output that was returned before.",
    # more than one call
    "stale": "The first call is right and a later call with other inputs is wrong.",
    "not-repeatable": "The same inputs give other bits when they are run again.",
    "global-state": "A call changes torch's global state or takes random numbers.",
    # other surroundings
    "torch-mode": "The layer is right in a plain call and wrong in another mode of torch, another thread or after another call.",
    "leak": "Each call leaves memory that is never freed.",
    "other-weights": "A layer computes with other weights than its own, after a load, a copy or another layer.",
    "other-sizes": "The layer is right at the sizes of the matrix and wrong at others.",
    "compiled-otherwise": "Compiled code is right in a plain call and wrong for other batches, modes or weights.",
    # ranks
    "ranks-differ": "The sum of really different shards is wrong, where that of copies is right.",
    "not-contiguous": "The all-reduce is given a tensor that is not contiguous.",
    "collective-count": "A forward has too few or too many all-reduces.",
    "collectives-differ": "Ranks call different collectives, or give different tensors to one.",
    "sum-unused": "An all-reduce runs, and nothing uses its result.",
    "reduced-beside": "The all-reduce is given a tensor that does not come from the routed experts.",
    "not-reduced": "The output is a partial sum: it was not reduced over the ranks.",
    "reduced-twice": "The output was reduced over the ranks twice.",
    # the compiler
    "graph-break": "Dynamo cannot trace a line of the layer.",
    "specialised": "The layer works only for the token count or the size that it was traced with.",
    "recompiled": "A second call with the same kind of inputs compiled again.",
    # CUDA graphs
    "capture-refused": "A CUDA graph cannot record the layer.",
    "not-captured": "torch.compile was asked for CUDA graphs and made none.",
    "freed-memory": "A captured graph reads memory that the layer has freed.",
    "other-graphs-memory": "A graph reads memory that another graph's capture made.",
    "stale-replay": "A replay computes with a value that was fixed at capture.",
    # every size at once
    "fails-when-traced": "The layer works at a size when it runs and fails when it is traced.",
    # no verdict on the layer's arithmetic
    "not-built": "The layer could not be built for this case.",
    "device-lost": "A kernel's illegal access or assert has ended the CUDA context.",
    # waivers
    "waived-but-passes": "A waiver matches a verdict that has no finding.",
    "waived-but-not-seen": "A waiver matches a verdict whose findings are others.",
}

OF_VALUES = frozenset(
    (
        "wrong-values",
        "wrong-columns",
        "wrong-tokens",
        "wrong-part",
        "missing-part",
        "scaled",
        "few-tokens",
        "token-count",
        "stale",
    )
)
"""Kinds that say which values of the output are wrong: which of them it is depends on the numbers, and so on the sizes."""


def page(kind: str) -> str:
    """The address of a kind's entry, below the root of the checkout."""
    return f"{PAGE}#{kind}"
