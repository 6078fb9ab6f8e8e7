"""The selection: which cases run in which modes. Imports no torch, so that pytest collects fast."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from harness.base.errors import BadInput, unknown
from harness.matrix.case import KERNELS, Case
from harness.matrix.modes import MODES, PROOF, VARIED, ModeInfo, by_default, choose
from harness.matrix.paths import PATHS
from harness.matrix.paths import Path as CodePath
from harness.matrix.ranks import LEAST_RANKS, REAL, check_ranks, collectives_for, real_modes
from harness.matrix.shapes import ANY, BUILT_IN, LARGEST, Alignment, Catalogue, Shape, check_width, load
from harness.matrix.variations import check_names, with_variations

DEFAULT_TOKENS = 7
MOST_RANKS = 4096
DEFAULT_RULE = "trtllm-nvfp4"
# A row is (rule, kernel, tp, tokens). Every mode runs at FULL. PADDED applies where the rule pads the width, since at an
# aligned width a narrow kernel is the wide one; graphs by bucket and torch.compile's own graphs are left out there,
# because one row a model shows what they find.
FULL = ((DEFAULT_RULE, "wide", 2, DEFAULT_TOKENS),)
PADDED = (
    (DEFAULT_RULE, "wide", 1, DEFAULT_TOKENS),
    (DEFAULT_RULE, "narrow", 1, 33),
    (DEFAULT_RULE, "narrow", 2, DEFAULT_TOKENS),
)
# Compiling costs most and shows nothing new where nothing is padded, so these rows run in the other modes, and other
# token counts only in modes with a static token count.
RULES = (
    (DEFAULT_RULE, "wide", 1, DEFAULT_TOKENS),
    ("cutlass-nvfp4", "wide", 2, DEFAULT_TOKENS),
    ("none", "wide", 1, 16),
)
PADDED_MODES = ("eager", "fake", "fake-dynamic", "compiled", "compiled-dynamic", "cudagraph")
RULES_MODES = ("eager", "fake", "fake-dynamic", "cudagraph")
ONE_TOKEN = ((DEFAULT_RULE, "wide", 2, 1),)
ONE_TOKEN_MODES = ("eager", "fake", "fake-dynamic", "cudagraph")
# No CUDA graphs here: graphs by bucket run more tokens than the case has.
TOKENS = (
    (DEFAULT_RULE, "wide", 1, 2),
    (DEFAULT_RULE, "wide", 2, 33),
)
TOKENS_MODES = ("eager", "fake")
# The varied modes judge each structure of layer once, and these rows hold each structure's two kernels.
STRUCTURES = (
    (DEFAULT_RULE, "wide", 2, DEFAULT_TOKENS),
    (DEFAULT_RULE, "narrow", 1, DEFAULT_TOKENS),
)
# A code path of an engine's layer runs once on two ranks and once on one, where no graph by bucket and no compiler shows more.
PATH = ((DEFAULT_RULE, "wide", 2, DEFAULT_TOKENS), (DEFAULT_RULE, "wide", 1, 33))
PATH_NARROW = ((DEFAULT_RULE, "narrow", 1, DEFAULT_TOKENS),)
PATH_MODES = ("eager", "fake", "fake-dynamic")
PATH_STRUCTURE = (DEFAULT_RULE, "wide", 1, DEFAULT_TOKENS)
PATH_VARIED = "varied-tokens"
# Weights at published sizes take gigabytes, and seconds to make. Two rows cover both kernels and both tensor-parallel
# sizes in every mode; shrunk sizes cover the rest.
TRUE_SIZES = ((DEFAULT_RULE, "narrow", 1, 33),)
# These rules pad the expert width so far that a layer grows up to eight times: one synthetic shape runs each.
SYNTHETIC_ROWS = {
    "synthetic-2304": ("trtllm-mxfp8", "wide", 1, DEFAULT_TOKENS),
    "synthetic-odd-intermediate": ("trtllm-mxfp4", "wide", 2, DEFAULT_TOKENS),
    "synthetic-2880-shared": ("marlin-nvfp4", "wide", 1, DEFAULT_TOKENS),
}

# Real ranks: what is cut off before the collective differs between the kernels, and nothing else of the plan above does.
REAL_RANKS = (
    (DEFAULT_RULE, "wide", LEAST_RANKS, DEFAULT_TOKENS),
    (DEFAULT_RULE, "narrow", LEAST_RANKS, DEFAULT_TOKENS),
)

Row = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user chose. An empty tuple stands for the default.

    ``brief`` leaves out the default rows of other rules and token counts, which show nothing new in an engine's layer, and runs
    named modes in the rows that have them by default.
    ``proofs`` adds the proofs to the default modes. ``cuda`` says that the cases run on a CUDA device, which adds the
    modes that need one. ``vary`` names variations, and leaves only the modes of the family ``varied`` that run them.
    ``ranks`` is ``real`` where each rank is a process, over each of the ``collectives`` in turn; empty or ``copies`` where one
    process stands for all.
    """

    models: tuple[str, ...] = ()
    hidden: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    tp: tuple[int, ...] = ()
    modes: tuple[str, ...] = ()
    full: bool = False
    models_file: str = str(BUILT_IN)
    proofs: bool = False
    cuda: bool = False
    vary: tuple[str, ...] = ()
    ranks: str = ""
    collectives: tuple[str, ...] = ()
    brief: bool = False

    def tasks(self) -> list[tuple[Case, ModeInfo]]:
        """(case, mode) for every case and mode chosen, in a stable order. Raises BadInput with the nearest names."""
        _check_numbers(self)
        catalogue = load(Path(self.models_file))
        if self.ranks == REAL:
            return self._real_ranks(catalogue)
        default = [*by_default(self.cuda), *([PROOF] if self.proofs else [])]
        chosen = choose(list(self.modes), self.cuda) if self.modes else default
        chosen = with_variations(chosen, self.vary)
        runs = self._runs(catalogue, [mode for mode in chosen if mode is not PROOF and mode.family != VARIED])
        runs += self._structures(catalogue, [mode for mode in chosen if mode.family == VARIED])
        return runs + ([(case, PROOF) for case in self._proofs(catalogue)] if PROOF in chosen else [])

    def _runs(self, catalogue: Catalogue, chosen: list[ModeInfo]) -> list[tuple[Case, ModeInfo]]:
        shapes = [catalogue.shape(name) for name in self.models] or list(catalogue.shapes.values())
        runs: dict[tuple[str, str], tuple[Case, ModeInfo]] = {}
        for shape, hidden in product(shapes, self.hidden or (0,)):
            sized = replace(shape, hidden=hidden) if hidden else shape
            for row, names, only_padded in self._rows(shape):
                case = self._case(sized, catalogue.rule(row[0]), row, overridden=hidden not in (0, shape.hidden))
                if case.padded != case.width or not only_padded:
                    modes = [mode for mode in self._modes_of(names, chosen) if _can_run(shape, mode)]
                    runs |= {(case.id, mode.name): (case, mode) for mode in modes}
        return list(runs.values())

    def _real_ranks(self, catalogue: Catalogue) -> list[tuple[Case, ModeInfo]]:
        """Each case over each collective; a narrow kernel only where the rule pads, unless it was chosen."""
        shapes = [catalogue.shape(name) for name in self.models] or list(catalogue.shapes.values())
        modes, names = real_modes(self.modes, self.cuda), collectives_for(self.collectives, self.cuda)
        runs: dict[tuple[str, str], tuple[Case, ModeInfo]] = {}
        for shape, hidden, row in product(shapes, self.hidden or (0,), self._real_rows):
            sized = replace(shape, hidden=hidden) if hidden else shape
            case = self._case(sized, catalogue.rule(row[0]), row, overridden=hidden not in (0, shape.hidden))
            if row[1] == "wide" or self.kernels or case.padded != case.width:
                cases = [replace(case, collective=name) for name in names]
                runs |= {(one.id, mode.name): (one, mode) for one, mode in product(cases, modes)}
        return list(runs.values())

    @property
    def _real_rows(self) -> tuple[Row, ...]:
        tokens = self.tokens or (DEFAULT_TOKENS,)
        rows = product(self.rules or (DEFAULT_RULE,), self.kernels or KERNELS, self.tp or (LEAST_RANKS,), tokens)
        return tuple(rows) if self._explicit else REAL_RANKS

    def _modes_of(self, names: Iterable[str], chosen: list[ModeInfo]) -> list[ModeInfo]:
        """The modes of a row: its own of those chosen. Modes that the user named run in every row, unless it is a brief one's."""
        own = [mode for mode in chosen if mode.name in names]
        return chosen if self.modes and not (self.brief and own) else own

    def _structures(self, catalogue: Catalogue, chosen: list[ModeInfo]) -> list[tuple[Case, ModeInfo]]:
        """The first case of each structure of layer, a padded one where there is one; none at true sizes by default.

        It is made small unless its width was chosen.
        """
        if not chosen or (self.full and not self.modes and not self.vary):
            return []
        shapes = [catalogue.shape(name) for name in self.models] or list(catalogue.shapes.values())
        first: dict[object, Case] = {}
        for row, hidden, shape in product(self._structure_rows, self.hidden or (0,), shapes):
            if not self._explicit and not _is_structure(row, shape):
                continue
            sized = replace(shape, hidden=hidden) if hidden else shape
            case = self._case(sized, catalogue.rule(row[0]), row, overridden=hidden not in (0, shape.hidden))
            key, is_padded = (case.structure, row, hidden), case.padded != case.width
            if is_padded or row[1] == "wide" or self.kernels:
                better = key not in first or (is_padded and first[key].padded == first[key].width)
                first |= {key: case} if better else {}
        cases = [case if self.hidden else case.small() for case in first.values()]
        parts = {case.parts: case for case in reversed(cases) if not case.path}
        return [
            (case, mode)
            for case in cases
            for mode in chosen
            if (mode.name == PATH_VARIED if case.path else not mode.parts_only or parts[case.parts] is case)
        ]

    @property
    def _structure_rows(self) -> tuple[Row, ...]:
        tokens = self.tokens or (DEFAULT_TOKENS,)
        rows = product(self.rules or (DEFAULT_RULE,), self.kernels or KERNELS, self.tp or (1, 2), tokens)
        return tuple(rows) if self._explicit else (*STRUCTURES, PATH_STRUCTURE)

    def _proofs(self, catalogue: Catalogue) -> list[Case]:
        """Every combination of shared expert, latent width, rule, kernel and tp; where models are chosen, those of the models."""
        shapes = [catalogue.shape(name) for name in self.models] or list(ANY.values())
        rules = self.rules or (
            (DEFAULT_RULE,) if self.models and not set(self.models) & set(ANY) else tuple(catalogue.rules)
        )
        rows = product(rules, self.kernels or KERNELS, self.tp or (1, 2), self.tokens or (DEFAULT_TOKENS,))
        return [self._case(shape, catalogue.rule(row[0]), row, False) for shape, row in product(shapes, list(rows))]

    def cases(self) -> list[Case]:
        """The cases chosen, each once; those of structures, which were made small, only where no other mode is chosen."""
        tasks = self.tasks()
        plain = [task for task in tasks if task[1].family != VARIED]
        return list({case.id: case for case, _ in plain or tasks}.values())

    def _case(self, shape: Shape, rule: Alignment, row: Row, overridden: bool) -> Case:
        _, kernel, tp, tokens = row
        return replace(Case.of(shape, rule, kernel, tp, tokens, self.full), overridden=overridden)

    @property
    def _explicit(self) -> bool:
        """Whether the user chose rows in place of the default plan."""
        return bool(self.rules or self.kernels or self.tp or self.tokens)

    def _rows(self, shape: Shape) -> list[tuple[Row, Iterable[str], bool]]:
        """(row, names of its modes, whether it applies only where the rule pads the width)."""
        if self._explicit:
            tokens = self.tokens or (DEFAULT_TOKENS,)
            chosen = product(self.rules or (DEFAULT_RULE,), self.kernels or KERNELS, self.tp or (1, 2), tokens)
            return [(row, MODES, row[1] == "narrow" and not self.kernels) for row in chosen]
        if self.full:
            return [(row, MODES, row in TRUE_SIZES) for row in (*FULL, *TRUE_SIZES)]
        if shape.path:
            return [(row, modes, False) for row, modes in _path_rows(PATHS[shape.path])]
        if self.brief:
            brief = ((FULL, MODES), (PADDED, PADDED_MODES), (ONE_TOKEN, ONE_TOKEN_MODES))
            return [(row, names, rows is PADDED) for rows, names in brief for row in rows]
        synthetic = [SYNTHETIC_ROWS[shape.name]] if shape.name in SYNTHETIC_ROWS else []
        groups = (
            (FULL, MODES),
            (PADDED, PADDED_MODES),
            ((*RULES, *synthetic), RULES_MODES),
            (ONE_TOKEN, ONE_TOKEN_MODES),
            (TOKENS, TOKENS_MODES),
        )
        return [(row, names, rows is PADDED) for rows, names in groups for row in rows]


