"""Which lines make a number of a size: calls of builtins do, methods of tensors do not."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose

TEXT = """torch.fx.experimental.symbolic_shapes.ConstraintViolationError: Constraints violated (L['hidden_states'].size()[0])!
  - You marked L['hidden_states'].size()[0] as dynamic but your code specialized it to be a constant (640).

User stack:
  File "/srv/net/block.py", line 31, in forward
    {line}
"""
NUMBER = "makes a number of a size."
MEETS = "it meets a tensor that has 640 there"


def cause_of(line: str) -> str:
    (one,) = diagnose(io.BytesIO(TEXT.format(line=line).encode()), "x").failures
    return one.cause


@pytest.mark.parametrize(
    "line",
    [
        "out = self.table + ids.int()",
        "out = self.table + gate.float()",
        "out = self.table.long() * gate",
        "out = self.table + gate.to(torch.int32)",
        "out = self.table + gate.bool()",
        "out = self.table + gate.round()",
        "out = torch.where(self.keep, gate, float('-inf'))",
        "out = torch.where(self.keep, gate.float(), self.table)",
        "out = self.table + gate * float(self.scale)",
        "out = self.table + gate * math.sqrt(x.shape[-1])",
        "out = torch.cat([self.table, gate.int()], dim=-1)",
    ],
)
def test_a_method_of_a_tensor_makes_no_number_of_a_size(line: str) -> None:
    assert "number of" not in cause_of(line)
    assert MEETS in cause_of(line)


@pytest.mark.parametrize(
    "line",
    [
        "n = int(x.shape[0])",
        "scale = float(n)",
        "out = out * float(n)",
        "for row in range(x.size(0)):",
        "rows = [gate[i] for i in range(n)]",
        "n = torch.tensor(x.shape[0]).item()",
        "key = f'rows-{x.shape[0]}'",
        "key = str(len(x))",
        "blocks = math.ceil(x.shape[0] / 64)",
        "n = round(x.numel() / 64)",
        "out = self.table[: int(x.shape[0])] + x.int()",
    ],
)
def test_a_call_of_a_builtin_makes_one(line: str) -> None:
    assert NUMBER in cause_of(line)


@pytest.mark.parametrize(
    "line",
    [
        "n = ids.max().item()",
        "out = gate.float()",
        "for e in range(self.num_experts):",
        "self.count = counts.int().tolist()",
    ],
)
def test_of_other_values_nothing_is_said_for_sure(line: str) -> None:
    assert "Something in the code decides on it" in cause_of(line)


def test_a_name_that_may_hold_a_size_and_an_add_are_both_named() -> None:
    cause = cause_of("out = self.table + gate[: int(n)]")
    assert "makes a number of what may be a size, or" in cause
    assert "meets a tensor that has 640 there" in cause
