"""Sizes that the matrix leaves out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from harness.base.halving import last_and_next
from harness.execution.evidence import Call, Run, Varied
from harness.execution.modes.varied.beside.ranks import ranks
from harness.execution.modes.varied.checks import few, layer_of, rig_of, run_few
from harness.execution.modes.varied.inputs import Inputs
from harness.execution.modes.varied.layers import if_alone
from harness.execution.modes.varied.many_tokens import narrowest
from harness.execution.modes.varied.varied_run import VariedRun, is_wrong_output
from harness.execution.rig import Rig
from harness.matrix.case import ROUTED_SCALING, Case
from harness.matrix.variations import LARGEST_BATCH

TOKENS = 33  # so that each of three experts gets some, and a few of 130
# Of 16 experts each gets a little more than a tile of 128: what is rounded up for each is much beside the tokens.
_MANY_TOKENS = 297
_DIVISIBLE = 16, 64, 256  # numbers of experts that can be in groups
_CROWD = 264  # of tokens that all choose the same: more than a fixed number beside a share that is small


def tokens_of(name: str) -> int:
    """The number of tokens of the call of a variation of this name."""
    many = {"sizes=narrow": LARGEST_BATCH, "sizes=130-crowded": _CROWD, "sizes=top-8": _MANY_TOKENS}
    return many.get(name, TOKENS)


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of layers of other sizes, and of a layer for each of several ranks."""
    return run_few(rig, {"sizes": _sizes, "ranks": if_alone(ranks)})


def _more_experts(case: Case) -> Case:
    """More than a byte can number, and than eight bits and a sign."""
    return replace(narrowest(case), experts=520)


def _crowded_experts(case: Case) -> Case:
    return replace(narrowest(case), experts=130)


def _more_choices(case: Case) -> Case:
    """An odd number, above that of any published model, that is no power of two."""
    return replace(narrowest(case), experts=29, top_k=23)


def _eight_choices(case: Case) -> Case:
    """As most published models, and as many as a vector of numbers has. So many experts can be in two groups of eight."""
    return replace(narrowest(case), experts=16, top_k=8)


def _every_expert(case: Case) -> Case:
    return replace(narrowest(case), experts=case.experts, top_k=case.experts)


def _one_choice(case: Case) -> Case:
    return replace(case, top_k=1)


def _wider_experts(case: Case) -> Case:
    """More than 512 rows in the first projection, and no multiple of 32."""
    return replace(narrowest(case), intermediate=528)


def _second_tile(case: Case) -> Case:
    """More than one tile of 128 rows in the first projection, and not two whole ones."""
    return replace(narrowest(case), intermediate=112 if case.gated else 224)


def _scaled_alone(case: Case) -> Case:
    return case if case.shared is not None or case.scaling != 1 else replace(case, scaling=ROUTED_SCALING)


def _scaled_below_one(case: Case) -> Case:
    return replace(case, scaling=0.4)


_SIZES: dict[str, Callable[[Case], Case]] = {
    "520-experts": _more_experts,
    "top-23": _more_choices,
    "top-8": _eight_choices,
    "all-experts": _every_expert,
    "top-1": _one_choice,
    "wide-experts": _wider_experts,
    "224-rows": _second_tile,
    "130-crowded": _crowded_experts,
    "narrow": narrowest,
    "scaling-alone": _scaled_alone,
    "scaling-below-one": _scaled_below_one,
}


def sized(case: Case, name: str) -> Case:
    """The case that a variation of this name runs; the same where it is not one of sizes."""
    group, _, what = name.partition("=")
    return _SIZES[what](case) if group == "sizes" else case


@dataclass(frozen=True, slots=True)
class _Limit:
    """A size that is the variation's: its name in a case, the steps in which it can grow, and its words."""

    name: str
    step: int
    words: str


_LIMITS = {
    "sizes=520-experts": _Limit("experts", 1, "{} experts"),
    "sizes=130-crowded": _Limit("experts", 1, "{} experts"),
    "sizes=top-23": _Limit("top_k", 1, "{} experts for each token"),
    "sizes=top-8": _Limit("top_k", 1, "{} experts for each token"),
    "sizes=all-experts": _Limit("top_k", 1, "{} experts for each token"),
    "sizes=wide-experts": _Limit("intermediate", 16, "an inner width of {}"),
    "sizes=224-rows": _Limit("intermediate", 16, "an inner width of {}"),
}


