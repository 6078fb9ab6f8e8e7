"""Public bugs of padded MoE layers, each with a test for findings similar to it. To add a bug, add an entry."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.execution import stages
from harness.findings.finding import Finding
from harness.matrix.case import Case


@dataclass(frozen=True, slots=True)
class KnownBug:
    """A public bug: its id, what fixed it, its mechanism in one sentence, and which findings are similar to it."""

    id: str
    fixed_by: str
    mechanism: str
    similar_to: Callable[[Finding, Case], bool]

    def __str__(self) -> str:
        return f"{self.id} (fixed by {self.fixed_by})" if self.fixed_by else self.id


def _padded(case: Case) -> bool:
    return case.padded != case.width


def _added_before_unpad(finding: Finding, case: Case) -> bool:
    widths = finding.detail.get("widths", ())
    if finding.kind != "width-mismatch" or case.shared is None or not _padded(case) or case.padded not in widths:
        return False
    return bool(finding.detail.get("routed")) and not finding.detail.get("bias")


def _strided_cut(finding: Finding, case: Case) -> bool:
    """A view with the strides of the padded tensor, such as the cut gives; not one that is transposed, for example."""
    strided = finding.kind in ("not-contiguous", "strided-output")
    return strided and _padded(case) and case.padded in finding.detail.get("stride", (case.padded,))


def _shared_reads_latent(finding: Finding, case: Case) -> bool:
    if case.latent is None or case.shared is None or finding.stage != stages.SHARED:
        return False
    read = finding.kind == "wrong-part" and bool(finding.detail.get("shared_reads_latent"))
    return read or case.latent in finding.detail.get("widths", ())


def _overwritten_before_shared(finding: Finding, case: Case) -> bool:
    if case.shared is None:
        return False
    return finding.kind == "mutated-input"


def _scaled_twice(finding: Finding, case: Case) -> bool:
    factor = finding.detail.get("factors", {}).get("routed", 1.0)
    is_factor = case.scaling != 1 and abs(factor / case.scaling - 1) < 0.02
    return finding.kind == "scaled" and finding.stage == stages.SCALING and is_factor


KNOWN_BUGS = (
    KnownBug(
        "vllm#35949",
        "vllm#40794",
        "the shared-plus-routed add moved into the runner, which adds first and truncates last",
        _added_before_unpad,
    ),
    KnownBug(
        "vllm#41184",
        "vllm#45707",
        "'shared OR output transform' became AND when the runner decides on the early unpad",
        lambda finding, case: _added_before_unpad(finding, case) and case.latent is None,
    ),
    KnownBug(
        "vllm#40794",
        "vllm#40865",
        "the unpad was made unconditional, so a strided slice went to the all-reduce",
        _strided_cut,
    ),
    KnownBug(
        "vllm#41645",
        "vllm#41646",
        "the kernel writes the narrow width while the fake still says the padded one (since vllm#40960)",
        lambda finding, case: (
            finding.kind == "fake-differs"
            and (finding.detail.get("real"), finding.detail.get("fake")) == (case.width, case.padded)
        ),
    ),
    KnownBug(
        "vllm#45037",
        "",
        "the routed scaling factor is applied twice, on the weights and on the output",
        _scaled_twice,
    ),
    KnownBug(
        "vllm#28942",
        "",
        "in-place experts overwrite hidden_states before the shared expert reads it",
        _overwritten_before_shared,
    ),
    KnownBug(
        "vllm#34087",
        "",
        "the shared expert of a latent MoE is fed the latent tensor",
        _shared_reads_latent,
    ),
    KnownBug(
        "vllm#50386",
        "",
        "a zero buffer that grows with the batch is replaced, and the graph keeps the address of the old one",
        lambda finding, case: finding.kind == "freed-memory",
    ),
    KnownBug(
        "vllm#40044",
        "",
        "each call allocates new buffers, and the graph keeps the addresses of those it was captured with",
        lambda finding, case: finding.kind == "freed-memory",
    ),
    KnownBug(
        "vllm#39288",
        "",
        "the tokens that fill a batch up to its captured size contain NaN, which reaches the router's top-k",
        lambda finding, case: finding.kind == "padding-tokens-leak",
    ),
)


def name_bugs(finding: Finding, case: Case) -> Finding:
    """The finding with the public bugs that it is similar to."""
    return finding.with_similar(tuple(str(bug) for bug in KNOWN_BUGS if bug.similar_to(finding, case)))
