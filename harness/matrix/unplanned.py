"""Modes that the user named and that the plan has for no row of a code path: nothing of them is in the table."""

from collections.abc import Iterable

from harness.matrix.case import Case
from harness.matrix.modes import VARIED, ModeInfo, choose
from harness.matrix.paths import PATHS
from harness.matrix.plan import PATH_VARIED, can_run
from harness.matrix.selection import Selection
from harness.matrix.shapes import load

_NO_ROW = "no default row has them (with --tp, --kernels or --tokens they run)"
_HOST = "the path reads data on the host, which no graph holds"
_ONE_VARIED = f"of the varied modes a code path has {PATH_VARIED} alone"


def unplanned(selection: Selection, tasks: Iterable[tuple[Case, ModeInfo]]) -> str:
    """One line about the words of ``--modes`` of which no mode runs for a code path that is chosen; empty where there is none."""
    ran, paths = {(case.model, mode.name) for case, mode in tasks}, [name for name in selection.models if name in PATHS]
    lacking: dict[tuple[str, str], list[str]] = {}
    for word in selection.modes:
        modes = choose([word], selection.cuda)
        for path in paths:
            if not any((path, mode.name) in ran for mode in modes):
                lacking.setdefault((word, _why(path, modes)), []).append(path)
    named = [
        f"{word} of {f'all {len(paths)} code paths' if some == paths and len(paths) > 1 else ', '.join(some)}: {why}"
        for (word, why), some in lacking.items()
    ]
    return f"not run: {'; '.join(named)}" if named else ""


def _why(path: str, modes: list[ModeInfo]) -> str:
    if not any(can_run(load().shape(path), mode) for mode in modes):
        return _HOST
    varied = all(mode.family == VARIED for mode in modes)
    return _ONE_VARIED if varied and PATH_VARIED not in [mode.name for mode in modes] else _NO_ROW
