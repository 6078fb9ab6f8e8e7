"""Proof: the layer at every hidden size at once, symbolically; where it fails, a real run at one of the failing sizes."""

from dataclasses import replace

from harness.bench import Bench
from harness.evidence import Run
from harness.modes import eager
from harness.proof.builder import Builder
from harness.proof.prove import prove


def run(bench: Bench, dynamic: bool) -> Run:
    """Prove; and at a counterexample, the case's own sizes if they fail, run the layer as evidence of how it fails."""
    proof = prove(bench.subject, bench.case)
    if proof.counterexample is None:
        return Run(case=bench.case, mode=bench.mode, ops=bench.ops, proof=proof)
    own = (bench.case.hidden, bench.case.latent or 0)[: len(proof.counterexample)]
    case = Builder(bench.subject, bench.case).at(own if proof.own_fails else proof.counterexample)
    shown = eager.run(Bench(bench.subject, replace(case, overridden=True), bench.device, bench.mode), dynamic)
    shown.proof = proof
    return shown
