"""The models file: every model that it names, its widths and rules, and what is said of a file that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.base.errors import BadInput
from harness.matrix.case import Case, round_up
from harness.matrix.shapes import ACTIVATIONS, BUILT_IN, STAND_INS, load, read_rule, read_shape

RAW = json.loads(BUILT_IN.read_text("utf-8"))
ENTRIES = {entry["name"]: entry for entry in [*RAW["models"], *RAW["synthetic"]]}
RULES = {name: entry for name, entry in RAW["alignment"].items() if name != "about"}
GOOD = {
    "name": "mine",
    "hidden": 2720,
    "intermediate": 96,
    "experts": 4,
    "top_k": 4,
    "activation": "silu",
    "gated": True,
}
# (model, rule, routed width, the width after rounding up): facts of public runners, none computed here.
ROUNDED = [
    ("nemotron-3-nano-30b-a3b", "trtllm-nvfp4", 2688, 2816),
    ("nemotron-3-nano-30b-a3b", "trtllm-mxfp8", 2688, 3072),
    ("nemotron-3-nano-30b-a3b", "cutlass-nvfp4", 2688, 2688),
    ("nemotron-3-nano-30b-a3b", "marlin-nvfp4", 2688, 2816),
    ("nemotron-3-nano-30b-a3b", "none", 2688, 2688),
    ("nemotron-3-super-120b-a12b", "trtllm-nvfp4", 1024, 1024),
    ("gpt-oss-20b", "trtllm-nvfp4", 2880, 3072),
    ("gpt-oss-120b", "cutlass-nvfp4", 2880, 2944),
    ("deepseek-v3", "trtllm-nvfp4", 7168, 7168),
    ("synthetic-latent-padded", "trtllm-nvfp4", 1344, 1536),
    ("synthetic-2304", "trtllm-nvfp4", 2304, 2304),
    ("synthetic-2304", "trtllm-mxfp8", 2304, 2560),
]


def models_file(folder: Path, text: str) -> Path:
    path = folder / "models.json"
    path.write_text(text, "utf-8")
    return path


def error_of(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_are_unique_and_all_loaded_in_the_file_s_order() -> None:
    assert len(ENTRIES) == len(RAW["models"]) + len(RAW["synthetic"])
    assert list(load().shapes) == list(ENTRIES)
    assert list(load().rules) == list(RULES)


@pytest.mark.parametrize("name", ENTRIES)
def test_model_loads_with_its_published_sizes(name: str) -> None:
    shape, entry = load().shape(name), ENTRIES[name]
    for key in ("name", "hidden", "intermediate", "experts", "top_k", "shared_intermediate", "latent", "gated"):
        assert getattr(shape, key) == entry[key], key
    assert shape.activation == entry["activation"]
    assert STAND_INS.get(shape.activation, shape.activation) in ACTIVATIONS
    assert shape.top_k <= shape.experts
    for width in (shape.hidden, shape.intermediate, shape.shared_intermediate, shape.latent):
        assert width is None or (width > 0 and width % 16 == 0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ENTRIES)
def test_model_keeps_its_widths_under_each_rule(name: str, rule: str) -> None:
    shape, alignment = load().shape(name), load().rule(rule)
    case = Case.of(shape, alignment, "wide", 1, 7)
    assert case.hidden == shape.hidden
    assert case.width == (shape.latent or shape.hidden)
    assert case.padded % alignment.hidden == 0
    assert case.width <= case.padded < case.width + alignment.hidden
    assert case.padded_intermediate % alignment.intermediate(shape.gated) == 0
    assert case.padded_intermediate >= case.intermediate


@pytest.mark.parametrize(("name", "rule", "width", "padded"), ROUNDED)
def test_rounded_widths(name: str, rule: str, width: int, padded: int) -> None:
    case = Case.of(load().shape(name), load().rule(rule), "wide", 1, 7)
    assert (case.width, case.padded) == (width, padded)


def test_rules_of_the_built_in_file() -> None:
    rules = load().rules
    assert {"trtllm-nvfp4", "trtllm-mxfp8", "cutlass-nvfp4", "marlin-nvfp4", "none"} <= set(rules)
    assert [rules["trtllm-nvfp4"].intermediate(gated) for gated in (True, False)] == [64, 128]
    assert [rules["cutlass-nvfp4"].intermediate(gated) for gated in (True, False)] == [128, 128]
    assert rules["none"].hidden == 16


@pytest.mark.parametrize(("width", "multiple", "expected"), [(0, 16, 0), (1, 16, 16), (16, 16, 16), (2688, 256, 2816)])
def test_round_up(width: int, multiple: int, expected: int) -> None:
    assert round_up(width, multiple) == expected


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"unknown model 'gpt-oss-20'; did you mean gpt-oss-20b"):
        load().shape("gpt-oss-20")
    with pytest.raises(BadInput, match=r"unknown alignment rule 'trtlm'; did you mean trtllm-nvfp4|trtllm-mxfp"):
        load().rule("trtlm")


def test_a_file_of_one_s_own_adds_to_the_built_in_rules(tmp_path: Path) -> None:
    own = {"models": [GOOD], "alignment": {"about": "mine", "mine": {"hidden": 512, "intermediate": 32}}}
    found = load(models_file(tmp_path, json.dumps(own)))
    assert list(found.shapes) == ["mine"]
    assert found.shape("mine").latent is None
    assert found.shape("mine").shared_intermediate is None
    assert set(found.rules) == set(RULES) | {"mine"}
    assert found.rule("mine").intermediate(True) == found.rule("mine").intermediate(False) == 32


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "my model"}, "model 'my model': expected a name of letters, digits"),
        ({"name": "tp=2"}, "model 'tp=2': expected a name of letters, digits"),
        ({"hidden": 2690}, "hidden is 2690"),
        ({"hidden": "2688"}, "hidden is '2688'"),
        ({"hidden": True}, "hidden is True"),
        ({"hidden": -16}, "hidden is -16"),
        ({"hidden": 0}, "hidden is 0"),
        ({"hidden": 2688.0}, "hidden is 2688.0"),
        ({"hidden": None}, "hidden is None"),
        ({"intermediate": 100}, "intermediate is 100"),
        ({"latent": 1000}, "latent is 1000"),
        ({"shared_intermediate": 7}, "shared_intermediate is 7"),
        ({"experts": 0}, "experts is 0"),
        ({"experts": None}, "experts is None"),
        ({"top_k": "4"}, "top_k is '4'"),
        ({"top_k": 5}, "top_k 5 is above its 4 experts"),
        ({"activation": "sillu"}, "activation 'sillu'; expected one of silu"),
        ({"activation": None}, "activation None"),
        ({"gated": "yes"}, "gated is 'yes'"),
        ({"gated": None}, "gated is None"),
    ],
    ids=str,
)
def test_wrong_shape_names_the_model_and_the_key(change: dict[str, Any], told: str) -> None:
    entry = GOOD | change
    with pytest.raises(BadInput) as caught:
        read_shape(entry, "models.json")
    text = str(caught.value)
    assert text.startswith(f"models.json: model {entry['name']!r}")
    assert told in text
    assert "\n" not in text


@pytest.mark.parametrize("entry", [None, 3, "mine", [], {}, {"name": 3}], ids=str)
def test_entry_without_a_name(entry: Any) -> None:
    with pytest.raises(BadInput, match=r"models\.json: each model is an object with a 'name'"):
        read_shape(entry, "models.json")


@pytest.mark.parametrize("entry", [None, 256, [], {}, {"hidden": 256}, {"hidden": 100, "intermediate": 64}], ids=str)
def test_wrong_rule(entry: Any) -> None:
    with pytest.raises(BadInput, match=r"models\.json: alignment rule 'mine'"):
        read_rule("mine", entry, "models.json")


def test_missing_file(tmp_path: Path) -> None:
    assert "cannot read the models file" in error_of(tmp_path / "none.json")


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert "cannot read the models file" in error_of(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "models: []",
        "[]",
        "{}",
        '{"models": {}}',
        '{"models": null}',
        '{"models": [], "synthetic": 5}',
        '{"models": [], "synthetic": null}',
        '{"models": [], "alignment": [1]}',
        '{"models": [], "alignment": null}',
        '{"models": []}',
    ],
    ids=str,
)
def test_file_of_the_wrong_form(text: str, tmp_path: Path) -> None:
    assert "is not a valid models file" in error_of(models_file(tmp_path, text))


def test_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not a valid models file" in error_of(path)


def test_two_models_of_one_name(tmp_path: Path) -> None:
    twice = {"models": [GOOD, GOOD | {"hidden": 2688}]}
    assert "'mine'" in error_of(models_file(tmp_path, json.dumps(twice)))
