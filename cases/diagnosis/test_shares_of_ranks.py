"""A share, a half or a packed size is named only where the ranks in the text and the other size of the same weight allow it."""

import pytest

from fixtures.diagnosing import diagnosis_of

HEAD = "INFO engine started: {head}\n"
TEXT = """Traceback (most recent call last):
  File "/srv/net/experts.py", line 12, in forward
    return F.linear(y, self.w_down[e])
RuntimeError: mat1 and mat2 shapes cannot be multiplied (7x{a} and {b}x{n})
"""
SHARE, PACKED = "intermediate size / 2 ranks of nemotron-3-nano-30b-a3b", "intermediate size / 2 (packed FP4)"


def narrow(head: str, a: int = 928, b: int = 1024, n: int = 2688) -> tuple[tuple[str, ...], str]:
    """The models that are named for the narrow width, and the first command."""
    one = diagnosis_of(HEAD.format(head=head) + TEXT.format(a=a, b=b, n=n))
    return next(width.models for width in one.widths if not width.padded), one.tries[0]


@pytest.mark.parametrize("head", ["tp_size=2", "no ranks", "tp=1, data_parallel_size=2", "world_size=4", "tp_size=4"])
def test_a_share_is_named_where_the_ranks_allow_it(head: str) -> None:
    assert SHARE in narrow(head)[0]


@pytest.mark.parametrize("head", ["tp_size=1", "tensor_parallel_size=1", "--tp 1", "'tp': 1", "tp=1 dp=1 world_size=1"])
def test_one_rank_has_no_share(head: str) -> None:
    models, command = narrow(head)
    assert not any("ranks" in model for model in models)
    assert any(PACKED in model for model in models)
    assert "--tp" not in command


def test_no_share_is_of_more_ranks_than_there_are() -> None:
    assert not any("/ 4 ranks" in model or "/ 8 ranks" in model for model in narrow("tp_size=2", 464, 512)[0])
    assert any("/ 4 ranks" in model for model in narrow("tp_size=4", 464, 512)[0])


@pytest.mark.parametrize(("other", "named"), [(2688, True), (2816, True), (1344, True), (4000, False), (2000, False)])
def test_the_other_size_of_the_weight_is_the_models_too(other: int, named: bool) -> None:
    models, command = narrow("x", 1024, 928, other)
    assert (SHARE in models) == named
    assert ("--models nemotron-3-nano-30b-a3b --tp 2" in command) == named


def test_a_whole_width_stays_whatever_the_other_size_is() -> None:
    assert narrow("tp=1", 1920, 1856, 5000)[0] == ("intermediate size of nemotron-3-nano-30b-a3b",)


def test_a_synthetic_model_with_both_sizes_is_tried() -> None:
    models, command = narrow("tp=1", 1408, 1344, 2688)
    assert models == ()
    assert "--models synthetic-latent-padded --rules" in command
    assert "--models synthetic-latent-padded" in narrow("model synthetic-latent-padded", 1408, 1344, 900)[1]


VIEW = """Traceback (most recent call last):
  File "/srv/net/layer.py", line 12, in forward
    {caller}
  File "/srv/net/tools.py", line 4, in {function}
    {code}
RuntimeError: view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous \
subspaces). Use .reshape(...) instead.
"""


@pytest.mark.parametrize(
    ("head", "caller", "options"),
    [
        ("model mixtral-8x7b, tp=1", "y = f(y)", "--models mixtral-8x7b --modes"),
        ("model mixtral-8x7b", "y = f(y)", "--models mixtral-8x7b --tp 2 --modes"),
        ("tp=4", "y = f(y)", "--models gpt-oss-20b --tp 4 --modes"),
        ("x", "y = f(torch.ones(3, 2688))", "--models nemotron-3-nano-30b-a3b --tp 2 --modes"),
        ("x", "y = f(y)", "--models gpt-oss-20b --tp 2 --modes"),
    ],
)
def test_a_view_is_tried_on_the_model_and_the_ranks_of_the_text(head: str, caller: str, options: str) -> None:
    one = diagnosis_of(HEAD.format(head=head) + VIEW.format(caller=caller, function="f", code="return y.view(-1, n)"))
    assert options in one.tries[0]


@pytest.mark.parametrize(
    ("function", "code", "caller"),
    [
        ("absmax_of", "return t.view(-1, n).abs().max(-1)", "s = absmax_of(t)"),
        ("f", "return t.view(-1, group_size)", "s = f(t)"),
        ("f", "return t.view(-1, n)", "q, s = mxfp8_quantize(f(t))"),
        ("per_token_group_quant", "t = t.view(m, -1, n)", "q = run(t)"),
    ],
)
def test_a_view_of_rows_as_blocks_is_of_quantisation(function: str, code: str, caller: str) -> None:
    one = diagnosis_of(VIEW.format(caller=caller, function=function, code=code))
    assert one.stage == "a view of rows as blocks (quantisation)"
    assert "one scale each" in one.cause


@pytest.mark.parametrize("code", ["return t.view(-1, n)", "return (q * scale).view(-1, n)", "blocked = t.view(b, -1)"])
def test_other_views_are_not(code: str) -> None:
    assert "quantisation" not in diagnosis_of(VIEW.format(caller="y = f(t)", function="f", code=code)).cause
