"""FlashInfer's backends: reasons to skip, arguments, and the whole path through FlashInfer's Python around stand-ins."""

import json
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fixtures.flashinfer_standin import CHECKS, FAULTS
from harness.base.errors import Skip
from harness.base.project import find
from harness.cli import main
from harness.engines.declared.engines.flashinfer import ENGINE
from harness.engines.declared.source.sites import cache as releases
from harness.findings.finding import SKIPPED
from harness.matrix import shapes
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.subjects.load import load_subject
from harness.verdict.judge import judge
from kernels.flashinfer import backends
from kernels.flashinfer.backends import BACKENDS, CUTILE, CUTLASS, TRTLLM, Backend, fitting, missing, refused
from kernels.flashinfer.experts import OP, flashinfer_experts
from kernels.flashinfer.subject import Cutile, Cutlass, FlashInfer, Trtllm, _moved
from kernels.flashinfer.weights import INNER_SCALE, INPUT_SCALE
from kernels.layer.nvfp4 import dequantise, quantise_rows
from kernels.layer.oracle_nvfp4 import to_nvfp4
from kernels.layer.subject import InTree

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RELEASES = ("0.7.2.post1", "0.6.18")
# Where FlashInfer prepares such weights itself without a kernel that torch cannot stand in for.
OWN_PREPARATION = {RELEASES[0]: ("trtllm", "cutile"), RELEASES[1]: ()}
every_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: backend.name)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A FlashInfer that has every function, on a device of compute capability 10.0."""
    api = SimpleNamespace(**{backend.function: lambda: None for backend in BACKENDS.values()})
    modules = {"flashinfer": SimpleNamespace(__version__="9.9"), backends.MODULE: api}
    modules["flashinfer.cutile"] = SimpleNamespace(is_cuda_tile_available=lambda device: False)
    monkeypatch.setattr(backends, "find_spec", lambda name: name)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (10, 0))
    return monkeypatch


def test_without_flashinfer_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert missing(TRTLLM, CUDA) == "flashinfer is not installed"


@every_backend
def test_on_a_cpu_it_says_so(backend: Backend, installed: pytest.MonkeyPatch) -> None:
    assert missing(backend, CPU) == "FlashInfer's kernels run on a CUDA device, not on cpu"


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((8, 0), ()),
        ((9, 0), (CUTILE,)),
        ((10, 0), (TRTLLM, CUTLASS)),
        ((10, 3), (TRTLLM, CUTLASS)),
        ((12, 0), (CUTLASS,)),
    ],
)
def test_each_backend_runs_where_it_can(
    capability: tuple[int, int], runs: tuple[Backend, ...], installed: pytest.MonkeyPatch
) -> None:
    installed.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    installed.setattr(backends, "_no_cutile", lambda device: "")
    reasons = {backend.name: missing(backend, CUDA) for backend in BACKENDS.values()}
    assert [name for name, why in reasons.items() if not why] == [backend.name for backend in runs]
    needs = f"this device has {capability[0]}.{capability[1]}"
    assert all(needs in why for why in reasons.values() if why)


def test_a_version_without_the_function_is_named(installed: pytest.MonkeyPatch) -> None:
    api = SimpleNamespace(trtllm_fp4_block_scale_moe=lambda: None)
    installed.setitem(sys.modules, backends.MODULE, api)
    why = missing(TRTLLM, CUDA)
    assert why == "the installed FlashInfer 9.9 has no flashinfer.fused_moe.trtllm_fp4_block_scale_routed_moe"


def test_a_flashinfer_that_does_not_import_is_a_reason(installed: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise OSError("libcudart.so.13 is not there")

    installed.setattr(backends, "importlib", SimpleNamespace(import_module=broken))
    assert missing(CUTLASS, CUDA) == "flashinfer.fused_moe does not import: OSError: libcudart.so.13 is not there"


def test_cutile_needs_its_compiler(installed: pytest.MonkeyPatch) -> None:
    installed.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert "tileiras" in missing(CUTILE, CUDA)


def case(model: str, rule: str) -> Case:
    catalogue = shapes.load()
    return Case.of(catalogue.shape(model), catalogue.rule(rule), "wide", tp=1, tokens=7)


def test_a_width_that_no_rule_padded_is_refused_by_name() -> None:
    assert refused(TRTLLM, case("nemotron-3-nano-30b-a3b", "trtllm-nvfp4")) == ""
    why = refused(TRTLLM, case("nemotron-3-nano-30b-a3b", "none"))
    assert why.endswith("takes hidden widths that are multiples of 256; rule none gives 2688")
    assert refused(CUTLASS, case("nemotron-3-nano-30b-a3b", "none")) == ""
    assert "intermediate widths" in refused(CUTILE, case("synthetic-odd-intermediate", "none"))


def test_an_activation_that_a_backend_lacks_is_refused_by_name() -> None:
    gelu = case("gemma-4-26b-a4b", "trtllm-nvfp4")
    assert "gelu-tanh" in refused(TRTLLM, gelu)
    assert refused(CUTLASS, gelu) == refused(CUTILE, gelu) == ""


def test_arguments_fit_the_installed_signature_or_the_mismatch_is_named() -> None:
    def function(x: int, y: int, *, added: int = 0) -> None: ...

    assert fitting(function, {"x": 1, "y": 2}, {"added": 3, "newer": 4}) == {"x": 1, "y": 2, "added": 3}
    with pytest.raises(Skip, match="function has no argument scale"):
        fitting(function, {"x": 1, "y": 2, "scale": 3}, {})
    with pytest.raises(Skip, match="function asks for y, which is not known here"):
        fitting(function, {"x": 1}, {})


def test_an_argument_that_the_installed_version_lacks_skips_the_case_by_name(installed: pytest.MonkeyPatch) -> None:
    def function(*, input: Any, quant_scales: Any) -> None: ...

    types = SimpleNamespace(Swiglu=3)
    api = SimpleNamespace(cutlass_fused_moe=function, ActivationType=types)
    installed.setitem(sys.modules, backends.MODULE, api)
    with pytest.raises(Skip, match=r"function has no argument token_selected_experts, .*use_fused_finalize, output"):
        Cutlass().build(case("gpt-oss-20b", "trtllm-nvfp4"), CUDA)
    types.__dict__.clear()
    with pytest.raises(Skip, match="Swiglu"):
        Cutlass().build(case("gpt-oss-20b", "trtllm-nvfp4"), CUDA)


@pytest.mark.parametrize("width", [48, 64])
def test_the_fake_says_what_the_op_gives(width: int) -> None:
    x, ids = torch.empty(3, 64, dtype=torch.bfloat16, device="meta"), torch.empty(3, 2, device="meta")
    fake = flashinfer_experts.fake(x, ids, *7 * (ids,), "trtllm", "silu", 64, width)
    assert (fake.shape, fake.dtype, fake.is_contiguous()) == ((3, width), torch.bfloat16, True)
    assert flashinfer_experts.name == OP


def test_there_is_no_implementation_for_a_cpu() -> None:
    assert set(flashinfer_experts.reals) == {"cuda"}
    assert list(flashinfer_experts.samples(CPU)) == []  # type: ignore[misc]


REASON = "FlashInfer's kernels run on a CUDA device" if find_spec("flashinfer") else "flashinfer is not installed"


@every_backend
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_every_subject_skips_here_with_its_reason(backend: Backend, mode: str) -> None:
    name = f"flashinfer-{backend.name}"
    subject = load_subject(find(Path(__file__).parent).subject(name))
    verdict = judge(subject, case("gpt-oss-20b", "trtllm-nvfp4"), MODES[mode], CPU, name)
    assert verdict.status == SKIPPED
    assert verdict.reason.startswith(REASON)


def test_the_command_counts_them_as_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--models", "gpt-oss-20b", "--modes", "eager,compiled", "--tokens", "7", "--device", "cpu", "-j", "1"]
    assert main(["check", "--subject", "flashinfer-trtllm", *chosen]) == 2
    shown = capsys.readouterr()
    assert "0 ok, 12 skipped" in shown.out
    assert f"skipped 12 (compiled, compiled-dynamic, eager): {REASON}" in shown.out
    assert "Traceback" not in shown.out + shown.err


def test_ties_go_to_the_even_code() -> None:
    ties = torch.tensor([6.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5.0, 0.0])
    wanted = [6, 0, 1, 1, 2, 2, 4, 4, 0, -1, -1, -2, -2, -4, -4, 0]
    assert to_nvfp4(1.0)(ties).tolist() == wanted


@pytest.mark.parametrize("size", [0.01, 1.0, 3.0])
@pytest.mark.parametrize("scale", [INPUT_SCALE, INNER_SCALE])
def test_oracle_and_op_round_bf16_alike(size: float, scale: float) -> None:
    x = (torch.randn(64, 512, generator=torch.Generator().manual_seed(0)) * size).bfloat16()
    torch.testing.assert_close(to_nvfp4(scale)(x.float()), dequantise(quantise_rows(x, scale)), rtol=1e-6, atol=0)


def test_a_scale_that_leaves_ties_rounds_unlike() -> None:
    x = (torch.randn(64, 512, generator=torch.Generator().manual_seed(0))).bfloat16()
    off = to_nvfp4(168.0)(x.float()) - dequantise(quantise_rows(x, 168.0))
    assert (off.abs() > 1e-3).any()


@pytest.mark.parametrize("kind", [Trtllm, Cutlass])
@pytest.mark.parametrize("model", ["synthetic-latent-padded", "qwen3-30b-a3b"])
def test_tokens_that_might_round_either_way_are_drawn_again(model: str, kind: type[FlashInfer]) -> None:
    one, subject = case(model, "trtllm-nvfp4"), kind()
    drawn, redrawn = InTree().inputs(one, 400, 0, CPU), subject.inputs(one, 400, 0, CPU)
    settled = ~subject.unsettled(one, *drawn[:2])
    assert 0.5 < settled.float().mean() < 1
    assert not subject.unsettled(one, *redrawn[:2]).any()
    assert torch.equal(drawn[0][settled], redrawn[0][settled])
    assert len(redrawn[0].unique(dim=0)) == 400
    assert all(torch.equal(*pair) for pair in zip(drawn[1:], redrawn[1:], strict=True))
    assert subject.inputs(one, 0, 0, CPU)[0].shape == (0, one.hidden)


def test_an_intermediate_near_halfway_is_unsettled() -> None:
    # A real one: the scale is one and the code 2.5000007, which sums in another order make less than 2.5.
    halfway = torch.zeros(2, 1, 16)
    halfway[0, 0, :2] = torch.tensor([6.0, 2.5000007])
    halfway[1, 0, :2] = torch.tensor([6.0, 2.6])
    assert _moved(halfway, to_nvfp4(1.0)).flatten().tolist() == [True, False]


def test_with_bf16_activations_inputs_are_the_in_tree_layers() -> None:
    plain = case("synthetic-latent-padded", "trtllm-nvfp4")
    pairs = zip(Cutile().inputs(plain, 9, 4, CPU), InTree().inputs(plain, 9, 4, CPU), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@cache
def through_stand_ins(release: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What each backend's checks say of a FlashInfer, the installed one or one in the cache; skips where it is neither.

    One process for all: importing FlashInfer takes seconds.
    """
    path = [] if _installed() == release else [str(releases(ENGINE) / release)]
    if path and not (releases(ENGINE) / release).is_dir():
        pytest.skip(f"flashinfer-python {release} is neither installed nor in the cache of `harness audit flashinfer`")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-m", "fixtures.flashinfer_standin", *OWN_PREPARATION[release]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {(row["backend"], row["check"]): row for row in map(json.loads, done.stdout.splitlines())}


