"""Proofs: right layers are proven, failing sets are exact, and what cannot be decided is said to be so."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from torch import Tensor
from torch.nn import functional

from fixtures import over_symbols
from fixtures.corpus import FAULTS
from fixtures.planting import REAL, Planted
from harness.base.errors import Skip
from harness.findings.finding import FINDINGS, OK, SKIPPED, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import PROOF
from harness.matrix.selection import Selection
from harness.matrix.shapes import ANY, load
from harness.ops.by_name import by_name
from harness.ops.registry import register_op
from harness.proof.proof import FAILS, NOT_PROVABLE, PROVEN
from harness.proof.prove import prove, prover
from harness.proof.regions.conditions import Undecidable, holds
from harness.proof.regions.points import Points
from harness.proof.symbols.formula import fit
from harness.proof.symbols.trace import run_at
from harness.proof.wording import describe
from harness.subjects.subject import Subject
from harness.verdict.judge import judge
from kernels.layer.experts import SCHEMA, routed_experts
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CPU = torch.device("cpu")
RULES = load().rules
PLANTED = {fault.id: fault.subject for fault in FAULTS}


def case_of(name: str, rule: str = "trtllm-nvfp4", kernel: str = "wide", tp: int = 2) -> Case:
    return Case.of(ANY[f"any-{name}"], RULES[rule], kernel, tp, 7)


@dataclass
class Other(InTree):
    """The in-tree subject with another class of layer."""

    layer: type[PaddedMoELayer] = PaddedMoELayer


def proven(layer: type[PaddedMoELayer], case: Case) -> Any:
    return prove(Other(layer=layer), case)


# What an expression is worth at many sizes, and at all sizes beyond.

H = sympy.Symbol("h", integer=True, positive=True)
FloorDiv, Mod = torch.utils._sympy.functions.FloorDiv, torch.utils._sympy.functions.Mod
CONDITIONS: dict[str, tuple[Any, Callable[[int], bool]]] = {
    "aligned": (sympy.Eq(256 * FloorDiv(H + 255, 256), H), lambda h: -(-h // 256) * 256 == h),
    "not aligned": (sympy.Ne(FloorDiv(H, 48) * 48, H), lambda h: h // 48 * 48 != h),
    "remainder": (sympy.Gt(Mod(H, 96), 31), lambda h: h % 96 > 31),
    "nested": (sympy.Le(FloorDiv(FloorDiv(H + 63, 64) * 4, 3), H - 5), lambda h: -(-h // 64) * 4 // 3 <= h - 5),
    "least": (sympy.Eq(sympy.Min(H, 300), 300), lambda h: min(h, 300) == 300),
    "both": (sympy.And(H > 10, sympy.Ne(Mod(H, 3), 0)), lambda h: h > 10 and h % 3 != 0),
    "either": (sympy.Or(H < 10, sympy.Eq(Mod(H, 7), 0)), lambda h: h < 10 or h % 7 == 0),
    "square": (sympy.Lt(H**2, 10_000), lambda h: h * h < 10_000),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_holds_where_python_says_so(name: str) -> None:
    condition, expected = CONDITIONS[name]
    sizes = np.arange(2, 3000, dtype=np.int64)
    found = holds(condition, {H: Points.sizes(sizes)})
    assert found.true.tolist() == [expected(int(h)) for h in sizes]
    assert found.false.tolist() == (~found.true).tolist()


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name not in ("nested", "square")])
def test_what_holds_beyond_holds_at_each_size_there(name: str) -> None:
    condition, expected = CONDITIONS[name]
    tail = Points.tail(3000, 256 * 3 * 7)
    found = holds(condition, {H: tail})
    for place in range(0, len(tail.base), 37):
        at = {expected(int(tail.slope[place] * q + tail.base[place])) for q in range(5)}
        assert not (found.true[place] and at != {True})
        assert not (found.false[place] and at != {False})
    assert (found.true | found.false).all()


def test_beyond_what_is_linear_nothing_is_said() -> None:
    tail = Points.tail(3000, 64)
    with pytest.raises(Undecidable):
        holds(CONDITIONS["nested"][0], {H: tail})
    with pytest.raises(Undecidable):
        holds(sympy.Gt(sympy.Function("f")(H), 3), {H: Points.sizes(np.arange(2, 9))})


FORMULAS: dict[str, Callable[[int, int], int]] = {
    "one axis": lambda h, _: h,
    "the other": lambda _, w: w,
    "blocks": lambda h, _: -(-h // 256) * 256 // 16,
    "a difference": lambda h, _: -(-h // 256) * 256 - h,
    "packed": lambda _, w: -(-w // 128) * 64,
    "of both": lambda h, w: 3 * h + w + 5,
    "rounded twice": lambda h, _: ((h + 15) // 16 + 3) // 4 * 4,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_fitted_formulas_hold_at_sizes_that_were_not_asked(name: str) -> None:
    value = FORMULAS[name]
    sizes = [(35, 300), (129, 512), (300, 1281), (512, 129), (640, 771), (771, 517), (1024, 35), (1043, 640)]
    formula = fit([value(*at) for at in sizes], sizes, 256)
    assert formula is not None
    for at in ((2688, 1344), (4096, 7), (17, 9999)):
        assert formula.of(at) == value(*at)


def test_what_follows_no_rule_is_not_fitted() -> None:
    sizes = [(35,), (129,), (300,), (512,), (640,)]
    assert fit([35 * 35, 129 * 129, 300 * 300, 512 * 512, 640 * 640], sizes, 256) is None


SETS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # type: ignore[type-arg]
    "every size that is not a multiple of 256": lambda s: s % 256 != 0,
    "every size that is a multiple of 16": lambda s: s % 16 == 0,
    "every size": lambda s: s > 0,
    "every size from 4097 on": lambda s: s > 4096,
    "every size up to 99": lambda s: s < 100,
    "every size that is a multiple of 64 from 128 to 640": lambda s: (s % 64 == 0) & (s > 100) & (s < 641),
    "every size with remainder 16 modulo 48": lambda s: s % 48 == 16,
    "every size whose remainder modulo 3 is not 1": lambda s: s % 3 != 1,
    "size 70 and 81": lambda s: (s == 70) | (s == 81),
    "no size": lambda s: s < 0,
}


@pytest.mark.parametrize("text", SETS)
def test_words_for_a_set_of_sizes(text: str) -> None:
    sizes = np.arange(2, 65_537, dtype=np.int64)
    assert describe(sizes, SETS[text](sizes), "size") == text


# Layers. The whole set of combinations runs as the padding tests' proof mode.


@pytest.mark.parametrize("name", ["plain", "shared", "latent", "shared-latent"])
def test_the_right_layer_is_proven(name: str) -> None:
    found = prove(InTree(), case_of(name))
    assert found.status == PROVEN, found.text
    assert found.count == 0
    assert found.total == 65_535 if "latent" not in name else found.total == 65_535**2
    assert sum(region.count for region in found.regions) >= found.total
    assert found.beyond == "no size beyond fails"
    assert all(region.runs for region in found.regions)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("bug", "name", "tp"),
    [("vllm#35949", "shared", 1), ("vllm#41184", "shared", 2), ("vllm#40794", "plain", 2)],
)
def test_historical_faults_have_exactly_the_failing_set_of_real_runs(bug: str, name: str, tp: int) -> None:
    proven = prover(PLANTED[bug], case_of(name, tp=tp))
    proof = proven.proof()
    assert proof.status == FAILS
    assert proof.failing == "every hidden size that is not a multiple of 256"
    assert (proof.count, proof.total, proof.counterexample) == (65_279, 65_535, (2,))
    assert proof.beyond == "sizes beyond fail by the same rule"
    # Every size up to 3000 is what `harness prove --exhaustive 3000` runs; here each remainder by 256 is met.
    for size in (*range(2, 2900, 11), *range(256, 3001, 256)):
        assert run_at(proven.symbolic, (size,)).ok == (size % 256 == 0) == (not proven.fails_at((size,))), size


@pytest.mark.parametrize("name", ["latent", "shared-latent"])
def test_a_latent_width_is_an_axis_of_its_own(name: str) -> None:
    found = prove(PLANTED["vllm#35949"], case_of(name))
    assert found.failing == "every latent width that is not a multiple of 256"
    assert found.count == 65_535 * 65_279


def test_or_in_place_of_and_is_right_with_both_parts() -> None:
    assert prove(PLANTED["vllm#41184"], case_of("shared-latent")).status == PROVEN
    assert prove(PLANTED["vllm#41184"], case_of("latent")).status == FAILS


def test_a_guard_that_mixes_both_axes() -> None:
    found = prove(PLANTED["vllm#34087"], case_of("shared-latent"))
    assert found.status == FAILS
    assert "latent" in found.failing
    assert "hidden" in found.failing
    assert found.counterexample == (2, 3)


class LeavesPaddingAtSome(PaddedMoELayer):
    """Forgets the unpad at sizes that no published model has."""

    def unpad(self, x: Tensor) -> Tensor:
        return x if self.width % 96 == 32 else super().unpad(x)


class StridedAbove(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return x if self.width > 20_000 else super().dense(x)


class Float32Aligned(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        out = super().reduce(x)
        return out.float() if self.padded == self.width else out


class Bypasses(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        return super().run_experts(x, topk_ids, topk_weights) if self.width % 5 else x[..., : self.out_width] * 1


FAILING: dict[str, tuple[type[PaddedMoELayer], Callable[[int], bool]]] = {
    "some": (LeavesPaddingAtSome, lambda h: h % 96 == 32 and h % 256 != 0),
    "above": (StridedAbove, lambda h: h > 20_000 and h % 256 != 0),
    "aligned": (Float32Aligned, lambda h: h % 256 == 0),
    "bypass": (Bypasses, lambda h: h % 5 == 0),
}


@pytest.mark.parametrize("name", FAILING)
def test_failing_sets_are_exact(name: str) -> None:
    layer, fails = FAILING[name]
    proven = prover(Other(layer=layer), case_of("plain"))
    proof = proven.proof()
    assert proof.status == FAILS
    expected = [size for size in range(2, 65_537) if fails(size)]
    assert proof.count == len(expected)
    assert proof.counterexample == (expected[0],)
    assert all(proven.fails_at((size,)) for size in expected[::29])


def verdict_of(layer: type[PaddedMoELayer], case: Case) -> Verdict:
    return judge(Other(layer=layer), case, PROOF, CPU)


def test_only_the_proof_sees_a_fault_at_sizes_that_no_case_has() -> None:
    """The matrix has none of these sizes: this is the fault that the mode is for."""
    sizes = {case.width for case in Selection().cases()}
    assert not {size for size in sizes if FAILING["some"][1](size)}
    verdict = verdict_of(LeavesPaddingAtSome, case_of("shared"))
    assert verdict.status == FINDINGS
    finding = verdict.findings[0]
    assert finding.kind == "width-mismatch"
    assert finding.stage == "shared add"
    assert "at hidden 32: add of 7x32 and 7x256" in finding.what
    assert verdict.reproduce.startswith("harness prove --models any-shared ")
    assert Verdict.from_json(verdict.to_json()).proof["count"] == verdict.proof["count"]


class Specialises(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, int(self.padded) - int(x.shape[-1])))


class LooksUp(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return super().scale(x) + 0 * {self.width: 0}[self.width]


def test_a_size_made_a_plain_number_is_a_finding() -> None:
    verdict = verdict_of(Specialises, case_of("shared"))
    assert verdict.status == FINDINGS
    assert [finding.kind for finding in verdict.findings] == ["specialised"]
    assert re.search(
        r"every size needs a trace of its own \(Eq\(256\*.*, 256\), cases/proof/test_proof.py:\d+\)",
        verdict.findings[0].what,
    )


def test_what_cannot_be_traced_is_not_provable_and_not_ok() -> None:
    verdict = verdict_of(LooksUp, case_of("shared"))
    assert verdict.status == SKIPPED
    assert verdict.reason.startswith("not provable: ")
    assert not verdict.ok


def _fake_narrow(hidden_states: Tensor, *arguments: Any) -> Tensor:
    return hidden_states.new_empty(hidden_states.shape[0], arguments[9] - arguments[9] % 256)


_lying = register_op("proven::lying_experts", SCHEMA, fake=_fake_narrow)(routed_experts.reals["cpu"])


class Lied(PaddedMoELayer):
    op = staticmethod(_lying.overload)


@dataclass
class Lying(Other):
    def ops(self, case: Case) -> tuple[str, ...]:
        return (_lying.name,)


def _real_strided(hidden_states: Tensor, *arguments: Any) -> Tensor:
    out = routed_experts.reals["cpu"](hidden_states, *arguments)
    return out.t().contiguous().t() if out.shape[-1] % 96 == 32 else out


_odd = register_op("proven::odd_experts", SCHEMA, fake=routed_experts.fake)(_real_strided)


class OddKernel(PaddedMoELayer):
    op = staticmethod(_odd.overload)


@dataclass
class Odd(Other):
    def ops(self, case: Case) -> tuple[str, ...]:
        return (_odd.name,)


def test_a_kernel_that_breaks_its_contract_at_some_sizes() -> None:
    """The fake is right, and no real run is made at such a size: the kernel is traced too."""
    found = prove(Odd(layer=OddKernel), case_of("shared", kernel="narrow"))
    assert found.status == FAILS
    assert found.count == sum(size % 96 == 32 for size in range(2, 65_537))
    verdict = judge(Odd(layer=OddKernel), case_of("shared", kernel="narrow"), PROOF, CPU)
    assert [finding.observer for finding in verdict.findings] == ["contract"]
    assert "every hidden size with remainder 32 modulo 96" in verdict.findings[0].what


def _real_of_blocks(hidden_states: Tensor, *arguments: Any) -> Tensor:
    assert all(start < hidden_states.shape[1] for start in range(0, int(hidden_states.shape[1]), 4096))
    return routed_experts.reals["cpu"](hidden_states, *arguments)


def _real_by_address(hidden_states: Tensor, *arguments: Any) -> Tensor:
    width = int(hidden_states.shape[1])
    if isinstance(hidden_states, torch._subclasses.FakeTensor):
        raise ValueError(f"no address of {width} columns")
    return routed_experts.reals["cpu"](hidden_states, *arguments)


_of_blocks = register_op("proven::of_blocks", SCHEMA, fake=routed_experts.fake)(_real_of_blocks)
_by_address = register_op("proven::by_address", SCHEMA, fake=routed_experts.fake)(_real_by_address)


class OfBlocks(PaddedMoELayer):
    op = staticmethod(_of_blocks.overload)


class ByAddress(PaddedMoELayer):
    op = staticmethod(_by_address.overload)


@pytest.mark.parametrize("layer", [OfBlocks, ByAddress])
def test_a_kernel_may_make_numbers_of_its_sizes(layer: type[PaddedMoELayer]) -> None:
    """A trace through the layer does not enter the op."""

    @dataclass
    class OfNumbers(Other):
        def ops(self, case: Case) -> tuple[str, ...]:
            return (layer.op._schema.name,)

    assert prove(OfNumbers(layer=layer), case_of("shared")).status == PROVEN


def hint_of(size: Any) -> Any:
    return size.node.hint if isinstance(size, torch.SymInt) else size


def _fake_of_a_number(hidden_states: Tensor, out_width: Any) -> Tensor:
    """Fixes a size without a guard, as a table made for one model does. The comparison with the real side adds one."""
    return hidden_states.new_empty(hidden_states.shape[0], hint_of(out_width))


_of_a_number = register_op("proven::of_a_number", SCHEMA, fake=by_name(_fake_of_a_number))(REAL)


class OfANumber(PaddedMoELayer):
    op = staticmethod(_of_a_number.overload)


def test_a_fake_that_makes_a_number_says_nothing_of_the_real_side_that_other_ops_share() -> None:
    prove(Planted(layer=OfANumber, op=_of_a_number.name), case_of("plain"))
    verdict = judge(over_symbols.FAKE_OF_COLUMNS, case_of("plain"), PROOF, CPU)
    assert "fails-when-traced" in {finding.kind for finding in verdict.findings}, verdict.reason


def test_a_fake_that_lies_at_some_sizes_is_the_contracts_finding() -> None:
    verdict = judge(Lying(layer=Lied), case_of("plain", kernel="narrow"), PROOF, CPU)
    assert verdict.status == FINDINGS
    assert "contract" in {finding.observer for finding in verdict.findings}


# Layers in other styles: what a proof needs is found in them, wherever they keep it.


class Flagged(PaddedMoELayer):
    """Decides when it is built."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.cuts = self.out_width != self.width
        self.__dict__["sizes"] = {"true": [self.width], "label": f"moe_{self.width}"}

    def unpad(self, x: Tensor) -> Tensor:
        return x[..., : self.sizes["true"][0]] if self.cuts else x


