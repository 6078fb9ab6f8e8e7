"""Modes that are chosen and that the plan has for no row of a code path: nothing of them is in the table."""

from collections.abc import Iterable, Sequence

from harness.matrix.case import Case
from harness.matrix.modes import PROOF, ModeInfo
from harness.matrix.paths import PATHS
from harness.matrix.plan import SIZES, can_run
from harness.matrix.selection import Selection
from harness.matrix.shapes import load

_NO_ROW = "no default row has them (with --tp, --kernels or --tokens they run)"
_HOST = "the path reads data on the host, which no graph holds"
_OWN_SIZES = "a code path has sizes of its own"
_Lacking = dict[tuple[tuple[str, ...], str], list[ModeInfo]]


def unplanned(selection: Selection, tasks: Iterable[tuple[Case, ModeInfo]]) -> str:
    """One line that names each chosen mode which runs for no case of a code path; empty where there is none.

    The modes are those that the user named, or all that run where none is named.
    """
    modes, paths = _modes(selection), [name for name in selection.models if name in PATHS]
    ran = {(case.model, mode.name) for case, mode in tasks}
    named = [
        f"{', '.join(_names(lacking, modes))} of {_of(some, paths)}: {why}"
        for (some, why), lacking in _lacking(modes, paths, ran).items()
    ]
    return f"not run: {'; '.join(named)}" if named else ""


def _modes(selection: Selection) -> list[ModeInfo]:
    """The chosen modes, but for the proof, which has cases of its own."""
    return [mode for mode in selection.chosen() if mode.name != PROOF.name]


def _lacking(modes: Sequence[ModeInfo], paths: Sequence[str], ran: set[tuple[str, str]]) -> _Lacking:
    """The modes that do not run, by the paths that lack them and the reason."""
    grouped: _Lacking = {}
    for mode in modes:
        why: dict[str, list[str]] = {}
        for path in paths:
            if (path, mode.name) not in ran:
                why.setdefault(_why(path, mode), []).append(path)
        for reason, some in why.items():
            grouped.setdefault((tuple(some), reason), []).append(mode)
    return grouped


def _why(path: str, mode: ModeInfo) -> str:
    if can_run(load().shape(path), mode):
        return _NO_ROW
    return _OWN_SIZES if mode.name == SIZES else _HOST


def _names(lacking: Sequence[ModeInfo], modes: Sequence[ModeInfo]) -> list[str]:
    """The modes by name, and by that of their family where none of its chosen modes runs."""
    chosen = {mode.family: [one for one in modes if one.family == mode.family] for mode in lacking}
    whole = {family for family, members in chosen.items() if all(one in lacking for one in members)}
    named = [mode.family if mode.family in whole and len(chosen[mode.family]) > 1 else mode.exact for mode in lacking]
    return list(dict.fromkeys(named))


def _of(some: Sequence[str], paths: Sequence[str]) -> str:
    return f"all {len(paths)} code paths" if [*some] == [*paths] and len(paths) > 1 else ", ".join(some)
