"""One account of two widths in every line of an answer, and one process for an error that another one only passes on."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

ROUNDED = "2048 = 1792 rounded up to 512 (trtllm-mxfp8), or to 1024"
ASSERT = """Traceback (most recent call last):
  File "/home/ci/net/block.py", line 44, in block
    return fn(x)
  File "/home/ci/{place}.py", line 9, in call
    assert_size_stride(buf2, (7, 1792), (1792, 1), 'torch.ops.mine.{op}.default')
AssertionError: expected size 7==7, stride 2048==1792 at dim=0; expected size 2048==1792, stride 1==1 at dim=1
Error in op: torch.ops.mine.{op}.default
"""
MEET = """Traceback (most recent call last):
  File "/home/ci/net/flash_attention.py", line 12, in forward
    out = self.layer(x)
  File "/home/ci/net/{place}.py", line 44, in {function}
    {code}
RuntimeError: The size of tensor a (1792) must match the size of tensor b (2048) at non-singleton dimension 1
"""


def read(text: str) -> Diagnosis:
    (one,) = diagnose(io.BytesIO(text.encode()), "x").failures
    return one


def told(one: Diagnosis) -> str:
    return " ".join((one.cause, one.rule, *one.against))


@pytest.mark.parametrize("op", ["fused_experts", "moe_gemm", "w13_gemm"])
@pytest.mark.parametrize("place", ["cache", "attention_cache"])
def test_widths_at_an_op_of_experts_are_no_heads(op: str, place: str) -> None:
    one = read(ASSERT.format(op=op, place=place))
    assert one.rule == ROUNDED
    assert ROUNDED in one.cause
    assert "heads" not in told(one)


def test_widths_at_an_op_of_attention_may_be_heads() -> None:
    one = read(ASSERT.format(op="sdpa_out", place="cache"))
    assert f"14 and 16 attention heads of 128, or {ROUNDED}" in one.cause
    assert one.rule == f"{ROUNDED}, or no padding"


def test_an_op_that_names_both_may_have_heads() -> None:
    assert "attention heads" in read(ASSERT.format(op="moe_attention_out", place="cache")).cause


def test_widths_at_a_line_of_experts_are_no_heads() -> None:
    one = read(MEET.format(place="layer", function="combine", code="out = out + moe_out"))
    assert ROUNDED in one.cause
    assert one.rule == ROUNDED
    assert "perhaps numbers of attention heads" not in told(one)


def test_widths_at_another_line_may_be_heads() -> None:
    one = read(MEET.format(place="layer", function="combine", code="out = out + delta"))
    assert "1792 = 14 x 128 and 2048 = 16 x 128" in one.cause


def test_what_a_line_denies_the_rule_does_not_deny_to_exist() -> None:
    text = MEET.replace("1792", "80").replace("2048", "96")
    one = read(text.format(place="rotary", function="apply_rotary", code="q = q * cos + rotate_half(q) * sin"))
    rounded = one.rule.removesuffix(": fits the numbers, and is denied below")
    assert rounded != one.rule
    assert any(rounded in text for text in one.against)


def test_where_nothing_fits_no_rule_is_told() -> None:
    text = MEET.replace("1792", "80").replace("2048", "97")
    one = read(text.format(place="rotary", function="apply_rotary", code="q = q * cos + rotate_half(q) * sin"))
    assert one.rule == "no rule"


def written_by(writer: str, text: str) -> str:
    return "".join(f"({writer}) ERROR 10-02 08:00:00 [core.py:9] {line}\n" for line in text.splitlines())


ERROR = ASSERT.format(op="fused_experts", place="cache")
OWN = "AssertionError: expected size 7==7, stride 2048==1792 at dim=0; expected size 2048==1792, stride 1==1 at dim=1"
PASSED_ON = f"""Traceback (most recent call last):
  File "/x/vllm/v1/executor/multiproc_executor.py", line 3, in get_response
    raise RuntimeError(
RuntimeError: Worker failed with error '{OWN.removeprefix("AssertionError: ")}', please check the stack trace above
"""
BELOW = """Traceback (most recent call last):
  File "/x/vllm/v1/executor/multiproc_executor.py", line 7, in worker_busy_loop
    output = func(*args)
"""
WORKERS = ("Worker_TP0 pid=31", "Worker_TP1 pid=32")
ERRORS = "".join(written_by(worker, ERROR) for worker in WORKERS)


@pytest.mark.parametrize("copy", [PASSED_ON, ERROR.replace(ERROR.splitlines(keepends=True)[0], BELOW, 1)])
def test_a_copy_of_a_workers_error_is_no_process(copy: str) -> None:
    one = read(ERRORS + written_by("EngineCore pid=30", copy))
    assert (one.count, len(one.writers)) == (2, 2)
    assert all(writer.startswith("(Worker") for writer in one.writers)


def test_a_copy_alone_names_who_wrote_it() -> None:
    assert read(written_by("EngineCore pid=30", PASSED_ON)).writers == ("(EngineCore pid=30)",)


def test_an_engine_core_that_raises_itself_is_a_process() -> None:
    one = read(ERRORS + written_by("EngineCore pid=30", ERROR))
    assert (one.count, len(one.writers)) == (3, 3)


RESHAPE = """Traceback (most recent call last):
  File "/home/ci/net/layer.py", line 44, in combine
    {code}
RuntimeError: shape '[7, 1792]' is invalid for input of size 14336
"""


def test_a_reshape_at_a_line_of_experts_is_of_no_heads() -> None:
    one = read(RESHAPE.format(code="out = expert_out.view(7, 1792)"))
    assert one.rule == ROUNDED
    assert "heads" not in one.cause


def test_a_reshape_at_another_line_may_be_of_heads() -> None:
    one = read("loading router\n" + RESHAPE.format(code="out = out.view(7, 1792)"))
    assert "1792 = 14 x 128 and 2048 = 16 x 128" in one.cause
