"""Finding and Verdict: what was seen, and what it amounts to. Plain data with a JSON form."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from harness.base.source import SourceLine

OK, FINDINGS, WAIVED, SKIPPED, ERROR = "ok", "findings", "waived", "skipped", "error"
# Findings that no user of what is judged can meet: told apart from the verdict.
LATENT = "latent"

# The format of a verdict's record. Keys of the format before are read for one version more.
FORMAT = 2
_FORMER_KEYS = {"again": "reproduce", "guilty": "blame", "bugs": "similar_to"}

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
    sentence, ``call`` the call of the layer that showed it, ``similar_to`` public bugs that look the same, ``blame`` the
    layer of the compiler that the fault comes from, where a bisection ran, ``waiver`` the public issue that excuses it.
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
    similar_to: tuple[str, ...] = ()
    blame: str = ""
    waiver: str = ""

    def with_similar(self, bugs: tuple[str, ...]) -> Self:
        """The same finding with the public bugs that look like it."""
        return replace(self, similar_to=bugs)


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
    reproduce: str = ""
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
        return {"format": FORMAT} | asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The verdict that ``to_json`` wrote, or the version before it."""
        fields = _renamed(data)
        fields.pop("format", None)
        findings = tuple(_finding(_renamed(entry)) for entry in fields["findings"])
        return cls(**{**fields, "findings": findings, "checks": tuple(fields["checks"])})


def _renamed(data: dict[str, Any]) -> dict[str, Any]:
    return {_FORMER_KEYS.get(key, key): value for key, value in data.items()}


def _finding(data: dict[str, Any]) -> Finding:
    widths = tuple(WidthOrigin(w["text"], w["stage"], _line(w["line"])) for w in data["widths"])
    return Finding(**{**data, "widths": widths, "line": _line(data["line"]), "similar_to": tuple(data["similar_to"])})


def _line(data: dict[str, Any] | None) -> SourceLine | None:
    return SourceLine(**data) if data else None
