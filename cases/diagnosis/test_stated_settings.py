"""What a text has set already is no advice; a mode that it excludes is not tried, and neither is an engine that it does not name."""

import pytest

from fixtures.diagnosing import diagnosis_of

FAULT = """Traceback (most recent call last):
  File "/srv/rook/experts.py", line 88, in {function}
    {code}
torch.AcceleratorError: CUDA error: an illegal memory access was encountered
"""
INDEXED = FAULT.format(function="forward", code="buf = experts_out[sorted_ids]  # of experts")
REPLAYED = FAULT.format(function="step", code="self.cuda_graphs[bs].replay()  # of the moe model")
ADVICE = "advice: try --enforce-eager, or set enforce_eager=True"


@pytest.mark.parametrize(
    "words",
    [
        "args: enforce_eager=True",
        "{'enforce_eager': True}",
        "$ serve rook --enforce-eager",
        "$ serve rook --no-graphs",
        "CUDA graphs are off",
        "decode runs without graphs",
        "cudagraph_mode=CUDAGraphMode.NONE",
        "disable_cuda_graph=True",
    ],
)
def test_no_graph_is_tried_where_the_text_has_none(words: str) -> None:
    one = diagnosis_of(f"INFO {words}\n{INDEXED}")
    assert one.tries
    assert not any("cudagraph" in command for command in one.tries)
    assert "graphs off" not in one.look


@pytest.mark.parametrize("words", ["", ADVICE, "enforce_eager=False", "cudagraph_runtime_mode=CUDAGraphMode.NONE"])
def test_graphs_are_tried_elsewhere(words: str) -> None:
    assert any("cudagraph" in command for command in diagnosis_of(f"INFO {words}\n{INDEXED}").tries)


def test_a_replay_speaks_against_words_that_graphs_are_off() -> None:
    one = diagnosis_of(f"INFO graphs off for the first step\n{REPLAYED}")
    assert "--modes cudagraph " in one.tries[0]


def test_the_named_model_is_in_every_check() -> None:
    one = diagnosis_of(f"INFO serving mixtral-8x7b\n{INDEXED}")
    assert all("--models mixtral-8x7b" in command for command in one.tries)


AGAIN = """{before}
V1129 10:00:01.100000 77 torch/_dynamo/guards.py:5396] [1/1] {mark}Recompiling function mix in /w/rook/moe.py:44
V1129 10:00:01.100000 77 torch/_dynamo/guards.py:5396] [1/1] {mark}    triggered by the following guard failure(s):
V1129 10:00:01.100000 77 torch/_dynamo/guards.py:5396] [1/1] {mark}    - 1/0: self.{name} == 3      # {code}  # rook/moe.py:45 in mix
"""
COUNTS, MARK = "out = x * self.step", "[__recompiles] "


@pytest.mark.parametrize(
    ("before", "mark", "advises"),
    [
        ("", "", True),
        ('To log them, run with TORCH_LOGS="recompiles"', "", True),
        ("", MARK, False),
        ("$ TORCH_LOGS=+recompiles python bench.py", "", False),
        ("export TORCH_LOGS=recompiles", "", False),
    ],
)
def test_no_log_is_advised_that_is_on(before: str, mark: str, advises: bool) -> None:
    look = diagnosis_of(AGAIN.format(before=before, mark=mark, name="step", code=COUNTS)).look
    assert ("(it is set)" not in look) == advises


@pytest.mark.parametrize(
    ("name", "code", "verdict"),
    [
        ("slots", "pad = self.slots - x.shape[0]", "family"),
        ("slots", "pad = self.slots - hidden.size(0)", "family"),
        ("slots", "pad = self.slots - num_tokens", "family"),
        ("slots", "pad = self.slots - self.used", "undecided"),
        ("step", COUNTS, "other"),
    ],
)
def test_a_modules_number_of_rows_decides(name: str, code: str, verdict: str) -> None:
    one = diagnosis_of(AGAIN.format(before="", mark=MARK, name=name, code=code))
    assert one.verdict == verdict
    assert f"who sets self.{name} between calls" in one.look


ADD = """{before}
Traceback (most recent call last):
  File "{file}", line 61, in forward
    return residual + routed
RuntimeError: The size of tensor a (2880) must match the size of tensor b (3072) at non-singleton dimension 1
"""


@pytest.mark.parametrize(
    ("before", "file", "second"),
    [
        ("", "/srv/rook/block.py", ""),
        ("vLLM API server version 0.22.1", "/srv/rook/block.py", "harness vllm 0.22.1 --models"),
        ("", "/venv/site-packages/vllm/model_executor/x.py", "harness check --subject vllm --models"),
        ("", "/sgl-workspace/sglang/python/sglang/srt/layers/x.py", "harness check --subject sglang --models"),
        ("SGLang version 0.5.10", "/srv/rook/block.py", "harness sglang 0.5.10 --models"),
        ("", "/venv/site-packages/transformers/models/gpt_oss/modeling.py", ""),  # it pads nothing
    ],
)
def test_the_subject_is_the_engine_of_the_text(before: str, file: str, second: str) -> None:
    tries = diagnosis_of(ADD.format(before=before, file=file)).tries
    assert tries[0].startswith("harness check --models ")
    assert [one.startswith(second) for one in tries[1:]] == ([True] if second else [])
