"""The message that an answer quotes: whole words, and nothing of the lines around it."""

import io
import textwrap

import pytest

from harness.diagnosis.diagnose import diagnose

PREFIX = "(VllmWorker rank=0 pid=4410) ERROR 11-22 03:11:54 [multiproc_executor.py:527] "


def _message(log: str) -> str:
    (one,) = diagnose(io.BytesIO(log.encode()), "a log").failures
    return one.what


def test_a_word_that_a_terminal_broke_is_whole() -> None:
    lines = [
        '  File "/tmp/torchinductor_root/re/creidibhbjx4gujedkrqn7dr6tc5g42gkoag454rbr7cps4.py", line 147, in call',
        "    assert_size_stride(buf2, (8, 2880), (2880, 1))",
        "AssertionError: expected size 8==8, stride 3072==2880 at dim=0",
    ]
    cut = (f"{PREFIX}{line}"[at : at + 80] for line in lines for at in range(0, len(PREFIX + line), 80))
    assert _message("\n".join(cut) + "\n") == "AssertionError: expected size 8==8, stride 3072==2880 at dim=0"


def test_what_follows_a_line_of_many_is_not_of_its_message() -> None:
    message = (
        "RuntimeError: The size of tensor a (2880) must match the size of tensor b (2944) at non-singleton dimension 1"
    )
    frame = '  File "/opt/a/folder/that/is/long/enough/to/be/wider/than/any/message/of/this/log/and/then/some.py", line 3, in f'
    escaped = "#012".join(["Traceback (most recent call last):", frame, "    return shared + routed", message])
    log = (
        f"Nov 20 07:02:31 a vllm[8]: {escaped}\nNov 20 07:02:31 a systemd[1]: vllm.service: exited, status=1/FAILURE\n"
    )
    assert _message(log) == message


def test_the_next_line_of_a_log_is_not_of_the_message() -> None:
    message = "ModuleNotFoundError: No module named 'flashinfer'"
    assert _message(f"{message}\nWARNING: it runs without flashinfer\n") == message


def test_a_message_of_several_lines_is_whole() -> None:
    first, last = "torch.distributed.DistBackendError: NCCL error: ncclInvalidUsage: invalid usage.", "Last error:"
    assert _message(f"{first}\n{last}\nDuplicate GPU detected : rank 0 and rank 1\n").endswith("rank 0 and rank 1")


def test_a_message_in_an_attribute_is_without_the_elements_around_it() -> None:
    message = (
        "RuntimeError: The size of tensor a (2880) must match the size of tensor b (2944) at non-singleton dimension 1"
    )
    around = '<?xml version="1.0"?><testsuites><testsuite name="pytest"><testcase name="test_moe" time="2.1">'
    end = "</failure></testcase></testsuite></testsuites>"
    assert _message(f'{around}<failure message="{message}">def test_moe():\n    run()\n{end}\n') == message


@pytest.mark.parametrize(
    ("last", "op"), [("expected size 33==33, stride 2880==3072 at dim=0", "engine::moe_run"), ("", "")]
)
def test_of_a_listing_the_last_assert_failed_where_its_message_is_there(last: str, op: str) -> None:
    listing = "".join(
        f"        assert_size_stride(buf{n}, (33, 3072), (3072, 1), 'torch.ops.engine.{name}_run.default')\n"
        for n, name in enumerate(("sort", "norm", "moe"))
    )
    (one,) = diagnose(io.BytesIO(f"{listing}AssertionError: {last}\n".encode()), "a log").failures
    assert one.op == op


ON_DATA = "torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode: Could not guard on data-dependent"


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize(
    "expression", ["u0 <= 96", "32*(((u0 + u1 + 31)//32)) <= 4096", "Eq(64*(((u1 + 63)//64)), 192)"]
)
def test_a_message_that_was_wrapped_between_words_is_whole(width: int, expression: str) -> None:
    torchs = "/usr/local/lib/python3.12/dist-packages/torch/fx/experimental"
    message = f"{ON_DATA} expression {expression} (unhinted: {expression}).  (Size-like symbols: none)"
    frames = [
        f'  File "{torchs}/{name}.py", line {2900 + n}, in {"evaluate_the_symbolic_node_" * 2}{n}\n    return self.trace({n})'
        for n, name in enumerate(("proxy_tensor", "recording", "symbolic_shapes"))
    ]
    after = (
        "consider using data-dependent friendly APIs such as guard_or_false, guard_or_true and statically_known_true."
    )
    lines = "\n".join(["Traceback (most recent call last):", *frames, message, "", after]).split("\n")
    log = "".join(
        f"{part}\n"
        for line in lines
        for part in textwrap.wrap(line, width, drop_whitespace=False, break_on_hyphens=False) or [""]
    )
    assert " ".join(_message(log).split()) == " ".join(message.split())


def test_a_line_that_is_not_wrapped_takes_no_other() -> None:
    message = "RuntimeError: The size of tensor a (8) must match the size of tensor b (6) at non-singleton dimension 0"
    assert _message(f"Capture failed: {message}\nPossible solutions:\n1. set less\n").endswith("dimension 0")


@pytest.mark.parametrize("more", [0, 3])
def test_a_message_that_torch_prints_on_several_lines_begins_with_its_sentence(more: int) -> None:
    fake = "FakeTensor(..., size=(s47, 1408),\n               grad_fn=<MmBackward0>)"
    many = ", ".join([fake] * (1 + more))
    log = (
        "torch._dynamo.exc.TorchRuntimeError: RuntimeError when making fake tensor call\n"
        f"  Explanation: Dynamo failed to run FX node with fake tensors: call_function <built-in method mm>(*({many}, "
        "FakeTensor(..., size=(1344, 2688))), **{}): got RuntimeError('a and b must have same reduction dim, but got "
        "[s47, 1408] X [1344, 2688].')\n"
    )
    message = _message(log)
    assert message.startswith("Explanation: Dynamo failed to run FX node with fake tensors")
    assert message.endswith("[s47, 1408] X [1344, 2688].')")
    assert len(message) <= 440
