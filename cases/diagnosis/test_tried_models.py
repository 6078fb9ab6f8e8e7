"""A failure without widths is tried on the model whose hidden size the text has, wherever in it that stands."""

import pytest

from fixtures.diagnosing import diagnosis_of

VIEW = """____________________________ test_rows ____________________________

    def test_rows():
        layer = RowsOverRanks()
{line}
>       out = layer(x)

tests/test_rows.py:20:
{between}
Traceback (most recent call last):
  File "/srv/heron/rows.py", line 12, in gather
    dist.{collective}(out, x.view(-1))
RuntimeError: view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous \
subspaces). Use .reshape(...) instead.
"""
STAND_IN = "gpt-oss-20b"


def tried(line: str, collective: str = "all_gather_into_tensor", between: str = "") -> str:
    one = diagnosis_of(VIEW.format(line=f"        {line}", collective=collective, between=between))
    return one.tries[0].partition("--models ")[2].split()[0]


@pytest.mark.parametrize("collective", ["all_gather_into_tensor", "all_reduce", "send"])
@pytest.mark.parametrize(
    ("line", "model"),
    [
        ("x = torch.randn(7, 2816)", "gemma-4-26b-a4b"),
        ("x = torch.randn(7, 2688)  # padded: [7, 2816]", "nemotron-3-nano-30b-a3b"),
        ("cfg = dict(hidden_size=8192)", "nemotron-3-ultra-550b-a55b"),
        ('cfg = {"d_model": 7168, "n": 4096}', "deepseek-v3"),
        ("x = torch.randn(7, 4096)", STAND_IN),
        ("x = torch.randn(2688, 7168)", STAND_IN),
        ("# 2816 rows, line 2816, pid=2816", STAND_IN),
        ("x = torch.randn(12816, 28160)", STAND_IN),
        ("x = torch.randn(7, 3000)", STAND_IN),
    ],
)
def test_the_one_hidden_size_in_the_text_names_the_model(line: str, model: str, collective: str) -> None:
    assert tried(line, collective) == model


def test_a_model_that_the_text_names_comes_before_it() -> None:
    assert tried("x = torch.randn(7, 2816)", between="serving glm-4.5-air") == "glm-4.5-air"
