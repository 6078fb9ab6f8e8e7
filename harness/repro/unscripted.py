"""Findings that no script shows, and why."""

from harness.findings.finding import Finding
from harness.repro.texts.scenarios import scenario_of
from harness.repro.texts.variations import is_change


def why_unscripted(finding: Finding) -> str:
    """Why no script shows a finding; empty where one may."""
    known = is_change(finding.vary) or scenario_of(finding) is not None
    return "" if known else f"no script shows the variation {finding.vary}: {finding.what}"
