"""A row of the audit's table: one property of one op, and whether it holds."""

from dataclasses import asdict, dataclass
from typing import Any, Self

HOLDS, BREAKS, NOT_APPLICABLE, NOT_RUN = "holds", "breaks", "not applicable", "not run"


# The beginning of what a row says where --variant leaves it nothing.
NO_VARIANT = "the op accepts no variant whose name contains"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. ``variant`` names the sample that shows it. ``notes`` are facts that do not break the row."""

    status: str
    what: str
    variant: str = ""
    notes: tuple[str, ...] = ()


def holds(what: str, *notes: str) -> CheckResult:
    """The property holds for every variant that was tried."""
    return CheckResult(HOLDS, what, notes=notes)


def breaks(what: str, variant: str = "", *notes: str) -> CheckResult:
    """The property does not hold."""
    return CheckResult(BREAKS, what, variant, notes)


def not_applicable(why: str, *notes: str) -> CheckResult:
    """The property has no meaning for this op."""
    return CheckResult(NOT_APPLICABLE, why, notes=notes)


def not_run(why: str, *notes: str) -> CheckResult:
    """The check could not be run here."""
    return CheckResult(NOT_RUN, why, notes=notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One property of one op. ``reproduce`` is a command that reproduces it. ``unusable`` marks an op that cannot be run."""

    op: str
    row: str
    status: str
    what: str
    variant: str = ""
    notes: tuple[str, ...] = ()
    reproduce: str = ""
    seconds: float = 0.0
    unusable: bool = False

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dumps`` takes; ``from_json`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The row that ``to_json`` wrote, or that stands in a record."""
        own = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**{**own, "notes": tuple(data["notes"])})


@dataclass(frozen=True, slots=True)
class Property:
    """A property that the audit checks. ``check`` is ``module:function`` below ``harness.audit.checks``.

    ``needs`` says what the check requires: ``schema`` nothing, ``fake`` samples, ``real`` samples that the real
    implementation accepts.
    """

    name: str
    check: str
    needs: str
    about: str


SURVEY = "runs"
PROPERTIES = {
    entry.name: entry
    for entry in (
        Property(
            "schema",
            "schema:schema",
            "schema",
            "the fake and the real implementations take the arguments of the schema",
        ),
        Property(
            "mutation",
            "memory:mutation",
            "real",
            "the op writes only the arguments that its schema declares as mutable",
        ),
        Property("alias", "memory:alias", "real", "outputs share memory only where the schema declares it"),
        Property("fake", "fake:fake", "fake", "there is a fake, and it accepts what the real implementation accepts"),
        Property("data reads", "data:data_reads", "fake", "the fake does not read the data of a tensor"),
        Property("count", "metadata:count", "real", "real and fake return the same number of outputs"),
        Property("shape", "metadata:shape", "real", "real and fake agree on every shape"),
        Property("stride", "metadata:stride", "real", "real and fake agree on every stride"),
        Property("storage offset", "metadata:offset", "real", "real and fake agree on every storage offset"),
        Property("dtype", "metadata:dtype", "real", "real and fake agree on every dtype"),
        Property("device", "metadata:device", "real", "real and fake agree on every device"),
        Property("dynamic shapes", "dynamic:dynamic", "fake", "one symbolic trace of the fake is right at two sizes"),
        Property("fake is pure", "purity:pure", "fake", "the result of the fake depends only on its arguments"),
        Property("fake writes", "purity:writes", "fake", "the fake does not change its arguments"),
        Property("poisoned memory", "values:poison", "real", "uninitialised memory does not reach the outputs"),
        Property("layout", "values:layout", "real", "the same values give the same outputs in any layout"),
        Property(
            "second call",
            "values:second",
            "real",
            "the same inputs give the same bits, and later calls do not change earlier outputs",
        ),
        Property(
            "aot_eager", "compiled:aot_eager", "real", "through AOTAutograd it gives the values and strides of eager"
        ),
        Property(
            "inductor", "compiled:inductor", "real", "compiled by Inductor it gives the values and strides of eager"
        ),
        Property(
            "capture", "capture:capture", "real", "a CUDA graph can capture it, and a replay follows changed inputs"
        ),
        Property("autograd", "autograd:autograd", "real", "an autograd formula is registered where torch looks for it"),
        Property(
            "backward",
            "backward:backward",
            "real",
            "the compiled backward gives the values and strides of eager's gradients, and the fakes promise them",
        ),
        Property("opcheck schema", "opcheck:schema", "real", "opcheck's test of the schema"),
        Property("opcheck autograd", "opcheck:autograd", "real", "opcheck's test of the autograd registration"),
        Property("opcheck fake", "opcheck:fake", "real", "opcheck's test of the fake"),
        Property("opcheck aot", "opcheck:aot", "real", "opcheck's test under AOTAutograd with dynamic shapes"),
    )
}
ROW_TEXTS = {SURVEY: "the real implementation runs on the samples"} | {
    name: row.about for name, row in PROPERTIES.items()
}
