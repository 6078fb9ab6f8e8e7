"""The audit's kinds of faults, each beside a correct op of the same kind."""

from pathlib import Path

import pytest
import torch

from fixtures.audit_kinds import CORRECT, FAULTS, SAMPLES, SPACE
from fixtures.audit_ops import x
from harness.audit.context import AuditedOp
from harness.audit.hints import hints_of
from harness.audit.journal import MADE_UP, Journal, journal_file
from harness.audit.ops import find, registered_by
from harness.audit.plan import KINDS, AuditRun, Plan
from harness.audit.row import BREAKS, HOLDS, NOT_APPLICABLE, NOT_RUN, PROPERTIES, CheckResult, not_run
from harness.audit.samples import Sample
from harness.audit.variants.resizes import demand
from harness.audit.variants.tables import is_offsets, refit, resized
from harness.audit.wording import on_variants
from harness.audit.worker import _require_one, _survey, look_at
from harness.base.errors import BadInput
from harness.cli import main
from harness.execution.pinned import pinned
from harness.workers.pool import Reply

CPU = torch.device("cpu")
# The compiled rows take most of the time of an op, and test_audit.py shows that they work.
COMPILED = {"aot_eager", "inductor", "opcheck aot", "capture"}
CHEAP = set(PROPERTIES) - COMPILED


def audited(name: str, folder: Path, sizes: tuple[int, ...] = ()) -> AuditedOp:
    op = find(f"{SPACE}::{name}")
    samples = [_sample(one) for one in SAMPLES[name]()]
    return AuditedOp.of(op, samples, CPU, folder / "journal.jsonl", sizes=sizes)


def _sample(one: tuple[object, ...]) -> Sample:
    pair = len(one) == 2 and isinstance(one[0], tuple)
    return Sample(one[0], one[1]) if pair else Sample(one, {})  # type: ignore[arg-type]


def look(op: AuditedOp, row: str) -> CheckResult:
    with pinned(), op.fillable():
        return look_at(op, row)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_kind_breaks_its_row(name: str, tmp_path: Path) -> None:
    seen = look(audited(name, tmp_path), FAULTS[name])
    assert seen.status == BREAKS, seen


def test_a_string_that_nobody_promised_breaks_nothing_where_a_side_refuses_it(tmp_path: Path) -> None:
    op = audited("good_strict", tmp_path)
    assert "kind='another'" in [variant.label for variant, _ in op.attempts("unnamed value")]
    assert "kind='another'" not in [variant.label for variant in op.accepted]
    assert [look(op, row).status for row in ("fake", "shape")] == [HOLDS, HOLDS]


@pytest.mark.sampled(7)
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_op_of_a_kind_breaks_no_row(name: str, tmp_path: Path) -> None:
    op = audited(name, tmp_path)
    seen = {row: look(op, row) for row in PROPERTIES if row in CHEAP}
    assert not {row: what for row, what in seen.items() if what.status == BREAKS}
    assert not {row: what for row, what in seen.items() if "audit itself" in what.what}
    assert op.given


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bad_bool", "[7, 5], its fake [5, 7]"),
        (
            "bad_rank_of_data",
            "the rank itself depends on data (1 here, 2 in the sample itself): no fake can be right",
        ),
        ("bad_dtype_of_data", "the dtype itself depends on data"),
        ("bad_dtype_of_one", "the dtype itself depends on data (int16 here, uint8 where every element is 0): no fake"),
        ("bad_same", "a warning where CI is unset, an error where it is set"),
        ("bad_twice", "output 1 shares the memory of output 0"),
        ("bad_backward", "the gradient of 'x': real gives stride [1, 5], its fake [7, 1]"),
        ("bad_composite", "CompositeImplicitAutograd, so torch traces through it, and cases_kinds::opaque"),
        ("bad_tight", "writes memory of 'scales' outside"),
        ("bad_fresh.out", "declared as the argument that the op writes, but it has memory of its own"),
    ],
)
def test_a_fault_is_told_by_its_cause(name: str, words: str, tmp_path: Path) -> None:
    assert words in look(audited(name, tmp_path), FAULTS[name]).what


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("bad_bool", "turned=True"),
        ("bad_two_bools", "halved=True and even=True"),
        ("bad_promotes", "more in float32"),
        ("bad_text", "kind='halves'"),
        ("bad_otherwise", "kind='another'"),
        ("bad_int", "level=2"),
        ("bad_present", "bias present"),
        ("bad_absent", "bias absent"),
        ("bad_size", "named size: x.shape[1] 7 to 49"),
        ("bad_tiles", "guard rows scales, x.shape[0] and scales.shape[0] 8 to 17"),
        ("bad_tight", "guard rows scales"),
    ],
)
def test_the_variant_that_shows_a_fault_is_named(name: str, label: str, tmp_path: Path) -> None:
    assert look(audited(name, tmp_path), FAULTS[name]).variant == label


