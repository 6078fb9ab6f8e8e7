"""The matrix: what is judged by default, how it is narrowed, what was shrunk, and the command that runs a case again."""

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.base.errors import BadInput
from harness.cli import parser
from harness.commands import check
from harness.matrix.case import Case, shrink_width
from harness.matrix.modes import EVERY_MODE, MODES, VARIED, ModeInfo, by_default, choose
from harness.matrix.plan import PADDED_MODES
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN, load
from harness.verdict.reproduce import reproduce

ROOT = Path(__file__).parents[2]
LATENT = "nemotron-3-super-120b-a12b"


@cache
def default() -> list[tuple[Case, ModeInfo]]:
    return Selection().tasks()


@cache
def default_cases() -> list[Case]:
    return Selection().cases()


def test_a_thousand_verdicts_by_default() -> None:
    assert len(default()) >= 1000


@pytest.mark.parametrize("cuda", [False, True])
def test_every_model_meets_every_mode(cuda: bool) -> None:
    met = {(case.model, mode.name) for case, mode in Selection(cuda=cuda).tasks() if mode.family != VARIED}
    assert met == {(model, mode.name) for model in load().shapes for mode in by_default(cuda) if mode.family != VARIED}


def test_the_modes_that_run_for_every_model() -> None:
    compiled = ["compiled", "compiled-dynamic"]
    graphs = ["cudagraph", "cudagraph-dynamic", "cudagraph-compiled"]
    every = [mode.name for mode in MODES.values() if mode.family != VARIED]
    assert every == ["eager", "fake", "fake-dynamic", *compiled, *graphs]


def test_what_needs_cuda_is_chosen_there_alone_or_by_its_name() -> None:
    assert [mode.name for mode in MODES.values() if mode.needs_cuda] == ["cudagraph-compiled"]
    for names in ((), ("cudagraph",)):
        for cuda in (False, True):
            tasks = Selection(modes=names, cuda=cuda).tasks()
            assert any(mode.needs_cuda for _, mode in tasks) == cuda
    assert {mode.name for _, mode in Selection(modes=("cudagraph-compiled",)).tasks()} == {"cudagraph-compiled"}


def test_every_alignment_rule_is_met() -> None:
    assert {case.alignment.name for case in default_cases()} == set(load().rules)


def test_every_token_count_and_tensor_parallel_size_is_met_in_every_mode() -> None:
    for name in PADDED_MODES:
        cases = [case for case, mode in default() if mode.name == name]
        fixed = name in ("eager", "fake", "cudagraph")  # the modes that run at one token count and no other
        assert ({1, 7, 33} if fixed else {7, 33}) <= {case.tokens for case in cases}, name
        assert {case.tp for case in cases} == {1, 2}, name
        assert {case.kernel for case in cases} == {"wide", "narrow"}, name


def test_no_task_twice() -> None:
    assert max(Counter((case.id, mode.name) for case, mode in default()).values()) == 1


def test_one_id_is_one_case() -> None:
    assert len({case.id for case, _ in default()}) == len({repr(case) for case, _ in default()})
    every = [case.id for case, mode in default() if mode.family != VARIED]
    assert [case.id for case in default_cases()] == list(dict.fromkeys(every))


def test_ids_are_parts_that_read_after_k_and_short_with_the_mode() -> None:
    for full in (False, True):
        for case, mode in Selection(full=full, cuda=True, proofs=True).tasks():
            rule, kernel = case.alignment.name, case.kernel
            latent = f"-latent{case.latent}" if case.latent else ""
            widths = f"hidden{case.hidden}{latent}-padded{case.padded}"
            row = f"{case.model}-{widths}-{rule}-{kernel}-tp{case.tp}-tokens{case.tokens}"
            assert case.id == row + ("-full" if full else "")
            name = f"{row}-{mode.exact}"
            assert len(name) < 110, name
            assert re.fullmatch(r"[\w.-]+", name), name


@pytest.mark.parametrize(
    "choice",
    [{}, {"full": True}, {"hidden": (2688, 2720)}, {"tokens": (7, 70)}, {"tp": (1, 16)}, {"proofs": True}],
    ids=lambda choice: "-".join(choice) or "default",
)
@pytest.mark.parametrize("file", [False, True], ids=["built-in", "models-file"])
def test_one_name_is_one_task(choice: dict[str, Any], file: bool, tmp_path: Path) -> None:
    models = {}
    if file:
        data = json.loads(BUILT_IN.read_text("utf-8"))
        near = [entry | {"name": f"{entry['name']}-2", "experts": 64} for entry in data["models"]]
        (tmp_path / "models.json").write_text(json.dumps(data | {"models": data["models"] + near}))
        models["models_file"] = str(tmp_path / "models.json")
    tasks = Selection(cuda=True, **choice, **models).tasks()
    names = {f"{case.id}-{mode.exact}": (repr(case), mode.name) for case, mode in tasks}
    assert len(names) == len(set(names.values())) == len(tasks)


