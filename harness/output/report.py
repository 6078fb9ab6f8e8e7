"""The one message: a finding in words, with the command that shows it again. Plain text, no torch, no colour."""

from collections import defaultdict
from collections.abc import Iterable

from harness.findings.finding import ERROR, FINDINGS, LATENT, SKIPPED, WAIVED, Finding, Verdict

_LABEL = 12


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def mode_name(verdict: Verdict) -> str:
    """The mode, with ``(emulated)`` where it stood in for the real thing."""
    return f"{verdict.mode} (emulated)" if verdict.emulated else verdict.mode


def finding_text(verdict: Verdict, finding: Finding) -> str:
    """Case, mode, stage, who made each width, the user's line, the cause, the public bug, and how to see it again."""
    rows = [
        f"{finding.kind} at {finding.stage}: {verdict.model}, {mode_name(verdict)}",
        _row("case", verdict.case),
        _row("found by", f"{finding.observer}" + (f", in the {finding.call}" if finding.call else "")),
        _row("what", finding.what),
    ]
    rows += [_row("width", _origin(origin)) for origin in finding.widths]
    if finding.line:
        rows.append(_row("line", f"{finding.line}: {finding.line.text}"))
    rows.append(_row("cause", finding.cause))
    rows += [_row("blame", finding.blame)] if finding.blame else []
    rows += [_row("similar to", bug) for bug in finding.similar_to]
    if issues := issues_of([verdict]):
        count = sum(bool(other.waiver) for other in verdict.findings)
        rows.append(_row("waived", f"{count} more of this case ({issues})"))
    rows.append(_row("reproduce", verdict.reproduce))
    return "\n".join(rows)


def _origin(origin: object) -> str:
    text, stage, line = (getattr(origin, name) for name in ("text", "stage", "line"))
    place = f", {line}" if line else ""
    return f"{text} (made by {stage}{place})"


def verdict_text(verdict: Verdict, verbose: int = 0) -> str:
    """Everything that one verdict has to say; the traceback of a harness error from ``verbose`` 2 on."""
    if verdict.status == FINDINGS:
        return "\n\n".join(finding_text(verdict, finding) for finding in verdict.findings if not finding.waiver)
    text = f"{verdict.status}: {verdict.model}, {mode_name(verdict)}\n" + _row("case", verdict.case)
    if verdict.reason:
        text += "\n" + _row("reason", verdict.reason)
    if verdict.status == ERROR:
        text += "\n" + _row("reproduce", verdict.reproduce)
        text += f"\n{verdict.traceback}" if verbose >= 2 else ""
    return text


def grouped(verdicts: Iterable[Verdict], verbose: int = 0) -> list[str]:
    """Each kind of finding once in full, with how many cases more show it; with ``verbose``, every one of them."""
    seen: dict[tuple[str, ...], list[tuple[Verdict, Finding]]] = defaultdict(list)
    texts: list[str] = []
    for verdict in verdicts:
        if verdict.status == ERROR:
            texts.append(verdict_text(verdict, verbose))
        for finding in () if verdict.status == LATENT and not verbose else verdict.findings:
            if finding.waiver:
                continue
            key = (finding.observer, finding.kind, finding.stage) + ((verdict.case, verdict.mode) if verbose else ())
            seen[key].append((verdict, finding))
    return texts + [_with_count(found) for found in seen.values()]


def _with_count(found: list[tuple[Verdict, Finding]]) -> str:
    text = finding_text(*found[0])
    others = {(verdict.case, verdict.mode) for verdict, _ in found[1:]} - {(found[0][0].case, found[0][0].mode)}
    if others:
        modes = sorted({mode for _, mode in others})
        text += "\n" + _row("also", f"in {len(others)} more verdicts ({', '.join(modes)}); -v shows each")
    return text


def issues_of(verdicts: Iterable[Verdict]) -> str:
    """The public issues that findings of the verdicts are waived for, each once."""
    issues = (finding.waiver for verdict in verdicts for finding in verdict.findings if finding.waiver)
    return ", ".join(dict.fromkeys(issues))


def waived(verdicts: Iterable[Verdict]) -> list[str]:
    """A line for each issue and reason: how many verdicts are waived for it, and in which modes."""
    return [f"waived {counted} for {told}" for told, counted in _by_reason(verdicts, WAIVED)]


def skipped(verdicts: Iterable[Verdict]) -> list[str]:
    """A line for each reason why cases did not run: how many verdicts, and in which modes."""
    return [f"skipped {counted}: {told}" for told, counted in _by_reason(verdicts, SKIPPED)]


def _by_reason(verdicts: Iterable[Verdict], status: str) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.status == status:
            found[verdict.reason].append(verdict.mode)
    return [(told, f"{len(modes)} ({', '.join(dict.fromkeys(modes))})") for told, modes in found.items()]


def summary(verdicts: list[Verdict], seconds: float) -> str:
    """One line: how many, of which status, how fast."""
    counts = {
        status: sum(v.status == status for v in verdicts) for status in ("ok", FINDINGS, WAIVED, LATENT, SKIPPED, ERROR)
    }
    issues = issues_of(verdict for verdict in verdicts if verdict.status == WAIVED)
    told = {WAIVED: f"{WAIVED} ({issues})"}
    parts = ", ".join(
        f"{count} {told.get(status, status)}" for status, count in counts.items() if count or status == "ok"
    )
    rate = len(verdicts) / seconds if seconds else 0.0
    return f"{len(verdicts)} verdicts: {parts}; {seconds:.1f} s, {rate:.1f} verdicts/s"


def where(verdicts: Iterable[Verdict]) -> str:
    """The torch and the devices that the verdicts were made with; a worker that died could not tell."""
    told = {(v.environment["torch"], v.environment["device"]) for v in verdicts if v.environment}
    return ", ".join(f"torch {version} on {device}" for version, device in sorted(told))


def time_per_mode(verdicts: Iterable[Verdict]) -> str:
    """Worker seconds spent in each mode."""
    spent: dict[str, float] = defaultdict(float)
    for verdict in verdicts:
        spent[verdict.mode] += verdict.seconds
    return "worker time: " + ", ".join(f"{mode} {seconds:.1f} s" for mode, seconds in spent.items())
