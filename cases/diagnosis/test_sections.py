"""What pytest prints of several failing tests: each is a failure of its own, with its own line."""

import io

from harness.diagnosis.diagnose import diagnose

FAILURES = """=================================== FAILURES ===================================
____________________________ test_moe_sum_compiles _____________________________
test_ops.py:12: in test_moe_sum_compiles
    torch.compile(lambda x: torch.ops.k2.moe_sum(x, 2) + 1, fullgraph=True)(torch.randn(4, 2, 64))
E   torch._dynamo.exc.Unsupported: TypeError when making fake tensor call
E     Developer debug context: TypeError k2.moe_sum: moe_sum_fake() missing 1 required positional argument: 'bias'
____________________________ test_shared_expert_sum ____________________________
test_ops.py:15: in test_shared_expert_sum
    out = routed_output + shared_output
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
E   RuntimeError: The size of tensor a (2816) must match the size of tensor b (2688) at non-singleton dimension 1
=========================== short test summary info ============================
FAILED test_ops.py::test_moe_sum_compiles - torch._dynamo.exc.Unsupported: Ty...
FAILED test_ops.py::test_shared_expert_sum - RuntimeError: The size of tensor...
2 failed in 22.08s
"""


def test_a_heading_of_a_test_begins_another_failure() -> None:
    second, first = diagnose(io.BytesIO(FAILURES.encode()), "x").failures
    assert (first.kind, first.verdict, first.padded) == ("broadcast", "family", 2816)
    assert first.user_line.startswith("test_ops.py:15: ")
    assert first.phase == "eager"  # the summary's words of the other test are not this one's
    assert second.kind == "fake-lacks-default"
    assert second.user_line.startswith("test_ops.py:12: ")