def _can_run(shape: Shape, mode: ModeInfo) -> bool:
    """Whether a mode can run a shape: a path that reads data on the host fits into no CUDA graph."""
    return not shape.path or PATHS[shape.path].captured or mode.family != "cudagraph"


def _path_rows(path: CodePath) -> list[tuple[Row, Iterable[str]]]:
    """(row, names of its modes) of a code path."""
    modes = (*PATH_MODES, "cudagraph") if path.captured else PATH_MODES
    return [(row, modes) for row in (*PATH, *(PATH_NARROW if path.narrow else ()))]


def _is_structure(row: Row, shape: Shape) -> bool:
    """Whether a default row of the varied modes is for this shape: a path has a row of its own, if any."""
    return PATHS[shape.path].varied and row == PATH_STRUCTURE if shape.path else row != PATH_STRUCTURE


def _check_numbers(selection: Selection) -> None:
    for hidden in selection.hidden:
        check_width("hidden", hidden, "--hidden")
    check_names(selection.vary)
    check_ranks(selection.ranks, selection.collectives, selection.tp, selection.vary)
    for tokens in selection.tokens:
        if not 0 <= tokens <= LARGEST:
            raise BadInput(f"--tokens is {tokens}; expected 0 or more tokens in a batch, at most {LARGEST:,}")
    for tp in selection.tp:
        if not 1 <= tp <= MOST_RANKS:
            raise BadInput(f"--tp is {tp}; expected a tensor-parallel size of 1 or more, at most {MOST_RANKS:,}")
    for kernel in selection.kernels:
        if kernel not in KERNELS:
            raise unknown("kernel", kernel, KERNELS)
