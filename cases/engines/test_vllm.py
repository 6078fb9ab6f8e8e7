"""The subject vllm: what is fetched and refused, and the process it runs in. No test uses the network."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.base.cache import atomic_folder
from harness.base.errors import BadInput
from harness.cli import main
from harness.engines.released import boot, environment, releases, targets
from harness.engines.vllm import subject
from harness.engines.vllm.engine import Gloo, _checked
from harness.engines.vllm.released import VLLM

ROOT = Path(__file__).parents[2]
GPT = "gpt-oss-20b"


def test_the_process_that_runs_vllm_cannot_import_our_kernels() -> None:
    assert boot.clean([str(ROOT), "", "/elsewhere"]) == (["/elsewhere"] if Path.cwd() == ROOT else ["", "/elsewhere"])
    script = (
        f"import runpy, sys; boot = runpy.run_path({str(boot.__file__)!r}); sys.path[:] = boot['clean'](sys.path); "
        "import importlib.util; sys.exit(importlib.util.find_spec('kernels') is not None)"
    )
    environment_variables = os.environ | {"PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run(
            [sys.executable, "-P", "-c", script], cwd=ROOT, env=environment_variables, check=False
        ).returncode
        == 0
    )


@pytest.mark.parametrize("dont_write", [True, False])
def test_bytecode_goes_to_the_environment_if_none_may_be_beside_sources(dont_write: bool) -> None:
    script = (
        f"import runpy, sys; runpy.run_path({str(boot.__file__)!r})['keep_bytecode'](); "
        "print(sys.dont_write_bytecode, sys.pycache_prefix)"
    )
    environment_variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *(["-B"] if dont_write else []), "-c", script]
    done = subprocess.run(command, env=environment_variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(Path(sys.prefix, "bytecode")) if dont_write else "None"]


def test_the_vllm_that_is_not_importable_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--subject", "vllm", "--models", GPT, "--modes", "eager"]) == 2
    assert "this vLLM cannot be used: ModuleNotFoundError: No module named 'vllm'" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["abc", "../0.20.1", "", "0.20.1;rm"])
def test_a_release_is_a_number(word: str) -> None:
    with pytest.raises(BadInput, match="expected a number such as"):
        releases.tree(VLLM, word, lambda text: None)


def test_a_folder_without_vllm_is_refused_and_the_exit_code_is_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vllm", "--vllm", str(tmp_path)]) == 2
    out = capsys.readouterr()
    assert f"{tmp_path} is not a source tree of vLLM" in out.err
    assert not out.out


def test_no_release_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vllm"]) == 2
    assert "no release is named" in capsys.readouterr().err


def test_a_source_tree_belongs_to_the_subject_vllm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--vllm", "somewhere", "--models", GPT]) == 2
    assert "--vllm somewhere needs --subject vllm" in capsys.readouterr().err


def test_without_network_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setattr(releases, "python", lambda engine, report: Path(sys.executable))
    with pytest.raises(BadInput, match=r"vLLM 0\.20\.1 cannot be downloaded: .*refused"):
        releases.tree(VLLM, "0.20.1", lambda text: None)
    assert not list((tmp_path / "vllm").iterdir())


def test_an_incomplete_tree_is_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    place = environment.room(VLLM) / "vllm-0.20.1"
    (place / VLLM.layer).mkdir(parents=True)
    (place / "vllm" / "__init__.py").touch()
    (place / releases.COUNT).write_text("2\n")
    fetched = []
    monkeypatch.setattr(releases, "_fetch", lambda engine, version, place, report: fetched.append(version))
    reported: list[str] = []
    releases.tree(VLLM, "0.20.1", reported.append)
    assert fetched == ["0.20.1"]
    assert "incomplete" in reported[0]
    assert not place.exists()


def test_an_interrupted_fetch_takes_no_name(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_folder(tmp_path / "tree") as fresh:
            (fresh / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_an_unknown_release_is_offered_the_nearest() -> None:
    words = ["ERROR: Could not find a version that satisfies vllm==0.20.9 (from versions: 0.19.1, 0.20.1, 0.20.2)"]
    assert releases._why(VLLM, "0.20.9", words).startswith(
        "vLLM 0.20.9 is not on the package index; did you mean 0.20."
    )


def test_a_release_that_pip_discards_is_not_called_missing() -> None:
    versions = "ERROR: Could not find a version that satisfies vllm==0.20.1 (from versions: 0.19.1, 0.20.1)"
    discarded = (
        "Discarding https://host/vllm-0.20.1.tar.gz (requires-python:>=3.10): vllm==0.20.1 has inconsistent name"
    )
    last = "ERROR: No matching distribution found for vllm==0.20.1"
    start = "pip does not take vLLM 0.20.1, which is on the package index: "
    assert releases._why(VLLM, "0.20.1", [discarded, versions, last]) == start + "vllm==0.20.1 has inconsistent name"
    assert releases._why(VLLM, "0.20.1", [versions, last]) == start + last.removeprefix("ERROR: ")


def test_the_backend_names_the_release_as_its_archive_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(releases, "pip", lambda python, arguments, report, path: asked.append(path) or (0, []))
    releases._download(VLLM, "0.20.1", Path("python"), tmp_path, print)
    module: dict[str, Any] = {}
    exec((Path(asked[0]) / "setuptools" / "build_meta.py").read_text("utf-8"), module)
    (tmp_path / "PKG-INFO").write_text("Name: vllm\nVersion: 0.20.1\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    folder = module["prepare_metadata_for_build_wheel"](str(tmp_path))
    # pip from 26.3 on refuses an archive whose metadata folder has another name
    assert folder == "vllm-0.20.1.dist-info"
    assert (tmp_path / folder / "METADATA").read_text("utf-8").startswith("Name: vllm")


def test_the_reason_of_a_silent_index_is_in_the_error() -> None:
    broken = "WARNING: Retrying (Retry(total=0)) after connection broken by 'ReadTimeoutError(15)': /simple/torch/"
    missing = ["ERROR: Could not find a version that satisfies torch (from versions: none)", "ERROR: No torch"]
    assert environment.complaint(missing) == "No torch"
    assert environment.complaint([broken, *missing]) == "No torch; 'ReadTimeoutError(15)': /simple/torch/"


def test_the_collector_runs_again_after_an_import_that_failed() -> None:
    with pytest.raises(BadInput, match="cannot be used"):
        subject._engine()
    assert gc.isenabled()


def test_a_changed_constructor_is_reported_by_its_parameters() -> None:
    newer: dict[str, Callable[..., None]] = {}
    exec(
        "def factory(num_experts, top_k, hidden_size, intermediate_size, quant_config, prefix, tp_size, flux): 0", newer
    )
    with pytest.raises(
        BadInput, match=r"factory .* does not take shared_experts; it requires flux, which the harness does not know"
    ):
        _checked(newer["factory"])


@pytest.mark.parametrize("spec", ["vllm", "vllm==0.20.1", "vllm@/src"])
def test_a_target_is_named_as_the_subject_is(spec: str) -> None:
    found = targets.target(spec)
    assert found == targets.Target(spec)


def test_other_subjects_are_no_target() -> None:
    assert targets.target("in-tree") is None
    assert targets.target("vllm#41645") is None
    assert targets.target("vllm", {"vllm": "/src"}) == targets.Target("vllm@/src")


def test_a_reduced_tensor_is_memory_that_the_process_group_never_referenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gloo's thread may keep its input alive longer on one rank. The ranks would then make different calls."""
    reduced: list[torch.Tensor] = []
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor, group: reduced.append(tensor.mul_(2)))
    group: Any = SimpleNamespace(size=lambda: 2)
    out = Gloo(group).all_reduce(torch.ones(3, 4))
    assert torch.equal(out, torch.full((3, 4), 2.0))
    assert out.untyped_storage().data_ptr() != reduced[0].untyped_storage().data_ptr()
