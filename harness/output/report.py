"""Findings and verdicts as plain text, each with the command that reproduces it. No torch, no colour."""

import re
from collections import defaultdict
from collections.abc import Iterable

from harness.base.printable import printable
from harness.findings.finding import ERROR, FINDINGS, JUDGED_AS, LATENT, SKIPPED, WAIVED, Finding, Verdict
from harness.matrix.modes import MODES
from harness.verdict.reproduce import script_command

_LABEL = 12


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def mode_name(verdict: Verdict) -> str:
    """The mode's name, with ``(emulated)`` if CUDA graphs were emulated."""
    return f"{verdict.mode} (emulated)" if verdict.emulated else verdict.mode


def _the(call: str) -> str:
    """A call's label with an article: some labels have one."""
    return call if call.startswith(("a ", "an ", "the ")) else f"the {call}"


def finding_text(verdict: Verdict, finding: Finding) -> str:
    """Case, mode, stage, what made each width, the user's line, the cause, similar public bugs, and the reproducing command."""
    rows = [
        f"{finding.kind} at {finding.stage}: {verdict.model}, {mode_name(verdict)}",
        _row("case", verdict.case),
        _row("found by", f"{finding.observer}" + (f", in {_the(finding.call)}" if finding.call else "")),
        _row("what", finding.what),
    ]
    rows += [_row("width", _origin(origin)) for origin in finding.widths]
    if finding.line:
        rows.append(_row("line", f"{finding.line}: {finding.line.text}"))
    if finding.caller:
        rows.append(_row("called from", f"{finding.caller}: {finding.caller.text}"))
    rows.append(_row("cause", finding.cause))
    rows += [_row("blame", finding.blame)] if finding.blame else []
    rows += [_row("similar to", bug) for bug in finding.similar_to]
    if issues := issues_of([verdict]):
        count = sum(bool(other.waiver) for other in verdict.findings)
        rows.append(_row("waived", f"{count} more of this case ({issues})"))
    rows.append(_row("see", f"harness docs {finding.kind}"))
    rows.append(_row("reproduce", verdict.reproduce))
    rows += [_row("script", script)] if (script := script_command(verdict.reproduce)) else []
    return printable("\n".join(rows))


def _origin(origin: object) -> str:
    text, stage, line = (getattr(origin, name) for name in ("text", "stage", "line"))
    place = f", {line}" if line else ""
    return f"{text} (made by {stage}{place})" if stage else text


def verdict_text(verdict: Verdict, verbose: int = 0) -> str:
    """The full text of one verdict; from ``verbose`` 2 on with the traceback of a harness error."""
    if verdict.status == FINDINGS:
        return "\n\n".join(finding_text(verdict, finding) for finding in verdict.findings if not finding.waiver)
    text = f"{verdict.status}: {verdict.model}, {mode_name(verdict)}\n" + _row("case", verdict.case)
    if verdict.reason:
        text += "\n" + _row("reason", verdict.reason)
    if verdict.status == ERROR:
        text += "\n" + _row("reproduce", verdict.reproduce)
        text += f"\n{verdict.traceback}" if verbose >= 2 else ""
    return printable(text)


