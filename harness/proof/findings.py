"""Findings of a proof: what a real run at a counterexample shows, said of every size that fails."""

from dataclasses import replace

from harness.base.errors import Skip
from harness.execution.evidence import Run
from harness.findings.finding import Finding
from harness.proof.proof import FAILS, NOT_PROVABLE, PROVEN, Proof


def with_proof(run: Run, seen: list[Finding]) -> list[Finding]:
    """The findings of the run at a counterexample, each with the failing set. Raises Skip where nothing is decided."""
    proof: Proof = run.proof
    if proof.status == PROVEN:
        return seen
    if proof.status == NOT_PROVABLE and not seen:
        raise Skip(proof.text)
    told = proof.text if proof.status == FAILS else f"not at every size as traced ({proof.reason})"
    at = "" if proof.counterexample is None else f"; at {_sizes(run)}"
    return [
        replace(finding, what=f"{told}{at}: {finding.what}", detail=finding.detail | {"failing": proof.count})
        for finding in seen
    ] or [_alone(proof)]


def _sizes(run: Run) -> str:
    latent = f" and latent {run.case.latent}" if run.case.latent else ""
    return f"hidden {run.case.hidden}{latent}"


def _alone(proof: Proof) -> Finding:
    """A proof that fails although real runs show nothing: it was traced, once for each size."""
    return Finding(
        observer="proof",
        kind="specialised" if not proof.count else "fails-when-traced",
        stage="layer",
        what=proof.text,
        cause="int(), float(), range() or a look-up makes a plain number of a size: traced, the layer is a new one each time."
        if not proof.count
        else "The layer fails over symbolic sizes alone.",
        call="proof",
    )