def test_true_and_shrunk_sizes_have_names_of_their_own() -> None:
    assert not {case.id for case in default_cases()} & {case.id for case in Selection(full=True).cases()}


def test_exact_chooses_one_mode_and_is_part_of_no_other() -> None:
    for mode in EVERY_MODE.values():
        assert choose([mode.exact], cuda=True) == [mode]
        assert [other for other in EVERY_MODE.values() if f"-{mode.exact}" in f"-{other.exact}"] == [mode]


def test_ids_and_their_order_are_the_same_in_another_process() -> None:
    source = "from harness.matrix.selection import Selection\nfor case, mode in Selection().tasks(): print(case.id, mode.name)"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{case.id} {mode.name}" for case, mode in default()]


def test_narrow_only_where_a_width_is_padded() -> None:
    narrow = [case for case in default_cases() if case.kernel == "narrow"]
    assert narrow
    assert all(case.padded != case.width for case in narrow)


def test_narrow_wherever_a_width_is_padded() -> None:
    wide = {case.model for case in default_cases() if case.padded != case.width and "trtllm-nvfp4" in case.id}
    assert wide == {case.model for case in default_cases() if case.kernel == "narrow"}


def test_padded_and_aligned_latent_and_plain_shared_and_not_are_all_met() -> None:
    kinds = {(case.padded != case.width, case.latent is not None, case.shared is not None) for case in default_cases()}
    assert len(kinds) == 8