class FlaggedWrongly(Flagged):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.cuts = self.width % 64 != 0


def test_flags_set_at_build_time_are_structures() -> None:
    assert proven(Flagged, case_of("shared")).status == PROVEN
    found = proven(FlaggedWrongly, case_of("shared"))
    assert found.status == FAILS
    assert found.count == sum(size % 64 == 0 and size % 256 != 0 for size in range(2, 65_537))


class Closed(InTree):
    """A plain function that holds its sizes in a closure and in default arguments."""

    def build(self, case: Case, device: torch.device) -> Any:
        held, sizes = super().build(case, device), (case.width, case.padded)

        def forward(hidden: Tensor, ids: Tensor, weights: Tensor, extra: int = case.padded - case.width) -> Tensor:
            routed = held.run_experts(functional.pad(hidden, (0, extra)), ids, weights)[..., : sizes[0]]
            return held.reduce((held.scale(routed) + held.shared_output(hidden)).contiguous())

        return forward


class ClosedWrongly(Closed):
    def build(self, case: Case, device: torch.device) -> Any:
        return super().build(replace(case, kernel="wide"), device) if case.hidden % 128 else PaddedLate.of(self, case)


class PaddedLate:
    """Keeps the case itself, and cuts by what the case says, one column late."""

    def __init__(self, layer: PaddedMoELayer, case: Case) -> None:
        self.layer, self.case = layer, case

    @classmethod
    def of(cls, subject: InTree, case: Case) -> "PaddedLate":
        return cls(InTree.build(subject, case, CPU), case)

    def __call__(self, hidden: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        padded = functional.pad(hidden, (0, self.case.padded - self.case.width))
        routed = self.layer.run_experts(padded, ids, weights)[..., : self.case.width + 1]
        return self.layer.reduce(routed + self.layer.shared_output(hidden))


def test_closures_defaults_and_cases_are_looked_into() -> None:
    assert prove(Closed(), case_of("shared")).status == PROVEN
    found = prove(ClosedWrongly(), case_of("shared"))
    assert found.status == FAILS
    assert found.count == sum(size % 128 == 0 and size % 256 != 0 for size in range(2, 65_537))


class WrongAtOne(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        return super().reduce(x).float() if self.width == 1 else super().reduce(x)


def test_a_size_of_one_is_run_apart() -> None:
    """Torch traces no size of one with the others."""
    found = prove(Other(layer=WrongAtOne), case_of("plain"))
    assert (found.status, found.count, found.counterexample) == (FAILS, 0, (1,))
    assert found.failing == "a size of 1 alone"


class StridedFarAbove(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return x if self.width > 100_000 else super().dense(x)


def test_what_lies_beyond_is_not_said_to_be_proven() -> None:
    assert prove(Other(), case_of("plain")).beyond == "no size beyond fails"
    found = prove(Other(layer=StridedFarAbove), case_of("plain"))
    assert found.status == PROVEN
    assert found.beyond.startswith("not proven beyond 65,536: some sizes there take another path")


_numbers = itertools.count()


class Numbered(PaddedMoELayer):
    """Each layer gets a number of its own, as engines give them: no size decides it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.number = next(_numbers)
        self.prefix = f"model.layers.{self.number}"


def test_a_layers_own_number_does_not_hinder_a_proof() -> None:
    assert prove(Other(layer=Numbered), case_of("shared")).status == PROVEN


class Multiples(InTree):
    def build(self, case: Case, device: torch.device) -> Any:
        if case.hidden % 64:
            raise Skip("hidden must be a multiple of 64")
        return super().build(case, device)


def test_a_subject_that_takes_multiples_only_is_proven_for_those() -> None:
    found = prove(Multiples(), case_of("shared"))
    assert found.status == PROVEN
    assert found.total == 65_536 // 64
    assert found.sizes == "hidden 64 to 65,536 in steps of 64"


class FullWidth(InTree):
    """A loader that copies the true widths into a parameter of the padded width."""

    def build(self, case: Case, device: torch.device) -> Any:
        torch.empty(4, case.padded).copy_(torch.empty(4, case.width))
        return super().build(case, device)


def test_a_layer_that_cannot_be_built_at_some_sizes_is_a_finding_with_these_sizes() -> None:
    verdict = judge(FullWidth(), case_of("shared"), PROOF, torch.device("cpu"))
    assert verdict.status == FINDINGS
    (finding,) = verdict.findings
    assert finding.kind == "not-built"
    assert finding.what.startswith("the layer cannot be built at 30 of the 32 sizes from 256 to 752 in steps of 16: ")
    assert "each that is no multiple of 256: RuntimeError: " in finding.what
    assert finding.line is not None
    assert finding.line.file.endswith("test_proof.py")


class Picky(InTree):
    def build(self, case: Case, device: torch.device) -> Any:
        if case.hidden != 2688:
            raise Skip("only 2688")
        return super().build(case, device)


class Erratic(PaddedMoELayer):
    """Another structure above 700."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.large = self.width > 700


class Jumps(PaddedMoELayer):
    """Padded otherwise where no sample is."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.chunk = self.width if self.width < 5000 else 2 * self.width


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (Picky(), "builds no layer at other sizes"),
        (Other(layer=Erratic), "large is "),
        (Other(layer=Jumps), "chunk is 18200"),
    ],
    ids=["picky", "erratic", "jumps"],
)
def test_what_is_unknown_of_a_build_is_said(subject: Subject, reason: str) -> None:
    found = prove(subject, case_of("plain"))
    assert found.status == NOT_PROVABLE
    assert reason in found.reason


def test_the_proof_leaves_nothing_behind() -> None:
    """Symbols are put into fresh layers: neither the subject nor the case has any afterwards."""
    case = case_of("shared-latent")
    before = repr(case)
    subject = Closed()
    assert prove(subject, case_of("shared")).status == PROVEN
    assert judge(InTree(), case, PROOF, CPU).status == OK
    assert repr(case) == before
    assert vars(subject) == {}
