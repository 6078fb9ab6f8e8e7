"""Releases of SGLang: each is red where its source is wrong and nowhere else, and so is a tree that a fault is planted in.

No test needs the network: what is not cached is skipped. `--releases` fetches it, and judges releases whole (`tox -e sglang`).
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.recorded import results
from fixtures.released_trees import tree
from harness.cli import main
from harness.commands.sglang import MODELS
from harness.engines.released import targets
from harness.engines.sglang.released import SGLANG
from harness.findings.finding import FINDINGS, OK, Verdict
from harness.matrix.selection import Selection
from harness.workers.plan import PlanRun

# The first release waits for the environment, or three times for an index that does not answer.
pytestmark = pytest.mark.timeout(900)
NEWEST = "0.5.23"
RELEASES = ("0.5.10", "0.5.22", NEWEST)
GPT, NEMOTRON = "gpt-oss-20b", "nemotron-3-nano-30b-a3b"
LAYER = SGLANG.layer / "layer.py"
BLOCK = Path("sglang", "srt", "models", "nemotron_h.py")
GPT_BLOCK = Path("sglang", "srt", "models", "gpt_oss.py")
TOP_K = Path("sglang", "srt", "layers", "moe", "topk.py")


@pytest.fixture
def release(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """The tree of a release by its number. Skips where it is not cached; with `--releases` fetches it, or ends the run."""
    return lambda version: tree(SGLANG, version, fetched=request.config.getoption("releases") == "all")


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("releases") != "all":
        pytest.skip("a release is judged under --releases alone: a process that imports SGLang takes 8 s")


@pytest.mark.parametrize("version", RELEASES)
def test_a_release_is_right_in_every_mode(
    version: str, asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    """docs/explanation/sglang.md has what was found in them: nothing. A case that is skipped would be a surprise too."""
    release(version)
    file = tmp_path / "verdicts.jsonl"
    code = main(["sglang", version, "--json", str(file)])
    wanted = {(case.id, mode.name): OK for case, mode in Selection(models=MODELS, brief=True).tasks()}
    found = {(record["case"], record["mode"]): record["status"] for record in results(file)}
    assert {key: found.get(key) for key in wanted.keys() | found if found.get(key) != wanted.get(key)} == {}
    assert code == 0


def judged(tree: Path, tp: int, models: tuple[str, ...], modes: tuple[str, ...] = ("eager",)) -> list[Verdict]:
    selection = Selection(models=models, tp=(tp,), tokens=(7,), kernels=("wide",), modes=modes)
    return list(PlanRun(targets.Target(f"sglang@{tree}").plan(selection, 1, lambda text: None)))


def changed(tree: Path, edits: tuple[tuple[Path, str, str], ...]) -> None:
    for file, old, new in edits:
        text = (tree / file).read_text("utf-8")
        assert text.count(old) == 1, f"{file}: {old}"
        (tree / file).write_text(text.replace(old, new), "utf-8")


SCALE = "apply_routed_scaling_factor_on_output=self.experts.should_fuse_routed_scaling_factor_in_topk"
OUT = "        return final_hidden_states.view(num_tokens, hidden_dim)\n"
ADD = "        elif shared_output is not None:\n            final_hidden_states += shared_output\n\n        return"
UNPADDED = "!= hidden_dim_unpadded\n        if is_prepadded:"
CUT = "final_hidden_states[\n                ..., :origin_hidden_states_dim\n            ].contiguous()"
SUM = "from sglang.srt.distributed import tensor_model_parallel_all_reduce"
WRONG_FAKE = """\
def _wider(hidden_states, *arguments):
    return hidden_states.new_empty(hidden_states.shape[0], -(-hidden_states.shape[1] // 256) * 256)


@register_custom_op(fake_impl=_wider)
def moe_forward_piecewise"""
# what: (ranks, the changes, {model: (kind, stage)}). A model that is not red is expected to be ok.
FAULTS: dict[str, tuple[int, tuple[tuple[Path, str, str], ...], dict[str, tuple[str, str] | None]]] = {
    "the cut is missing": (
        1,
        ((LAYER, CUT, "final_hidden_states"),),
        {
            NEMOTRON: ("fake-differs", "routed experts"),
            "sglang-plain": ("width-mismatch", "shared add"),
            "sglang-plain-latent": ("width-mismatch", "latent up-projection"),
            "sglang-plain-routed": ("raised", "unpad"),
            "qwen3-30b-a3b": None,
        },
    ),
    "the cut is a view": (
        2,
        ((LAYER, CUT, CUT.removesuffix(".contiguous()")),),
        {
            GPT: ("not-contiguous", "all-reduce"),
            "sglang-plain": ("not-contiguous", "all-reduce"),
            "sglang-plain-latent": None,  # the up-projection makes rows anew
        },
    ),
    "the scale is applied twice": (
        1,
        ((BLOCK, ADD, ADD.replace("+=", "= final_hidden_states * self.routed_scaling_factor +")),),
        {"sglang-plain": ("scaled", "routed scaling"), "sglang-plain-routed": None},
    ),
    "the top-k scales for a kernel that does": (
        1,
        ((BLOCK, SCALE, f"{SCALE.partition('=')[0]}=True"),),
        {"sglang-kernel-scale": ("scaled", "routed scaling"), "sglang-plain": None},
    ),
    "the block reduces what its boundary reduces": (
        2,
        ((BLOCK, OUT, f"        {SUM}\n\n{OUT.replace('return ', 'return tensor_model_parallel_all_reduce(')[:-1]})\n"),),
        {NEMOTRON: ("reduced-twice", "all-reduce"), "sglang-plain": ("reduced-twice", "all-reduce"), GPT: None},
    ),
    "the fake is wider than the op": (
        1,
        ((LAYER, '@register_custom_op(out_shape="hidden_states")\ndef moe_forward_piecewise', WRONG_FAKE),),
        {NEMOTRON: ("fake-differs", "routed experts"), "sglang-plain": None},
    ),
    "the reshape takes the kernel's width": (
        1,
        ((GPT_BLOCK, UNPADDED, UNPADDED.replace("if", "hidden_dim_unpadded = self.experts.hidden_size\n        if")),),
        {GPT: ("raised", "unpad"), "qwen3-30b-a3b": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_changed_line_is_red_at_its_stage(
    fault: str, asked: None, release: Callable[[str], Path], tmp_path: Path
) -> None:
    tp, edits, expected = FAULTS[fault]
    tree = tmp_path / "tree"
    shutil.copytree(release(NEWEST), tree)
    changed(tree, edits)
    verdicts = {verdict.model: verdict for verdict in judged(tree, tp, tuple(expected))}
    for model, finding in expected.items():
        found = {(one.kind, one.stage) for one in verdicts[model].findings}
        assert (finding in found and verdicts[model].status == FINDINGS) if finding else not found, (model, found)
    if fault == "the reshape takes the kernel's width":
        assert "sglang#27063" in str(verdicts[GPT].findings[0].similar_to)


# Other correct ways to write the same lines.
CORRECT = (
    (LAYER, CUT, "final_hidden_states.narrow(-1, 0, origin_hidden_states_dim).clone()"),
    (BLOCK, ADD, ADD.replace("+= shared_output", "= shared_output + final_hidden_states")),
    (BLOCK, SCALE, f"{SCALE.partition('=')[0]}=False"),
    (
        BLOCK,
        "        if self.use_latent_moe:\n            final_hidden_states = self._apply_latent",
        "        if self.experts.should_fuse_routed_scaling_factor_in_topk:\n"
        "            final_hidden_states = final_hidden_states * self.routed_scaling_factor\n"
        "        if self.use_latent_moe:\n            final_hidden_states = self._apply_latent",
    ),
)


def test_correct_lines_are_left_alone(asked: None, release: Callable[[str], Path], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(release(NEWEST), tree)
    changed(tree, CORRECT)
    models = (NEMOTRON, GPT, *(name for name in MODELS if name.startswith("sglang-")))
    verdicts = judged(tree, 2, models, ("eager", "fake", "cudagraph"))
    assert [verdict.case for verdict in verdicts if verdict.status != OK] == []
