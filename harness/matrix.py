"""The matrix: which cases are judged, from what the user chose. Imports no torch, so that collecting is cheap."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from harness.case import KERNELS, Case
from harness.errors import BadInput, unknown
from harness.modes import MODES, ModeInfo, choose
from harness.shapes import BUILT_IN, Shape, check_width, load

DEFAULT_TOKENS = 7
# (rule, kernel, tp): every model is judged at these; the synthetic shapes at every rule, so that each rule is met.
PLAN = (
    ("trtllm-nvfp4", "wide", 1),
    ("trtllm-nvfp4", "wide", 2),
    ("trtllm-nvfp4", "narrow", 1),
    ("trtllm-nvfp4", "narrow", 2),
    ("cutlass-nvfp4", "wide", 2),
)
FURTHER_RULES = ("marlin-nvfp4", "trtllm-mxfp8", "none")


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
        for shape, hidden, tokens in product(shapes, self.hidden or (0,), self.tokens or (DEFAULT_TOKENS,)):
            sized = replace(shape, hidden=hidden) if hidden else shape
            for rule, kernel, tp in self._plan(sized):
                case = Case.of(sized, catalogue.rule(rule), kernel, tp, tokens, self.full)
                case = replace(case, overridden=hidden not in (0, shape.hidden))
                found.setdefault(case.id, case)
        return list(found.values())

    def chosen_modes(self) -> list[ModeInfo]:
        """The modes chosen; all of them where none was. Raises BadInput."""
        return choose(list(self.modes)) if self.modes else list(MODES.values())

    def _plan(self, shape: Shape) -> list[tuple[str, str, int]]:
        if self.rules or self.kernels or self.tp:
            return list(product(self.rules or ("trtllm-nvfp4",), self.kernels or KERNELS, self.tp or (1, 2)))
        further = [(rule, "wide", 2) for rule in FURTHER_RULES] if shape.name.startswith("synthetic-") else []
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


