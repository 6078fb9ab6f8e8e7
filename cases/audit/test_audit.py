"""The audit: each planted fault breaks its rows and no other, right ops break none, and nothing takes the run down."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map_only

from fixtures.audit_kinds import FAULTS as KINDS_OF_FAULTS
from fixtures.audit_ops import CORRECT, FAULTS, SAMPLES, SPACE
from fixtures.recorded import results
from harness.audit.context import AuditedOp
from harness.audit.ops import UnknownOp, find, load_modules
from harness.audit.plan import KINDS
from harness.audit.row import BREAKS, HOLDS, NOT_APPLICABLE, NOT_RUN, PROPERTIES, CheckResult
from harness.audit.samples import Sample, given
from harness.audit.tensors import difference, exact_copy, written_outside
from harness.audit.variants.kinds import GIVEN, MAKERS
from harness.audit.worker import look_at
from harness.base.errors import BadInput
from harness.cli import main
from harness.execution.pinned import pinned
from harness.ops.spelling import normal

CPU = torch.device("cpu")
# Inductor takes a second for each op, and a compiled row most of an op's time. These ops show what Inductor, and a compile
# of every kind of variant, add; the others are compiled on the variants of three kinds.
THOROUGH = {"widen", "bump", "wide_fake", "fake_stride", "returns_input"}
COMPILED, FEW = {"aot_eager", "opcheck aot"}, (GIVEN, "permuted", "zero rows")


def audited(name: str, folder: Path, kinds: tuple[str, ...] = KINDS) -> AuditedOp:
    samples = [Sample(tuple(args), {}) for args in SAMPLES[name]()]
    return AuditedOp.of(find(f"{SPACE}::{name}"), samples, CPU, folder / "journal.jsonl", kinds=kinds)


def look(name: str, folder: Path, rows: set[str]) -> dict[str, CheckResult]:
    few = folder / "few"
    few.mkdir(exist_ok=True)
    with pinned():
        op, compiled = audited(name, folder), audited(name, few, KINDS if name in THOROUGH else FEW)
        return {row: look_at(compiled if row in COMPILED else op, row) for row in PROPERTIES if row in rows}


def rows_of(name: str) -> set[str]:
    return set(PROPERTIES) - (set() if name in THOROUGH else {"inductor"})


def broken(seen: dict[str, CheckResult]) -> set[str]:
    return {row for row, what in seen.items() if what.status == BREAKS}


@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", CORRECT)
def test_a_right_op_breaks_no_row(name: str, tmp_path: Path) -> None:
    seen = look(name, tmp_path, rows_of(name))
    assert not {row: seen[row] for row in broken(seen)}
    assert sum(what.status == HOLDS for what in seen.values()) >= 10
    assert not [what for what in seen.values() if "audit itself" in what.what]


@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_breaks_its_rows_and_no_other(name: str, tmp_path: Path) -> None:
    seen = look(name, tmp_path, rows_of(name))
    assert broken(seen) == FAULTS[name] & rows_of(name)
    assert not [what for what in seen.values() if "audit itself" in what.what]


def test_every_property_of_an_op_is_broken_by_some_fault() -> None:
    assert set(PROPERTIES) == set().union(*FAULTS.values(), KINDS_OF_FAULTS.values())


def test_an_op_that_keeps_its_first_answer_is_told(tmp_path: Path) -> None:
    seen = look("first_kept", tmp_path, {"second call"})
    assert seen["second call"].notes == ("other values in every argument give the same outputs",)
    assert not look("two", tmp_path, {"second call"})["second call"].notes


def test_an_op_without_a_cpu_kernel_still_has_its_fake_looked_at(tmp_path: Path) -> None:
    seen = look("cuda_only", tmp_path, {"schema", "fake", "fake is pure", "stride", "data reads"})
    assert {row: what.status for row, what in seen.items()} == {
        "schema": HOLDS, "fake": HOLDS, "data reads": HOLDS, "fake is pure": HOLDS, "stride": NOT_RUN,
    }  # fmt: skip
    assert seen["stride"].what == "needs cuda: no implementation for cpu"


def test_a_declared_view_is_not_functionalised_by_torch(tmp_path: Path) -> None:
    assert look("row", tmp_path, {"aot_eager"})["aot_eager"].status == NOT_RUN


def test_a_composite_op_needs_no_fake(tmp_path: Path) -> None:
    seen = look("composite", tmp_path, {"fake", "alias", "shape"})
    assert [seen[row].status for row in ("fake", "alias", "shape")] == [NOT_APPLICABLE, NOT_APPLICABLE, HOLDS]


def test_the_kinds_of_variants_are_all_tried(tmp_path: Path) -> None:
    assert tuple(MAKERS) == KINDS
    with pinned():
        op = audited("joined", tmp_path)
        labels = {variant.label for variant in op.accepted}
    assert {GIVEN, "permuted xs[0]", "sliced xs[1]", "broadcast xs[0]", "storage offset xs[1]"} <= labels
    assert "other size: xs[0].shape[1] and xs[1].shape[1] 7 to 15" in labels
    assert "dtype float32 to bfloat16" in labels
    assert "zero rows: xs[0].shape[0] 3 to 0" in labels


def test_an_index_stays_in_range_when_what_it_indexes_shrinks(tmp_path: Path) -> None:
    table, ids = torch.randn(4, 6), torch.tensor([3, 0, 2])
    op = AuditedOp.of(torch.ops.aten.embedding.default, [Sample((table, ids), {})], CPU, tmp_path / "journal.jsonl")
    with pinned():
        one = next(variant for variant in op.accepted if variant.label == "one row: weight.shape[0] 4 to 1")
        assert one.sample.args[1].tolist() == [0, 0, 0]
        assert not [variant for variant in op.accepted if variant.label == "zero rows: weight.shape[0] 4 to 0"]


def test_a_variant_that_killed_a_worker_is_left_out_by_the_next(tmp_path: Path) -> None:
    first = audited("two", tmp_path)
    with pinned():
        taken = {variant.label for variant in first.accepted}
        first.journal.begin("permuted/0", "permuted x")  # as if the process had died in it
        first.journal.ended.pop("permuted/0")
        (entry,) = tmp_path.iterdir()
        lines = entry.read_text().splitlines()
        kept = [line for line in lines if not ('"permuted/0"' in line and "refused" in line)]
        entry.write_text("\n".join(kept) + "\n")
        assert taken - {variant.label for variant in audited("two", tmp_path).accepted} == {"permuted x"}


def test_copies_keep_strides_offsets_and_sharing() -> None:
    base = torch.arange(24.0).view(4, 6)
    one, other = base[:, 1:4], base.t()
    mine, theirs = exact_copy([one, other])
    assert (mine.stride(), mine.storage_offset(), theirs.stride()) == ((6, 1), 1, (1, 6))
    mine.fill_(0)
    assert theirs[1:4].eq(0).all()
    assert base[0, 1] == 1
    after = exact_copy(one)
    after.add_(1)
    assert not written_outside(exact_copy(one), after)
    after.as_strided((24,), (1,), 0)[23] = 9
    assert written_outside(exact_copy(one), after)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan]), ""),
        (torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]), ""),
        (torch.tensor([1.0]), torch.tensor([1.001]), "1 of 1 elements"),
        (torch.tensor([1]), torch.tensor([2]), "1 of 1 elements"),
        (torch.tensor([1.0]), torch.tensor([1]), "float32"),
        ([torch.ones(1)], [torch.ones(1), torch.ones(1)], "1 values and 2"),
        (3, 4, "3 and 4"),
    ],
)
def test_differences_in_words(one: Any, other: Any, words: str) -> None:
    found = difference(one, other)
    assert (words in found) if words else not found


@pytest.mark.parametrize("text", ["ns::name", "ns.name", "torch.ops.ns.name"])
def test_an_op_is_named_in_three_ways(text: str) -> None:
    assert normal(text) == ("ns", "name", "")
    assert normal(f"{text}.out") == ("ns", "name", "out")


def test_an_op_that_does_not_exist_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownOp, match=r"did you mean cases_audit::wide_fake"):
        find("cases_audit::wide_fakes")
    with pytest.raises(UnknownOp, match=r"give --import MODULE"):
        find("nowhere_at_all::op")
    with pytest.raises(UnknownOp, match=r"overloads .*; name one"):
        find("aten::pow")
    with pytest.raises(BadInput, match="expected NAMESPACE::NAME"):
        find("justaname")


def test_samples_come_from_the_registry_or_simple_schemas() -> None:
    derived = given(find(f"{SPACE}::two"), "", CPU)
    assert [list(x.shape) for x in derived[0].args] == [[5, 7]]
    assert given(find(f"{SPACE}::numbers"), "", CPU) == []
    assert tree_map_only(torch.Tensor, lambda x: x.dtype, given(find(f"{SPACE}::joined"), "", CPU)[0].args)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_module_here:samples", "does not import: ModuleNotFoundError"),
        ("fixtures.audit_ops:sampels", "did you mean SAMPLES"),
        ("fixtures.audit_ops", "not of the form module:function"),
        ("fixtures.audit_ops:nothing", "yields nothing"),
        ("fixtures.audit_ops:wrong", "expected a tuple of arguments"),
        ("fixtures.audit_ops:raises", "raised KeyError"),
    ],
)
def test_samples_that_cannot_be_used_are_bad_input(spec: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        given(find(f"{SPACE}::two"), spec, CPU)


def test_a_module_that_cannot_be_imported_is_bad_input() -> None:
    with pytest.raises(BadInput, match="--import no_such_module_here: ModuleNotFoundError"):
        load_modules(["no_such_module_here"], [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rows", "strides"), "did you mean stride"),
        (("--seconds", "0"), "expected more than 0"),
        (("--samples", "a:b", "--samples", "c:d", "--samples", "e:f"), "3 --samples for 1 ops"),
        (("--json", "no/such/folder/rows.jsonl"), "cannot write --json"),
        (("--import", "no_such_module_here"), "--import no_such_module_here: ModuleNotFoundError"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", f"{SPACE}::two", *arguments]) == 2
    message = capsys.readouterr().err.strip()
    assert words in message
    assert len(message.splitlines()) == 1


def test_no_op_at_all_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 2
    assert "no op is named" in capsys.readouterr().err


@pytest.mark.usefixtures("forked_here")
def test_what_dies_hangs_or_is_not_there_is_said_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("crashes", "crashes_always", "hangs", "refuses", "cuda_only", "no_such_op", "numbers", "two")
    file = tmp_path / "rows.jsonl"
    options = ["--rows", "schema,stride", "--seconds", "4", "--json", str(file), "-j", "2"]
    code = main(["audit", *(f"{SPACE}::{name}" for name in names), "--import", "fixtures.audit_ops", *options])
    assert code == 2  # an op that cannot be run at all
    rows = {(row["op"].partition("::")[2], row["row"]): row for row in results(file)}
    assert len(rows) == 3 * len(names)
    outcomes = {name: (rows[name, "runs"]["status"], rows[name, "runs"]["what"]) for name in names}
    assert outcomes["crashes"][0] == BREAKS
    assert outcomes["crashes"][1].startswith("the process died: Segmentation fault")
    assert rows["crashes", "runs"]["variant"] == "zero rows: x.shape[0] 5 to 0"
    assert rows["crashes", "stride"]["status"] == HOLDS  # on all the other variants
    assert outcomes["crashes_always"][0] == BREAKS
    assert outcomes["crashes_always"][1].startswith("the process died: Segmentation fault")
    assert rows["crashes_always", "schema"]["status"] == HOLDS
    assert rows["crashes_always", "stride"]["what"] == "the real implementation crashes the process (as given)"
    status, what = outcomes["hangs"]
    assert status == NOT_RUN  # a loaded machine is late too
    assert what.startswith("no answer within 4 s; it was stopped at ")
    assert "--seconds N allows more time" in what
    assert outcomes["refuses"] == (
        NOT_RUN,
        "the op refuses every sample: the sample itself: RuntimeError: x must be a teapot",
    )
    assert outcomes["cuda_only"] == (NOT_RUN, "needs cuda: no implementation for cpu")
    assert outcomes["no_such_op"][1].startswith("no op cases_audit::no_such_op in torch's dispatcher; did you mean")
    assert "write a function that yields argument tuples" in outcomes["numbers"][1]
    assert outcomes["two"][0] == HOLDS
    assert "Segmentation fault" in capsys.readouterr().out


@pytest.mark.usefixtures("forked_here")
def test_the_command_in_a_record_shows_the_row_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    start = ["audit", f"torch.ops.{SPACE}.fake_stride", "--import", "fixtures.audit_ops", "--json", str(file)]
    assert main([*start, "--samples", "fixtures.audit_ops:samples", "--rows", "stride,dtype"]) == 1
    rows = results(file)
    row = next(row for row in rows if row["status"] == BREAKS)
    assert (row["row"], row["variant"], row["what"]) == (
        "stride", "permuted x", "real gives stride [7, 1], its fake [1, 5]",
    )  # fmt: skip
    again = shlex.split(row["reproduce"])
    assert main([*again[1:], "--json", str(file)]) == 1
    assert [row["what"] for row in results(file)][1:] == [row["what"]]
    assert row["reproduce"] in capsys.readouterr().out


MODULE = """
import torch

@torch.library.custom_op("cases_found::first", mutates_args=())
def first(x: torch.Tensor) -> torch.Tensor:
    return x + 1

first.register_fake(lambda x: torch.empty_like(x))
torch.library.define("cases_found::second", "(Tensor x) -> Tensor")
"""


@pytest.mark.usefixtures("forked_here")
def test_every_op_that_a_module_registers_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ops_found_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "--import", "ops_found_here", "--rows", "schema,shape"]) == 2  # nothing runs of the second
    out = capsys.readouterr().out
    assert "cases_found::first" in out
    assert "no implementation for cpu" in out
    assert "2 ops, 6 rows: 4 holds, 2 not run" in out
