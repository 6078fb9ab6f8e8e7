"""Finding and Verdict: what was seen, and what it amounts to. Plain data with a JSON form."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from harness.source import SourceLine

OK, FINDINGS, WAIVED, SKIPPED, ERROR = "ok", "findings", "waived", "skipped", "error"
# Findings that no user of what is judged can meet: told apart from the verdict.
LATENT = "latent"

# The kind of finding after which nothing more can be run in a process.
DEVICE_LOST = "device-lost"


@dataclass(frozen=True, slots=True)
class WidthOrigin:
    """Who made a width: ``text`` says what it is (2816 = 2688 rounded up to 256, trtllm-nvfp4)."""

    text: str
    stage: str
    line: SourceLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing an observer saw.

    ``kind`` is the machine-readable class of it, ``what`` the fact in one line, ``cause`` the likely reason in one
    sentence, ``call`` which call of the layer showed it, ``bugs`` the public bugs that it looks like, ``guilty`` the layer
    of the compiler that it comes from, where that was asked, ``waiver`` the public issue that it is waived for.
    """

    observer: str
    kind: str
    stage: str
    what: str
    cause: str
    call: str = ""
    line: SourceLine | None = None
    widths: tuple[WidthOrigin, ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)
    bugs: tuple[str, ...] = ()
    guilty: str = ""
    waiver: str = ""

    def like(self, bugs: tuple[str, ...]) -> Self:
        """The same finding with the public bugs that it looks like."""
        return replace(self, bugs=bugs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one mode says of one case. ``checks`` names the observers that had something to look at."""

    subject: str
    case: str
    model: str
    hidden: int
    padded: int
    mode: str
    status: str
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    checks: tuple[str, ...] = ()
    emulated: bool = False
    seconds: float = 0.0
    again: str = ""
    changes: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    traceback: str = ""
    proof: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether checks ran and none of them found anything."""
        return self.status == OK

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dumps`` takes; ``from_json`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The verdict that ``to_json`` wrote."""
        findings = tuple(_finding(entry) for entry in data["findings"])
        return cls(**{**data, "findings": findings, "checks": tuple(data["checks"])})


def _finding(data: dict[str, Any]) -> Finding:
    widths = tuple(WidthOrigin(w["text"], w["stage"], _line(w["line"])) for w in data["widths"])
    return Finding(**{**data, "widths": widths, "line": _line(data["line"]), "bugs": tuple(data["bugs"])})


def _line(data: dict[str, Any] | None) -> SourceLine | None:
    return SourceLine(**data) if data else None
