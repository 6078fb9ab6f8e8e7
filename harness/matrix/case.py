"""Case: one layer at one size, and how it is run."""

from dataclasses import dataclass, replace
from typing import Self

from harness.matrix.paths import PATHS
from harness.matrix.shapes import STAND_INS, Alignment, Shape

KERNELS = ("wide", "narrow")
# Sizes after shrinking, so that a CPU is fast enough. Hidden, latent and padded widths never shrink: they are tested.
SHRUNK_EXPERTS = 3
SHRUNK_TOP_K = 2
SHRUNK_WIDTH = 64
LEAST_SMALL_WIDTH = 80  # so that a part has enough columns to be told from another
# Published models with a shared expert also scale the routed output. Any factor would do that is not one, so that a
# missing or doubled scaling shows, and that bfloat16 represents exactly.
ROUTED_SCALING = 2.5


def round_up(width: int, multiple: int) -> int:
    """``width`` rounded up to a multiple."""
    return -(-width // multiple) * multiple


def shrink_width(width: int) -> int:
    """A width of at most 64 with the same remainder modulo 64, so that it needs padding exactly where the published one does."""
    return min(width, width % SHRUNK_WIDTH or SHRUNK_WIDTH)


def small_width(width: int, multiple: int) -> int:
    """The smallest width of at least 80 with the same remainder modulo ``multiple``, so that it needs as much padding."""
    small = width % multiple or multiple
    return min(width, small + round_up(max(LEAST_SMALL_WIDTH - small, 0), multiple))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One layer at one size. Widths in elements, per tensor-parallel rank.

    ``kernel`` is ``wide`` where the fused kernel writes the padded width and ``narrow`` where it writes the true width.
    ``tp`` is the tensor-parallel size. ``shape`` holds the published sizes. ``full`` says that nothing was shrunk.
    ``overridden`` says that the hidden size is not the published one. ``small_of`` is the published shape where the hidden and
    the latent width were made small; None where they were not. ``rank`` is the rank whose shard the layer holds, where shards
    differ; None where every rank holds a copy of one shard. ``collective`` names the way in which real ranks are summed over,
    each of them a process; empty where one process stands for all ranks.
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
    small_of: Shape | None = None
    rank: int | None = None
    collective: str = ""

    @classmethod
    def of(cls, shape: Shape, alignment: Alignment, kernel: str, tp: int, tokens: int, full: bool = False) -> Self:
        """The case of a shape: at published sizes if ``full``, else with the sizes shrunk that are not under test."""
        shared, path = shape.shared_intermediate, PATHS.get(shape.path)
        is_scaled = shared is not None or (path is not None and path.scaled)
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
            scaling=ROUTED_SCALING if is_scaled else 1.0,
            dtype=path.dtype if path else "bfloat16",
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

    def small(self) -> Self:
        """The same layer at small hidden and latent widths, which differ, and need padding where this case's do."""
        if self.full or self.small_of or self.path:
            return self
        latent = None if self.latent is None else small_width(self.latent, self.alignment.hidden)
        multiple = self.alignment.hidden if latent is None else SHRUNK_WIDTH  # beside a latent width it is not padded
        hidden = small_width(self.hidden, multiple)
        hidden += multiple * (hidden == latent)
        return replace(
            self, shape=replace(self.shape, hidden=hidden, latent=latent), hidden=hidden, small_of=self.shape
        )

    def published(self) -> Self:
        """The same layer at the widths that it had before it was made small."""
        shape = self.small_of or self.shape
        return replace(self, shape=shape, hidden=shape.hidden, small_of=None)

    @property
    def structure(self) -> tuple[object, ...]:
        """What the code of a layer can depend on besides its sizes: its parts, its kernel and its activation."""
        return (*self.parts, self.gated, self.activation, self.kernel, self.path)

    @property
    def parts(self) -> tuple[bool, ...]:
        """Which parts the layer has: a shared expert, a latent projection, a routed scaling."""
        return self.shared is not None, self.latent is not None, self.scaling != 1

    @property
    def divides_shared(self) -> bool:
        """Whether a guard of float16 divides the shared part by the routed scaling, in place of a factor of the routed part."""
        return self.dtype == "float16" and self.shared is not None and self.scaling != 1

    @property
    def model(self) -> str:
        """The model's name."""
        return self.shape.name

    @property
    def path(self) -> str:
        """The code path of an engine's layer that the case is for; empty for most."""
        return self.shape.path

    @property
    def gated(self) -> bool:
        """Whether the first projection computes both gate and up."""
        return self.shape.gated

    @property
    def activation(self) -> str:
        """The activation that runs: the model's own, or a stand-in where its definition is not public."""
        return STAND_INS.get(self.shape.activation, self.shape.activation)

    @property
    def latent(self) -> int | None:
        """The latent width of the routed experts' input and output, or None."""
        return self.shape.latent

    @property
    def width(self) -> int:
        """The routed experts' width before padding: latent where there is one, else hidden."""
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
        """What differs from the published sizes: name -> ``now of published``."""
        shape = self.small_of or self.shape
        pairs = {
            **({"hidden": (self.hidden, shape.hidden), "latent": (self.latent, shape.latent)} if self.small_of else {}),
            "intermediate": (self.intermediate, shape.intermediate),
            "shared": (self.shared, shape.shared_intermediate),
            "experts": (self.experts, shape.experts),
            "top_k": (self.top_k, shape.top_k),
            "activation": (self.activation, shape.activation),
        }
        return {key: f"{now} of {published}" for key, (now, published) in pairs.items() if now != published}

    @property
    def id(self) -> str:
        """Parts joined by dashes: stable, and each can be typed after ``-k``, whose grammar has no ``=``.

        A name stands for itself and a number follows its key. The sizes that were shrunk follow from the shape; they are
        in ``changes``, and ``full`` says that there are none.
        """
        latent = [f"latent{self.latent}"] if self.latent else []
        widths = [f"hidden{self.hidden}", *latent, f"padded{self.padded}"]
        parts = [self.model, *widths, self.alignment.name, self.kernel, f"tp{self.tp}", f"tokens{self.tokens}"]
        ranks = [f"ranks-{self.collective}"] if self.collective else []
        return "-".join([*parts, *ranks, *(["full"] if self.full else [])])

    def describe_width(self, width: int) -> str:
        """Which width of the layer this is, and by which rule: ``2816 = 2688 rounded up to 256, trtllm-nvfp4``."""
        if width == self.padded != self.width:
            return f"{width} = {self.width} rounded up to {self.alignment.hidden}, {self.alignment.name}"
        names = {self.hidden: "hidden", self.latent: "latent", self.shared: "shared intermediate"}
        return f"{width} = {names[width]}" if width in names else f"{width}"
