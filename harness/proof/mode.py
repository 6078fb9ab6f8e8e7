"""The mode `proof`: the layer at every hidden size at once, over symbols. Where it fails, a real run shows how."""

from dataclasses import replace

from harness.execution.evidence import Run
from harness.execution.modes import eager
from harness.execution.rig import BuildFailed, Rig
from harness.proof.prove import prove
from harness.proof.symbols.builder import Builder, NotBuilt


class BuildFailsAt(BuildFailed):
    """The layer cannot be built at some sizes, which the text names."""


def run(rig: Rig, dynamic: bool) -> Run:
    """Prove. Where there is a counterexample, run the layer there in eager; at the case's own sizes if they fail too."""
    try:
        proof = prove(rig.subject, rig.case)
    except NotBuilt as error:
        raise BuildFailsAt(error.text) from error.error
    if proof.counterexample is None:
        return Run(case=rig.case, mode=rig.mode, ops=rig.ops, proof=proof)
    own = (rig.case.hidden, rig.case.latent or 0)[: len(proof.counterexample)]
    case = Builder(rig.subject, rig.case).at(own if proof.own_fails else proof.counterexample)
    evidence = eager.run(Rig(rig.subject, replace(case, overridden=True), rig.device, rig.mode), dynamic)
    evidence.proof = proof
    return evidence
