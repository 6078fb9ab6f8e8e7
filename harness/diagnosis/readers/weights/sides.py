"""The two sides of a product: which one is the weight, and which has the padded width."""

from dataclasses import dataclass

from harness.diagnosis.facts import Facts
from harness.diagnosis.statements.weights import left_is_weight
from harness.diagnosis.widths import Pair

_WIDTHS = {True: ("padded", "true"), False: ("true", "padded")}


@dataclass(frozen=True, slots=True)
class Sides:
    """``wide_came`` says that the activation has the padded width, ``weight_first`` that the weight is the left factor."""

    wide_came: bool
    weight_first: bool

    @staticmethod
    def of(facts: Facts, pair: Pair, left: int) -> "Sides":
        """The sides of a product whose left factor has the inner size ``left``."""
        first = left_is_weight(facts.code)
        return Sides((left == pair.wide) != first, first)

    @property
    def came(self) -> str:
        """The width of the activation, in a word."""
        return _WIDTHS[self.wide_came][0]

    @property
    def made(self) -> str:
        """The width that the weight is made for, in a word."""
        return _WIDTHS[self.wide_came][1]

    def operands(self, left: int, right: int) -> tuple[str, str]:
        """In words, both factors of a product, by their inner sizes."""
        came, made = f"an activation at the {self.came} width", f"a weight at the {self.made} width"
        sides = (made, came) if self.weight_first else (came, made)
        return f"left, {left} wide: {sides[0]}", f"right, {right} deep: {sides[1]}"

    def of_second(self, left: int, shared: bool) -> tuple[str, str]:
        """In words, both factors of the second projection; ``shared`` for the shared expert's."""
        whose = "the shared expert's" if shared else "the"
        came = f"what {whose} first projection gave, at the {self.came} intermediate width"
        made = f"{whose} second projection's weight, at the {self.made} intermediate width"
        sides = (made, came) if self.weight_first else (came, made)
        return f"left, {left} wide: {sides[0]}", f"right: {sides[1]}"
