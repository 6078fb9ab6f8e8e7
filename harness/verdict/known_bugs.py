"""Which public bugs a finding is similar to. The bugs are data (harness/diagnosis/data/bugs.toml); here is how each shows."""

from collections.abc import Callable
from functools import cache

from harness.diagnosis.known.relatives import Bug, bugs
from harness.execution import stages
from harness.findings.finding import Finding
from harness.matrix.case import Case


def _padded(case: Case) -> bool:
    return case.padded != case.width


def _added_before_unpad(finding: Finding, case: Case) -> bool:
    widths = finding.detail.get("widths", ())
    if finding.kind != "width-mismatch" or case.shared is None or not _padded(case) or case.padded not in widths:
        return False
    return bool(finding.detail.get("routed")) and not finding.detail.get("bias")


def _strided_cut(finding: Finding, case: Case) -> bool:
    """A view with the strides of the padded tensor, such as the cut gives; not one that is transposed, for example."""
    strided = finding.kind in ("not-contiguous", "strided-output") and not finding.detail.get("made_by")
    return strided and _padded(case) and case.padded in finding.detail.get("stride", (case.padded,))


def _shared_reads_latent(finding: Finding, case: Case) -> bool:
    if case.latent is None or case.shared is None or finding.stage != stages.SHARED:
        return False
    read = finding.kind == "wrong-part" and bool(finding.detail.get("shared_reads_latent"))
    return read or case.latent in finding.detail.get("widths", ())


def _overwritten_before_shared(finding: Finding, case: Case) -> bool:
    """hidden_states are written. Of another argument, or of a padded copy of them, a shared expert reads nothing."""
    return case.shared is not None and finding.kind == "mutated-input" and bool(finding.detail.get("hidden_states"))


def _scaled_twice(finding: Finding, case: Case) -> bool:
    """The routed part alone has the factor once more: a sum that is scaled has it on the shared part too.

    Where a guard leaves the routed part without a factor, once more is once.
    """
    factors = dict(finding.detail.get("factors", {}))
    factor = factors.pop("routed", 1.0)
    is_factor = case.scaling != 1 and not case.divides_shared and abs(factor / case.scaling - 1) < 0.02
    alone = all(abs(other - 1) < 0.02 for other in factors.values())
    return finding.kind == "scaled" and finding.stage == stages.SCALING and is_factor and alone


def _fake_padded_kernel_narrow(finding: Finding, case: Case) -> bool:
    sizes = finding.detail.get("real"), finding.detail.get("fake")
    return finding.kind == "fake-differs" and finding.detail.get("routed", True) and sizes == (case.width, case.padded)


def _latent_reduced_too(finding: Finding, case: Case) -> bool:
    """An all-reduce of the latent rows and one of another width. A layer that owns two has another count of them here."""
    widths = finding.detail.get("reduced", ())
    return finding.kind == "collective-count" and case.latent in widths and len(widths) == len({*widths}) == 2


def _padded_as_one_block(finding: Finding, case: Case) -> bool:
    return finding.kind == "not-built" and finding.stage == stages.BUILD and "padded as one block" in finding.what


# By the `finding` of a bug in bugs.toml.
SHOWS_AS: dict[str, Callable[[Finding, Case], bool]] = {
    "added-before-unpad": _added_before_unpad,
    "added-before-unpad-without-latent": lambda finding, case: (
        _added_before_unpad(finding, case) and case.latent is None
    ),
    "strided-slice-reduced": _strided_cut,
    "fake-padded-kernel-narrow": _fake_padded_kernel_narrow,
    "scaled-twice": _scaled_twice,
    "overwritten-before-shared": _overwritten_before_shared,
    "shared-reads-latent": _shared_reads_latent,
    "latent-reduced-too": _latent_reduced_too,
    "padded-as-one-block": _padded_as_one_block,
    "freed-memory": lambda finding, case: finding.kind == "freed-memory",
    "padding-tokens-leak": lambda finding, case: finding.kind == "padding-tokens-leak",
}


@cache
def known_bugs() -> tuple[Bug, ...]:
    """The public bugs that the harness knows by a finding."""
    return tuple(bug for bug in bugs() if bug.finding)


def name_bugs(finding: Finding, case: Case) -> Finding:
    """The finding with the public bugs that it is similar to, those that its text names first."""
    shown = [str(bug) for bug in known_bugs() if SHOWS_AS[bug.finding](finding, case)]
    return finding.with_similar(tuple(dict.fromkeys((*finding.similar_to, *shown))))
