"""A row of the audit's table: one property of one op, and whether it holds."""

from dataclasses import asdict, dataclass
from typing import Any, Self

HOLDS, BREAKS, NOT_APPLICABLE, NOT_RUN = "holds", "breaks", "not applicable", "not run"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check saw. ``variant`` names the sample that shows it; ``notes`` are facts that break nothing."""

    status: str
    what: str
    variant: str = ""
    notes: tuple[str, ...] = ()


def holds(what: str, *notes: str) -> Seen:
    """The property holds on everything that was tried."""
    return Seen(HOLDS, what, notes=notes)


def breaks(what: str, variant: str = "", *notes: str) -> Seen:
    """The property does not hold."""
    return Seen(BREAKS, what, variant, notes)


def not_applicable(why: str, *notes: str) -> Seen:
    """The property means nothing for this op."""
    return Seen(NOT_APPLICABLE, why, notes=notes)


def not_run(why: str, *notes: str) -> Seen:
    """The check could not be run here."""
    return Seen(NOT_RUN, why, notes=notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One property of one op. ``reproduce`` is the command that shows it once more; ``unusable`` marks an op nothing ran of."""

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
        """The row that ``to_json`` wrote."""
        return cls(**{**data, "notes": tuple(data["notes"])})


@dataclass(frozen=True, slots=True)
class Property:
    """A property that is looked at. ``check`` is ``module:function`` below ``harness.audit.checks``.

    ``needs`` says what has to work for the check to run at all: ``schema`` nothing, ``fake`` samples, ``real`` samples
    that the real implementation accepts.
    """

    name: str
    check: str
    needs: str
    about: str


SURVEY = "runs"
PROPERTIES = {
    found.name: found
    for found in (
        Property("schema", "schema:schema", "schema", "the schema can be compiled and the fake takes its arguments"),
        Property("mutation", "memory:mutation", "real", "the op writes what the schema declares, nothing else"),
        Property("alias", "memory:alias", "real", "no output shares memory that the schema does not declare"),
        Property("fake", "contract:fake", "fake", "there is a fake, and it takes what the real implementation takes"),
        Property("data reads", "contract:data_reads", "fake", "the fake reads no tensor's data"),
        Property("count", "contract:count", "real", "real and fake give the same number of outputs"),
        Property("shape", "contract:shape", "real", "real and fake agree on every shape"),
        Property("stride", "contract:stride", "real", "real and fake agree on every stride"),
        Property("storage offset", "contract:offset", "real", "real and fake agree on every storage offset"),
        Property("dtype", "contract:dtype", "real", "real and fake agree on every dtype"),
        Property("device", "contract:device", "real", "real and fake agree on every device"),
        Property("dynamic shapes", "dynamic:dynamic", "fake", "one symbolic trace of the fake is right at two sizes"),
        Property("fake is pure", "purity:pure", "fake", "the fake's answer depends on its arguments alone"),
        Property("fake writes", "purity:writes", "fake", "the fake changes none of its arguments"),
        Property("poisoned memory", "values:poison", "real", "no memory that nothing wrote reaches the output"),
        Property("layout", "values:layout", "real", "the same values give the same answer in any layout"),
        Property("second call", "values:second", "real", "the same inputs give the same bits; outputs are left alone"),
        Property("aot_eager", "compiled:aot_eager", "real", "functionalised, it gives eager's values and strides"),
        Property("inductor", "compiled:inductor", "real", "compiled by Inductor, it gives eager's values and strides"),
        Property("capture", "capture:capture", "real", "a CUDA graph holds it: a replay follows changed inputs"),
        Property("autograd", "autograd:autograd", "real", "gradients are registered where torch looks for them"),
        Property("opcheck schema", "opcheck:schema", "real", "torch's own test of the schema"),
        Property("opcheck autograd", "opcheck:autograd", "real", "torch's own test of the autograd registration"),
        Property("opcheck fake", "opcheck:fake", "real", "torch's own test of the fake"),
        Property("opcheck aot", "opcheck:aot", "real", "torch's own test under AOTAutograd with dynamic shapes"),
    )
}
