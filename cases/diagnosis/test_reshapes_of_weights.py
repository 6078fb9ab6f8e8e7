"""A reshape of a weight is told as one: each width that padding may have changed, no tokens, and the ranks of a share."""

import pytest

from fixtures.diagnosing import diagnosis_of
from harness.diagnosis.diagnosis import Diagnosis

TEXT = """{head}
Traceback (most recent call last):
  File "/srv/heron/{file}.py", line 29, in {function}
    {code}
RuntimeError: shape '[{want}]' is invalid for input of size {elements}
"""
OF_ACTIVATIONS = ("routed experts", "wide", "padding was not cut off", "the experts' own")


def answer(
    want: tuple[int, ...],
    elements: int,
    code: str,
    function: str = "load_weights",
    head: str = "x",
    file: str = "files",
) -> Diagnosis:
    shape = ", ".join(map(str, want))
    return diagnosis_of(TEXT.format(head=head, file=file, function=function, code=code, want=shape, elements=elements))


def told(one: Diagnosis) -> str:
    return " ".join((one.stage, *one.operands, one.cause, one.look))


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("load_weights", "return t.view(n, r, c)"),
        ("load_w2", "return t.reshape(n, r, c)"),
        ("shuffle_weights", "return t.view(n, r, c)"),
        ("prepare", "self.w13_weight.data = self.w13_weight.data.view(n, r, c)"),
        ("prepare", "w2 = w2.view(n, r, c)"),
        ("copy_in", "param.data.view(n, r, c).copy_(t)"),
        ("prepare", "return t.view(num_experts, 2 * shard, d)"),
        ("<module>", "bank = loaded_shard.reshape(n, r, c)"),
    ],
)
def test_names_of_weights_and_loaders_decide(function: str, code: str) -> None:
    one = answer((8, 1408, 4096), 8 * 1536 * 4096, code, function, "INFO glm-4.5-air")
    assert one.stage.startswith("a reshape of a weight")
    assert one.verdict == "family"
    assert one.tokens == ""
    assert not any(words in told(one) for words in OF_ACTIVATIONS)
    assert one.operands == ("dimension 1: 1536 there, 1408 asked for",)


def test_a_caller_that_loads_decides() -> None:
    text = TEXT.replace(
        '  File "/srv/heron/{file}.py"',
        '  File "/srv/heron/load.py", line 4, in load_expert_weights\n    p = fit(t)\n  File "/srv/heron/{file}.py"',
    )
    filled = text.format(
        head="", file="f", function="fit", code="return t.view(a, b, c)", want="8, 1408, 4096", elements=50331648
    )
    assert diagnosis_of(filled).stage.startswith("a reshape of a weight")


def test_the_numbers_of_a_weight_of_experts_are_enough_to_doubt() -> None:
    one = answer((16, 1408, 2048), 16 * 1536 * 2048, "return t.view(*shape)", "fit")
    assert "a weight [experts, out, in], or of activations" in one.stage
    assert one.tokens == ""
    assert one.operands == ("dimension 1: 1536 there, 1408 asked for",)


@pytest.mark.parametrize(
    "code", ["return hidden_states.view(n, r, c)", "y = out.reshape(n, r, c)", "x = x.view(n, r, c)"]
)
def test_an_activation_stays_one(code: str) -> None:
    one = answer((4, 720, 2880), 4 * 720 * 3072, code, "forward")
    assert "a weight" not in one.stage
    assert "the tensor is 3072 wide" in one.operands


@pytest.mark.parametrize("function", ["topk_weight_and_reduce", "apply_router_weight", "forward"])
def test_weights_of_a_router_are_no_weights(function: str) -> None:
    assert "a weight" not in answer((7, 2880), 7 * 3072, "return res.view(n, c)", function).stage


@pytest.mark.parametrize(("want", "one_is"), [((2, 1440, 2880), 1536), ((2, 2880, 1440), 3072)])
def test_two_factorisations_are_both_told(want: tuple[int, int, int], one_is: int) -> None:
    elements = 2 * 1536 * 2880
    assert elements == 2 * 1440 * 3072
    one = answer(want, elements, "return t.view(e, r, c)", "load_w13", "INFO gpt-oss-20b")
    assert sorted(width.size for width in one.widths) == [1440, 1536, 2880, 3072]
    assert "does not tell which" in one.cause
    assert {f"perhaps dimension {n}: {there} there, {asked} asked for" for n, asked, there in _both(want)} == set(
        one.operands
    )
    assert one_is in {there for n, _, there in _both(want) if n == 1}
    assert all(rule in one.rule for rule in ("1536 = 1440 rounded up", "3072 = 2880 rounded up"))
    assert " --models gpt-oss-20b --tp 4 " in one.tries[0]


def _both(want: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    return [(place, want[place], {1440: 1536, 2880: 3072}[want[place]]) for place in (1, 2)]


def test_a_shape_of_the_tensor_in_the_text_decides() -> None:
    head = "loaded torch.Size([2, 1536, 2880])"
    text = TEXT.replace("RuntimeError", f"    # {head}\nRuntimeError")
    filled = text.format(
        head="",
        file="f",
        function="load_w13",
        code="return t.view(e, r, c)",
        want="2, 1440, 2880",
        elements=2 * 1536 * 2880,
    )
    one = diagnosis_of(filled)
    assert one.operands == ("dimension 1: 1536 there, 1440 asked for",)
    assert "does not tell which" not in one.cause


def test_the_padded_size_may_be_the_one_that_is_asked_for() -> None:
    one = answer((8, 1536, 4096), 8 * 1408 * 4096, "return t.view(e, r, c)", "load_w2", "INFO glm-4.5-air")
    assert one.operands == ("dimension 1: 1408 there, 1536 asked for",)
    assert "Then the reshape takes the padded size, and the weight has the model's own." in one.cause


def test_stated_ranks_are_tried() -> None:
    one = answer(
        (8, 1856, 2688), 8 * 1920 * 2688, "return t.view(e, r, c)", "load_w2", "nemotron-3-nano-30b-a3b tp_size=2"
    )
    assert " --models nemotron-3-nano-30b-a3b --tp 2 " in one.tries[0]


def test_numbers_that_no_padding_makes_name_no_width() -> None:
    one = answer((8, 1408, 4096), 8 * 2816 * 4096, "return t.view(e, r, c)", "load_w2")
    assert one.stage.startswith("a reshape of a weight")
    assert "2 x as many" in one.cause or "0.5 x as many" in one.cause
    assert one.tokens == ""
    assert one.widths == ()


def test_two_equal_dimensions_name_their_widths_once() -> None:
    one = answer((8, 2880, 2880), 8 * 2880 * 3072, "return t.view(e, r, c)", "load_w2", "gpt-oss-20b")
    assert [width.size for width in one.widths] == [2880, 3072]
    assert one.rule.count("3072 = 2880") == 1
    assert len(one.operands) == 2


def test_what_a_first_product_gave_is_no_weight() -> None:
    one = answer((7, 2, 1408), 7 * 2 * 1536, "y = gate_up.view(n, 2, c)", "forward", "glm-4.5-air")
    assert "a weight" not in one.stage
    assert "each half" not in one.rule
