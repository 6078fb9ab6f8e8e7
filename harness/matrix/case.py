"""Case: a frozen description of one run of one layer."""

from dataclasses import dataclass, replace
from typing import Any, Self

from harness.matrix.shapes import STAND_INS, Alignment, Shape

KERNELS = ("wide", "narrow")
# What a CPU shrinks to. The hidden, latent and padded widths are never touched: they are what is tested.
SHRUNK_EXPERTS = 3
SHRUNK_TOP_K = 2
SHRUNK_WIDTH = 64
# Published models that have a shared expert also scale the routed output; the exact factor does not matter here,
# only that it is not one and that it is exact in bfloat16.
ROUTED_SCALING = 2.5


def round_up(width: int, multiple: int) -> int:
    """``width`` rounded up to a multiple."""
    return -(-width // multiple) * multiple


def shrink_width(width: int) -> int:
    """A small width with the same remainder against the block of 64, so that it needs padding where the true one does."""
    return min(width, width % SHRUNK_WIDTH or SHRUNK_WIDTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One layer at one size. Widths in elements, per tensor-parallel rank.

    ``kernel`` is ``wide`` where the fused kernel writes the padded width and ``narrow`` where it writes the true one.
    ``tp`` is the tensor-parallel size; ``shape`` holds the published sizes that the case was made from, ``full`` says
    that nothing was shrunk, and ``overridden`` that the hidden size is not the published one.
    """

    shape: Shape
    alignment: Alignment
    hidden: int
    intermediate: int
    shared: int | None
    experts: int
    top_k: int
    kernel: str
    tp: int
    tokens: int
    scaling: float
    full: bool = False
    overridden: bool = False
    dtype: str = "bfloat16"

    @classmethod
    def of(cls, shape: Shape, alignment: Alignment, kernel: str, tp: int, tokens: int, full: bool = False) -> Self:
        """The case of a shape, at true sizes if ``full`` and else shrunk where the sizes are not what is tested."""
        shared = shape.shared_intermediate
        case = cls(
            shape=shape,
            alignment=alignment,
            hidden=shape.hidden,
            intermediate=shape.intermediate,
            shared=shared,
            experts=shape.experts,
            top_k=shape.top_k,
            kernel=kernel,
            tp=tp,
            tokens=tokens,
            scaling=1.0 if shared is None else ROUTED_SCALING,
        )
        return replace(case, full=True) if full else case._shrunk()

    def _shrunk(self) -> Self:
        return replace(
            self,
            intermediate=shrink_width(self.intermediate),
            shared=None if self.shared is None else shrink_width(self.shared),
            experts=min(self.experts, SHRUNK_EXPERTS),
            top_k=min(self.top_k, SHRUNK_TOP_K),
        )

    @property
    def model(self) -> str:
        """The model's name."""
        return self.shape.name

    @property
    def gated(self) -> bool:
        """Whether the first projection holds gate and up."""
        return self.shape.gated

    @property
    def activation(self) -> str:
        """The activation that runs: the model's own, or the stand-in for one whose definition is not public."""
        return STAND_INS.get(self.shape.activation, self.shape.activation)

    @property
    def latent(self) -> int | None:
        """The latent width the routed experts work at, or None."""
        return self.shape.latent

    @property
    def width(self) -> int:
        """The routed experts' true width: latent where there is one, else hidden."""
        return self.latent or self.hidden

    @property
    def padded(self) -> int:
        """``width`` rounded up by the alignment rule."""
        return round_up(self.width, self.alignment.hidden)

    @property
    def padded_intermediate(self) -> int:
        """The expert width rounded up by the alignment rule."""
        return round_up(self.intermediate, self.alignment.intermediate(self.gated))

    @property
    def changes(self) -> dict[str, str]:
        """What differs from the published sizes, as ``now of published``."""
        shape = self.shape
        pairs = {
            "intermediate": (self.intermediate, shape.intermediate),
            "shared": (self.shared, shape.shared_intermediate),
            "experts": (self.experts, shape.experts),
            "top_k": (self.top_k, shape.top_k),
            "activation": (self.activation, shape.activation),
        }
        return {key: f"{now} of {true}" for key, (now, true) in pairs.items() if now != true}

    @property
    def id(self) -> str:
        """``key=value`` parts joined by dashes: stable, readable, and good for ``-k``."""
        parts: dict[str, Any] = {"model": self.model, "hidden": self.hidden}
        if self.latent:
            parts["latent"] = self.latent
        parts |= {"padded": self.padded, "rule": self.alignment.name, "kernel": self.kernel}
        parts |= {"tp": self.tp, "tokens": self.tokens, "inter": _of(self.intermediate, self.shape.intermediate)}
        parts["experts"] = _of(self.experts, self.shape.experts)
        return "-".join(f"{key}={value}" for key, value in parts.items())

    def describe_width(self, width: int) -> str:
        """Which of the layer's widths this is, and by which rule: ``2816 = 2688 rounded up to 256, trtllm-nvfp4``."""
        if width == self.padded != self.width:
            return f"{width} = {self.width} rounded up to {self.alignment.hidden}, {self.alignment.name}"
        names = {self.hidden: "hidden", self.latent: "latent", self.shared: "shared intermediate"}
        return f"{width} = {names[width]}" if width in names else f"{width}"


def _of(now: int, true: int) -> str:
    return str(now) if now == true else f"{now}of{true}"
