"""The matrix: which cases are judged, from what the user chose. Imports no torch, so that collecting is cheap."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from harness.case import KERNELS, Case
from harness.errors import BadInput, unknown
from harness.modes import MODES, ModeInfo, choose
from harness.shapes import BUILT_IN, Alignment, Shape, check_width, load

DEFAULT_TOKENS = 7
DEFAULT_RULE = "trtllm-nvfp4"
# (rule, kernel, tp, tokens). Every mode runs at FULL. A narrow kernel is another layer only where a width is padded.
FULL = (
    (DEFAULT_RULE, "wide", 1, DEFAULT_TOKENS),
    (DEFAULT_RULE, "wide", 2, 1),
    (DEFAULT_RULE, "narrow", 1, 33),
    (DEFAULT_RULE, "narrow", 2, DEFAULT_TOKENS),
)
# Other rules and token counts, in the modes that they can change: compiling again costs most and would show nothing
# new, unless the rule pads a width that FULL leaves as it is.
LIGHT = (
    ("cutlass-nvfp4", "wide", 2, DEFAULT_TOKENS),
    ("marlin-nvfp4", "wide", 1, 2),
    ("none", "wide", 2, 5),
    (DEFAULT_RULE, "wide", 1, 16),
    (DEFAULT_RULE, "wide", 2, 33),
)
LIGHT_MODES = ("eager", "fake", "cudagraph")
# These rules' expert widths of 512 and 256 make a layer up to eight times larger: only the synthetic shapes meet them.
WIDEST = (("trtllm-mxfp8", "wide", 1, DEFAULT_TOKENS), ("trtllm-mxfp4", "wide", 2, DEFAULT_TOKENS))

Row = tuple[str, str, int, int]


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

    def tasks(self) -> list[tuple[Case, ModeInfo]]:
        """The cases chosen, each with each of its modes, in a stable order. Raises BadInput with the nearest names."""
        _check_numbers(self)
        catalogue = load(Path(self.models_file))
        chosen = choose(list(self.modes)) if self.modes else []
        shapes = [catalogue.shape(name) for name in self.models] or list(catalogue.shapes.values())
        found: dict[tuple[str, str], tuple[Case, ModeInfo]] = {}
        for shape, hidden in product(shapes, self.hidden or (0,)):
            sized = replace(shape, hidden=hidden) if hidden else shape
            for row, light in self._rows(shape):
                case = self._case(sized, catalogue.rule(row[0]), row, overridden=hidden not in (0, shape.hidden))
                modes = chosen or [mode for mode in MODES.values() if not light or mode.name in LIGHT_MODES]
                found |= {(case.id, mode.name): (case, mode) for mode in modes if self._differs(case)}
        return list(found.values())

    def cases(self) -> list[Case]:
        """The cases chosen, each once."""
        return list({case.id: case for case, _ in self.tasks()}.values())

    def _case(self, shape: Shape, rule: Alignment, row: Row, overridden: bool) -> Case:
        _, kernel, tp, tokens = row
        return replace(Case.of(shape, rule, kernel, tp, tokens, self.full), overridden=overridden)

    def _differs(self, case: Case) -> bool:
        """Whether the case is a layer of its own: a narrow kernel of an aligned width is the wide one."""
        return bool(self.kernels) or case.kernel == "wide" or case.padded != case.width

    def _rows(self, shape: Shape) -> list[tuple[Row, bool]]:
        """Each row of the plan with whether it is a light one, or every combination of what was chosen."""
        if self.rules or self.kernels or self.tp or self.tokens:
            tokens = self.tokens or (DEFAULT_TOKENS,)
            return [
                (row, False)
                for row in product(self.rules or (DEFAULT_RULE,), self.kernels or KERNELS, self.tp or (1, 2), tokens)
            ]
        light = [*LIGHT, *WIDEST] if shape.name.startswith("synthetic-") else LIGHT
        return [(row, False) for row in FULL] + [(row, True) for row in light]


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
