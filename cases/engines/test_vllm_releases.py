"""Releases of vLLM: each is red where its source is wrong and nowhere else, and so is a runner that a fault is planted in.

No test needs the network: what is not cached is skipped. `--releases` fetches it, and judges releases whole (`tox -e vllm`);
`--releases few` fetches three and judges the newest in the modes that neither compile nor vary (`.ci/run`).
"""

import json
import shlex
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.recorded import results
from fixtures.released_trees import tree
from harness.cli import main
from harness.commands.vllm import MODELS
from harness.engines.released import targets
from harness.engines.vllm.released import VLLM
from harness.findings.finding import FINDINGS, LATENT, OK, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.paths import paths_of
from harness.matrix.selection import Selection
from harness.workers.plan import PlanRun

# The first release waits for the environment, or three times for an index that does not answer.
pytestmark = pytest.mark.timeout(900)
RUNNER = VLLM.layer / "runner" / "moe_runner.py"
GPT, NEMOTRON = "gpt-oss-20b", "nemotron-3-nano-30b-a3b"
Expected = tuple[str, frozenset[tuple[str, ...]]]
"""A status, and of each finding the kind, the stage and the bug that it is like, if any."""


# The red release, the one that fixed it, and the newest.
PAIR, NEWEST = ("0.20.1", "0.20.2"), "0.33.0"


def asked_for(version: str, config: pytest.Config, few: tuple[str, ...] = (*PAIR, NEWEST)) -> bool:
    """Whether `--releases` asks for this release: without a value all, with `few` those that `.ci/run` has."""
    return config.getoption("releases") == "all" or (config.getoption("releases") == "few" and version in few)


