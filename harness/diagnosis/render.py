"""A report as plain text, line by line, each with the part it is, so that a terminal can colour it."""

from collections.abc import Iterator

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Diagnosis, Report, Width

HEAD, NAME, TEXT = "head", "name", "text"
_VERDICTS = {
    FAMILY: "of this family",
    UNDECIDED: "may be of this family; the text does not decide it",
    OTHER: "not of this family",
}
_NAMED = 4
Part = tuple[str, str]


def rendered(report: Report) -> Iterator[tuple[Part, ...]]:
    """The lines of the report, each as (style, text) parts."""
    for number, one in enumerate(report.failures, 1):
        yield ((HEAD, f"{number}. {_title(one)}"), (one.verdict, f"  {_VERDICTS[one.verdict]}"))
        for name, text in _fields(one):
            yield ((NAME, f"   {name:<10}"), (TEXT, f" {shown(text)}"))
        yield ()
    yield ((TEXT, summary(report)),)


def shown(text: str) -> str:
    """Text of a log with its control characters escaped."""
    return "".join(c if c.isprintable() or c == " " else repr(c)[1:-1] for c in text)


def summary(report: Report) -> str:
    """The report in one line."""
    counts = {verdict: sum(one.verdict == verdict for one in report.failures) for verdict in (FAMILY, UNDECIDED, OTHER)}
    lines = f"{report.lines:,} line{'' if report.lines == 1 else 's'} of {report.source}"
    named = ", ".join(f"{package} {' and '.join(known)}" for package, known in report.versions.items())
    failures = f"{len(report.failures)} failure{'' if len(report.failures) == 1 else 's'}"
    parts = [
        f"{counts[FAMILY]} of this family",
        *([f"{counts[UNDECIDED]} undecided"] if counts[UNDECIDED] else []),
        f"{counts[OTHER]} others",
    ]
    left = f"; {report.left_out} more are left out" if report.left_out else ""
    return f"{lines}: {failures}, {', '.join(parts)}{left}" + (f"; it names {named}" if named else "")


def _title(one: Diagnosis) -> str:
    first, last = one.lines
    where = f"line {one.line}" if first == last else f"line {one.line} (lines {first} to {last})"
    often = f", {one.count} times" if one.count > 1 else ""
    many = f", {len(one.writers)} processes" if len(one.writers) > 1 else f", {one.writers[0]}" if one.writers else ""
    return f"{one.title}: {where}{often}{shown(many)}"


def _fields(one: Diagnosis) -> Iterator[tuple[str, str]]:
    yield "message", one.what
    if one.stage:
        yield "stage", one.stage + (f", {_PHASES[one.phase]}" if one.phase in _PHASES else "")
    elif one.phase in ("traced", "compiled"):
        yield "stage", f"not known, {_PHASES[one.phase]}"
    yield from (("operand", operand) for operand in one.operands)
    yield from (("rows" if width.rows else "size" if width.counted else "width", _width(width)) for width in one.widths)
    yield from (
        (name, text) for name, text in (("rule", one.rule), ("tokens", one.tokens), ("line", one.user_line)) if text
    )
    yield "cause", one.cause
    yield from (("not", text) for text in one.against)
    yield from (("look at", text) for text in (one.look,) if text)
    for relative in one.relatives:
        fixed = f" (fixed by {relative.fixed_by})" if relative.fixed_by else ""
        releases = f"; {relative.releases}" if relative.releases else ""
        yield "relative", f"{relative.id}{fixed}: {relative.mechanism}{releases}"
        yield from (("", status) for status in relative.status)
    yield from (("try", command) for command in one.tries)


_PHASES = {
    "eager": "in eager code",
    "traced": "while tracing",
    "compiled": "in compiled code",
    "capture": "while capturing",
}


def _width(width: Width) -> str:
    named = ", ".join(width.models[:_NAMED]) + (
        f" and {len(width.models) - _NAMED} more" if len(width.models) > _NAMED else ""
    )
    filled = "filled up" if width.rows else "padded"
    return f"{width.size}{f' ({filled})' if width.padded else ''}" + (f": {named}" if named else "")
