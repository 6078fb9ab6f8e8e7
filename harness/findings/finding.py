"""Finding and Verdict: what an observer found, and the result for a case. Plain data with a JSON form."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from harness.base.source import SourceLine
from harness.findings import kinds
from harness.findings.fingerprint import fingerprint
from harness.matrix.case import Case

OK, FINDINGS, WAIVED, SKIPPED, ERROR = "ok", "findings", "waived", "skipped", "error"
# Findings that no user of the subject can meet. They do not count in the verdict.
LATENT = "latent"

# The format of a record. Keys of the formats before are still read.
FORMAT = 3
_FORMER_KEYS = {"again": "reproduce", "guilty": "blame", "bugs": "similar_to"}
# Keys of a record that say of which run it is, or that follow from the verdict's own fields.
_ENVELOPE = ("format", "record", "run", "started", "fingerprint", "page")

# In a verdict's environment: the case of the same sizes that was judged for this one.
JUDGED_AS = "judged as"
# The kind of finding after which nothing more can be run in a process.
DEVICE_LOST = "device-lost"


@dataclass(frozen=True, slots=True)
class WidthOrigin:
    """What a width is (``2816 = 2688 rounded up to 256, trtllm-nvfp4``), and the stage and line that made it; empty if unknown."""

    text: str
    stage: str
    line: SourceLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an observer found.

    ``kind`` is its machine-readable class. ``what`` states the fact in one line. ``cause`` gives the likely reason, or the
    reasons that fit. ``call`` names the call of the layer that showed it. ``caller`` is the user's line that called the
    function of ``line``, where that is another one. ``similar_to`` lists public bugs that look the
    same. ``blame`` names the layer of the compiler in which a bisection found it to show first. ``waiver`` is the public issue that
    excuses it. ``vary`` names the variation that shows it, the smallest where there are several.
    """

    observer: str
    kind: str
    stage: str
    what: str
    cause: str
    call: str = ""
    line: SourceLine | None = None
    caller: SourceLine | None = None
    widths: tuple[WidthOrigin, ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)
    similar_to: tuple[str, ...] = ()
    blame: str = ""
    waiver: str = ""
    vary: str = ""

    @property
    def page(self) -> str:
        """The address of the entry that says what this kind means, its usual causes and how to fix it."""
        return kinds.page(self.kind)

    def with_similar(self, bugs: tuple[str, ...]) -> Self:
        """The same finding with the public bugs that look the same."""
        return replace(self, similar_to=bugs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of one case in one mode. ``checks`` names the observers that had evidence to look at."""

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

    @classmethod
    def of(cls, subject: str, case: Case, mode: str, status: str, **fields: Any) -> Self:
        """A verdict on a case, with what the case says of itself; ``fields`` are the others."""
        sizes: dict[str, Any] = {"model": case.model, "hidden": case.hidden, "padded": case.padded}
        return cls(subject=subject, case=case.id, mode=mode, status=status, changes=case.changes, **sizes, **fields)

    @property
    def ok(self) -> bool:
        """Whether checks ran and found nothing."""
        return self.status == OK

    @property
    def fingerprint(self) -> str:
        """A hash that is the same in every run for this subject, case and mode."""
        return fingerprint(self.subject, self.case, self.mode)

    def fingerprint_of(self, finding: Finding) -> str:
        """A hash that is the same in every run for a finding of this kind at this stage of this case in this mode."""
        return fingerprint(self.subject, self.case, self.mode, finding.kind, finding.stage)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dumps`` takes; ``from_json`` is its inverse."""
        findings = [asdict(one) | {"page": one.page, "fingerprint": self.fingerprint_of(one)} for one in self.findings]
        return {"format": FORMAT} | asdict(self) | {"findings": findings, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The verdict in a record of ``to_json``, of this format or one before."""
        fields = _renamed(data)
        findings = tuple(_finding(_renamed(entry)) for entry in fields["findings"])
        return cls(**{**fields, "findings": findings, "checks": tuple(fields["checks"])})


def _renamed(data: dict[str, Any]) -> dict[str, Any]:
    return {_FORMER_KEYS.get(key, key): value for key, value in data.items() if key not in _ENVELOPE}


def _finding(data: dict[str, Any]) -> Finding:
    widths = tuple(WidthOrigin(w["text"], w["stage"], _line(w["line"])) for w in data["widths"])
    lines = {"line": _line(data["line"]), "caller": _line(data.get("caller"))}
    return Finding(**{**data, **lines, "widths": widths, "similar_to": tuple(data["similar_to"])})


def _line(data: dict[str, Any] | None) -> SourceLine | None:
    return SourceLine(**data) if data else None
