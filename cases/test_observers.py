"""Each observer reports the faults that are its business, and says nothing of the right layer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness import stages
from harness.case import Case
from harness.collectives import all_reduce
from harness.finding import ERROR, FINDINGS, OK, Verdict
from harness.judge import judge
from harness.modes import MODES
from harness.observers import OBSERVERS, RAISING
from harness.registry import register_op
from harness.shapes import Alignment, Shape
from kernels.experts import OP, activate, routed_experts
from kernels.layer import PaddedMoELayer
from kernels.subject import InTree

CPU = torch.device("cpu")
RULE = Alignment("test", 64, 32, 32)
REAL = routed_experts.reals["cpu"]

PLAIN = Shape("plain", 80, 48, 4, 2, None, None, "silu", True)  # 80 is padded to 128
SHARED = replace(PLAIN, name="shared", shared_intermediate=48)
LATENT = replace(SHARED, name="latent", hidden=160, latent=80)
# A shared expert as wide as the latent one, so that feeding it the latent tensor raises nothing.
SHAPES = {"plain": PLAIN, "shared": SHARED, "latent": LATENT, "aligned": replace(PLAIN, name="aligned", hidden=128)}


def case_of(name: str, kernel: str = "wide", tp: int = 1, tokens: int = 7) -> Case:
    return Case.of(SHAPES[name], RULE, kernel, tp, tokens)


@dataclass
class Planted(InTree):
    """The in-tree subject with another class of layer."""

    layer: type[PaddedMoELayer] = PaddedMoELayer

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        built = super().build(case, device)
        built.__class__ = self.layer
        return built


# Layers, each with one fault.


class NoUnpad(PaddedMoELayer):
    def unpad(self, x: Tensor) -> Tensor:
        return x


class Strided(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return x


class Transposed(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x).t().contiguous().t()


class Float32(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x).float()


class Pair(PaddedMoELayer):
    def dense(self, x: Tensor) -> Any:
        return super().dense(x), None


class OneRowMore(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return functional.pad(super().dense(x), (0, 0, 0, 1))


class Bypass(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        weights = (self.w13, self.w13_scale, self.w13_global_scale, self.w2, self.w2_scale, self.w2_global_scale)
        return REAL(x, topk_ids, topk_weights, *weights, self.activation, self.out_width, self.swizzled_scales)


class WritesInput(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        hidden_states.zero_()
        return out


class WritesRouting(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        topk_ids.sub_(1)
        return out


class WritesInputAtOneToken(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        if hidden_states.shape[0] == 1:
            hidden_states.zero_()
        return out


class WritesWeights(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        self.w2_global_scale.mul_(1.001)
        return out


class OutputInBuffer(PaddedMoELayer):
    """Gives out a part of a tensor that it holds."""

    def dense(self, x: Tensor) -> Tensor:
        if "kept" not in self.__dict__:
            self.__dict__["kept"] = x.new_zeros(64, x.shape[-1])
        kept: Tensor = self.kept
        return kept[: x.shape[0]].copy_(super().dense(x))


class OutputReused(PaddedMoELayer):
    """The same, hidden in a list."""

    def dense(self, x: Tensor) -> Tensor:
        held = self.__dict__.setdefault("held", [x.new_zeros(64, x.shape[-1])])
        return held[0][: x.shape[0]].copy_(super().dense(x))


class OutputIsInput(PaddedMoELayer):
    """Writes the sum where hidden_states was, bits changed or not."""

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        return hidden_states.copy_(super().forward(hidden_states, topk_ids, topk_weights))


class LeakedColumn(PaddedMoELayer):
    def unpad(self, x: Tensor) -> Tensor:
        return torch.cat((x[..., : self.width - 1], x[..., self.width : self.width + 1]), -1)


class LeakedQuietly(PaddedMoELayer):
    """The tail holds zeros as long as the kernel is kind: adding it changes no value."""

    def unpad(self, x: Tensor) -> Tensor:
        return x[..., : self.width] + x[..., -1:]


class EmptyPad(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        padded = x.new_empty(x.shape[0], self.padded)
        padded[..., : self.width] = x
        return padded


class Shifted(PaddedMoELayer):
    def unpad(self, x: Tensor) -> Tensor:
        return x[..., 1 : self.width + 1]


class LastColumnZero(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return functional.pad(super().dense(x)[..., :-1], (0, 1))


class ScaledTwice(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return super().scale(super().scale(x))


class NotScaled(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return x


class ScaledOddly(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return x * 1.49 * self.scaling


class SharedScaled(PaddedMoELayer):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        return routed if shared is None else self.scaling * shared + routed


class NoShared(PaddedMoELayer):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        return routed


class GateUpSwapped(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        half = self.w13.shape[1] // 2
        kept = self.w13, self.w13_scale
        self.w13, self.w13_scale = (tensor.roll(half, 1) for tensor in kept)
        out = super().run_experts(x, topk_ids, topk_weights)
        self.w13, self.w13_scale = kept
        return out


class RandomColumns(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape[0], 64, generator=torch.Generator().manual_seed(5))
        return torch.cat((super().dense(x)[..., :-64], noise.to(x.dtype)), -1)


class WrongToken(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().run_experts(x, topk_ids, topk_weights)
        return torch.cat((out[:-1], -out[-1:])) if out.shape[0] > 1 else out


class SharedReadsLatent(PaddedMoELayer):
    """The shared expert is given the latent tensor, padded with zeros to fit."""

    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        latent = self.to_latent(hidden_states)
        return super().shared_output(functional.pad(latent, (0, hidden_states.shape[-1] - self.width)))


class SharedReadsLatentUnpadded(PaddedMoELayer):
    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        return super().shared_output(self.to_latent(hidden_states))


class KeepsFirstInput(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        kept = self.__dict__.setdefault("kept", {})
        first = kept.setdefault(hidden_states.shape, hidden_states.clone())
        return super().forward(first, topk_ids, topk_weights)


class FailsAtZero(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        return super().pad(x) + 0 * x.amax()


class WrongAtOne(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        out = super().dense(x)
        return out * 2 if out.shape[0] == 1 else out


class ReducedTwice(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        return super().reduce(super().reduce(x))


class NeverReduced(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        return x


class ReducedInParts(PaddedMoELayer):
    """Right values by two collectives, where one would do."""

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        return all_reduce(routed, self.tp) + all_reduce(shared, self.tp)

    def reduce(self, x: Tensor) -> Tensor:
        return x


class BurntIn(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x).view(int(x.shape[0]), -1) if torch.compiler.is_compiling() else super().dense(x)


class TokensAsNumber(PaddedMoELayer):
    """``int`` of a symbolic size fixes it."""

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + 0 * len(range(x.shape[0]))


class Counts(PaddedMoELayer):
    count = 0

    def dense(self, x: Tensor) -> Tensor:
        self.count += 1
        return super().dense(x) + 0 * self.count


class Prints(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return super().dense(x)


class Branches(PaddedMoELayer):
    """Reads a value on the host."""

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) if x.numel() == 0 or x.isfinite().all() else x


class ReadsItem(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + 0 * float(x.float().sum().item())


Key = tuple[str, str, str]


def judged(layer: type[PaddedMoELayer], case: Case, mode: str = "eager") -> Verdict:
    return judge(Planted(layer=layer), case, MODES[mode], CPU)


def keys(verdict: Verdict) -> list[Key]:
    assert verdict.status != ERROR, verdict.traceback
    return [(finding.observer, finding.kind, finding.stage) for finding in verdict.findings]


def bugs(verdict: Verdict) -> set[str]:
    return {bug.split()[0] for finding in verdict.findings for bug in finding.bugs}


@dataclass(frozen=True)
class Fault:
    layer: type[PaddedMoELayer]
    case: Case
    mode: str
    expected: tuple[Key, ...]
    bugs: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.layer.__name__}-{self.case.model}-{self.mode}"
