"""Findings that no script shows, and why."""

from harness.findings.finding import Finding
from harness.repro.texts.scenarios import scenario_of
from harness.repro.texts.variations import is_change

# Variations, groups of them and kinds that no script shows, and why.
UNSCRIPTED = {
    "ranks": "several ranks need the harness, which sums what the layer of each gives to a reduction",
    "graphs=reloaded": "it needs the harness, which replays a graph without holding the memory that it reads",
    "graphs=not-warmed-up": "it needs the harness, which takes the contents from what a capture made",
    "other-graphs-memory": "it needs the harness, which overwrites what the capture of another graph made",
}

ONLY_TRACED = (
    "only a trace over a symbolic hidden size shows it, which takes the prover: no size fails when the layer runs"
)


def why_unscripted(finding: Finding) -> str:
    """Why no script shows a finding; empty where one may."""
    names = finding.vary, finding.vary.partition("=")[0], finding.kind
    if why := next((UNSCRIPTED[name] for name in names if name in UNSCRIPTED), ""):
        return why
    if finding.observer == "proof":
        return ONLY_TRACED
    known = is_change(finding.vary) or scenario_of(finding) is not None
    return "" if known else f"no script shows the variation {finding.vary}: {finding.what}"
