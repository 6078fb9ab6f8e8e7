"""The selection: which cases run in which modes. Imports no torch, so that pytest collects fast."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from harness.base.errors import BadInput, unknown
from harness.matrix.case import KERNELS, Case
from harness.matrix.modes import MODES, PROOF, VARIED, ModeInfo, by_default, choose
from harness.matrix.plan import (
    DEFAULT_RULE,
    DEFAULT_TOKENS,
    PATH_STRUCTURE,
    PATH_VARIED,
    REAL_RANKS,
    STRUCTURES,
    Row,
    can_run,
    default_rows,
    is_structure,
)
from harness.matrix.ranks import LEAST_RANKS, REAL, check_ranks, collectives_for, real_modes
from harness.matrix.shapes import ANY, BUILT_IN, LARGEST, Alignment, Catalogue, Shape, check_width, load
from harness.matrix.variations import check_names, with_variations

MOST_RANKS = 4096


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
        chosen = self.chosen()
        runs = self._runs(catalogue, [mode for mode in chosen if mode is not PROOF and mode.family != VARIED])
        runs += self._structures(catalogue, [mode for mode in chosen if mode.family == VARIED])
        return runs + ([(case, PROOF) for case in self._proofs(catalogue)] if PROOF in chosen else [])

    def chosen(self) -> list[ModeInfo]:
        """The modes that the user named, or else the default ones. Raises BadInput."""
        default = [*by_default(self.cuda), *([PROOF] if self.proofs else [])]
        return with_variations(choose(list(self.modes), self.cuda) if self.modes else default, self.vary)

    def _runs(self, catalogue: Catalogue, chosen: list[ModeInfo]) -> list[tuple[Case, ModeInfo]]:
        shapes = [catalogue.shape(name) for name in self.models] or list(catalogue.shapes.values())
        runs: dict[tuple[str, str], tuple[Case, ModeInfo]] = {}
        for shape, hidden in product(shapes, self.hidden or (0,)):
            sized = replace(shape, hidden=hidden) if hidden else shape
            for row, names, only_padded in self._rows(shape):
                case = self._case(sized, catalogue.rule(row[0]), row, overridden=hidden not in (0, shape.hidden))
                if case.padded != case.width or not only_padded:
                    modes = [mode for mode in self._modes_of(names, chosen) if can_run(shape, mode)]
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
            if not self._explicit and not is_structure(row, shape):
                continue
            sized = replace(shape, hidden=hidden) if hidden else shape
            case = self._case(sized, catalogue.rule(row[0]), row, overridden=hidden not in (0, shape.hidden))
            key, is_padded = (case.structure, row, hidden), case.padded != case.width
            if is_padded or row[1] == "wide" or self.kernels:
                better = key not in first or (is_padded and first[key].padded == first[key].width)
                first |= {key: case} if better else {}
        cases = [case if self.hidden else case.small() for case in first.values()]
        parts = {case.parts: case for case in reversed(cases) if not case.path}
        # Where nothing follows a narrow kernel, its output is the layer's: what the op keeps of it shows there alone.
        bare = [case for case in reversed(cases) if case.kernel == "narrow" and not (case.path or any(case.parts))]
        parts |= {case.parts: case for case in bare}
        return [
            (case, mode)
            for case in cases
            for mode in chosen
            if (self._varies(case, mode) if case.path else not mode.parts_only or parts[case.parts] is case)
        ]

    def _varies(self, case: Case, mode: ModeInfo) -> bool:
        """Whether a varied mode runs for a code path: one by default, and each that can run in rows that the user chose."""
        return mode.name == PATH_VARIED or (self._explicit and can_run(case.shape, mode))

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
        return default_rows(shape, full=self.full, brief=self.brief)


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
