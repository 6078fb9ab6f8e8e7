"""What an op demands of a size: a multiple of which number."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.audit.samples import Sample
from harness.audit.tensors import tensors
from harness.audit.variants.resizes import demand
from harness.audit.variants.variant import Variant

Tried = Iterable[tuple[Variant, str | None]]


@dataclass
class _Dimension:
    """The sizes at which a dimension was tried, each with whether the op took it."""

    old: int
    taken: dict[int, bool] = field(default_factory=dict)

    def demand(self) -> str:
        takes = {size for size, took in self.taken.items() if took}
        return demand(takes, set(self.taken) - takes, self.old)


def sizes_to_try(samples: list[Sample], given: list[Variant], resized: Tried) -> set[int]:
    """The sizes of which an op may demand a multiple: all if it refuses the samples, else those that it does not let vary."""
    if not given:
        return {size for leaf in tensors([sample.leaves for sample in samples]) for size in leaf.shape}
    pairs = list(resized)
    accepted = {variant.label for variant, refused in pairs if refused is None}
    return {variant.resize.old for variant, _ in pairs if variant.resize and variant.label not in accepted}


def demands(tried: Tried, takes_given: bool) -> list[str]:
    """For each size, the multiple that the op needs, in words. ``takes_given`` says whether it accepts its samples."""
    found: dict[str, _Dimension] = {}
    for variant, refused in tried:
        if variant.resize is not None and not variant.base:
            dimension = found.setdefault(_where(variant.label, variant.resize.old), _Dimension(variant.resize.old))
            dimension.taken[variant.resize.new] = dimension.taken.get(variant.resize.new, False) or refused is None
            dimension.taken[variant.resize.old] = takes_given
    texts = {where: dimension.demand() for where, dimension in found.items()}
    return [f"{where}: {text}" for where, text in texts.items() if text]


def _where(label: str, old: int) -> str:
    """The dimensions that the label of a variant names."""
    return label.partition(": ")[2].partition(", sample")[0].rpartition(f" {old} to ")[0]
