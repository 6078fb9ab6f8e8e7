"""Findings that no script shows, and why."""

from harness.findings.finding import Finding
from harness.repro.texts.scenarios import scenario_of
from harness.repro.texts.variations import is_change

ONLY_TRACED = (
    "only a trace over a symbolic hidden size shows it, which takes the prover: no size fails when the layer runs"
)


def why_unscripted(finding: Finding) -> str:
    """Why no script shows a finding; empty where one may."""
    if finding.observer == "proof":
        return ONLY_TRACED
    known = is_change(finding.vary) or scenario_of(finding) is not None
    return "" if known else f"no script shows the variation {finding.vary}: {finding.what}"