@pytest.fixture
def release(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """The tree of a release by its number. Skips where it is not cached; with `--releases` fetches it, or ends the run."""
    return lambda version: tree(VLLM, version, fetched=asked_for(version, request.config))


@dataclass(frozen=True)
class Wrong:
    """What is wrong in a release: which cases it breaks in which modes, and the status and findings expected of each."""

    breaks: Callable[[Case, str], bool]
    expected: Expected


# Each varied mode begins with a plain call, of which the fake is asked.
ASK_THE_FAKE = (
    "eager",
    "compiled",
    "compiled-dynamic",
    *(name for name, mode in MODES.items() if mode.family == "varied"),
)
NORMALISE = ("vllm-norm-latent", "vllm-norm-latent-padded")


def padded(case: Case) -> bool:
    return case.padded != case.width


def lies(case: Case, mode: str) -> bool:
    """The fake gives the padded width, the kernel the true one: seen where both are."""
    return padded(case) and case.kernel == "narrow" and mode in ASK_THE_FAKE and not case.path


def strided(case: Case, mode: str) -> bool:
    """Rows cut off a padded kernel's are strided, but for a single one."""
    return padded(case) and case.kernel == "wide" and cut_off(case) and has_rows(case, mode)


def has_rows(case: Case, mode: str) -> bool:
    """Whether there is more than one row: eager calls have more in turn, and a symbolic number stands for more."""
    return case.tokens > 1 or mode in ("eager", "fake-dynamic")


def strided_by_the_fake(case: Case, mode: str) -> bool:
    """What the kernel would not pad, the fake does."""
    return padded(case) and case.kernel == "narrow" and cut_off(case) and mode in ("fake", "fake-dynamic")


def cut_off(case: Case) -> bool:
    """Whether the sum of both parts is a view of padded rows when it is reduced; a projection makes rows anew."""
    return case.shared is not None and case.latent is None and case.tp == 2 and not case.path


def is_path(case: Case, mode: str) -> bool:
    return bool(case.path)


def writes_narrow(case: Case, mode: str) -> bool:
    """A modular kernel that writes the true width, which none does before 0.33."""
    return bool(case.path) and case.kernel == "narrow"


def defers(case: Case, mode: str) -> bool:
    """A layer that leaves its last sum to the model, which none does before 0.25."""
    return case.path == "vllm-deferred-sum"


def pads_gate_into_up(case: Case, mode: str) -> bool:
    """The expert width is padded behind gate and up together, so that up begins at the wrong row."""
    return case.path == "vllm-fp4-experts"


def normalises_parts(case: Case, mode: str) -> bool:
    """Each rank's part goes through a transform that does not commute with the sum."""
    return case.path in NORMALISE and case.tp == 2


def strided_before_transform(case: Case, mode: str) -> bool:
    """The latent rows are summed over the ranks as they were cut off padded ones."""
    cut = padded(case) and case.latent is not None and case.tp == 2 and case.kernel == "wide"
    return cut and has_rows(case, mode)


def strided_and_twice(case: Case, mode: str) -> bool:
    """A single row is no view to the first call, which shows that it is summed twice; a later call has more rows."""
    return case.tokens == 1 and mode == "eager" and strided_before_transform(case, mode) and sums_twice(case, mode)


def strided_before_normalising(case: Case, mode: str) -> bool:
    return strided_before_transform(case, mode) and case.path in NORMALISE


def sums_twice(case: Case, mode: str) -> bool:
    """A linear transform is summed before and its sum with the shared part after."""
    both = case.latent is not None and case.shared is not None and case.tp == 2
    return both and case.path not in NORMALISE and not mode.startswith("varied")


def sums_twice_in_a_graph(case: Case, mode: str) -> bool:
    """Of a compiled graph only the names of the ops are known: not that one of the sums is of latent rows."""
    return mode.startswith("compiled") and sums_twice(case, mode)


FAKE = frozenset({("fake-differs", "routed experts", "vllm#41645")})
VIEW = frozenset({("not-contiguous", "all-reduce", "vllm#40794")})
COUNT = frozenset({("collective-count", "all-reduce")})
LATENT_COUNT = frozenset({("collective-count", "all-reduce", "vllm#52301")})
WEIGHTS = frozenset({("not-built", "weight preparation", "vllm#55649")})
NOT_RUN: Expected = ("skipped", frozenset())
OLD_RUNNER = Wrong(is_path, NOT_RUN)
UP_TO_0_19 = (
    OLD_RUNNER,
    Wrong(strided, (FINDINGS, VIEW)),
    Wrong(lies, (LATENT, FAKE)),
    Wrong(strided_by_the_fake, (LATENT, VIEW)),
)
NO_NARROW, NO_DEFERRED, GATE_AND_UP = (
    Wrong(writes_narrow, NOT_RUN),
    Wrong(defers, NOT_RUN),
    Wrong(pads_gate_into_up, (FINDINGS, WEIGHTS)),
)
SUMS_LATE = Wrong(normalises_parts, (LATENT, COUNT))
FROM_0_25 = (NO_NARROW, GATE_AND_UP, SUMS_LATE)
UP_TO_0_24 = (NO_DEFERRED, *FROM_0_25)
SUMS_EARLY = (
    Wrong(strided_and_twice, (FINDINGS, VIEW | LATENT_COUNT)),
    Wrong(strided_before_transform, (FINDINGS, VIEW)),
    Wrong(sums_twice_in_a_graph, (FINDINGS, COUNT)),
    Wrong(sums_twice, (FINDINGS, LATENT_COUNT)),
)
EXEMPTS = Wrong(strided_before_normalising, (FINDINGS, VIEW))
# docs/explanation/vllm.md has the lines of their sources. What is not here is right.
WRONG = {
    **dict.fromkeys(("0.18.0", "0.18.1", "0.19.0", "0.19.1"), UP_TO_0_19),
    "0.20.0": (*UP_TO_0_24, Wrong(lies, (LATENT, FAKE))),
    "0.20.1": (*UP_TO_0_24, Wrong(lies, (FINDINGS, FAKE))),
    **dict.fromkeys(("0.20.2", "0.21.0", "0.22.0", "0.22.1", "0.23.0", "0.24.0"), UP_TO_0_24),
    **dict.fromkeys(("0.25.0", "0.25.1", "0.26.0"), FROM_0_25),
    **dict.fromkeys(("0.27.0", "0.27.1", "0.28.0"), (NO_NARROW, GATE_AND_UP, *SUMS_EARLY)),
    "0.29.0": (NO_NARROW, *SUMS_EARLY),
    **dict.fromkeys(("0.30.0", "0.31.0", "0.32.0"), (NO_NARROW, EXEMPTS)),
    "0.33.0": (EXEMPTS,),
}


def expected(version: str, modes: Collection[str] = tuple(MODES)) -> dict[tuple[str, str], Expected]:
    """What is expected of every case in these modes, by their ids."""
    found: dict[tuple[str, str], Expected] = {}
    for case, mode in Selection(models=MODELS, brief=True).tasks():
        if mode.name not in modes:
            continue
        wrong = [one for one in WRONG.get(version, ()) if one.breaks(case, mode.name)]
        found[case.id, mode.name] = wrong[0].expected if wrong else (OK, frozenset())
    return found


def unexpected(
    version: str, records: list[dict[str, Any]], modes: Collection[str] = tuple(MODES)
) -> dict[object, object]:
    """Where the records of a release in some modes are not as expected: what was found there, None where nothing was."""
    want, found = expected(version, modes), dict[Any, Any]()
    for record in records:
        findings = [(one["kind"], one["stage"], *_first(one["similar_to"])) for one in record.get("findings", ())]
        found[record.get("case"), record.get("mode")] = (record["status"], frozenset(findings))
    return {key: found.get(key) for key in want.keys() | found if found.get(key) != want.get(key)}


def _first(bugs: list[str]) -> list[str]:
    """The id of the first bug of a finding, alone in a list; none for none."""
    return [bug.partition(" ")[0] for bug in bugs[:1]]


def judged_whole(version: str, modes: Collection[str], folder: Path) -> None:
    """`harness vllm` on a release. Its exit code alone would not say what was red."""
    file = folder / "verdicts.jsonl"
    code = main(["vllm", version, "--modes", ",".join(modes), "--json", str(file)])
    assert not unexpected(version, results(file), modes)
    assert code == any(status == FINDINGS for status, _ in expected(version, modes).values())


def test_a_release_has_an_account(release: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    release("0.20.1")
    case = "gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-narrow-tp2-tokens7"  # two ranks, so two processes
    assert main(["explain", "--subject", "vllm==0.20.1", "--json", case]) == 1
    steps = {step["stage"]: step for step in json.loads(capsys.readouterr().out)["steps"]}
    assert list(steps) == ["hidden_states", "pad", "routed experts", "all-reduce", "output"]
    assert steps["routed experts"]["shape"] == [7, 2880]
    assert steps["routed experts"]["fake"] == "the fake says bfloat16[7, 3072] stride [3072, 1]"
    assert steps["pad"]["line"]["file"].endswith("runner/moe_runner.py")


def test_of_an_op_with_two_outputs_the_routed_one_is_shown(
    asked: None, release: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    release("0.24.0")
    case = "nemotron-3-nano-30b-a3b-hidden2688-padded2816-trtllm-nvfp4-wide-tp1-tokens7"
    assert main(["explain", "--subject", "vllm==0.24.0", "--json", case]) == 0
    steps = {step["stage"]: step for step in json.loads(capsys.readouterr().out)["steps"]}
    assert (steps["routed experts"]["shape"], steps["unpad"]["shape"]) == ([7, 2816], [7, 2688])


WHY = "a release is judged whole under --releases alone: half a minute each"


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("releases") != "all":
        pytest.skip(WHY)


@pytest.mark.parametrize("version", WRONG)
def test_a_release_judged_whole(
    version: str, release: Callable[[str], Path], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if not asked_for(version, pytestconfig, few=(NEWEST,)):
        pytest.skip(WHY)
    release(version)
    # A commit does not wait for Inductor and for variations, two thirds of the time.
    left = ("compiled", "varied") if pytestconfig.getoption("releases") == "few" else ()
    modes = [name for name, mode in MODES.items() if not mode.needs_cuda and mode.family not in left]
    judged_whole(version, modes, tmp_path)


def as_expected(version: str) -> list[dict[str, Any]]:
    """Records of a release that is as expected."""
    return [
        {"case": case, "mode": mode, "status": status}
        | {
            "findings": [
                {"kind": kind, "stage": stage, "similar_to": [f"{bug} (fixed)" for bug in bugs]}
                for kind, stage, *bugs in findings
            ]
        }
        for (case, mode), (status, findings) in expected(version).items()
    ]


def test_what_is_expected_surprises_nobody() -> None:
    red = [record for record in as_expected("0.20.1") if record["status"] == FINDINGS]
    assert {record["mode"] for record in red if not record["case"].startswith("vllm-")} == {*ASK_THE_FAKE}
    assert any("hidden2880-padded3072" in record["case"] for record in red)
    for version in ("0.18.0", "0.20.1", "0.20.2", "0.28.0"):
        assert not unexpected(version, as_expected(version))


# Each is a record that must fail the lane though the exit code is as it should be.
@pytest.mark.parametrize(
    ("status", "change"),
    [
        (FINDINGS, {"status": OK, "findings": []}),
        (FINDINGS, {"findings": [{"kind": "graph-break", "stage": "routed experts", "similar_to": ["vllm#41645"]}]}),
        (FINDINGS, {"findings": [{"kind": "fake-differs", "stage": "shared add", "similar_to": ["vllm#41645"]}]}),
        (FINDINGS, {"findings": [{"kind": "fake-differs", "stage": "routed experts", "similar_to": []}]}),
        (FINDINGS, {"status": LATENT}),
        (OK, {"status": "skipped"}),
        (OK, {"status": FINDINGS, "findings": [{"kind": "fake-differs", "stage": "x", "similar_to": ["vllm#41645"]}]}),
        (OK, {"mode": "another"}),
    ],
)
def test_red_for_another_reason_is_unexpected(status: str, change: dict[str, Any]) -> None:
    records = as_expected("0.20.1")
    record = next(record for record in records if record["status"] == status)
    record |= change
    assert unexpected("0.20.1", records)


def test_a_release_that_was_not_judged_is_unexpected() -> None:
    assert (None, None) in unexpected("0.20.2", [{"subject": "vllm==0.20.2", "status": "error", "reason": "no index"}])
    assert unexpected("0.20.2", as_expected("0.20.2")[1:])


def judged(target: targets.Target, **chosen: tuple[object, ...]) -> list[Verdict]:
    selection = Selection(tokens=(7,), **chosen)  # type: ignore[arg-type]
    return list(PlanRun(target.plan(selection, 1, lambda text: None)))


# what: (the line's text, what it becomes, the case, the finding's kind, its stage, the bug that it is like)
FAULTS = {
    "or-to-and": (
        "shared_output is not None or self.routed_output_transform is not None",
        "shared_output is not None and self.routed_output_transform is not None",
        (NEMOTRON, 1),
        ("width-mismatch", "shared add", "vllm#41184"),
    ),
    "slice-removed": (
        "return states[..., :trunc_size]",
        "return states",
        (GPT, 1),
        ("wrong-shape", "unpad", ""),
    ),
    "slice-unconditional": (
        "        ) and hidden_dim_was_padded:",
        "        ) or hidden_dim_was_padded:",
        (GPT, 2),
        ("not-contiguous", "all-reduce", "vllm#40794"),
    ),
    "scale-twice": (
        "fused_output *= self.routed_scaling_factor",
        "fused_output *= self.routed_scaling_factor**2",
        (NEMOTRON, 1),
        ("scaled", "routed scaling", "vllm#45037"),
    ),
}


@pytest.mark.sampled(7)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_changed_condition_of_the_runner_is_red_at_its_stage(
    fault: str, release: Callable[[str], Path], tmp_path: Path
) -> None:
    old, new, (model, tp), (kind, stage, bug) = FAULTS[fault]
    tree = tmp_path / "tree"
    shutil.copytree(release("0.20.2"), tree)
    text = (tree / RUNNER).read_text("utf-8")
    assert text.count(old) == 1
    (tree / RUNNER).write_text(text.replace(old, new), "utf-8")
    verdicts = judged(
        targets.Target(f"vllm@{tree}"), models=(model,), tp=(tp,), kernels=("wide",), modes=("eager", "cudagraph")
    )
    assert {verdict.status for verdict in verdicts} == {FINDINGS}
    finding = verdicts[0].findings[0]
    assert (finding.kind, finding.stage) == (kind, stage)
    assert not bug or any(bug in like for like in finding.similar_to)


PACKED = Path("vllm/model_executor/layers/quantization/utils/flashinfer_utils.py")
LORA = Path("vllm/lora/layers/fused_moe.py")
# model: (file, the line's text, what it becomes, the finding's kind, its stage). None touches another's path.
ON_PATHS = {
    "vllm-padded-rows": (
        VLLM.layer / "prepare_finalize" / "batched.py",
        "hits = (topk_ids.unsqueeze(0) == local_ids)",
        "hits = (topk_ids.abs().unsqueeze(0) == local_ids)",
        ("wrong-tokens", "routed experts"),
    ),
    "vllm-input-weights": (
        VLLM.layer / "prepare_finalize" / "no_dp_ep.py",
        "            a1 = a1 * topk_weights.to(a1.dtype)",
        "            a1.mul_(topk_weights.to(a1.dtype))",
        ("mutated-input", "routed experts"),
    ),
    "vllm-input-weights-batched": (
        VLLM.layer / "prepare_finalize" / "batched.py",
        "            a1.mul_(topk_weights.to(a1.dtype))",
        "            a1 = a1 * topk_weights.to(a1.dtype).square()",
        ("wrong-values", "routed experts"),
    ),
    "vllm-gate": (
        RUNNER,
        "router_logits, _ = self.gate(hidden_states)",
        "router_logits, _ = self.gate(hidden_states.abs())",
        ("wrong-part", "router"),
    ),
    "vllm-float16-scaled": (
        RUNNER,
        "fused_output.dtype != torch.float16 or shared_output is None",
        "fused_output.dtype != torch.float16",
        ("scaled", "routed scaling"),
    ),
    "vllm-norm-latent": (
        RUNNER,
        '"reduce_commutative", False)',
        '"reduce_commutative", True)',
        ("collective-count", "all-reduce"),
    ),
    "vllm-deferred-sum": (
        RUNNER,
        "            and not self.moe_config.skip_final_all_reduce\n",
        "",
        ("collective-count", "all-reduce"),
    ),
    "vllm-fp4-hidden": (
        PACKED,
        "padded_w2[:, : w2.shape[1], :] = w2",
        "padded_w2[:, -w2.shape[1] :, :] = w2",
        ("not-built", "weight preparation"),
    ),
    "vllm-lora": (
        LORA,
        "slliced_w3_lora_a = self._slice_w13_a(w3_lora_a)",
        "slliced_w3_lora_a = self._slice_w13_a(w1_lora_a)",
        ("wrong-values", "routed experts"),
    ),
    "nemotron-3-super-120b-a12b": (
        Path("vllm/model_executor/models/nemotron_h.py"),
        "not config.mlp_bias\n                and",
        "config.mlp_bias\n                and",
        ("collective-count", "all-reduce"),
    ),
}


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (
            "flashinfer_utils.py",
            "padded_hidden_size = round_up(hidden_size, min_alignment)",
            "padded_hidden_size = 2 * round_up(packed_hidden_size, min_alignment)",
            "at a hidden width of 576 and an expert width of 160, align_fp4_moe_hidden_dim_for_fi: w13's shape is",
        ),
        (
            "nvfp4_utils.py",
            "return out[..., :output_size].contiguous()",
            "return out[..., :output_size]",
            "slice_nvfp4_output: contiguous is False; expected True",
        ),
        (
            "nvfp4_utils.py",
            "pad_rows = total_rows - weight_current_rows",
            "pad_rows = weight_current_rows % alignment",
            "pad_nvfp4_weight_for_cutlass: weight's shape is [144, 160]; expected [128, 160]",
        ),
    ],
)
def test_a_helper_that_is_right_at_the_models_own_width_alone_is_red(
    file: str, old: str, new: str, says: str, asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    path = tree / PACKED.with_name(file)
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")
    verdicts = judged(
        targets.Target(f"vllm@{tree}"), models=("vllm-fp4-hidden",), tp=(1,), kernels=("wide",), modes=("eager",)
    )
    (finding,) = verdicts[0].findings
    assert (finding.kind, finding.stage, finding.similar_to) == ("not-built", "weight preparation", ())
    assert says in finding.what


CUTLASS = PACKED.with_name("flashinfer_fp4_moe.py")
REFUSES = """            if is_act_and_mul:
                raise NotImplementedError(
                    "Intermediate size padding for w1 and w3, for %s "
                    "NvFp4 backend, but this is not currently supported",
                    backend.value,
                )
"""
# (model, file, the line's text, what it becomes, what is said): the layer's own preparation for its CUTLASS kernels.
FOR_CUTLASS = (
    ("vllm-fp4-hidden", CUTLASS, "w2 = torch.nn.functional.pad(w2, (0, pad_size // 2, 0, 0))",
     "w2 = torch.nn.functional.pad(w2, (pad_size // 2, 0, 0, 0))", "VLLM_CUTLASS: w2 [3, 320, 64] differs from the weights"),
    ("vllm-fp4-hidden", CUTLASS, "w2_scale = torch.nn.functional.pad(w2_scale, (0, pad_size // 16))\n", "pass\n",
     "VLLM_CUTLASS: w2_scale's shape is [3, 384, 4]; expected [3, 384, 8]"),
    ("vllm-fp4-hidden", CUTLASS.with_name("nvfp4_utils.py"), "swizzled = padded.permute(0, 1, 4, 3, 2, 5)",
     "swizzled = padded.permute(0, 4, 1, 3, 2, 5)",
     "VLLM_CUTLASS: w2_scale out of its tiles [3, 384, 8] differs from the scales padded with zeros"),
    ("vllm-fp4-experts", CUTLASS, "w13, w13_scale = reorder_w1w3_to_w3w1(w13, w13_scale)",
     "w13, _ = reorder_w1w3_to_w3w1(w13, w13_scale.clone())",
     "FLASHINFER_CUTLASS: w13_scale out of its tiles [3, 128, 20] differs from the scales padded with zeros"),
    ("vllm-fp4-experts", CUTLASS, REFUSES, "", "VLLM_CUTLASS: w13 [3, 384, 288] differs from the weights padded with zeros"),
    ("vllm-fp4-experts", CUTLASS, "a13_scale = a13_scale.max(dim=1).values.to(torch.float32)",
     "a13_scale = a13_scale[:, 1].to(torch.float32)", "VLLM_CUTLASS: a13_scale is ["),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(FOR_CUTLASS)))
def test_a_preparation_for_cutlass_that_is_wrong_is_red(
    number: int, asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    model, file, old, new, says = FOR_CUTLASS[number]
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    text = (tree / file).read_text("utf-8")
    assert text.count(old) == 1
    (tree / file).write_text(text.replace(old, new), "utf-8")
    verdicts = judged(targets.Target(f"vllm@{tree}"), models=(model,), tp=(1,), kernels=("wide",), modes=("eager",))
    (finding,) = verdicts[0].findings
    assert (finding.kind, finding.stage) == ("not-built", "weight preparation")
    assert says in finding.what


def test_every_path_is_right_or_skipped_with_each_kernel(asked: None, release: Callable[[str], Path]) -> None:
    """`--models` asks for more kernels of a path than the brief plan has."""
    release("0.33.0")
    verdicts = judged(targets.Target("vllm==0.33.0"), models=paths_of("vllm"), tp=(1,), modes=("eager",))
    assert {verdict.case.split("-")[-3] for verdict in verdicts} == {"wide", "narrow"}
    assert {verdict.status for verdict in verdicts} <= {OK, "skipped"}
    assert sum(verdict.status == OK for verdict in verdicts) > len(verdicts) // 2


def test_an_all_reduce_on_one_rank_is_none(asked: None, release: Callable[[str], Path], tmp_path: Path) -> None:
    """A group of one rank sums nothing, though the process that judges the case may have another rank beside it."""
    tree = tmp_path / "tree"
    shutil.copytree(release("0.24.0"), tree)
    text, old = (tree / RUNNER).read_text("utf-8"), "result = shared_output + fused_output"
    assert text.count(old) == 1
    new = "result = shared_output + tensor_model_parallel_all_reduce(fused_output)"
    (tree / RUNNER).write_text(text.replace(old, new), "utf-8")
    verdicts = judged(
        targets.Target(f"vllm@{tree}"), models=(NEMOTRON,), tp=(1, 2), kernels=("wide",), modes=("eager",)
    )
    found = {case: one.status for one in verdicts if (case := one.case.partition("-wide-")[2][:3])}
    assert found == {"tp1": OK, "tp2": FINDINGS}


# What one rank alone does, after which the sums of both say nothing of its own: (the shared part of it, statuses by mode).
OF_A_RANK = {
    "left out": ("(shared_output if _rank() == 0 else 0)", {"eager": FINDINGS, "cudagraph": FINDINGS}),
    "given by one rank for both": ("(2 * shared_output if _rank() == 0 else 0)", {"eager": OK, "cudagraph": OK}),
    "left out of many rows": (
        "(shared_output if _rank() == 0 or len(shared_output) < 200 else 0)",
        {"eager": OK, "varied-tokens": FINDINGS, "varied-contents": OK},
    ),
}


@pytest.mark.parametrize("what", OF_A_RANK)
def test_what_one_rank_alone_does_is_judged_on_both(
    what: str, asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    shared, statuses = OF_A_RANK[what]
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    text, old = (tree / RUNNER).read_text("utf-8"), "result = shared_output + fused_output"
    assert text.count(old) == 1
    text = text.replace(old, f"result = fused_output + {shared}")
    (tree / RUNNER).write_text(f"{text}\n_rank = torch.distributed.get_rank\n", "utf-8")
    verdicts = judged(
        targets.Target(f"vllm@{tree}"),
        models=(NEMOTRON,),
        tp=(2,),
        kernels=("wide",),
        modes=tuple(MODES[mode].exact for mode in statuses),
    )
    assert {verdict.mode: verdict.status for verdict in verdicts} == statuses


# What becomes of a sum of a layer whose latent transform normalises: (the line's text, what it becomes, kind and stage).
SUM = "tensor_model_parallel_all_reduce"
ROUTED = (
    "fused_output = {}(fused_output{})\n            fused_output_is",
    "{}(fused_output)\n            fused_output_is",
)
UNUSED = frozenset({("sum-unused", "all-reduce")})
OF_SUMS = {
    "routed, made and dropped": (ROUTED[0].format(SUM, ""), ROUTED[1].format(SUM), UNUSED),
    "shared, of a copy": (
        f"shared_output = {SUM}(shared_output)\n        return",
        f"{SUM}(shared_output.clone())\n        return",
        UNUSED,
    ),
    "routed, of one rank alone": (
        ROUTED[0].format(SUM, ""),
        ROUTED[0].format(SUM, " * (_rank() == 0)"),
        frozenset({("wrong-part", "routed experts")}),
    ),
    "routed, with another weight of each": (
        ROUTED[0].format(SUM, ""),
        ROUTED[0].format(SUM, " * (1 + _rank())"),
        frozenset({("wrong-values", "routed experts")}),
    ),
}


@pytest.mark.parametrize("what", OF_SUMS)
def test_a_wrong_sum_before_a_norm_is_red(
    what: str, asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    old, new, expected = OF_SUMS[what]
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    text = (tree / RUNNER).read_text("utf-8")
    assert text.count(old) == 1
    (tree / RUNNER).write_text(f"{text.replace(old, new)}\n_rank = torch.distributed.get_rank\n", "utf-8")
    verdicts = judged(
        targets.Target(f"vllm@{tree}"),
        models=("vllm-norm-latent",),
        tp=(2,),
        kernels=("wide",),
        modes=("eager", "fake"),
    )
    found = {verdict.mode: {(one.kind, one.stage) for one in verdict.findings} for verdict in verdicts}
    traced = expected if expected == UNUSED else frozenset()
    assert found == {"eager": expected, "fake": traced, "fake-dynamic": traced}


def test_a_line_changed_on_each_path_is_red_at_its_stage(
    asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    for file, old, new, _ in ON_PATHS.values():
        text = (tree / file).read_text("utf-8")
        assert text.count(old) == 1
        (tree / file).write_text(text.replace(old, new), "utf-8")
    verdicts = judged(
        targets.Target(f"vllm@{tree}"), models=tuple(ON_PATHS), tp=(2,), kernels=("wide",), modes=("eager",)
    )
    found = {verdict.model: {(one.kind, one.stage) for one in verdict.findings} for verdict in verdicts}
    assert {model for model, (*_, finding) in ON_PATHS.items() if finding not in found[model]} == set()


# (file, the line's text, what it becomes, what the cause says of the adapter)
OF_ADAPTERS = (
    (LORA, "return w13_lora_b[:, start_idx:end_idx, :]\n\n    def _slice_w2_a",
     "return w13_lora_b.narrow(1, self.tp_rank, shard_size)\n\n    def _slice_w2_a",
     "On rank 1: The adapter's factors for gate are not those that were loaded."),
    (LORA, "slliced_w3_lora_a = self._slice_w13_a(w3_lora_a)", "slliced_w3_lora_a = self._slice_w13_a(w1_lora_a)",
     "The adapter's factors for up are not those that were loaded."),
    (LORA, "self.adapter_enabled[index] = 1\n\n        w1_lora_a", "self.adapter_enabled[index] = 0\n\n        w1_lora_a",
     "The adapter's slot is not enabled, so that nothing of it is added."),
    (LORA, "self.reset_lora(index)\n        self.adapter_enabled[index] = 1\n\n        w1_lora_a",
     "self.adapter_enabled[index] = 1\n\n        w1_lora_a", "The adapter's factors for down are not those that were loaded."),
    (RUNNER, "result = fused_output\n", "result = fused_output + fused_output.roll(1, 0)\n", ""),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(OF_ADAPTERS)))
def test_the_cause_says_what_of_an_adapter_reaches_its_kernels(
    number: int, asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    file, old, new, says = OF_ADAPTERS[number]
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    text = (tree / file).read_text("utf-8")
    assert text.count(old) == 1
    (tree / file).write_text(text.replace(old, new), "utf-8")
    verdicts = judged(targets.Target(f"vllm@{tree}"), models=("vllm-lora",), tp=(2,), modes=("eager",))
    causes = {finding.cause for verdict in verdicts for finding in verdict.findings}
    assert causes
    assert all(says in cause if says else "adapter" not in cause for cause in causes)


def test_a_gate_whose_logits_are_of_other_rows_of_a_large_batch_is_found_at_the_router(
    asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    text, old = (tree / RUNNER).read_text("utf-8"), "router_logits, _ = self.gate(hidden_states)"
    assert text.count(old) == 1
    new = f"{old}\n                router_logits = router_logits.roll(max(len(router_logits) - 512, 0), 0)"
    (tree / RUNNER).write_text(text.replace(old, new), "utf-8")
    verdicts = judged(targets.Target(f"vllm@{tree}"), models=("vllm-gate",), tp=(1,), modes=("varied-tokens",))
    assert {(finding.kind, finding.stage) for verdict in verdicts for finding in verdict.findings} == {
        ("token-count", "router")
    }


# model: (file, the line's text, what it becomes). Each keeps a buffer that a larger batch replaces.
OUTGROWN = {
    "vllm-gate": (
        RUNNER,
        "router_logits, _ = self.gate(hidden_states)",
        "router_logits = _kept(self, self.gate(hidden_states)[0])",
    ),
    "vllm-modular": (
        VLLM.layer / "modular_kernel.py",
        "a1q.device,\n                M_full,\n",
        "_kept(self, a1q).device,\n                M_full,\n",
    ),
}
KEPT = """

def _kept(owner, rows):
    buffer = getattr(owner, "_buffer", None)
    if buffer is None or len(buffer) < len(rows):
        owner._buffer = torch.empty_like(rows)
    return owner._buffer[: len(rows)].copy_(rows)
"""


@pytest.mark.parametrize("model", OUTGROWN)
def test_a_buffer_of_a_path_that_a_larger_batch_replaces_is_red_without_words_of_the_user(
    model: str, asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    file, old, new = OUTGROWN[model]
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    text = (tree / file).read_text("utf-8")
    assert text.count(old) == 1
    (tree / file).write_text(text.replace(old, new) + KEPT, "utf-8")
    selection = Selection(models=(model,), modes=("cudagraph",), brief=True)
    verdicts = list(PlanRun(targets.Target(f"vllm@{tree}").plan(selection, 1, lambda text: None)))
    red = {one.mode: {finding.kind for finding in one.findings} for one in verdicts if one.status == FINDINGS}
    assert red == {"cudagraph-dynamic": {"freed-memory"}}


# (file, the line's text, what it becomes, model, mode, the finding's kind). Each is right in a plain call of ordinary rows.
UNSEEN_BY_A_PLAIN_CALL = (
    (VLLM.layer / "modular_kernel.py", "a1q.device,\n                M_full,\n", "a1q.device,\n                min(M_full, 700),\n",
     "vllm-modular", "varied-tokens", "op-raised"),
    (VLLM.layer / "topk_weight_and_reduce.py", "gathered * weights[e_idx, t_idx].unsqueeze(1)",
     "gathered * weights[e_idx, t_idx].clamp(max=1).unsqueeze(1)", "vllm-batched", "eager", "wrong-tokens"),
    (RUNNER, "    return torch.empty_like(hidden_states)\n\n\ndef _moe_forward_shared(",
     "    return hidden_states.new_empty((len(hidden_states), hidden_states.shape[-1]))\n\n\ndef _moe_forward_shared(",
     GPT, "varied-compiled", "recompiled"),
)  # fmt: skip


def test_scratch_memory_special_routing_and_a_fixed_number_of_tokens_are_red(
    asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(release("0.33.0"), tree)
    for file, old, new, *_ in UNSEEN_BY_A_PLAIN_CALL:
        text = (tree / file).read_text("utf-8")
        assert text.count(old) == 1
        (tree / file).write_text(text.replace(old, new), "utf-8")
    models, modes = ({one[place] for one in UNSEEN_BY_A_PLAIN_CALL} for place in (3, 4))
    verdicts = judged(
        targets.Target(f"vllm@{tree}"), models=tuple(sorted(models)), tp=(1,), kernels=("wide",), modes=tuple(modes)
    )
    found = {(one.model, one.mode, finding.kind) for one in verdicts for finding in one.findings}
    assert {tuple(one[3:]) for one in UNSEEN_BY_A_PLAIN_CALL} <= found


def test_the_fake_of_0_20_1_lies_at_2880_of_3072(release: Callable[[str], Path]) -> None:
    release("0.20.1")
    verdicts = judged(
        targets.Target("vllm==0.20.1"), models=(GPT,), tp=(1,), kernels=("narrow",), modes=("eager", "fake", "compiled")
    )
    by_mode = {verdict.mode: verdict for verdict in verdicts}
    for mode in ("eager", "compiled", "compiled-dynamic"):
        assert any("vllm#41645" in bug for finding in by_mode[mode].findings for bug in finding.similar_to)
    assert by_mode["fake"].status == OK


def test_0_20_2_is_right_on_one_rank_and_on_two(release: Callable[[str], Path]) -> None:
    release("0.20.2")
    verdicts = judged(targets.Target("vllm==0.20.2"), models=(GPT, NEMOTRON), modes=("eager", "fake", "cudagraph"))
    assert {verdict.status for verdict in verdicts} == {OK}
    assert any("-tp2-" in verdict.case for verdict in verdicts)


def test_layers_with_a_kernel_that_its_class_calls_narrow_share_one_graph(release: Callable[[str], Path]) -> None:
    release("0.20.2")
    (verdict,) = judged(
        targets.Target("vllm==0.20.2"), models=(GPT,), tp=(1,), kernels=("narrow",), modes=("varied-compiled",)
    )
    assert verdict.status == OK


def test_what_no_kernel_of_a_release_does_is_latent(release: Callable[[str], Path]) -> None:
    release("0.20.0")
    verdicts = judged(
        targets.Target("vllm==0.20.0"), models=(GPT,), tp=(1,), kernels=("wide", "narrow"), modes=("eager",)
    )
    assert [(("narrow" in verdict.case), verdict.status) for verdict in verdicts] == [(False, OK), (True, LATENT)]


# As it is pasted: the text of vllm#41184, from a server that traces.
PASTED = """\
(EngineCore pid=12) ERROR 06-11 20:03:01 [core.py:710] torch._dynamo.exc.TorchRuntimeError: RuntimeError when making fake tensor call
(EngineCore pid=12) ERROR 06-11 20:03:01 [core.py:710]   Explanation: Dynamo failed to run FX node with fake tensors: call_function \
<built-in function add>(*(FakeTensor(..., device='cuda:0', size=(s59, 2688), dtype=torch.bfloat16), FakeTensor(..., \
device='cuda:0', size=(s59, 2816), dtype=torch.bfloat16)), **{}): got RuntimeError('The size of tensor a (2688) must match the \
size of tensor b (2816) at non-singleton dimension 1)')
"""
EARLY_UNPAD = "if self.routed_output_transform is not None {} shared_experts_hidden_dim > 0:\n            pre_xform"


def test_from_a_pasted_error_to_vllms_own_code_in_three_commands(
    asked: None, release: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0.24.0 with the one condition of #45707 turned back, and nobody who says which layer, width or rule it is."""
    tree, log = tmp_path / "vllm-source", tmp_path / "pasted.log"
    shutil.copytree(release("0.24.0"), tree)
    text = (tree / RUNNER).read_text("utf-8")
    assert text.count(EARLY_UNPAD.format("or")) == 1
    (tree / RUNNER).write_text(text.replace(EARLY_UNPAD.format("or"), EARLY_UNPAD.format("and")), "utf-8")
    log.write_text(PASTED, "utf-8")
    assert main(["diagnose", str(log)]) == 0
    found = capsys.readouterr().out
    commands = [line.split("harness ", 1)[1].split() for line in found.splitlines() if line.startswith("   try ")]
    (command,) = [words for words in commands if "vllm" in words]
    assert main([*command, "--vllm", str(tree), "--tp", "1", "--tokens", "7"]) == 1
    red = capsys.readouterr().out
    assert "width-mismatch at shared add" in red
    assert "vllm#41184" in red
    reproduce = next(line for line in red.splitlines() if line.startswith("  reproduce")).split("harness ", 1)[1]
    assert main(shlex.split(reproduce)) == 1