def _installed() -> str:
    try:
        return version("flashinfer-python")
    except PackageNotFoundError:
        return ""


THEIRS = "eager,fake,fake-dynamic,compiled-dynamic,cudagraph,varied-tokens,varied-layers,varied-contents,varied-forms"
every_release = pytest.mark.parametrize("release", RELEASES)


def grouped(test: Any) -> Any:
    """Tests of one worker, since one process for all of them imports FlashInfer; it and others fork from one that has torch."""
    return pytest.mark.usefixtures("forked_here")(pytest.mark.xdist_group("flashinfer")(test))


FITTING = [
    (backend, check) for backend in ("trtllm", "cutlass") for check in CHECKS if (backend, check) != ("trtllm", "gelu")
]


@grouped
@every_release
@pytest.mark.parametrize(("backend", "check"), FITTING)
def test_the_stand_in_agrees_with_the_oracle(backend: str, check: str, release: str) -> None:
    assert through_stand_ins(release)[backend, check].get("error") == 0


@grouped
@every_release
@pytest.mark.parametrize(("backend", "fault"), [(one, fault) for one in ("trtllm", "cutlass") for fault in FAULTS[one]])
def test_a_wrong_preparation_is_seen_through_the_stand_in(backend: str, fault: str, release: str) -> None:
    assert through_stand_ins(release)[backend, fault]["error"] > 0.1