def _sizes(varied: VariedRun, variation: Varied) -> None:
    """A call of a layer of other sizes, which makes it another case.

    One with a limit to look for is as narrow as it can be. Where its width alone makes it wrong, one of the case's own width
    is called too.
    """
    torch._dynamo.reset()
    case, limit = sized(varied.rig.case, variation.name), _LIMITS.get(variation.name)
    for one in dict.fromkeys((case, _of_own_width(varied.rig.case, case, limit) if limit else case)):
        call = None if one == varied.rig.case else _call_of(varied, variation, one)
        if call is not None and call.error is not None and one.experts != varied.rig.case.experts:
            call = _of_whole_groups(varied, variation, one) or call
        if call is None:
            continue
        failed = call.error is not None or is_wrong_output(call, one.hidden)
        if limit and failed:
            call.limit = _limit_of(varied, limit, call)
        if call.limit or not (limit and failed) or one.hidden == varied.rig.case.hidden:
            varied.run.calls.append(call)
            return


def _of_own_width(own: Case, case: Case, limit: _Limit) -> Case:
    """A case of one's own width and of the sizes that another one varies."""
    sizes: dict[str, Any] = {name: getattr(case, name) for name in ("experts", "top_k", limit.name)}
    return replace(own, **sizes)


def _limit_of(varied: VariedRun, limit: _Limit, call: Call) -> str:
    """The largest size that is right below the smallest that is not, as text; empty where it is not this size that matters.

    Many tokens, so that each expert gets some. Experts that are in groups grow by whole ones.
    """
    case, own = varied.run.case_of(call), varied.rig.case
    right, wrong = getattr(own, limit.name), getattr(case, limit.name)
    step = own.experts if limit.name == "experts" and case.experts % own.experts == 0 else limit.step

    def fails(size: int) -> bool:
        sizes: dict[str, Any] = {limit.name: size}
        rig = rig_of(varied.rig, replace(case, **sizes))
        return rig is None or _fails(rig, min(LARGEST_BATCH, rig.most_tokens))

    if right >= wrong or fails(right) or not fails(wrong):
        return ""
    right, wrong = last_and_next(lambda size: not fails(size), right, wrong, step)
    if limit.name == "experts" and (fewer := next((size for size in _DIVISIBLE if size < right and fails(size)), 0)):
        return f"right with {limit.words.format(right)}, wrong with {fewer} too"
    tokens = min(LARGEST_BATCH, varied.rig.most_tokens)
    by = "" if tokens == call.tokens else f" for {tokens:,} tokens"
    return f"right with {limit.words.format(right)}, wrong with {limit.words.format(wrong)}{by}"


def _call_of(varied: VariedRun, variation: Varied, case: Case) -> Call | None:
    """A call of a layer of this case; None where the subject builds none, or the routing cannot be changed."""
    rig = rig_of(varied.rig, case)
    if rig is None:
        return None
    tokens = min(tokens_of(variation.name), rig.most_tokens)
    if variation.name in _ROUTED:
        return _with_routing(variation, rig, tokens)
    call = rig.call(Run(case=case, mode=rig.mode, ops=rig.ops), layer_of(rig), variation.words, tokens, 0)
    call.varied, call.case = variation, case
    return None if variation.name == "sizes=narrow" and _by_tokens(varied, rig, call) else call


def _of_whole_groups(varied: VariedRun, variation: Varied, case: Case) -> Call | None:
    """A call with a multiple of the layer's own number of experts, where it raises for another: its experts are in groups.

    None where it raises there too.
    """
    own = varied.rig.case.experts
    case = replace(case, experts=-(-case.experts // own) * own)
    call = _call_of(varied, replace(variation, words=f"{case.experts} experts for {variation.words}"), case)
    return call if call is not None and call.error is None else None


def _by_tokens(varied: VariedRun, rig: Rig, call: Call) -> bool:
    """Whether the number of tokens makes a call wrong, whatever the layer's size: ``varied-tokens`` reports it."""
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
