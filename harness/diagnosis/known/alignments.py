"""The multiples that round one size up to another, and the rules of the models file that do."""

from dataclasses import dataclass

from harness.diagnosis.owners import Owner, catalogue
from harness.matrix.shapes import Alignment as Rule

# Besides the rules of the models file, what kernels and collectives round widths up to.
COMMON = (16, 32, 64, 128, 256, 512, 768, 1024)


@dataclass(frozen=True, slots=True)
class Alignment:
    """A multiple that a width was rounded up to, in elements, and the rules of the models file that round to it.

    ``hidden`` are those that round a hidden size to it, ``inner`` those that round an intermediate size alone. Where the model is
    not known, ``gated`` and ``plain`` are those that do so only where its first projection holds gate and up, or has no gate.
    """

    multiple: int
    hidden: tuple[str, ...]
    inner: tuple[str, ...] = ()
    gated: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """Every rule."""
        return self.hidden + self.inner + self.gated + self.plain

    def __str__(self) -> str:
        by = {
            "": self.hidden,
            "intermediate sizes by ": self.inner,
            "gated intermediate sizes by ": self.gated,
            "intermediate sizes without a gate by ": self.plain,
        }
        rules = "; ".join(f"{words}{', '.join(names)}" for words, names in by.items() if names)
        return f"{self.multiple} ({rules})" if rules else str(self.multiple)


def alignments(
    narrow: int, wide: int, of: tuple[Owner, ...] = (), named: tuple[str, ...] = ()
) -> tuple[Alignment, ...]:
    """The multiples that round ``narrow`` up to ``wide``, the least first, and their rules by what ``narrow`` is ``of`` models."""
    rules = [rule for rule in catalogue().rules.values() if rule.name != "none"]
    fit = [m for m in sorted({*COMMON, *multiples_of_rules()}) if narrow and -(-narrow // m) * m == wide != narrow]
    own = tuple(owner for owner in of if owner.model in named)
    told = own if own and not any(owner.whole for owner in of) else of
    inner_alone = bool(told) and all("intermediate size" in owner.part for owner in told)
    return tuple(_alignment(m, rules, _gates(of, named), not inner_alone) for m in fit)


def _gates(of: tuple[Owner, ...], named: tuple[str, ...]) -> frozenset[bool]:
    """Whether the first projection of the model that has a width is gated: of the likeliest models that say so, else either."""
    shapes = catalogue().shapes
    own = [owner.model for owner in of if owner.model in named]
    whole = [owner.model for owner in of if owner.whole]
    inner = [owner.model for owner in of if "intermediate size" in owner.part]
    likeliest = own or whole or (inner if len(inner) == len(of) else []) or (list(named) if not of else [])
    return frozenset(shapes[model].gated for model in likeliest) or frozenset((True, False))


def multiples_of_rules() -> list[int]:
    """What the rules of the models file round sizes up to, the least first."""
    rules = [rule for rule in catalogue().rules.values() if rule.name != "none"]
    return sorted({m for rule in rules for m in (rule.hidden, rule.intermediate_gated, rule.intermediate_non_gated)})


def _alignment(multiple: int, rules: list[Rule], gates: frozenset[bool], hidden: bool) -> Alignment:
    """A multiple with its rules; ``gates`` are the kinds of first projections that there may be, ``hidden`` that of sizes."""
    whole = tuple(rule.name for rule in rules if hidden and rule.hidden == multiple)
    fits = {
        rule.name: frozenset(gate for gate in gates if rule.intermediate(gate) == multiple)
        for rule in rules
        if rule.name not in whole
    }
    inner, gated, plain = (
        tuple(name for name, found in fits.items() if found == kinds)
        for kinds in (gates, frozenset((True,)), frozenset((False,)))
    )
    return Alignment(multiple, whole, inner, *((gated, plain) if len(gates) > 1 else ()))
