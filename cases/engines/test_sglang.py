"""The subject sglang: its command, the harness's own parts of its layer, and the processes it runs in. No test needs SGLang."""

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.base.errors import BadInput
from harness.cli import main
from harness.commands.sglang import MODELS
from harness.engines.released import ranks, releases, targets
from harness.engines.sglang import stubs
from harness.engines.sglang.kernel import experts
from harness.engines.sglang.released import SGLANG
from harness.engines.sglang.weights import in_block, masters, oracle
from harness.matrix.case import Case
from harness.matrix.paths import paths_of
from harness.matrix.selection import Selection
from harness.verdict.reproduce import script_command


def case_of(model: str, tp: int = 1) -> Case:
    return Selection(models=(model,), tp=(tp,), tokens=(9,), kernels=("wide",), modes=("eager",)).cases()[0]


def test_no_release_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sglang"]) == 2
    assert "no release is named; give some, as in `harness sglang 0.5.10 0.5.23`" in capsys.readouterr().err


def test_a_folder_without_sglang_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sglang", "--sglang", str(tmp_path)]) == 2
    assert f"{tmp_path} is not a source tree of SGLang" in capsys.readouterr().err


def test_the_sglang_that_is_not_importable_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "--subject", "sglang", "--models", "gpt-oss-20b", "--modes", "eager", "--tp", "1"]
    assert main(command) == 2
    assert "this SGLang cannot be used: ModuleNotFoundError: No module named 'sglang'" in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "python", "sglang"])
def test_a_tree_is_found_from_the_repository_its_python_folder_and_the_package(tmp_path: Path, below: str) -> None:
    place = tmp_path / ("python" if below == "python" else "")
    (place / SGLANG.layer).mkdir(parents=True)
    assert releases.checkout(SGLANG, str(place / "sglang" if below == "sglang" else tmp_path)) == place


def test_a_wheel_is_unpacked_without_its_compiled_libraries(tmp_path: Path) -> None:
    archive = tmp_path / "sglang-0.5.23-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        for name in (f"{SGLANG.layer.as_posix()}/layer.py", "sglang/kernels/fast.so", "other/__init__.py"):
            wheel.writestr(name, "")
    releases._unpack(SGLANG, archive, tmp_path)
    files = [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()]
    assert files == [f"{SGLANG.layer.as_posix()}/layer.py"]


def test_a_path_is_its_own_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(paths_of("sglang")) < set(MODELS)
    assert not set(paths_of("vllm")) & set(MODELS)
    for subject in ("in-tree", "vllm==0.33.0"):
        assert main(["check", "--models", "sglang-plain", "--subject", subject]) == 2
        assert "is a code path of SGLang's layer; give --subject sglang==RELEASE" in capsys.readouterr().err


def test_there_is_no_script_of_its_layer() -> None:
    assert not script_command("harness check --models qwen3-30b-a3b --modes eager --subject sglang==0.5.23")
    assert script_command("harness check --models qwen3-30b-a3b --modes eager --subject 'sglang#27063'")


def test_a_layer_is_in_the_block_that_has_its_parts() -> None:
    blocks = {model: in_block(case_of(model)) for model in MODELS}
    assert {model for model, block in blocks.items() if block == "gpt-oss"} == {
        "gpt-oss-20b",
        "qwen3-30b-a3b",
        "sglang-plain-routed",
    }


@pytest.mark.parametrize("model", ["gpt-oss-20b", "nemotron-3-nano-30b-a3b"])
def test_the_kernel_agrees_with_the_oracle(model: str) -> None:
    """The stand-in is no reference: the oracle, which knows no padding, is."""
    case = case_of(model)
    layer, x = masters(case), torch.randn(9, case.hidden, generator=torch.Generator().manual_seed(3)).bfloat16()
    logits = x.float() @ layer.gate.float().T
    scores = logits.sigmoid() if in_block(case) == "nemotron" else logits.softmax(-1)
    weights, ids = scores.topk(case.top_k)
    extra = case.padded - case.hidden
    w13 = torch.nn.functional.pad(layer.w13, (0, extra))
    w2 = torch.nn.functional.pad(layer.w2, (0, 0, 0, extra))
    out = experts(
        torch.nn.functional.pad(x, (0, extra)), w13, w2, weights / weights.sum(-1, keepdim=True), ids, case.scaling
    )
    assert out.shape == (9, case.padded)
    assert not out[:, case.hidden :].any()
    right = oracle(case, x)["routed"]
    assert (out[:, : case.hidden] - right).abs().max() < 0.04 * right.pow(2).mean().sqrt()


