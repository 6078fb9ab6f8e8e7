"""The rows of a declared op: which there are, those that follow from the declaration alone, and what a row's notes say."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from harness.audit.row import BREAKS, HOLDS, NOT_APPLICABLE, NOT_RUN, SURVEY

STUB = "the real side is the engine's own Python around a stub kernel: it checks, allocates and returns"
RAN = "the real side is the engine's own Python, and it ran: it called no kernel on these samples"
EMPTY = "every sample has an empty tensor: what the body does with rows of data was not run"
READ = "only the declaration was read: the real side did not run"
KERNEL_MADE = (
    "its kernel makes its outputs: the fake is called with arguments that the body takes, and their number is compared where "
    "the body unpacks them; shapes, strides, dtypes and devices are not compared"
)
MADE_UP = "the arguments are made up from the op's schema"
DECLARED, PARAMETERS, FAKE, OFF_CPU, COUNT = "declared schema", "parameters", "fake", "off the CPU", "count"
# The rows that have a meaning around a stub kernel. Layouts and values have none: the kernels check and compute them.
AUDITED = (
    "mutation", "alias", FAKE, "data reads", COUNT, "shape", "stride", "storage offset", "dtype", "device",
    "fake is pure", "fake writes", "aot_eager", "inductor",
)  # fmt: skip
# Those of an op whose kernel makes its outputs. What the real side gives is the fake's own answer, and no row compares the two.
OPAQUE = ("mutation", FAKE, "data reads", "fake is pure", "fake writes")
ROWS = (SURVEY, DECLARED, PARAMETERS, *AUDITED, OFF_CPU)


def side(declared: dict[str, Any]) -> tuple[str, ...]:
    """Notes of which side of an op ran: the real one, the real one around a stub kernel, or none."""
    ran = {"real": RAN, "": READ}.get(declared["side"], STUB)
    said = ((MADE_UP, "made_up"), (EMPTY, "empty"), (KERNEL_MADE, "opaque"))
    return (ran, *(note for note, key in said if declared[key]))


Outcome = tuple[str, str, str, tuple[str, ...]]


def from_declaration(declared: dict[str, Any]) -> Iterator[tuple[str, Outcome]]:
    """The rows that follow from the declaration alone."""
    if declared["reason"]:
        yield SURVEY, (NOT_RUN, f"not captured: {declared['reason']}", "", ())
        return
    yield DECLARED, _schema(declared)
    if declared["fake"]:
        yield PARAMETERS, _parameters(declared)
    elif declared["trivial"]:
        yield FAKE, (NOT_APPLICABLE, "none is declared, and none is needed: the op returns nothing", "", ())
    elif declared["auditable"]:
        yield FAKE, (BREAKS, "no fake is declared: torch.compile cannot trace the op", "", ())
    if declared["count"]:
        yield COUNT, _count(*declared["count"])
    if declared["off_cpu"]:
        yield OFF_CPU, _off_cpu(declared)
    if not declared["auditable"]:
        yield SURVEY, (NOT_RUN, "torch can infer no schema for it, not even with small changes", "", ())
    elif declared["unsampled"]:
        yield SURVEY, (NOT_RUN, declared["unsampled"], "", ())


def _schema(declared: dict[str, Any]) -> Outcome:
    if not declared["refused"]:
        return HOLDS, "torch infers a schema", "", ()
    notes = (f"audited with {'; '.join(declared['changed'])}",) if declared["changed"] else ()
    return BREAKS, f"torch refuses the declaration: {_short(declared['refused'])}", "", notes


def _count(real: int, fake: int) -> Outcome:
    if real == fake:
        return HOLDS, f"real and fake give {real} outputs", "", ()
    return BREAKS, f"real gives {real} outputs, its fake {fake}", "", ()


def _short(text: str) -> str:
    """The first sentence or two of torch's message."""
    return (
        re.split(r" mutates_args should| It is not a type| If you are using", text)[0]
        .removesuffix(".")
        .replace("typing.", "")
    )


def _parameters(declared: dict[str, Any]) -> Outcome:
    if declared["differs"]:
        return BREAKS, "; ".join(declared["differs"]), "", tuple(declared["notes"])
    return HOLDS, "real and fake have the same parameters", "", tuple(declared["notes"])


def _off_cpu(declared: dict[str, Any]) -> Outcome:
    different = [one for one in declared["off_cpu"] if one["differs"]]
    if different:
        return BREAKS, f"on tensors that are not on the CPU, {different[0]['differs']}", different[0]["sample"], ()
    ran = [one for one in declared["off_cpu"] if not one["unrun"]]
    if not ran:
        return NOT_RUN, f"the real body does not run on meta tensors: {declared['off_cpu'][0]['unrun']}", "", ()
    return HOLDS, f"on {len(ran)} samples", "", ()


def named_sample(variant: str, labels: Sequence[str]) -> str:
    """The sample's name, for a label of the audit that only has its number."""
    if not variant.startswith("as given"):
        return variant
    number = variant.rpartition("sample ")[2] if "sample " in variant else "1"
    return labels[int(number) - 1] if number.isdigit() and int(number) <= len(labels) else variant
