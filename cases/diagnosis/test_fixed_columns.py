"""A copy from a terminal that broke each long line at its column, in the middle of words, reads as the text that it was."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Report

BMM = """the batched experts under fake tensors, tp 8
Traceback (most recent call last):
  File "/home/mk/exp/bmm_block.py", line 24, in <module>
    BatchedExperts(160, 5120, 1536, tp=8, align=128)(torch.zeros(160, 32, 5120))
  File "/home/mk/.venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1778, in _wrapped_call_impl
    return self._call_impl(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/home/mk/exp/bmm_block.py", line 18, in forward
    return torch.bmm(act, self.w2)
           ^^^^^^^^^^^^^^^^^^^^^^^
  File "/home/mk/.venv/lib/python3.11/site-packages/torch/_subclasses/fake_tensor.py", line 2386, in dispatch
    return self._cached_dispatch_impl(func, types, args, kwargs)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/home/mk/.venv/lib/python3.11/site-packages/torch/_prims_common/wrappers.py", line 313, in _fn
    result = fn(*args, **kwargs)
             ^^^^^^^^^^^^^^^^^^^
RuntimeError: Expected size for first two dimensions of batch2 tensor to be: [160, 256] but got: [160, 192].
I do not see what is dynamic about it.
"""
EXPORT = """Traceback (most recent call last):
  File "/home/mk/exp/export_block.py", line 32, in <module>
    ep = export(Block().eval(), (torch.randn(96, 5120),), dynamic_shapes={"hidden_states": {0: tokens}}, strict=True)
         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/home/mk/.venv/lib/python3.11/site-packages/torch/export/_trace.py", line 942, in _export_to_torch_ir
    raise UserError(UserErrorType.CONSTRAINT_VIOLATION, str(e))  # noqa: B904
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
torch._dynamo.exc.UserError: Constraints violated (tokens)! For more information, run with TORCH_LOGS="+dynamic".
  - You marked tokens as dynamic but your code specialized it to be a constant (96). If you're using mark_dynamic, either \
remove it or use maybe_mark_dynamic. If you're using Dim.DYNAMIC, replace it with either Dim.STATIC or Dim.AUTO.

User stack:
  File "/home/mk/.venv/lib/python3.11/site-packages/torch/_dynamo/functional_export.py", line 232, in forward
    res = self._export_root(*args, **kwargs)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/home/mk/exp/export_block.py", line 15, in forward
    rows = self.send + hidden_states
           ~~~~~~~~~~^~~~~~~~~~~~~~~
"""
ADD = """[rank3]: Traceback (most recent call last):
[rank3]:   File "/srv/deployments/inference/northwind/northwind/models/decoder_layer.py", line 207, in forward_moe_and_shared
[rank3]:     hidden_states = self.routed(hidden_states) + self.shared_experts(hidden_states)
[rank3]:                     ~~~~~~~~~~~~~~~~~~~~~~~~~~^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
[rank3]: RuntimeError: The size of tensor a (3072) must match the size of tensor b (2880) at non-singleton dimension 1
[rank3]:[W1129 03:11:19.618 ProcessGroup.cpp:1524] Warning: destroy_process_group() was not called before program exit
"""


def broken(text: str, column: int, stripped: bool = False, margin: str = "") -> str:
    """The text as a terminal of so many columns shows it; ``stripped`` where a copy lost spaces at the ends of lines."""
    pieces = [line[at : at + column] for line in text.split("\n") for at in range(0, max(1, len(line)), column)]
    return "\n".join(margin + (piece.rstrip() if stripped else piece) for piece in pieces)


def read(text: str) -> Report:
    """The report of a text."""
    return diagnose(io.BytesIO(text.encode()), "a text")


@pytest.mark.parametrize("margin", ["", "> ", "    "])
@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("column", [64, 80, 92, 101])
@pytest.mark.parametrize("text", [BMM, EXPORT, ADD])
def test_broken_anywhere_it_has_the_same_answer(text: str, column: int, stripped: bool, margin: str) -> None:
    (whole,), (one,) = (read(broken(text, at, stripped, margin)).failures for at in (1000, column))
    assert (one.kind, one.verdict, one.stage, one.user_line) == (
        whole.kind,
        whole.verdict,
        whole.stage,
        whole.user_line,
    )
    assert (one.what, one.operands, one.writers) == (whole.what, whole.operands, whole.writers)


def test_its_lines_have_the_numbers_that_they_have_in_the_copy() -> None:
    text = broken(BMM, 92)
    report, lines = read(text), text.split("\n")
    (one,) = report.failures
    assert lines[one.line - 1].startswith("RuntimeError: Expected size")
    assert lines[one.lines[0] - 1].startswith("Traceback")
    assert report.lines == text.count("\n")
    assert one.lines[1] > one.line + 1  # the message has two lines


@pytest.mark.parametrize("column", [92, 100])
def test_a_line_that_is_as_wide_by_chance_stays_a_line(column: int) -> None:
    full = "INFO " + "x" * (column - 5)
    text = f"{full}\nINFO next\n" + broken(BMM, column) + f"{'=' * column}\nValueError: another\n"
    found = [one.what for one in read(text).failures]
    assert [what.partition(":")[0] for what in found] == ["RuntimeError", "ValueError"]


def test_a_text_that_no_terminal_broke_is_read_as_it_is() -> None:
    text = BMM.replace(", in _wrapped_call_impl", ", in\n_wrapped_call_impl")  # one line alone
    (one,) = read(text).failures
    assert one.user_line == "/home/mk/exp/bmm_block.py:18: return torch.bmm(act, self.w2)"
