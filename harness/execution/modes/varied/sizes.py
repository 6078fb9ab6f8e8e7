"""Sizes that the matrix leaves out, and ranks whose shards really differ."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.execution.evidence import Call, Run, Varied, same_bits
from harness.execution.modes.varied.checks import few, layer_of, rig_of, run_few
from harness.execution.modes.varied.inputs import Inputs
from harness.execution.modes.varied.layers import if_alone
from harness.execution.modes.varied.many_tokens import narrowest
from harness.execution.modes.varied.varied_run import VariedRun, is_wrong_output
from harness.execution.rig import Rig
from harness.matrix.case import ROUTED_SCALING, Case
from harness.matrix.variations import LARGEST_BATCH
from harness.ops.collectives import is_reduction
from harness.ops.names import op_name

TOKENS = 33  # so that each of three experts gets some, and a few of 130
_RANKS = 4
_MOST_REDUCTIONS = 8
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of layers of other sizes, and of a layer for each of four ranks."""
    return run_few(rig, {"sizes": _sizes, "ranks": if_alone(_ranks)})


def _more_experts(case: Case) -> Case:
    return replace(case, experts=130)


def _more_choices(case: Case) -> Case:
    """An odd number, above four, that is no power of two."""
    return replace(case, experts=7, top_k=5)


def _one_choice(case: Case) -> Case:
    return replace(case, top_k=1)


def _wider_experts(case: Case) -> Case:
    return replace(case, intermediate=112 if case.gated else 144)  # more than 128 rows in the first projection


def _scaled_alone(case: Case) -> Case:
    return case if case.shared is not None or case.scaling != 1 else replace(case, scaling=ROUTED_SCALING)


_SIZES: dict[str, Callable[[Case], Case]] = {
    "130-experts": _more_experts,
    "top-5": _more_choices,
    "top-1": _one_choice,
    "wide-experts": _wider_experts,
    "130-crowded": _more_experts,
    "narrow": narrowest,
    "scaling-alone": _scaled_alone,
}


def sized(case: Case, name: str) -> Case:
    """The case that a variation of this name runs; the same where it is not one of sizes."""
    group, _, what = name.partition("=")
    return _SIZES[what](case) if group == "sizes" else case


def _sizes(varied: VariedRun, variation: Varied) -> None:
    """A call of a layer of other sizes, which makes it another case."""
    torch._dynamo.reset()
    case = sized(varied.rig.case, variation.name)
    call = None if case == varied.rig.case else _call_of(varied, variation, case)
    if call is not None and call.error is not None and case.experts != varied.rig.case.experts:
        call = _of_whole_groups(varied, variation, case) or call
    if call is not None and not (
        variation.name == "sizes=narrow" and _by_tokens(varied, rig_of(varied.rig, case), call)
    ):
        varied.run.calls.append(call)


def _call_of(varied: VariedRun, variation: Varied, case: Case) -> Call | None:
    """A call of a layer of this case; None where the subject builds none, or the routing cannot be changed."""
    rig = rig_of(varied.rig, case)
    if rig is None:
        return None
    tokens = min(LARGEST_BATCH if variation.name == "sizes=narrow" else TOKENS, rig.most_tokens)
    if variation.name in _ROUTED:
        return _with_routing(variation, rig, tokens)
    call = rig.call(Run(case=case, mode=rig.mode, ops=rig.ops), layer_of(rig), variation.words, tokens, 0)
    call.varied, call.case = variation, case
    return call


