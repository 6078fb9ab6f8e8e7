"""The code paths of vLLM's layer: which cases run them, and the harness's own parts of them. No test needs vLLM."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from harness.base.errors import BadInput
from harness.cli import main
from harness.engines.released import releases, targets
from harness.engines.released.ranks import Ranks
from harness.engines.vllm.oracle import oracle
from harness.engines.vllm.paths.adapters import MAX_RANK, RANK, Adapter
from harness.engines.vllm.paths.adapters import load as load_adapters
from harness.engines.vllm.paths.compared import WrongWeights, compare
from harness.engines.vllm.paths.fp4 import Packed
from harness.engines.vllm.paths.on_input import ON_INPUT, Rows, sigmoid_top_k
from harness.engines.vllm.paths.scratch import Scratch, check_activation
from harness.engines.vllm.routing import (
    check_logits,
    logits_of,
    marked,
    marks_of,
    routing_function,
    routing_without_fillers,
    special_top_k,
    top_k,
    without_fillers,
)
from harness.engines.vllm.transforms import MODEL, says_commutative
from harness.engines.vllm.weights import masters
from harness.execution import stages
from harness.execution.evidence import Call, Record, Run
from harness.execution.passed_on import note_fact, note_logits, note_routing, noting
from harness.findings.explain import explain
from harness.findings.readers.raised import stage_of_part
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.paths import PATHS
from harness.matrix.selection import Selection
from harness.matrix.shapes import load, published
from harness.matrix.unplanned import unplanned
from harness.observers import contract
from harness.ops.tensor_meta import TensorMeta
from harness.verdict.reproduce import script_command


def case_of(model: str, tp: int = 1) -> Case:
    return Selection(models=(model,), tp=(tp,), tokens=(9,), kernels=("wide",), modes=("eager",)).cases()[0]


def outputs(model: str, tp: int = 1, padded_rows: bool = False) -> dict[str, torch.Tensor]:
    case, generator = case_of(model, tp), torch.Generator().manual_seed(1)
    x, logits = torch.randn(9, case.hidden, generator=generator), torch.randn(9, case.experts, generator=generator)
    return oracle(case, x, logits_of(logits, 9) if padded_rows else logits)


def test_a_path_is_refused_for_another_subject(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["check"], ["prove"]):
        assert main([*command, "--models", "vllm-modular"]) == 2
        assert "is a code path of vLLM's layer; give --subject vllm==RELEASE" in capsys.readouterr().err


def test_an_unknown_path_is_offered_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean vllm-modular"):
        Selection(models=("vllm-modulr",)).tasks()


@pytest.mark.parametrize("name", PATHS)
def test_a_path_runs_on_one_rank_and_on_two_and_in_no_graph_that_cannot_hold_it(name: str) -> None:
    tasks = Selection(models=(name,)).tasks()
    assert {case.tp for case, mode in tasks if mode.name == "eager"} == {1, 2}
    assert any(mode.family == "cudagraph" for _, mode in tasks) == PATHS[name].captured
    assert {mode.name for _, mode in tasks if mode.family == "varied"} == (
        {"varied-tokens"} if PATHS[name].varied else set()
    )
    chosen = Selection(models=(name,), modes=("cudagraph",)).tasks()
    assert bool(chosen) == PATHS[name].captured
    for brief in (False, True):
        buckets = [
            mode for _, mode in Selection(models=(name,), brief=brief).tasks() if mode.name == "cudagraph-dynamic"
        ]
        assert len(buckets) == PATHS[name].captured


def test_brief_leaves_out_other_rules_and_batches_and_no_model() -> None:
    whole, brief = (
        Selection(models=("gpt-oss-20b", "qwen3-30b-a3b")),
        Selection(models=("gpt-oss-20b", "qwen3-30b-a3b"), brief=True),
    )
    assert {case.model for case, _ in brief.tasks()} == {case.model for case, _ in whole.tasks()}
    assert {case.alignment.name for case, _ in brief.tasks()} == {"trtllm-nvfp4"}
    ids = {(case.id, mode.name) for case, mode in whole.tasks()}
    assert {(case.id, mode.name) for case, mode in brief.tasks()} < ids


def test_only_models_that_people_run_are_published() -> None:
    names = [name for name in load().shapes if not name.startswith("synthetic-")]
    assert all(published(name) for name in names)
    assert not any(published(name) for name in ("synthetic-2304", "any-plain", *PATHS))


def test_a_row_that_fills_the_batch_names_no_expert_and_adds_nothing() -> None:
    weights, ids = without_fillers(logits_of(torch.randn(9, 3), 9), 2)
    assert (ids == -1).all(-1).tolist() == [False] * 3 + [True] * 3 + [False] * 3
    assert torch.allclose(weights.sum(-1), torch.ones(9))
    routed = outputs("vllm-padded-rows", padded_rows=True)["routed"]
    assert not routed[3:6].any()
    assert routed[:3].any()


@pytest.mark.parametrize("model", ON_INPUT)
def test_a_routing_weight_on_the_input_is_inside_the_activation(model: str) -> None:
    case, x, logits = case_of(model), torch.randn(9, case_of(model).hidden), marked(torch.randn(9, 3), True, False)
    weights, ids = sigmoid_top_k(logits, case.top_k)
    assert (case.top_k, ids.tolist()) == (1, logits.argmax(-1, keepdim=True).tolist())
    assert (weights[::3] > 0).all()
    assert (weights[1::3] > 1).all()
    assert (weights[2::3] < 0).all()
    apart = oracle(case, x * weights, torch.full_like(logits, -9.0).scatter_(1, ids, 9.0))["routed"]
    assert torch.allclose(oracle(case, x, logits)["routed"], apart, rtol=0.05, atol=1e-2)


@pytest.mark.parametrize(("times", "says"), [(0, "not on"), (1, ""), (2, "twice on")])
def test_rows_that_are_weighted_otherwise_are_told_in_a_second_look(times: int, says: str) -> None:
    rows, (weights, ids), seen = torch.randn(9, 8), sigmoid_top_k(torch.randn(9, 3), 1), Rows(on_input=True)
    given = rows * weights**times
    buffers = torch.zeros(3, 12, 8)
    for expert in range(3):
        mine = given[ids[:, 0] == expert]
        buffers[expert, : len(mine)] = mine
    for check in (lambda: seen.check(given, weights), lambda: seen.check_buffers(buffers, weights, ids)):
        check()  # outside of a second look nothing is noted
        with noting() as notes:
            seen.note(rows)
            check()
        assert [says in fact for fact in notes.facts] == [True] * bool(says)


def test_a_row_with_an_infinite_logit_is_not_marked() -> None:
    logits = torch.tensor([[0.1, 0.2, -torch.inf], [torch.inf, 0.0, 0.0], [0.3, 0.2, -128.0], [0.3, 0.2, -64.0]])
    assert marks_of(logits).flatten().tolist() == [0, 0, 2, 1]


def test_rows_that_the_user_chose_run_in_every_varied_mode_but_those_of_other_sizes() -> None:
    modes = {mode.name for _, mode in Selection(models=("vllm-gate",), modes=("varied",), tp=(1,)).tasks()}
    assert modes == {name for name, mode in MODES.items() if mode.family == "varied"} - {"varied-sizes"}


def test_where_a_norm_has_a_floor_the_scaling_is_inside_of_it() -> None:
    case = case_of("vllm-norm-latent")
    x, logits = torch.randn(9, case.hidden) / 8192, torch.randn(9, case.experts)
    scaled, plain = (oracle(replace(case, scaling=scaling), x, logits)["routed"] for scaling in (2.5, 1.0))
    assert scaled.abs().mean() > 1.5 * plain.abs().mean()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("w2", "the weights padded with zeros"),
        ("w2_scale out of its tiles", "the scales padded with zeros"),
        ("input", "the rows padded with zeros"),
        ("output", "the rows without their padding"),
    ],
)
def test_what_a_helper_pads_wrongly_has_its_own_name(name: str, says: str) -> None:
    with pytest.raises(WrongWeights, match=f"differs from {says}, first at row 0, column 1"):
        compare("helper", (name,), (torch.tensor([[0.0, 1.0]]),), (torch.zeros(1, 2),))


def test_a_routing_in_parts_is_compared_as_a_whole() -> None:
    one, other = routing((0.75, 2), (0.25, 1)), routing((0.5, 0), (0.5, 1))
    with noting() as notes:
        for part in (one, other):
            note_routing("selected", *part)
            note_logits("selected", part[0])
        note_routing("given", *(torch.cat(pair) for pair in zip(one, other, strict=True)))
        note_logits("given", torch.cat((one[0], other[0] * torch.tensor((1.0, 3.0)))))
    assert (notes.misrouted, notes.facts) == (
        True,
        ["Experts are chosen and weighted by other logits than the gate gives for these rows, or the caller."],
    )
    with noting() as more:
        note_routing("selected", *one)
        note_routing("selected", *one)
        note_routing("given", *other)
    assert more.facts == []


def test_logits_of_another_width_are_refused() -> None:
    check_logits(torch.zeros(7, 3), 3)
    with pytest.raises(ValueError, match=r"shape \[7, 256\] were given; expected one for each of 3 experts"):
        check_logits(torch.zeros(7, 256), 3)


def test_packed_weights_unpack_to_their_values() -> None:
    codes = torch.tensor([0x21, 0x9F] + [0] * 6, dtype=torch.uint8)  # codes 1, 2, 15, 9, then zeros
    packed = Packed(codes, torch.tensor([0.5]).to(torch.float8_e4m3fn))
    assert packed.unpacked()[:5].tolist() == [0.25, 0.5, -3.0, -0.25, 0.0]


@pytest.mark.parametrize("model", ["vllm-fp4-hidden", "vllm-fp4-experts"])
def test_a_packed_checkpoint_has_the_weights_of_the_oracle(model: str) -> None:
    weights = masters(case_of(model))
    assert weights.packed is not None
    assert torch.equal(weights.packed[0].unpacked(), weights.w13)
    assert weights.w13.float().std() > 0.01


def test_a_slot_held_a_larger_adapter_before() -> None:
    case = case_of("vllm-lora")
    former, adapter = Adapter.former(case), Adapter.of(case)
    assert former.a[0].shape[1] > adapter.a[0].shape[1]
    assert not torch.equal(former.a[0][:, : adapter.a[0].shape[1]], adapter.a[0])


def test_an_adapter_differs_from_rank_to_rank() -> None:
    case = case_of("vllm-lora", tp=2)
    weights, adapter = masters(case), Adapter.of(case)
    ranks = [adapter.added(weights.w13, weights.w2, rank) for rank in (0, 1)]
    assert not torch.equal(ranks[0][0], ranks[1][0])
    assert not torch.equal(ranks[0][1], ranks[1][1])


class _FrozenAtMapping:
    """As vLLM's LoRA layer, whose kernels read the flags that it had when the mapping was set: a copy of them goes stale."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def set_mapping(self, kernels: object) -> None:
        self.calls.append(("set_mapping", 0))

    def reset_lora(self, slot: int) -> None:
        self.calls.append(("reset_lora", slot))

    def set_lora(self, slot: int, a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
        self.reset_lora(slot)
        self.calls.append(("set_lora", a[0].shape[1]))


def test_adapters_are_loaded_after_the_mapping_as_vllms_manager_does() -> None:
    layer = _FrozenAtMapping()
    load_adapters(layer, object(), case_of("vllm-lora"), 1)
    wanted = [("reset_lora", 1), ("set_lora", MAX_RANK), ("reset_lora", 1), ("set_lora", RANK)]
    assert layer.calls == [("set_mapping", 0), *wanted]


def test_in_float16_the_shared_part_is_divided() -> None:
    half, plain = outputs("vllm-float16"), outputs("vllm-modular")
    assert torch.allclose(half["shared"] * 2.5, plain["shared"])
    assert torch.allclose(half["routed"] * 2.5, plain["routed"])


def test_where_the_model_sums_a_rank_returns_its_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr("harness.engines.vllm.weights.here", lambda rank=rank: Ranks(rank, 2))
        parts.append(outputs("vllm-deferred-sum", tp=2))
    alone = outputs("vllm-deferred-sum")
    for name in ("routed", "shared"):
        assert torch.equal(parts[0][name], alone[name])  # one rank has the first shard
        assert not torch.allclose(parts[0][name], parts[1][name], atol=0.1)


@pytest.mark.parametrize("model", ["vllm-norm-latent", "vllm-norm-latent-padded"])
def test_where_a_norm_hides_a_factor_the_ranks_hold_shards_of_their_own(model: str) -> None:
    case = case_of(model, tp=2)
    first, second = masters(case, 0), masters(case, 1)
    assert first.shared is not None
    assert second.shared is not None
    pairs = ((first.w13, second.w13), (first.w2, second.w2), *zip(first.shared, second.shared, strict=True))
    assert not any(torch.equal(*pair) for pair in pairs)
    assert torch.equal(first.gate, second.gate)
    assert first.latent is second.latent
    one, two = outputs(model), outputs(model, tp=2)
    assert torch.allclose(one["routed"].pow(2).mean(), two["routed"].pow(2).mean(), rtol=0.2)  # no sum of two norms
    assert not torch.allclose(one["routed"], two["routed"], rtol=0.2, atol=0.2)  # of one rank's part


def test_elsewhere_the_ranks_hold_one_shard() -> None:
    case = case_of("vllm-modular", tp=2)
    assert masters(case, 0) is masters(case, 1) is masters(case)
    one, two = outputs("vllm-modular"), outputs("vllm-modular", tp=2)
    assert torch.allclose(2 * one["shared"], two["shared"])


def test_weights_of_the_routing_sum_to_one() -> None:
    weights, ids = top_k(torch.randn(5, 8), 3)
    assert torch.allclose(weights.sum(-1), torch.ones(5))
    assert ids.shape == (5, 3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("not config.mlp_bias and isinstance(self.fc2_latent_proj.quant_method, UnquantizedLinearMethod)", True),
        ("config.mlp_bias", False),
    ],
)
def test_what_the_model_says_of_its_projection_is_evaluated(
    value: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear: Any = ModuleType("vllm.model_executor.layers.linear")
    linear.UnquantizedLinearMethod = type("UnquantizedLinearMethod", (), {})
    for name in ("vllm", "vllm.model_executor", "vllm.model_executor.layers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "vllm.model_executor.layers.linear", linear)
    (tmp_path / MODEL).parent.mkdir(parents=True)
    (tmp_path / MODEL).write_text(f"self.fc2_latent_proj.reduce_commutative = {value}\n", "utf-8")
    assert says_commutative(tmp_path) is expected


def test_a_model_that_says_nothing_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / MODEL).parent.mkdir(parents=True)
    (tmp_path / MODEL).write_text("self.other = 1\n", "utf-8")
    assert says_commutative(tmp_path) is None


def test_a_release_that_is_not_there_is_said_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def built(engine: object, report: object) -> Path:
        raise AssertionError("the environment was built")

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    for module in (releases, targets):
        monkeypatch.setattr(module, "python", built)
    known = "ERROR: Could not find a version that satisfies the requirement (from versions: 0.20.1, 0.20.2)"
    monkeypatch.setattr(releases, "pip", lambda *args: (1, [known]))
    assert main(["vllm", "0.20.9"]) == 2
    assert "vLLM 0.20.9 is not on the package index; did you mean 0.20." in capsys.readouterr().err


def test_there_is_no_script_of_vllms_layer() -> None:
    for subject in ("vllm", "vllm==0.33.0", "vllm@/tree"):
        assert not script_command(f"harness check --models qwen3-30b-a3b --modes eager --subject {subject}")
    assert script_command("harness check --models qwen3-30b-a3b --modes eager --subject 'vllm#41645'")


def record_of(op: str, outputs: int) -> Record:
    record = Record(op, "routed experts", None, (), (), True)
    record.outputs = (TensorMeta.of(torch.zeros(7, 80)),) * outputs
    return record


@pytest.mark.parametrize(("index", "name"), [(0, "0, the shared expert's"), (1, "1, the routed experts'")])
def test_the_outputs_of_an_op_are_called_by_what_they_are(index: int, name: str) -> None:
    run = Run(case_of("vllm-modular"), "eager", ("a::b",), routed_output=1)
    assert contract._named(run, record_of("a::b", 2), index) == name
    assert contract._named(run, record_of("a::other", 2), index) == str(index)
    assert contract._named(Run(case_of("vllm-modular"), "eager", ("a::b",)), record_of("a::b", 2), index) == str(index)


@pytest.mark.parametrize(
    ("text", "widths"),
    [
        (
            "mat1 and mat2 shapes cannot be multiplied (7x320 and 512x128)",
            ["320 = hidden", "512 = 320 rounded up to 256, "],
        ),
        ("no kernel is registered under 320", []),
    ],
)
def test_an_error_inside_an_op_names_the_widths_that_met(text: str, widths: list[str]) -> None:
    call = Call("first call", 7, (), error=RuntimeError(text))
    record = record_of("a::b", 1)
    record.error = call.error
    call.records = [record]
    finding = explain(Run(case_of("vllm-modular"), "eager", ("a::b",)), call)
    assert finding.kind == "op-raised"
    assert len(finding.widths) == len(widths)
    assert all(one.text.startswith(start) for one, start in zip(finding.widths, widths, strict=True))


def routing(*rows: tuple[float, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """One token's weights and ids."""
    return torch.tensor([[weight for weight, _ in rows]]), torch.tensor([[number for _, number in rows]])


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        (routing((0.25, 1), (0.75, 2)), False),
        (routing((0.75, 1), (0.25, 2)), True),
        (routing((0.75, 2), (0.25, -1)), True),
        (routing((0.75, 2), (0.5, 1)), True),
        (tuple(tensor.to(torch.bfloat16) for tensor in routing((0.751, 2), (0.25, 1))), False),
    ],
)
def test_a_routing_is_changed_by_its_weights_and_not_by_their_order(given: Any, changed: bool) -> None:
    with noting() as notes:
        note_routing("selected", *routing((0.75, 2), (0.25, 1)))
        note_routing("given", *given)
    assert notes.misrouted is changed
    assert bool(notes.facts) is changed
    note_routing("selected", *given)  # outside of a second look nothing is noted
    note_fact("Nothing.")
    assert not any("Nothing" in fact for fact in notes.facts)


@pytest.mark.parametrize("function", [routing_function, routing_without_fillers])
def test_a_routing_that_is_not_asked_to_renormalise_does_not(function: Any) -> None:
    logits = torch.randn(5, 8)
    with noting() as notes:
        weights, _ = function(torch.zeros(5, 4), logits, 2, False)
    assert (weights.sum(-1) < 0.99).all()
    assert notes.misrouted
    assert notes.facts == ["The routing function is not asked to renormalise, as the layer is."]
    with noting() as notes:
        weights, _ = function(torch.zeros(5, 4), logits, 2, True)
    assert torch.allclose(weights.sum(-1), torch.ones(5))
    assert not notes.facts


def test_logits_of_another_width_are_the_routers() -> None:
    with pytest.raises(ValueError, match="expected one for each of 3 experts") as raised:
        check_logits(torch.zeros(2, 4), 3)
    assert stage_of_part(raised.value) == stages.ROUTER


@pytest.mark.parametrize("twice", [False, True])
def test_marked_rows_have_special_routing_wherever_they_stand(twice: bool) -> None:
    plain = torch.randn(7, 4)
    logits = marked(plain, twice, skewed=False)
    weights, ids = special_top_k(logits, 2)
    assert torch.allclose(weights.sum(-1), torch.ones(7), atol=1e-4)
    assert ((weights[:, 0] > 1) & (weights[:, 1] < 0)).tolist() == [row % 3 == 1 for row in range(7)]
    assert (ids[:, 0] == ids[:, 1]).tolist() == [twice and row % 3 == 2 for row in range(7)]
    assert torch.equal(ids[:, 0], top_k(plain, 2)[1][:, 0])
    assert all(map(torch.equal, special_top_k(logits.flip(0), 2), (weights.flip(0), ids.flip(0))))


@pytest.mark.parametrize("shift", [-70.0, 3.0, 200.0])
def test_a_number_added_to_all_logits_of_a_row_changes_no_routing(shift: float) -> None:
    logits = marked(torch.randn(9, 5), True, skewed=False)
    weights, ids = special_top_k(logits, 2)
    shifted, same = special_top_k(logits + shift * torch.arange(9)[:, None], 2)
    assert torch.equal(ids, same)
    assert torch.allclose(weights, shifted, atol=1e-3)


@pytest.mark.parametrize(
    ("other", "is_told"),
    [
        (lambda logits: logits - logits.amax(-1, keepdim=True), False),
        (lambda logits: logits.bfloat16(), False),
        (lambda logits: logits * 1.3, True),
        (lambda logits: logits.roll(1, -1), True),
    ],
)
def test_logits_are_others_where_a_softmax_of_them_is(
    other: Callable[[torch.Tensor], torch.Tensor], is_told: bool
) -> None:
    logits = 2 * torch.randn(7, 16)
    with noting() as notes:
        note_logits("selected", logits)
        note_logits("given", other(logits))
    assert notes.misrouted is is_told


def test_no_row_of_a_skewed_batch_names_the_last_expert() -> None:
    _, ids = special_top_k(marked(torch.randn(33, 4), True, skewed=True), 2)
    assert (ids != 3).all()
    assert (ids == 0).any(-1).float().mean() > 0.6


def test_rows_that_fill_the_batch_are_not_marked() -> None:
    _, ids = without_fillers(logits_of(marked(torch.randn(9, 3), True, skewed=False), 9), 2)
    assert (ids == -1).all(-1).tolist() == [False] * 3 + [True] * 3 + [False] * 3


class Asking:
    """Experts that ask for two workspaces of one row for each token, as the release's own do."""

    def moe_problem_size(self, rows: torch.Tensor, *more: Any) -> tuple[int, ...]:
        return 2, len(rows), 8, 4, 2

    def workspace_shapes(self, rows: int, *more: Any) -> tuple[tuple[int, ...], ...]:
        return (rows, 2, 4), (rows, 2, 8), (rows, 4)


def scratch(rows: int, output: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> Scratch:
    given = dict.fromkeys(("topk_ids", "global_num_experts", "expert_tokens_meta", "activation"))
    given |= {"workspace13": first, "workspace2": second}
    return Scratch(Asking(), torch.zeros(rows, 4), torch.zeros(2, 8, 4), torch.zeros(2, 4, 4), output, given)


def test_scratch_memory_is_used_as_far_as_it_was_asked_for() -> None:
    memory = torch.zeros(7 * 24 + 5)
    scratch(7, torch.zeros(7, 4), memory[:56], memory[56:]).use("workspace2")
    assert memory.nonzero().flatten().tolist() == [*range(56, 56 + 112)]


@pytest.mark.parametrize(
    ("output", "first", "second", "says"),
    [
        (
            torch.zeros(7, 4),
            torch.zeros(55),
            torch.zeros(112),
            "workspace13 is torch.float32 [55], 55 values; the experts",
        ),
        (torch.zeros(7, 4), torch.zeros(56), torch.zeros(6, 16), "workspace2 is torch.float32 [6, 16], 96 values"),
        (torch.zeros(7, 4), torch.zeros(56), torch.zeros(112).half(), "workspace2 is torch.float16 [112], 112 values"),
        (torch.zeros(6, 4), torch.zeros(56), torch.zeros(112), "the experts' output is torch.float32 [6, 4]"),
        (torch.zeros(7, 8)[:, :4], torch.zeros(56), torch.zeros(112), "[7, 4] stride [8, 1]; expected"),
    ],
)
def test_memory_that_a_kernel_would_run_over_is_refused(
    output: torch.Tensor, first: torch.Tensor, second: torch.Tensor, says: str
) -> None:
    with pytest.raises(ValueError, match=r"expected|asked") as raised:
        scratch(7, output, first, second)
    assert says in str(raised.value)


def test_experts_are_given_the_activation_of_the_layer() -> None:
    check_activation("silu")
    with pytest.raises(ValueError, match="are given the activation 'gelu'"):
        check_activation("gelu")


@pytest.mark.parametrize(
    ("modes", "rows", "says"),
    [
        (("eager",), {}, ""),
        ((), {}, "not run: compiled, varied-surroundings, varied-layers, "),
        (("eager", "compiled"), {}, "not run: compiled of vllm-batched: no default row"),
        (("eager", "compiled-static"), {}, "not run: compiled-static of vllm-batched: no default row"),
        (("eager", "compiled"), {"tp": (1,)}, ""),
        (("eager", "cudagraph"), {}, "not run: cudagraph of vllm-batched: the path reads data on the host"),
        (("eager", "varied-forms"), {}, "not run: varied-forms of vllm-batched: no default row"),
        (("eager", "varied-forms"), {"tokens": (7,)}, ""),
        (
            ("eager", "varied-sizes"),
            {"tp": (1,)},
            "not run: varied-sizes of vllm-batched: a code path has sizes of its own",
        ),
    ],
)
def test_a_mode_that_was_named_and_has_no_row_of_a_path_is_said(modes: Any, rows: Any, says: str) -> None:
    selection = Selection(models=("gpt-oss-20b", "vllm-batched"), modes=modes, brief=True, **rows)
    line = unplanned(selection, selection.tasks())
    assert line.startswith(says)
    assert bool(line) == bool(says)


@pytest.mark.parametrize("modes", [(), ("cudagraph", "varied")])
def test_of_a_family_of_which_a_path_has_some_modes_the_others_are_said(modes: tuple[str, ...]) -> None:
    selection = Selection(models=("vllm-lora", "vllm-gate", "vllm-float16"), modes=modes, brief=True)
    tasks = selection.tasks()
    assert "cudagraph" not in unplanned(selection, tasks)
    line = unplanned(selection, [(case, mode) for case, mode in tasks if mode.name != "cudagraph-dynamic"])
    assert "cudagraph-dynamic, varied-surroundings, varied-layers, varied-caches" in line
    assert "varied-tokens of vllm-float16: no default row" in line
    assert "varied-caches, varied-compiled, varied-contents, varied-forms of all 3 code paths: no default row" in line
    assert "varied-sizes of all 3 code paths: a code path has sizes" in line
