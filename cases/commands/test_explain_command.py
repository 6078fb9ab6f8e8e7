"""`harness explain`: the account of a case, as text, SVG and JSON, and how a case is chosen."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from fixtures.imports import ROOT
from harness.account.account import BOTH, ROUTED, SHARED, Account, Step
from harness.account.build import account
from harness.account.svg import svg
from harness.account.text import ASCII, UNICODE, rendered
from harness.base.errors import BadInput
from harness.cli import main
from harness.matrix.case import Case
from harness.matrix.case_id import case_of, id_and_mode
from harness.matrix.modes import MODES
from harness.matrix.selection import Selection
from harness.matrix.shapes import load
from harness.matrix.shrunk import resized, sizes_of
from harness.workers.account_tasks import job, start
from harness.workers.plan import Plan
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CASE = "nemotron-3-nano-30b-a3b-hidden2688-padded2816-trtllm-nvfp4-wide-tp2-tokens7"
NARROW = "gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-narrow-tp1-tokens33"
LATENT = "nemotron-3-super-120b-a12b-hidden4096-latent1024-padded1024-trtllm-nvfp4-wide-tp2-tokens7"


def accounts(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    """The exit code, the account, and its steps by their stage."""
    code = main(["explain", "--json", *words])
    account = json.loads(capsys.readouterr().out)
    return code, account, {step["stage"]: step for step in account["steps"]}


def test_the_steps_of_a_correct_layer(capsys: pytest.CaptureFixture[str]) -> None:
    code, account, steps = accounts(capsys, CASE)
    assert (code, account["verdict"], account["case"], account["format"]) == (0, "ok", CASE, 1)
    assert list(steps) == [
        "hidden_states", "shared expert", "pad", "routed experts", "unpad", "routed scaling", "shared add", "all-reduce",
        "output",
    ]  # fmt: skip
    assert steps["pad"]["shape"] == [7, 2816]
    assert steps["pad"]["rule"] == "2816 = 2688 rounded up to 256, trtllm-nvfp4"
    assert steps["unpad"]["stride"] == [2816, 1]
    assert (steps["unpad"]["contiguous"], steps["output"]["contiguous"]) == (False, True)
    assert [steps[name]["branch"] for name in ("shared expert", "pad", "shared add")] == [SHARED, ROUTED, BOTH]
    assert steps["shared add"]["meets"] == "7 x 2688 of shared expert meets 7 x 2688 of routed scaling"
    assert all(step["line"]["file"].endswith(".py") for name, step in steps.items() if step["ops"])


def test_a_latent_layer_has_its_projections(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, steps = accounts(capsys, LATENT)
    assert code == 0
    assert steps["latent down-projection"]["shape"] == [7, 1024]
    assert steps["latent up-projection"]["shape"] == [7, 4096]


def test_where_a_layer_raises(capsys: pytest.CaptureFixture[str]) -> None:
    code, account, steps = accounts(capsys, "--subject", "fixtures.corpus:vllm#35949", CASE)
    assert (code, account["verdict"]) == (1, "findings")
    assert "2688" in str(steps["shared add"]["error"])
    assert steps["shared add"]["meets"] == "7 x 2688 of shared expert meets 7 x 2816 of routed scaling"
    assert steps["shared add"]["findings"] == ["width-mismatch"]
    assert steps["output"]["shape"] == []


def test_where_real_and_fake_part(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, steps = accounts(capsys, "--subject", "fixtures.corpus:vllm#41645", NARROW)
    assert code == 1
    assert steps["routed experts"]["shape"] == [33, 2880]
    assert steps["routed experts"]["fake"] == "the fake says bfloat16[33, 3072] stride [3072, 1]"
    assert steps["pad"]["fake"] == ""


def test_where_the_oracle_parts(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, steps = accounts(capsys, "--subject", "fixtures.corpus:vllm#45037", CASE)
    assert code == 1
    assert "differ from the oracle" in str(steps["output"]["oracle"])


def test_the_text_is_plain_and_as_wide_as_it_may_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    file = tmp_path / "case.svg"
    assert main(["explain", CASE, "--svg", str(file)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "real, fake and oracle agree at every step" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("judge it: ")) <= 70
    assert ElementTree.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def small(**fields: object) -> Account:
    given: dict[str, object] = {"dtype": "bfloat16", "shape": (7, 2688), "stride": (2688, 1)}
    first = Step(number=0, stage="hidden_states", branch=BOTH, inputs=(), **given)  # type: ignore[arg-type]
    step = Step(number=1, stage="pad", branch=BOTH, inputs=(0,), **(given | fields))  # type: ignore[arg-type]
    return Account(subject="x", case="a<b", title="a & b", steps=(first, step), verdict="ok")


def text_of(account: Account, width: int = 90, ascii_only: bool = False) -> str:
    rows = rendered(account, width, ASCII if ascii_only else UNICODE)
    return "\n".join("".join(text for _, text in row) for row in rows)


def test_a_terminal_without_the_signs_gets_ascii() -> None:
    assert "●" in text_of(small())
    text = text_of(small(error="x"), ascii_only=True)
    assert text.isascii()
    assert "\nx     pad" in text


def test_text_of_a_layer_is_escaped() -> None:
    account = small(error="\x1b[31m<red> & more\x00")
    assert "\x1b" not in text_of(account)
    picture = svg(account)
    texts = [element.text or "" for element in ElementTree.fromstring(picture).iter()]
    assert any("<red> & more" in text for text in texts)
    assert "prefers-color-scheme: dark" in picture


def test_boxes_lie_side_by_side_and_inside_the_picture() -> None:
    made = small()
    steps = tuple(
        Step(number=n, stage=str(n), branch=branch, inputs=inputs, dtype="f", shape=(1,), stride=(1,))
        for n, branch, inputs in ((0, BOTH, ()), (1, SHARED, (0,)), (2, ROUTED, (0,)), (3, BOTH, (1, 2)))
    )
    root = ElementTree.fromstring(svg(Account(subject="", case="", title="t", steps=steps, verdict=made.verdict)))
    boxes = [
        {key: int(element.attrib[key]) for key in ("x", "y", "width", "height")}
        for element in root.iter()
        if element.attrib.get("class") == "box"
    ]
    assert len(boxes) == 4
    assert all(box["x"] + box["width"] <= int(root.attrib["width"]) for box in boxes)
    assert all(box["y"] + box["height"] <= int(root.attrib["height"]) for box in boxes)
    shared, routed = boxes[1], boxes[2]
    assert shared["y"] == routed["y"]
    assert routed["x"] + routed["width"] < shared["x"]


VARIED = tuple(name for name, mode in MODES.items() if mode.family == "varied")


@pytest.mark.parametrize(
    "selection",
    [
        Selection(proofs=True, cuda=True),
        Selection(full=True),
        Selection(modes=VARIED),
        Selection(modes=VARIED, models=("nemotron-3-super-120b-a12b",), hidden=(48, 2688)),
        Selection(models=("gpt-oss-20b",), hidden=(16, 2000), tokens=(0, 4096), tp=(8,)),
    ],
    ids=["default", "full", "varied", "varied-hidden", "chosen"],
)
def test_every_id_is_read_back(selection: Selection) -> None:
    cases = list({case.id: case for case, _ in selection.tasks()}.values())
    assert cases
    assert [case_of(case.id) for case in cases] == cases


@pytest.mark.parametrize("model", ["nemotron-3-super-120b-a12b", "gpt-oss-20b", "any-shared-latent"])
def test_the_id_of_a_shrunk_case_is_read_back(model: str) -> None:
    catalogue = load()
    case = Case.of(catalogue.shape(model), catalogue.rule("trtllm-nvfp4"), "narrow", 2, 7)
    for sizes in (
        {"hidden": 16, "experts": 1, "top_k": 1},
        {"latent": None, "shared": 32},
        {"shared": None, "scaling": 1.0},
    ):
        small = resized(case, sizes)
        assert case_of(small.id) == small
        assert resized(small, sizes_of(small)) == small  # a case that is made small once more


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (CASE, ""),
        (f"{CASE}-eager", "eager"),
        (f"{CASE}-fake-dynamic", "fake-dynamic"),
        (f"cases/padding/test_padding.py::test_padding[{CASE}-compiled-static]", "compiled-static"),
        (f"{NARROW}-full", ""),
    ],
)
def test_what_pytest_prints_is_an_id_too(text: str, mode: str) -> None:
    name, found = id_and_mode(text)
    assert (found, case_of(text).id) == (mode, name)


def test_an_account_made_in_a_worker_is_the_same() -> None:
    plan = Plan(Selection(), "kernels.layer.subject:InTree", "in-tree", "cpu", 1, (str(ROOT),))
    settings = json.loads(json.dumps(job(plan, CASE).settings))
    found = start(settings)(0)
    mine = account(InTree(), case_of(CASE), "cpu", "in-tree", found["account"]["reproduce"])
    assert Account.from_json(json.loads(json.dumps(found["account"]))) == mine
    assert found["status"] == "ok"


def test_a_worker_says_why_there_is_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    class CannotBuild(InTree):
        def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
            raise ValueError("no such kernel")

    monkeypatch.setattr("fixtures.misbehaving.CannotBuild", CannotBuild, raising=False)
    plan = Plan(Selection(), "fixtures.misbehaving:CannotBuild", "x", "cpu", 1, (str(ROOT),))
    found = start(json.loads(json.dumps(job(plan, CASE).settings)))(0)
    assert found["status"] == "error"
    assert found["reason"].startswith("the layer cannot be built: ValueError: no such kernel")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "is not the id of a case; expected one like"),
        (CASE.replace("padded2816", "padded3000"), "any more: with that model and rule it is"),
        (CASE.replace("nemotron-3-nano-30b-a3b", "nemotron-3-nano"), "unknown model"),
    ],
)
def test_an_id_of_no_case(text: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        case_of(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--models", "gpt-oss-20b"], "cases match, and one is explained; give an id or narrow them with --models"),
        (["--subject", "vllm@/nowhere/at/all", CASE], "/nowhere/at/all"),
        ([CASE, "--svg", "/nowhere/at/all.svg"], "cannot write /nowhere/at/all.svg"),
    ],
)
def test_bad_input_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