def _of_whole_groups(varied: VariedRun, variation: Varied, case: Case) -> Call | None:
    """A call with a multiple of the layer's own number of experts, where it raises for another: its experts are in groups.

    None where it raises there too.
    """
    own = varied.rig.case.experts
    case = replace(case, experts=-(-case.experts // own) * own)
    call = _call_of(varied, replace(variation, words=f"{case.experts} experts for {variation.words}"), case)
    return call if call is not None and call.error is None else None


def _by_tokens(varied: VariedRun, rig: Rig | None, call: Call) -> bool:
    """Whether the number of tokens makes a call wrong, whatever the layer's size: ``varied-tokens`` reports it."""
    if rig is None:
        return False
    failed = call.error is not None or is_wrong_output(call, rig.case.hidden)
    return failed and not _fails(rig, few(rig)) and _fails(varied.rig, call.tokens)


def _fails(rig: Rig, tokens: int) -> bool:
    """Whether a layer that was not called before raises for so many tokens, or is wrong."""
    run = Run(case=rig.case, mode=rig.mode, ops=rig.ops)
    call = rig.call(run, layer_of(rig), "", tokens, 0)
    return call.error is not None or is_wrong_output(call, rig.case.hidden)


def _crowded(inputs: Inputs) -> Inputs:
    """All tokens choose the first one's experts, which then have many times their share."""
    return inputs.put(ids=inputs.ids[:1].expand_as(inputs.ids).contiguous())


def _lighter(inputs: Inputs) -> Inputs:
    """Weights that are not one, as those of one expert are where they are divided by their sum."""
    return inputs.put(weights=inputs.weights * 0.75) if inputs.weights_at is not None else inputs


_ROUTED: dict[str, Callable[[Inputs], Inputs]] = {"sizes=130-crowded": _crowded, "sizes=top-1": _lighter}


def _with_routing(variation: Varied, rig: Rig, tokens: int) -> Call | None:
    """A call of which the routing is changed too. Without ids, top-1 is called as it is, and nothing can be crowded."""
    inputs = Inputs.of(rig.inputs(tokens, 0), rig.case)
    if inputs.ids_at is not None:
        inputs = _ROUTED[variation.name](inputs)
    elif variation.name == "sizes=130-crowded":
        return None
    call = Call(variation.words, tokens, inputs.tensors, varied=variation, case=rig.case)
    if rig.make(call, layer_of(rig)):
        call.expected = rig.oracle(call.before)
    return call


def _ranks(varied: VariedRun, variation: Varied) -> None:
    """Each rank's layer, and the true sum of what they give to each reduction."""
    torch._dynamo.reset()  # a layer that its owner compiled has a limit of graphs for all layers of the class
    case = replace(varied.rig.case, tp=_RANKS, rank=0)
    rigs = [rig_of(varied.rig, replace(case, rank=rank), _as_rank(rank)) for rank in range(_RANKS)]
    ranks = [_Rank(rig, number) for number, rig in enumerate(rigs) if rig is not None]
    if len(ranks) < _RANKS:
        return
    inputs = ranks[0].rig.inputs(few(varied.rig), 0)
    sums: list[Tensor] = []
    for _ in range(_MOST_REDUCTIONS + 1):
        given = [rank.call(variation, inputs, sums) for rank in ranks]
        if any(len(parts) <= len(sums) for parts in given) or any(rank.made.error for rank in ranks):
            break
        sums.append(torch.stack([parts[len(sums)].float() for parts in given]).sum(0))
    else:
        return  # more reductions than can be followed
    expected = ranks[0].rig.oracle(inputs)
    for rank in ranks:
        rank.made.expected = None if rank.made.error else expected
    wrong = [varied.is_wrong(rank.made) for rank in ranks]
    if all(wrong):  # they share a sum, and it says nothing of the rank whose shard is wrong
        ranks[0].made.label, ranks[0].made.same_shards = f"the sum of {_RANKS} ranks", _same_shards(given)
    varied.run.calls += [rank.made for rank in ranks[: 1 if all(wrong) else _RANKS]]


def _same_shards(given: list[list[Tensor]]) -> str:
    """Which rank gave the same to the first reduction as one before it, as text; empty where none did."""
    first = [parts[0] for parts in given if parts]
    same = [
        (rank, other) for rank in range(len(first)) for other in range(rank) if same_bits(first[rank], first[other])
    ]
    texts = [f"rank {rank} gives what rank {other} does" for rank, other in dict(reversed(same)).items()]
    return " and ".join(reversed(texts))


@contextmanager
def _as_rank(rank: int) -> Iterator[None]:
    """Say in the environment which rank this process is, as launchers do."""
    before = {name: os.environ.get(name) for name in _RANK_VARIABLES}
    values = (rank, rank, _RANKS, _RANKS)
    os.environ.update({name: str(value) for name, value in zip(_RANK_VARIABLES, values, strict=True)})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class _Rank:
    """One rank's layer, and its last call."""

    def __init__(self, rig: Rig, number: int) -> None:
        self.rig, self.number = rig, number
        with _as_rank(number):
            self.layer = layer_of(rig)
        self.made = Call("", 0, ())

    def call(self, variation: Varied, inputs: tuple[Tensor, ...], sums: list[Tensor]) -> list[Tensor]:
        """Call the layer with the sums of its reductions as far as they are known. Returns what it gave to each reduction."""
        copies = tuple(tensor if tensor is None else tensor.clone() for tensor in inputs)
        self.made = Call(
            f"rank {self.number} of {_RANKS}", copies[0].shape[0], copies, varied=variation, case=self.rig.case
        )
        reductions = _Reductions(sums, self.rig.declared.reduces_by)
        with _as_rank(self.number), reductions:
            self.rig.make(self.made, self.layer)
        return reductions.given


class _Reductions(TorchDispatchMode):
    """A dispatch mode in which each reduction over the ranks returns the true sum, where it is known already."""

    def __init__(self, sums: list[Tensor], also: tuple[str, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given: list[Tensor] = []
        self._sums, self._also = sums, also

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = op_name(func)
        if not (is_reduction(name) or name in self._also) or not args or not isinstance(args[0], Tensor):
            return out
        place = len(self.given)
        self.given.append(args[0].clone())
        known = isinstance(out, Tensor) and place < len(self._sums) and self._sums[place].shape == out.shape
        return out.copy_(self._sums[place]) if known else out
