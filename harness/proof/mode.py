"""Proof: the layer at every hidden size at once, symbolically; where it fails, a real run at one of the failing sizes."""

from dataclasses import replace

from harness.execution.evidence import Run
from harness.execution.modes import eager
from harness.execution.rig import Rig
from harness.proof.prove import prove
from harness.proof.symbols.builder import Builder


def run(rig: Rig, dynamic: bool) -> Run:
    """Prove; and at a counterexample, the case's own sizes if they fail, run the layer as evidence of how it fails."""
    proof = prove(rig.subject, rig.case)
    if proof.counterexample is None:
        return Run(case=rig.case, mode=rig.mode, ops=rig.ops, proof=proof)
    own = (rig.case.hidden, rig.case.latent or 0)[: len(proof.counterexample)]
    case = Builder(rig.subject, rig.case).at(own if proof.own_fails else proof.counterexample)
    shown = eager.run(Rig(rig.subject, replace(case, overridden=True), rig.device, rig.mode), dynamic)
    shown.proof = proof
    return shown