def test_an_op_without_a_formula_is_for_inference(tmp_path: Path) -> None:
    op = audited("good_bool", tmp_path)
    assert [look(op, row).status for row in ("autograd", "backward")] == [NOT_APPLICABLE, NOT_APPLICABLE]
    assert look(op, "autograd").notes == ()


def test_an_argument_that_has_no_gradient_by_design_is_asked_for_none(tmp_path: Path) -> None:
    norm, ones, zeros = torch.ops.aten.native_batch_norm.default, torch.ones(3), torch.zeros(3)
    sample = Sample((torch.randn(4, 3, 5), ones, zeros, zeros.clone(), ones.clone(), True, 0.1, 1e-5), {})
    op = AuditedOp.of(norm, [sample], CPU, tmp_path / "journal.jsonl", kinds=("as given",))
    assert look(op, "autograd").what == "an autograd formula is registered, and backward runs"


def test_padding_is_traced_as_torch_compile_traces_it(tmp_path: Path) -> None:
    pad = torch.ops.aten.constant_pad_nd.default
    op = AuditedOp.of(pad, [Sample((x(), [1, 2], 0.0), {})], CPU, tmp_path / "journal.jsonl")
    assert look(op, "dynamic shapes").what == "4 sizes as symbols, each right at two values"


def test_sizes_are_not_varied_where_the_op_refuses_its_sample(tmp_path: Path) -> None:
    product = Sample((torch.ones(2, 3), torch.ones(3)), {})  # mm takes two matrices
    op = AuditedOp.of(torch.ops.aten.mm.default, [product], CPU, tmp_path / "journal.jsonl")
    assert look(op, "dynamic shapes") == not_run("the op refuses every sample")


def test_a_multiple_that_the_op_needs_is_told(tmp_path: Path) -> None:
    with pinned():
        assert audited("bad_tight", tmp_path).demands() == [
            "x.shape[0] and scales.shape[0]: takes 8 and 16, refuses 5 and 17: needs a multiple of 8"
        ]
        other = tmp_path / "other"
        other.mkdir()
        assert not audited("good_tiles", other).demands()


@pytest.mark.parametrize(("refused", "needs"), [({3, 5, 6, 9}, "needs a multiple of 4"), ({5, 9}, "")])
def test_a_multiple_is_claimed_where_half_of_it_is_refused(refused: set[int], needs: str) -> None:
    """An op that takes 6 too needs an even size, or something else."""
    accepted = {4, 6, 8, 12} - refused
    assert demand(accepted, refused, 12).rpartition(": ")[2] == needs


def test_a_power_of_two_is_not_taken_for_a_multiple() -> None:
    """An op that takes 2 and 4 and refuses 6 needs more than an even size."""
    accepted, refused = {2, 4, 8, 16}, {3, 5, 6, 9, 12, 17, 24}
    assert demand(accepted, refused, 33) == "takes 2 and 4, refuses 3 and 6: a power of two, or one of some sizes"
    assert demand(accepted - {8, 16}, {3, 5, 9}, 33) == ""


def test_a_refusal_is_told_of_what_its_label_says(tmp_path: Path) -> None:
    """Where the op refuses all dimensions of a size, they are tried apart too, which torch refuses in other words."""
    op = torch.library.custom_op(
        f"{SPACE}::in_fours", lambda x, y: _in_fours(x, y), mutates_args=(), schema="(Tensor x, Tensor y) -> Tensor"
    )
    op.register_fake(lambda x, y: x.new_empty(x.shape))
    made = AuditedOp.of(
        find(f"{SPACE}::in_fours"), [Sample((torch.ones(3, 8), torch.ones(8)), {})], CPU, tmp_path / "j.jsonl"
    )
    with pinned():
        refused = _survey(made, "other size")["refused"]
    assert refused == ["other size: x.shape[1] and y.shape[0] 8 to 17: ValueError: 17 is no multiple of 4"]


