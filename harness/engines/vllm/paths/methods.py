"""Which quantisation method a case's path has."""

from typing import TYPE_CHECKING

from harness.engines.vllm.routing import BATCHED, MODULAR
from harness.engines.vllm.weights import PACKED
from harness.matrix.case import Case

if TYPE_CHECKING:
    from harness.engines.vllm.standin import StandIn


def method_of(case: Case) -> "type[StandIn]":
    """The method of a case's path. Raises ImportError where this vLLM has no such path."""
    if case.path in PACKED:
        from harness.engines.vllm.paths.helpers import PackedStandIn

        return PackedStandIn
    if case.path == "vllm-lora":
        from harness.engines.vllm.paths.lora import LoraStandIn

        return LoraStandIn
    if case.path in BATCHED:
        from harness.engines.vllm.paths.batched import BatchedStandIn

        return BatchedStandIn
    if case.path in MODULAR:
        from harness.engines.vllm.paths.modular import ModularStandIn

        return ModularStandIn
    from harness.engines.vllm.standin import StandIn

    return StandIn
