"""Findings of a proof: those of a real run at a counterexample, with the set of all failing sizes."""

from dataclasses import replace

from harness.base.errors import Skip
from harness.execution.evidence import Run
from harness.findings.finding import Finding
from harness.proof.proof import FAILS, NOT_PROVABLE, PROVEN, Proof


def with_proof(run: Run, findings: list[Finding]) -> list[Finding]:
    """The findings of the run at a counterexample, each with the failing sizes. Raises Skip where nothing is decided."""
    proof: Proof = run.proof
    if proof.status == PROVEN:
        return findings
    if proof.status == NOT_PROVABLE and not findings:
        raise Skip(proof.text)
    failing = proof.text if proof.status == FAILS else f"not proven ({proof.reason})"
    at = "" if proof.counterexample is None else f"; at {_sizes(run)}"
    return [
        replace(finding, what=f"{failing}{at}: {finding.what}", detail=finding.detail | {"failing": proof.count})
        for finding in findings
    ] or [_only_traced(proof)]


def _sizes(run: Run) -> str:
    latent = f" and latent {run.case.latent}" if run.case.latent else ""
    return f"hidden {run.case.hidden}{latent}"


def _only_traced(proof: Proof) -> Finding:
    """The finding of a proof that fails although the real run shows nothing."""
    ends = next((f": {region.ends}" for region in proof.regions if region.ends), "") if proof.count else ""
    return Finding(
        observer="proof",
        kind="specialised" if not proof.count else "fails-when-traced",
        stage="layer",
        what=f"{proof.text}{ends}",
        cause="int(), float(), range() or a look-up turns a size into a plain number, so the layer is traced anew for each size."
        if not proof.count
        else "The layer fails over symbolic sizes only.",
        call="proof",
    )