def grouped(verdicts: Iterable[Verdict], verbose: int = 0) -> list[str]:
    """Each kind of finding once in full, with the number of other verdicts that have it; with ``verbose``, every finding."""
    by_kind: dict[tuple[str, ...], list[tuple[Verdict, Finding]]] = defaultdict(list)
    errors: dict[tuple[str, ...], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.status == ERROR:
            # One typo is an error of every case, and only sizes differ between its texts.
            same = (re.sub(r"\d+", "#", verdict.reason),) + ((verdict.case, verdict.mode) if verbose else ())
            errors[same].append(verdict)
        for finding in () if verdict.status == LATENT and not verbose else verdict.findings:
            if finding.waiver:
                continue
            key = (finding.observer, finding.kind, finding.stage) + ((verdict.case, verdict.mode) if verbose else ())
            by_kind[key].append((verdict, finding))
    texts = [_with_others(verdict_text(first, verbose), first, rest) for first, *rest in errors.values()]
    return texts + [_with_count(same_kind) for same_kind in by_kind.values()]


def _with_count(same_kind: list[tuple[Verdict, Finding]]) -> str:
    # A short run ends first, and a longer one may say more: the plainest mode speaks for the others.
    (first, finding), *rest = sorted(same_kind, key=lambda pair: _plainness(pair[0]))
    same = {(first.case, first.mode)}
    other: set[tuple[str, str]] = set()
    for verdict, another in rest:
        (same if _gist(another.cause) == _gist(finding.cause) else other).add((verdict.case, verdict.mode))
    return _with_others(finding_text(first, finding), first, [verdict for verdict, _ in rest], len(other - same))


def _gist(cause: str) -> str:
    """The beginning of a cause without what differs from case to case: sizes, ranges and what follows a colon."""
    return re.sub(r"[\d.,\s-]+", " ", re.split(r"[:(]\s", cause)[0])


def _plainness(verdict: Verdict) -> int:
    """The place of a verdict's mode among the modes, which begin with plain calls; a mode of another kind comes last."""
    return list(MODES).index(verdict.mode) if verdict.mode in MODES else len(MODES)


def _with_others(text: str, first: Verdict, rest: list[Verdict], otherwise: int = 0) -> str:
    """The text with the number of other verdicts, and of those among them that have another cause."""
    others = {(verdict.case, verdict.mode) for verdict in rest} - {(first.case, first.mode)}
    if others:
        modes = sorted({mode for _, mode in others})
        text += "\n" + _row(
            "also",
            f"in {len(others)} more verdict{_s(len(others))} ({', '.join(modes)})"
            f"{f', {otherwise} of them with another cause' if otherwise else ''}; -v shows each",
        )
    return text


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def issues_of(verdicts: Iterable[Verdict]) -> str:
    """The public issues of the waived findings, each once."""
    issues = (finding.waiver for verdict in verdicts for finding in verdict.findings if finding.waiver)
    return ", ".join(dict.fromkeys(issues))


def waived(verdicts: Iterable[Verdict]) -> list[str]:
    """A line for each reason: how many verdicts are waived, and in which modes."""
    return [f"waived {counted} for {reason}" for reason, counted in _by_reason(verdicts, WAIVED)]


def skipped(verdicts: Iterable[Verdict]) -> list[str]:
    """A line for each reason: how many verdicts were skipped, and in which modes."""
    return [f"skipped {counted}: {reason}" for reason, counted in _by_reason(verdicts, SKIPPED)]


def _by_reason(verdicts: Iterable[Verdict], status: str) -> list[tuple[str, str]]:
    modes_by_reason: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.status == status:
            modes_by_reason[verdict.reason].append(verdict.mode)
    return [
        (printable(reason), f"{len(modes)} ({', '.join(dict.fromkeys(modes))})")
        for reason, modes in modes_by_reason.items()
    ]


def summary(verdicts: list[Verdict], seconds: float) -> str:
    """One line: how many verdicts of each status, and how fast."""
    counts = {
        status: sum(v.status == status for v in verdicts) for status in ("ok", FINDINGS, WAIVED, LATENT, SKIPPED, ERROR)
    }
    issues = issues_of(verdict for verdict in verdicts if verdict.status == WAIVED)
    labels = {WAIVED: f"{WAIVED} ({issues})"}
    parts = ", ".join(
        f"{count} {labels.get(status, status)}" for status, count in counts.items() if count or status == "ok"
    )
    shared = sum(JUDGED_AS in verdict.environment for verdict in verdicts)
    parts += f"; {shared} of them judged once with another model of the same sizes" if shared else ""
    rate = (len(verdicts) - shared) / seconds if seconds else 0.0
    return f"{len(verdicts)} verdict{_s(len(verdicts))}: {parts}; {seconds:.1f} s, {rate:.1f} verdicts/s"


def nothing_judged(verdicts: list[Verdict]) -> str:
    """One line where every verdict was skipped, or there is none; empty where something was judged."""
    if any(verdict.status != SKIPPED for verdict in verdicts):
        return ""
    reasons = [reason for reason, _ in _by_reason(verdicts, SKIPPED)]
    why = f"all {len(verdicts)} skipped ({'; '.join(reasons[:2])}{'; ...' if reasons[2:] else ''})"
    return f"nothing was judged: {why if verdicts else 'no case was chosen'}"


def where(verdicts: Iterable[Verdict]) -> str:
    """The torch versions and devices of the verdicts. A worker that died reported none."""
    stacks = {(v.environment["torch"], v.environment["device"]) for v in verdicts if v.environment}
    return ", ".join(f"torch {version} on {device}" for version, device in sorted(stacks))


def time_per_mode(verdicts: Iterable[Verdict]) -> str:
    """Worker seconds spent in each mode."""
    spent: dict[str, float] = defaultdict(float)
    for verdict in verdicts:
        spent[verdict.mode] += 0.0 if JUDGED_AS in verdict.environment else verdict.seconds
    return "worker time: " + ", ".join(f"{mode} {seconds:.1f} s" for mode, seconds in spent.items())