@grouped
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("backend", "chosen", "count"),
    [
        # The layer around them is the in-tree one: what is asked here is what hangs on their weights, op and fake.
        ("cutlass", ("--kernels", "wide", "--modes", "eager,cudagraph,compiled-dynamic"), 4),
        ("trtllm", ("--kernels", "narrow", "--modes", THEIRS), 10),
        ("cutile", ("--kernels", "wide", "--modes", "eager,cudagraph"), 3),
    ],
)
def test_the_layer_means_the_same_in_every_mode_through_the_stand_in(
    backend: str, chosen: tuple[str, ...], count: int
) -> None:
    if _installed() != RELEASES[0]:
        pytest.skip(f"flashinfer-python {RELEASES[0]} is not installed")
    case = ["--models", "synthetic-latent-padded", "--tp", "2", "--tokens", "7", *chosen]
    subject = ["--subject", f"fixtures.flashinfer_on_cpu:{backend}", "--device", "cpu", "-j", "1"]
    command = [sys.executable, "-m", "harness", "check", *subject, *case]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"{count} verdicts: {count} ok" in done.stdout, done.stdout + done.stderr


@grouped
@pytest.mark.parametrize("check", [*CHECKS, *FAULTS["cutile"]])
def test_cutile_through_its_stand_in(check: str) -> None:
    error = through_stand_ins(RELEASES[0])["cutile", check]["error"]
    assert error == 0 if check in CHECKS else error > 0.1


@grouped
@pytest.mark.parametrize("backend", OWN_PREPARATION[RELEASES[0]])
def test_flashinfers_own_preparation_gives_the_same_bytes(backend: str) -> None:
    assert through_stand_ins(RELEASES[0])[backend, "unlike"]["tensors"] == []


@grouped
def test_what_an_older_release_lacks_is_a_reason() -> None:
    reason = through_stand_ins(RELEASES[1])["cutile", "silu"]["skipped"]
    assert "has no flashinfer.fused_moe.CuTileNvfp4Bf16Runner" in reason


@grouped
def test_an_activation_that_is_refused_is_a_reason() -> None:
    assert "has no activation gelu-tanh" in through_stand_ins(RELEASES[0])["trtllm", "gelu"]["skipped"]
