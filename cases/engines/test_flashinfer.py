"""FlashInfer: each planted fault of an imitated tree breaks its rows and no other; what cannot be judged is one line."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fixtures.flashinfer_tree import CORRECT, FAULTS, UNRUN, WITHOUT_FAKE, write
from fixtures.recorded import results
from harness.base.errors import BadInput
from harness.cli import main
from harness.engines.declared.engine import Engine
from harness.engines.declared.engines.flashinfer import ENGINE
from harness.engines.declared.report import COMPILED
from harness.engines.declared.rows import KERNEL_MADE, RAN, READ, ROWS, STUB
from harness.engines.declared.running import standin
from harness.engines.declared.source import sites
from harness.engines.declared.source.scan import declarations
from harness.engines.declared.source.schema import differences, infer

pytestmark = pytest.mark.usefixtures("forked_python")
RELEASE, OLDER = "0.7.2.post1", "0.6.18"


def audited(folder: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    file = folder / "rows.jsonl"
    # One worker: each imports a FlashInfer for some seconds, which is most of what an audit of a few ops takes.
    code = main(["audit", "flashinfer", *arguments, "--json", str(file), "-j", "1"])
    return code, results(file) if file.exists() else []


def broken(rows: list[dict[str, Any]], version: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["version"] == version and row["status"] == "breaks":
            found[row["op"]].add(row["row"])
    return dict(found)


CONTRACT = ",".join(row for row in ROWS if row not in COMPILED)


@pytest.fixture(scope="module")
def run_of_all(tmp_path_factory: pytest.TempPathFactory, forked_python: None) -> list[dict[str, Any]]:
    """Every row of the planted tree but those that compile."""
    folder = tmp_path_factory.mktemp("trees")
    code, rows = audited(folder, "--versions", str(write(folder / "one")), "--rows", CONTRACT)
    assert code == 1
    return rows


def test_each_planted_fault_breaks_its_rows_and_no_other(run_of_all: list[dict[str, Any]]) -> None:
    contract = {op: rows - set(COMPILED) for op, rows in FAULTS.items()}
    assert broken(run_of_all, "1.0") == contract
    assert not set(CORRECT) & set(FAULTS)
    looked_at = {row["op"] for row in run_of_all if row["status"] == "holds" and row["row"] == "fake"}
    assert {op for op in CORRECT if op not in WITHOUT_FAKE} <= looked_at


def test_what_breaks_a_compiled_call_and_what_does_not(tmp_path: Path) -> None:
    ops = ("nvfp4_kv_dequant", "silu_and_mul_mxfp8_quantize", "fp4_batched_quantize_sm100", "quantize_run")
    _, rows = audited(tmp_path, *ops, "--versions", str(write(tmp_path / "tree")), "--rows", ",".join(COMPILED))
    compiled = {(row["op"], row["row"]): row["status"] for row in rows if row["row"] in COMPILED}
    assert compiled == {(op, row): "breaks" if row in FAULTS.get(op, ()) else "holds" for op in ops for row in COMPILED}


def test_every_row_says_which_side_ran(run_of_all: list[dict[str, Any]]) -> None:
    sides = defaultdict(set)
    for row in run_of_all:
        (side,) = [note for note in row["notes"] if note in (STUB, RAN, READ)]
        sides[row["op"]].add(side)
    assert sides["fp4_batched_quantize_sm100"] == {STUB}
    assert sides["fp4_quantize_sm100"] == {RAN}
    assert sides["mxfp8_grouped_quantize"] == {READ}
    assert {row["row"] for row in run_of_all} <= set(ROWS)


def test_what_a_kernel_makes_is_counted_and_not_compared(run_of_all: list[dict[str, Any]]) -> None:
    for op, count in (("quantize_by_kernel", "holds"), ("quantize_by_kernel_short", "breaks")):
        rows = {row["row"]: row for row in run_of_all if row["op"] == op}
        assert rows["count"]["status"] == count
        assert rows["fake"]["status"] == "holds"
        assert not {"shape", "stride", "dtype", "device", "alias", "off the CPU"} & set(rows)
        assert all(KERNEL_MADE in row["notes"] for row in rows.values())


def test_what_cannot_be_captured_is_not_run_with_its_reason(run_of_all: list[dict[str, Any]]) -> None:
    rows = {(row["op"], row["row"]): row for row in run_of_all}
    for op, reason in UNRUN.items():
        assert rows[op, "runs"]["status"] == "not run"
        assert reason in rows[op, "runs"]["what"]


def test_an_op_without_the_rows_that_were_named_has_a_row_that_says_why(tmp_path: Path) -> None:
    tree = str(write(tmp_path / "tree"))
    code, rows = audited(tmp_path, *UNRUN, "--versions", tree, "--rows", "shape")
    assert {row["op"]: (row["row"], row["status"]) for row in rows} == dict.fromkeys(UNRUN, ("runs", "not run"))
    assert all(UNRUN[row["op"]] in row["what"] for row in rows)
    assert code == 2


def test_two_versions_say_what_was_fixed_and_a_missing_third_costs_only_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = write(tmp_path / "one"), write(tmp_path / "other", fixed=True, version="2.0")
    versions = f"{one},{tmp_path / 'none'},{other}"
    patterns = ("fp4_quantize_sm100", "cake_mxfp8_grouped_quantize")
    code, rows = audited(tmp_path, *patterns, "--versions", versions, "--rows", "dtype,parameters")
    output = capsys.readouterr()
    assert code == 2  # the folder between them does not exist
    assert "expected a folder that contains the package's folder flashinfer/" in output.err
    assert "1.0 to 2.0: 2 breaches remain, 2 are fixed, 0 are new" in output.out
    assert "fixed   fp4_quantize_sm100, dtype" in output.out
    assert "FlashInfer's own Python around a stub kernel" in output.out
    assert broken([row for row in rows if "row" in row], "2.0") == {"cake_mxfp8_grouped_quantize": {"dtype"}}


def test_every_contract_breach_has_a_script_of_five_lines(run_of_all: list[dict[str, Any]]) -> None:
    for row in run_of_all:
        if row["status"] == "breaks" and row["row"] in ("count", "shape", "dtype", "mutation", "alias", "parameters"):
            assert len(row["script"].splitlines()) <= 5
            compile(row["script"], row["op"], "exec")
            assert "harness" not in row["script"]


def test_a_breach_that_is_named_again_is_shown_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = write(tmp_path / "tree")
    code, rows = audited(tmp_path, "fp4_quant*", "--versions", str(tree), "--rows", "dtype", "-v")
    assert code == 1
    assert {(row["op"], row["row"]) for row in rows} == {
        ("fp4_quantize_sm100", "runs"),
        ("fp4_quantize_sm100", "dtype"),
    }
    assert "import importlib, inspect, torch, unittest.mock as mock" in capsys.readouterr().out
    code, _ = audited(tmp_path, "fp4_batched_quantize_sm100", "--versions", str(tree), "--rows", "dtype,shape")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--versions", "no/such/folder"), "expected a folder that contains the package's folder flashinfer/"),
        (("--versions", "latest"), "is neither a release such as 0.7.2.post1, nor a folder"),
        (("--rows", "strides"), "did you mean stride"),
        (("--import", "torch"), "--import cannot be used with flashinfer"),
        (("--samples", "a:b"), "--samples cannot be used with flashinfer"),
        (("--device", "cuda"), "its kernels are stubs on the CPU"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "flashinfer", *arguments]) == 2
    output = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("harness:")]
    assert len(output) == 1
    assert words in output[0]


def test_versions_are_for_flashinfer_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "a::b", "--versions", "1.0"]) == 2
    assert "--versions works only with flashinfer" in capsys.readouterr().err


def test_an_op_that_is_not_declared_gets_the_nearest_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "flashinfer", "fp4_quantise_sm100", "--versions", str(write(tmp_path))]) == 2
    assert "did you mean fp4_quantize_sm100" in capsys.readouterr().err


def test_none_is_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.machinery.PathFinder.find_spec", lambda *_: None)
    assert main(["audit", "flashinfer"]) == 2
    assert "FlashInfer is not installed here; give --versions 0.7.2.post1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("utils.py", "register_custom_op = None\n", "flashinfer.utils has no register_custom_op"),
        ("utils.py", "raise OSError('no driver')\n", "flashinfer.utils does not import: OSError: no driver"),
        ("*/**/*.py", "", "declares no op; expected a FlashInfer that does"),
    ],
)
def test_internals_that_changed_are_said_in_one_line(
    file: str, text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write(tmp_path)
    for changed in (tree / "flashinfer").glob(file):
        changed.write_text(text)
    assert main(["audit", "flashinfer", "--versions", str(tree)]) == 2
    output = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("harness:")]
    assert len(output) == 1
    assert words in output[0]


def test_a_release_is_fetched_once_and_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    tree, fetched = write(tmp_path / "tree"), []

    def download(_: Engine, version: str, folder: Path) -> Path:
        fetched.append(version)
        wheel = folder / "flashinfer_python.whl"
        if version == "9.0":
            wheel.write_bytes(b"PK half a file")
            return wheel
        with zipfile.ZipFile(wheel, "w") as archive:
            for file in sorted(tree.rglob("*.py")):
                archive.write(file, file.relative_to(tree))
        return wheel

    monkeypatch.setattr(sites, "_download", download)
    room, found = sites.cache(ENGINE), sites.site(ENGINE, "1.0")
    assert (found.path, sites.site(ENGINE, "1.0").version, fetched) == ((str(room / "1.0"),), "1.0", ["1.0"])
    assert (room / "1.0" / "flashinfer" / "utils.py").is_file()
    with pytest.raises(BadInput, match=r"9\.0 cannot be unpacked"):
        sites.site(ENGINE, "9.0")
    assert [folder.name for folder in room.iterdir()] == ["1.0"]


@pytest.mark.parametrize("retries", ["0", "1"])
def test_no_index_is_one_line(retries: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", retries)
    with pytest.raises(BadInput, match="is there a network"):
        sites.site(ENGINE, "0.0.1")
    assert not list((tmp_path / "flashinfer").iterdir())


def test_declarations_are_read_without_importing_anything(tmp_path: Path) -> None:
    found = declarations(write(tmp_path) / "flashinfer")
    reals = {declared.op: declared for declared in found if declared.real}
    at_run_time = {"_run"}  # the first part of its name is known only at run time
    assert set(reals) - at_run_time == {op for op in (*FAULTS, *CORRECT, *UNRUN) if not op.startswith("quantize_run")}
    assert at_run_time <= set(reals)
    assert reals["fp4_quantize_sm100"].module == "flashinfer.quantization.fp4"
    assert reals["fp4_quantize_sm100"].function == "get_module"
    assert reals["rmsnorm_quant"].function == ""


def test_a_file_that_is_no_python_is_a_declaration_without_a_name(tmp_path: Path) -> None:
    tree = write(tmp_path)
    (tree / "flashinfer" / "quantization" / "fp4.py").write_text("@register_custom_op(\n")
    (found,) = [one for one in declarations(tree / "flashinfer") if one.file.endswith("fp4.py")]
    assert (found.op, found.real, found.module) == ("", True, "flashinfer.quantization.fp4")


def test_what_is_installed_beside_flashinfer_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tvm_ffi", "cudnn"):
        (tmp_path / f"{name}.py").write_text("raise OSError('asks for a GPU')\n")
        monkeypatch.setitem(sys.modules, name, None)  # restored at the end
    del sys.modules["tvm_ffi"], sys.modules["cudnn"]
    monkeypatch.setitem(sys.modules, "cutlass", None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    standin.install(ENGINE, lambda module: None)
    assert importlib.import_module("tvm_ffi").anything  # a stand-in
    assert find_spec("cudnn") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("cudnn")


def test_parameter_lists_are_compared_by_name_order_and_default() -> None:
    def real(a: int, b: int = 1, c: int = 2) -> None: ...
    def swapped(b: int, a: int = 1, c: int = 2) -> None: ...
    def more(a: int, b: int = 1, c: int = 2, d: int = 3) -> None: ...
    def laxer(a: int = 0, b: int = 1, c: int = 2) -> None: ...
    def renamed(x: int, b: int = 1, c: int = 2) -> None: ...
    def anything(*args: int, **kwargs: int) -> None: ...

    assert differences(real, real) == ([], [])
    assert "the fake has its parameters in another order" in differences(real, swapped)[0]
    assert differences(real, more)[0] == ["the fake has d, which the real op lacks"]
    assert differences(real, laxer) == ([], ["a defaults to nothing in the real op and to 0 in the fake"])
    assert differences(real, renamed) == ([], ["the fake calls a x, which torch never sees"])
    assert differences(real, anything)[0] == []


def test_a_refused_schema_is_changed_as_little_as_possible() -> None:
    import torch

    def real(x: torch.Tensor, out: torch.Tensor, scale: float | torch.Tensor) -> None: ...

    found = infer(real, ("out", "nothing"))
    assert found.refused
    assert found.text == "(Tensor x, Tensor(a1!) out, Tensor scale) -> ()"
    assert any("scale" in words for words in found.changed)
    assert infer(lambda x: x, ()).text == ""


def _released(wanted: str) -> str:
    """What names this release after ``--versions``: it must be installed or in the cache."""
    if find_spec("flashinfer") is not None and version("flashinfer-python") == wanted:
        return "installed"
    if not (sites.cache(ENGINE) / wanted).is_dir():
        pytest.skip(
            f"FlashInfer {wanted} is neither installed nor in the cache; .ci/run and `harness audit flashinfer` fetch it"
        )
    return wanted


# Each was read in the source: docs/explanation/flashinfer-breaches.md.
BREACHES = {
    "fp4_quantize_sm100": {"fake", "shape", "dtype"},
    "mxfp8_quantize_sm100": {"parameters", "fake", "shape", "dtype"},
    "block_scale_interleave_sm100": {"shape", "dtype"},
    "silu_and_mul_scaled_nvfp4_experts_quantize_sm100": {"shape"},
    "e2m1_and_ufp8sf_scale_to_float_sm100": {"off the CPU"},
    "trtllm_fp8_per_channel_scale_moe": {"count"},
    "rmsnorm_quant": {"parameters", "fake"},
    "trtllm_moe_allreduce_fusion": {"mutation"},
    "merge_states": {"off the CPU"},
    "merge_state": {"dtype"},
    "apply_rope_pos_ids_cos_sin_cache": {"parameters", "fake"},
    "sampling_from_logits": {"parameters"},
    "single_prefill_run": {"parameters", "fake", "count"},
    "top_p_renorm_probs": {"dtype"},
    "moe_a2a_dispatch": {"fake"},
    "get_moe_commworkspace_size_per_rank": {"fake"},
}
# Their fakes are right, or they need none. ``attn_out`` and ``initial_out`` are inputs; two factories name one op each ``_run``.
RIGHT = (
    "fp4_batched_quantize_sm100", "nvfp4_kv_quant", "fused_add_rmsnorm_fp8_block_quant", "scaled_fp4_grouped_quant_sm100",
    "minimax_h3_out_proj", "alphamoe_nvfp4_align_and_seed_output", "trtllm_moe_finalize_allreduce_fusion",
    "decode_cp_a2a_init_workspace", "merge_state_in_place",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows_of_a_release(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    rows = "runs,parameters,fake,count,shape,dtype,mutation,off the CPU"
    versions = ("--versions", _released(RELEASE), "--rows", rows)
    code, found = audited(tmp_path_factory.mktemp("release"), *BREACHES, *RIGHT, *versions)
    assert code in (1, 2)  # two of them are not run
    return found


def test_the_breaches_of_a_release_are_found_and_no_others(rows_of_a_release: list[dict[str, Any]]) -> None:
    assert broken(rows_of_a_release, RELEASE) == BREACHES
    assert {row["op"] for row in rows_of_a_release} == {*BREACHES, *RIGHT}


def test_an_op_of_a_release_that_is_not_run_has_no_fake_and_a_kernel_that_makes_what_it_returns(
    rows_of_a_release: list[dict[str, Any]],
) -> None:
    runs = {row["op"]: row for row in rows_of_a_release if row["row"] == "runs"}
    unrun = {op: row["what"] for op, row in runs.items() if row["status"] == "not run"}
    assert set(unrun) == {"moe_a2a_dispatch", "get_moe_commworkspace_size_per_rank"}
    assert all("its kernel makes its outputs" in what for what in unrun.values())


def test_an_older_release_shows_what_was_fixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    versions = f"{_released(OLDER)},{_released(RELEASE)}"
    audited(tmp_path, "trtllm_fp4_block_scale_moe", "--versions", versions, "--rows", "shape,parameters")
    output = capsys.readouterr().out
    assert "real gives shape [7, 2816], its fake [7, 1408] [packed activations]" in " ".join(output.split())
    assert "fixed   trtllm_fp4_block_scale_moe, shape [packed activations]" in output
    assert "new     trtllm_fp4_block_scale_moe, parameters: the fake lacks hidden_states_scale_layout" in output


def _scripts() -> list[str]:
    page = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "flashinfer-breaches.md"
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def test_the_scripts_of_the_page_are_five_lines_each_and_stand_alone() -> None:
    assert len(_scripts()) >= 8
    for script in _scripts():
        assert len(script.strip().splitlines()) <= 5
        assert "harness" not in script
        compile(script, "docs/explanation/flashinfer-breaches.md", "exec")


# Importing FlashInfer takes five seconds. Each script gets a fork of a process that has done so: its own namespace, and
# modules that no other script has patched.
FORKS = """
import json, os, sys, torch, flashinfer
results = []
for script in json.load(sys.stdin):
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(sink, 1)
        try:
            exec(script, {"__name__": "__main__"})
            code = 0
        except BaseException:
            code = 1
        sys.stdout.flush()
        os._exit(code)
    os.close(sink)
    with open(source) as output:
        text = output.read()
    results.append((os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text))
print("\\n" + json.dumps(results))
"""


def test_the_scripts_of_the_page_show_that_release() -> None:
    if find_spec("flashinfer") is None or version("flashinfer-python") != RELEASE:
        pytest.skip(f"flashinfer-python {RELEASE} is not installed")
    first, *others = _scripts()
    done = subprocess.run([sys.executable, "-c", first], capture_output=True, text=True, check=False)
    forked = subprocess.run(
        [sys.executable, "-c", FORKS], input=json.dumps(others), capture_output=True, text=True, check=True
    )
    results = [(done.returncode, done.stdout), *json.loads(forked.stdout.splitlines()[-1])]
    for script, (code, output) in zip((first, *others), results, strict=True):
        *shown, last = [line.partition(" ")[2] for line in output.splitlines()] or [""]
        assert code or shown != [last], script