def _in_fours(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    both = x + y
    if x.shape[1] % 4:
        raise ValueError(f"{x.shape[1]} is no multiple of 4")
    return both


def test_sizes_that_the_user_asks_for_are_tried(tmp_path: Path) -> None:
    with pinned():
        labels = [variant.label for variant, _ in audited("good_bool", tmp_path, (33,)).attempts("named size")]
    assert labels == ["named size: x.shape[0] 5 to 33", "named size: x.shape[1] 7 to 33"]


def test_the_source_names_settings_and_sizes() -> None:
    hints = hints_of(find(f"{SPACE}::good_text"))
    assert hints.values == {"kind": ["halves", "whole"]}
    assert {48, 49} <= set(hints_of(find(f"{SPACE}::bad_size")).sizes)
    assert hints_of(find("aten::mm")).values == {}


def test_only_a_dependence_on_nothing_is_noted(tmp_path: Path) -> None:
    assert look(audited("good_counts", tmp_path), "second call").notes == ()


def test_an_overload_is_found_beside_the_op_that_it_belongs_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import torch\nL = torch.library.Library('cases_outs', 'DEF')\nL.define('f(Tensor x) -> Tensor')\n"
    text += "L.define('f.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)')\n"
    (tmp_path / "cases_outs_here.py").write_text(text)
    assert registered_by(["cases_outs_here"], [str(tmp_path)]).ops == ["cases_outs::f", "cases_outs::f.out"]


@pytest.mark.parametrize(
    ("died", "status", "words"),
    [
        ("no answer within 4 s; it was stopped", NOT_RUN, "--seconds N allows more time"),
        ("not tried after exit code -11", NOT_RUN, "not tried after"),
        ("exit code -11", BREAKS, "Segmentation fault"),
    ],
)
def test_a_row_that_ran_out_of_time_is_not_run(died: str, status: str, words: str, tmp_path: Path) -> None:
    run = AuditRun(Plan(("a::b",), (), (), "cpu", ("shape",), "", (), str(tmp_path)))
    row = run._row(Reply({"op": "a::b", "row": "shape"}, None, died))
    assert row is not None
    assert row.status == status
    assert words in row.what


def test_an_implementation_that_is_traced_needs_no_other_fake(tmp_path: Path) -> None:
    op = audited("own_fake", tmp_path)
    assert look(op, "fake").status == HOLDS
    assert "torch.compile traces it by its own implementation" in look(op, "fake").what
    assert look(op, "shape").what == "there is no fake outside of torch.compile; see the row `fake`"


@pytest.mark.parametrize(
    ("name", "made_up", "status"),
    [("follows_unread", True, NOT_RUN), ("follows_read", True, BREAKS), ("follows_unread", False, BREAKS)],
)
@pytest.mark.parametrize(("row", "other"), [("dtype", x().double()), ("shape", x()[:2].clone())])
def test_what_the_fake_takes_from_an_argument_that_real_does_not_read(
    name: str, made_up: bool, status: str, row: str, other: torch.Tensor, tmp_path: Path
) -> None:
    samples = [Sample((x(), other), {})]
    op = AuditedOp.of(find(f"{SPACE}::good_{name}"), samples, CPU, tmp_path / "journal.jsonl", kinds=KINDS[:8])
    op.made_up = made_up
    result = look(op, row)
    assert result.status == status
    assert ("real does not read 'x'" in result.what) == (status == NOT_RUN)


@pytest.mark.parametrize(
    ("labels", "status", "unusable", "words"),
    [
        ([MADE_UP], NOT_RUN, True, "the process died: Segmentation fault; --samples names arguments that the op takes"),
        (["permuted x"], BREAKS, False, "the process died: Segmentation fault"),
        ([MADE_UP, "permuted x"], BREAKS, False, "the process died: Segmentation fault"),
    ],
)
def test_made_up_arguments_that_end_the_process_are_no_fault_of_the_op(
    labels: list[str], status: str, unusable: bool, words: str, tmp_path: Path
) -> None:
    run = AuditRun(Plan(("a::b",), (), (), "cpu", ("shape",), "", (), str(tmp_path), kinds=KINDS[: len(labels)]))
    journal = Journal(journal_file(str(tmp_path), "a::b"))
    for kind, label in zip(KINDS, labels, strict=False):
        journal.begin(label, label)  # and no end: the process died there
        row = run._row(Reply({"op": "a::b", "kind": kind}, None, "exit code -11"))
    assert row is not None
    assert (row.status, row.unusable, row.what, row.variant) == (status, unusable, words, labels[-1])


@pytest.mark.usefixtures("forked_here")
@pytest.mark.parametrize(("home", "status"), [("split_op", BREAKS), ("whole_op", "holds")])
def test_a_fake_that_the_ops_own_module_does_not_import(
    home: str, status: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    define = f"import torch\nL = torch.library.Library('cases_{home}', 'DEF')\nL.define('f(Tensor x) -> Tensor')\n"
    define += "L.impl('f', lambda x: x * 2, 'CPU')\n"
    (tmp_path / f"{home}.py").write_text(define + (f"import {home}_meta\n" if home == "whole_op" else ""))
    meta = f"import torch\n@torch.library.register_fake('cases_{home}::f')\ndef f(x): return torch.empty_like(x)\n"
    (tmp_path / f"{home}_meta.py").write_text(("import split_op\n" if home == "split_op" else "") + meta)
    monkeypatch.chdir(tmp_path)
    module = f"{home}_meta" if home == "split_op" else home
    assert main(["audit", f"cases_{home}::f", "--import", module, "--rows", "fake"]) == int(status == BREAKS)
    told = "which importing split_op, the op's own module, does not import" in " ".join(capsys.readouterr().out.split())
    assert told is (status == BREAKS)


@pytest.mark.parametrize(
    ("table", "old", "new", "wanted"),
    [
        ([3, 0, 2], 4, 1, [0, 0, 0]),
        ([3, 0, -1], 4, 2, [1, 0, -1]),
        ([0, 2, 2, 9], 9, 3, [0, 0, 0, 3]),
        ([0, 2, 2, 9], 9, 19, [0, 4, 4, 19]),
        ([4, 3, 2], 9, 18, [8, 6, 4]),
        ([4, 3, 2], 9, 1, None),
        ([3, 0, 2], 4, 0, None),
        ([100, 3], 9, 3, [100, 3]),
    ],
)
def test_tables_fit_the_size_that_they_index(table: list[int], old: int, new: int, wanted: list[int] | None) -> None:
    found = refit(torch.tensor(table), old, new)
    assert (found.tolist() if found is not None else None) == wanted


def test_tables_stay_tables_when_they_grow() -> None:
    offsets, lengths = torch.tensor([0, 2, 2, 9]), torch.tensor([4, 3, 2])
    assert is_offsets(offsets)
    assert not is_offsets(lengths)
    for table, size, wanted in ((offsets, 6, [0, 2, 2, 9, 9, 9]), (offsets, 2, [0, 9]), (lengths, 5, [4, 3, 2, 0, 0])):
        found = resized(table, 0, table.numel(), size, {9})
        assert found is not None
        assert found.tolist() == wanted
    assert resized(lengths, 0, 3, 1, {9}) is None


def test_a_size_that_runs_another_argument_past_its_end_is_no_variant(tmp_path: Path) -> None:
    with pinned():
        attempts = audited("good_trusting", tmp_path).attempts("other size")
    refused = {variant.label: error for variant, error in attempts if error}
    assert "other size: x.shape[0] 5 to 11" in refused
    assert "reads past the end" in refused["other size: x.shape[0] 5 to 11"]


def test_where_else_a_process_ends_is_said_in_plain_words(tmp_path: Path) -> None:
    run = AuditRun(Plan(("a::b",), (), (), "cpu", ("shape",), "", (), str(tmp_path)))
    replies = [
        Reply({"op": "a::b", "kind": kind}, None, "exit code -11")
        for kind in ("sliced", "as given", "sliced", "one row")
    ]
    rows = [
        run._row(reply)
        for reply in (*replies, Reply({"op": "a::b", "kind": run.plan.kinds[-1]}, None, "exit code -11"))
    ]
    row = rows[-1]
    assert row is not None
    assert row.what == "the process died: Segmentation fault; also on the sample itself, 'one row' and 'multiple'"
    assert row.variant == "sliced"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["as given"], "on the sample itself"),
        (["as given, sample 2", "one row"], "on sample 2 itself and 'one row'"),
        (["sliced", "sliced"], "on 'sliced'"),
    ],
)
def test_variants_in_a_sentence(labels: list[str], words: str) -> None:
    assert on_variants(labels) == words


def test_ops_of_which_torch_has_none_are_bad_input() -> None:
    with pytest.raises(BadInput, match=r"no op nowhere::a in torch's dispatcher; .*; no op nowhere::b"):
        _require_one(["nowhere::a", "nowhere::b"])
    _require_one(["nowhere::a", "aten::relu"])


def test_floats_of_eight_bits_are_compiled_and_captured(tmp_path: Path) -> None:
    op = audited("good_float8_scales", tmp_path)
    assert look(op, "capture").status == HOLDS
    compiled = look(op, "inductor")
    assert (compiled.status, compiled.what.partition("; ")[2]) == (
        HOLDS,
        "not on copies made in the graph, which the compiler cannot take",
    )