def test_matrix_imports_no_torch() -> None:
    source = (
        "import sys; from harness.matrix.selection import Selection; Selection().tasks(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("choice", "holds"),
    [
        ({"models": ("gpt-oss-20b", "kimi-k3")}, lambda case: case.model in ("gpt-oss-20b", "kimi-k3")),
        ({"tokens": (5,)}, lambda case: case.tokens == 5),
        ({"tokens": (0,)}, lambda case: case.tokens == 0),
        ({"rules": ("marlin-nvfp4",)}, lambda case: case.alignment.name == "marlin-nvfp4"),
        ({"kernels": ("narrow",)}, lambda case: case.kernel == "narrow"),
        ({"tp": (4,)}, lambda case: case.tp == 4),
        ({"hidden": (2720,)}, lambda case: case.hidden == 2720),
        ({"full": True}, lambda case: case.full and not {"intermediate", "experts", "top_k"} & set(case.changes)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_choice_narrows(choice: dict[str, Any], holds: Any) -> None:
    cases = Selection(**choice).cases()
    assert cases
    assert all(holds(case) for case in cases)
    assert len({case.model for case in cases}) == len(choice.get("models", load().shapes))


def test_true_sizes_are_few_rows_in_every_mode_and_a_model_s_come_together() -> None:
    tasks = Selection(full=True, cuda=True).tasks()
    assert {(case.model, mode.name) for case, mode in tasks} == {
        (model, mode.name) for model in load().shapes for mode in MODES.values() if mode.family != VARIED
    }
    for model in load().shapes:
        mine = [(case, mode.name) for case, mode in tasks if case.model == model]
        rows = {(case.kernel, case.tp, case.tokens) for case, _ in mine}
        padded = {("narrow", 1, 33)} if any(case.padded != case.width for case, _ in mine) else set()
        assert rows == {("wide", 2, 7)} | padded
        assert len(mine) == len(rows) * sum(mode.family != VARIED for mode in MODES.values())
    models = [case.model for case, _ in tasks]
    assert [name for name, before in zip(models, ["", *models], strict=False) if name != before] == list(load().shapes)
    assert {case.kernel for case, _ in tasks} == {"wide", "narrow"}


def test_hidden_override_is_marked_and_padded_anew() -> None:
    cases = Selection(models=("deepseek-v3",), hidden=(2720, 7168)).cases()
    assert {(case.hidden, case.overridden) for case in cases} == {(2720, True), (7168, False)}
    assert {case.padded for case in cases if case.overridden and case.alignment.name == "trtllm-nvfp4"} == {2816}
    assert len({case.id for case in cases}) == len(cases)


def test_hidden_override_leaves_the_latent_width() -> None:
    cases = Selection(models=(LATENT,), hidden=(2720,), rules=("trtllm-nvfp4",)).cases()
    assert {(case.hidden, case.latent, case.width, case.padded) for case in cases} == {(2720, 1024, 1024, 1024)}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["eager"], ["eager"]),
        (["compiled"], ["compiled", "compiled-dynamic"]),
        (["compiled-static"], ["compiled"]),
        (["compiled-dynamic"], ["compiled-dynamic"]),
        (["fake"], ["fake", "fake-dynamic"]),
        (["fake-static"], ["fake"]),
        (["cudagraph-static", "eager", "cudagraph-static"], ["cudagraph", "eager"]),
        (["cudagraph"], ["cudagraph", "cudagraph-dynamic"]),
        (["cudagraph-dynamic"], ["cudagraph-dynamic"]),
        (["cudagraph-compiled"], ["cudagraph-compiled"]),
        (["compiled-dynamic", "compiled"], ["compiled-dynamic", "compiled"]),
    ],
    ids=str,
)
def test_modes_chosen(names: list[str], expected: list[str]) -> None:
    assert [mode.name for mode in choose(names)] == expected
    assert {mode.name for _, mode in Selection(modes=tuple(names)).tasks()} == set(expected)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"models": ("gpt-oss",)}, "unknown model 'gpt-oss'; did you mean gpt-oss-20b"),
        ({"modes": ("egaer",)}, "unknown mode 'egaer'; did you mean eager"),
        ({"modes": ("eager", "dynamic")}, "unknown mode 'dynamic'; did you mean"),
        ({"rules": ("cutlass",)}, "unknown alignment rule 'cutlass'; did you mean cutlass-nvfp4"),
        ({"kernels": ("wid",)}, "unknown kernel 'wid'; did you mean wide"),
        ({"hidden": (100,)}, "--hidden: hidden is 100"),
        ({"hidden": (0,)}, "--hidden: hidden is 0"),
        ({"tokens": (7, -1)}, "--tokens is -1"),
        ({"tp": (0,)}, "--tp is 0"),
    ],
    ids=str,
)
def test_bad_choice(choice: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        Selection(**choice).tasks()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", load().shapes)
def test_shrinking_keeps_the_widths_that_are_tested_and_says_the_rest(name: str) -> None:
    shape = load().shape(name)
    for rule in load().rules.values():
        small, true = (Case.of(shape, rule, "wide", 2, 7, full=full) for full in (False, True))
        for key in ("hidden", "latent", "width", "padded", "tp", "tokens", "kernel", "gated", "scaling"):
            assert getattr(small, key) == getattr(true, key), key
        assert set(true.changes) <= {"activation"}
        for key, published in (
            ("intermediate", shape.intermediate),
            ("shared", shape.shared_intermediate),
            ("experts", shape.experts),
            ("top_k", shape.top_k),
        ):
            now = getattr(small, key)
            assert (now is None) == (published is None)
            assert small.changes.get(key) == (None if now == published else f"{now} of {published}")
        assert small.top_k <= small.experts


@pytest.mark.parametrize(
    ("width", "expected"), [(2688, 64), (1856, 64), (704, 64), (1440, 32), (160, 32), (48, 48), (16, 16), (64, 64)]
)
def test_shrunk_width_keeps_its_remainder(width: int, expected: int) -> None:
    assert shrink_width(width) == expected


def test_again_names_exactly_one_task() -> None:
    for case, mode in default():
        words = shlex.split(reproduce(case, mode.name, "in-tree", "cpu"))
        assert words[:2] == ["harness", "check"]
        assert chosen_by(words) == [(case, mode)]


@pytest.mark.parametrize("extra", [{"hidden": (2720,)}, {"full": True}, {"tokens": (0,)}, {"tp": (8,)}], ids=str)
def test_again_of_a_choice_of_one_s_own(extra: dict[str, Any]) -> None:
    for case, mode in Selection(models=("gpt-oss-20b", LATENT), **extra).tasks():
        assert chosen_by(shlex.split(reproduce(case, mode.name, "in-tree", "cpu"))) == [(case, mode)]


def test_again_keeps_subject_and_device() -> None:
    case, mode = default()[0]
    arguments = parser().parse_args(shlex.split(reproduce(case, mode.name, "my.mod:A", "cuda"))[1:])
    assert (arguments.subject, arguments.device) == ("my.mod:A", "cuda")


def test_again_keeps_a_models_file_of_one_s_own(tmp_path: Path) -> None:
    file = tmp_path / "my models.json"
    entry = {"name": "mine", "hidden": 2720, "intermediate": 96, "experts": 4, "top_k": 4, "activation": "silu"}
    file.write_text(json.dumps({"models": [entry | {"gated": True}]}))
    tasks = Selection(models_file=str(file)).tasks()
    assert {case.model for case, _ in tasks} == {"mine"}
    for case, mode in tasks:
        assert chosen_by(shlex.split(reproduce(case, mode.name, "in-tree", "cpu"))) == [(case, mode)]


def chosen_by(words: list[str]) -> list[tuple[Case, ModeInfo]]:
    """The tasks that a command line chooses."""
    return check.selection_of(parser().parse_args(words[1:])).tasks()
