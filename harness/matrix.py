"""The matrix: which cases are judged, from what the user chose. Imports no torch, so that collecting is cheap."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from harness.case import KERNELS, Case
from harness.errors import BadInput, unknown
from harness.modes import MODES, ModeInfo, choose
from harness.shapes import BUILT_IN, Shape, check_width, load

DEFAULT_TOKENS = 7
# (rule, kernel, tp, tokens): every model is judged at these. Where a width is aligned, wide and narrow are one layer:
# their token counts differ, so that no two of these cases are the same.
PLAN = (
    ("trtllm-nvfp4", "wide", 1, DEFAULT_TOKENS),
    ("trtllm-nvfp4", "wide", 2, 1),
    ("trtllm-nvfp4", "narrow", 1, 33),
    ("trtllm-nvfp4", "narrow", 2, DEFAULT_TOKENS),
    ("cutlass-nvfp4", "wide", 2, DEFAULT_TOKENS),
)
# One shape for each further rule, chosen so that the rule pads it otherwise than the rules above.
FURTHER = {"synthetic-2304": "trtllm-mxfp8", "synthetic-odd-intermediate": "marlin-nvfp4", "synthetic-2880-shared": "none"}


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user chose. An empty tuple is no choice: the default plan."""

    models: tuple[str, ...] = ()
    hidden: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    tp: tuple[int, ...] = ()
    modes: tuple[str, ...] = ()
    full: bool = False
    models_file: str = str(BUILT_IN)

    def cases(self) -> list[Case]:
        """The cases chosen, in a stable order; raises BadInput with the nearest valid names."""
        _check_numbers(self)
        catalogue = load(Path(self.models_file))
        shapes = [catalogue.shape(name) for name in self.models] or list(catalogue.shapes.values())
        found: dict[str, Case] = {}
        for shape, hidden in product(shapes, self.hidden or (0,)):
            sized = replace(shape, hidden=hidden) if hidden else shape
            for rule, kernel, tp, tokens in self._plan(shape):
                case = Case.of(sized, catalogue.rule(rule), kernel, tp, tokens, self.full)
                case = replace(case, overridden=hidden not in (0, shape.hidden))
                found.setdefault(case.id, case)
        return list(found.values())

    def chosen_modes(self) -> list[ModeInfo]:
        """The modes chosen; all of them where none was. Raises BadInput."""
        return choose(list(self.modes)) if self.modes else list(MODES.values())

    def _plan(self, shape: Shape) -> list[tuple[str, str, int, int]]:
        """(rule, kernel, tp, tokens) of each of a shape's cases: the plan, or every combination of what was chosen."""
        if self.rules or self.kernels or self.tp or self.tokens:
            tokens = self.tokens or (DEFAULT_TOKENS,)
            return list(product(self.rules or ("trtllm-nvfp4",), self.kernels or KERNELS, self.tp or (1, 2), tokens))
        further = [(FURTHER[shape.name], "wide", 2, DEFAULT_TOKENS)] if shape.name in FURTHER else []
        return [*PLAN, *further]


def _check_numbers(selection: Selection) -> None:
    for hidden in selection.hidden:
        check_width("hidden", hidden, "--hidden")
    for tokens in selection.tokens:
        if tokens < 0:
            raise BadInput(f"--tokens is {tokens}; expected 0 or more tokens in a batch")
    for tp in selection.tp:
        if tp < 1:
            raise BadInput(f"--tp is {tp}; expected a tensor-parallel size of 1 or more")
    for kernel in selection.kernels:
        if kernel not in KERNELS:
            raise unknown("kernel", kernel, KERNELS)