def test_the_routers_logits_are_columns_of_the_input() -> None:
    case = case_of("nemotron-3-nano-30b-a3b")
    x = torch.randn(9, case.hidden).bfloat16()
    logits = x @ masters(case).gate.T
    assert all(any(torch.equal(row, column) for column in x.T) for row in logits.T)


def test_two_ranks_sum_to_twice_one_of_them() -> None:
    x = torch.randn(9, case_of("sglang-plain-latent").hidden).bfloat16()
    one, two = (oracle(case_of("sglang-plain-latent", tp), x) for tp in (1, 2))
    assert one.keys() == two.keys() == {"routed", "shared"}
    for part, value in one.items():
        torch.testing.assert_close(two[part], 2 * value)


def test_an_op_registered_for_cuda_runs_on_cpus_too() -> None:
    registered: list[tuple[str, str]] = []
    both = stubs._also_on_cpus(lambda self, name, fn, key, **more: registered.append((self.ns, key)))
    both(SimpleNamespace(ns="sglang"), "op", None, "CUDA")
    both(SimpleNamespace(ns="other"), "op", None, "CUDA")
    both(SimpleNamespace(ns="sglang"), "op", None, "Meta")
    assert registered == [("sglang", "CUDA"), ("sglang", "CPU"), ("other", "CUDA"), ("sglang", "Meta")]


def test_a_product_in_another_dtype_is_that_of_the_converted_matrices() -> None:
    a, b = torch.randn(3, 5).bfloat16(), torch.randn(5, 4).bfloat16()
    mm = stubs._with_out_dtype(torch.mm)
    assert torch.equal(mm(a, b, out_dtype=torch.float32), a.float() @ b.float())
    assert mm(a, b).dtype == torch.bfloat16


class Process:
    """Stands for another process that answers with its rank, or has died."""

    def __init__(self, answer: dict[str, Any] | None) -> None:
        self.answer = answer

    def ask(self, task: int) -> dict[str, Any] | None:
        return self.answer

    def exit_reason(self) -> str:
        return "exit code -9"


def test_a_rank_that_dies_ends_the_worker_with_its_reason() -> None:
    assert ranks._of_process(Process({"status": "ok"}))(0) == {"status": "ok"}  # type: ignore[arg-type]
    with pytest.raises(SystemExit, match="rank 0 ended: exit code -9"):
        ranks._of_process(Process(None))(0)  # type: ignore[arg-type]


def test_ranks_apart_leave_cases_of_one_rank_to_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """SGLang set up for two ranks cannot run a case of one."""
    started: list[ranks.Ranks] = []

    class Other(Process):
        def __init__(self, job: Any, fork: bool) -> None:
            assert not fork
            started.append(ranks.Ranks(**job.settings["ranks"]))
            super().__init__({"status": f"rank {started[-1].rank}"})

        def wait_until_ready(self) -> None: ...

    monkeypatch.setattr(ranks, "WorkerProcess", Other)
    monkeypatch.setattr(ranks, "start_one", lambda settings: lambda index: {"status": f"{ranks.here().size} alone"})
    monkeypatch.setattr(ranks, "_here", ranks.Ranks())
    selection = Selection(models=("gpt-oss-20b",), tokens=(7,), kernels=("wide",), modes=("eager",))
    monkeypatch.setattr(ranks, "plan_tasks", lambda settings: selection.tasks())
    answer = ranks.start({"start": "", "command": ()}, lambda one, tasks: one, apart=True)
    assert [(one.rank, one.size) for one in started] == [(0, 2), (1, 2)]
    by_ranks = {case.tp: answer(index) for index, (case, _) in enumerate(selection.tasks())}
    assert by_ranks[1] == {"status": "1 alone"}
    assert by_ranks[2]["reason"] == "rank 0: rank 0, rank 1: rank 1"


@pytest.mark.parametrize("spec", ["sglang", "sglang==0.5.23", "sglang@/src"])
def test_a_target_is_named_as_the_subject_is(spec: str) -> None:
    found = targets.target(spec)
    assert found is not None
    assert (found.spec, found.engine) == (spec, SGLANG)


def test_an_unknown_release_is_offered_the_nearest() -> None:
    words = ["ERROR: Could not find a version that satisfies sglang==0.5.29 (from versions: 0.5.10, 0.5.22, 0.5.23)"]
    assert releases._why(SGLANG, "0.5.29", words).startswith("SGLang 0.5.29 is not on the package index; did you mean")


@pytest.mark.parametrize("word", ["abc", "../0.5.23"])
def test_a_release_is_a_number(word: str) -> None:
    with pytest.raises(BadInput, match=r"is not a release of SGLang; expected a number such as 0\.5\.23"):
        releases.tree(SGLANG, word, lambda text: None)
