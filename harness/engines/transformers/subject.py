"""The subjects ``transformers``, ``transformers-batched-mm`` and ``transformers-eager``."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from harness.base.errors import Skip
from harness.engines.transformers.blocks import BLOCKS, build
from harness.engines.transformers.models import family
from harness.engines.transformers.oracle import oracle
from harness.engines.transformers.weights import fill
from harness.matrix.case import Case

_STEPS = 128  # numbers of bf16 between two powers of two


class Layer(nn.Module):
    """A block that takes [tokens, hidden]: a batch of one sequence."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden_states: Tensor) -> Tensor:
        """The block's output [tokens, hidden]; gpt-oss returns its routing beside it."""
        out = self.block(hidden_states.unsqueeze(0))
        batch: Tensor = out[0] if isinstance(out, tuple) else out
        return batch.squeeze(0)


class GroupedMm:
    """The blocks with ``experts_implementation="grouped_mm"``, as a ``harness.subjects.subject.Subject``."""

    implementation = "grouped_mm"
    layer_of = "transformers"

    def declares(self, case: Case) -> tuple[str, ...]:
        """The submodules that hold its parts. Integer routing is the block's own, and no input."""
        shared = ("shared-in=block.shared_experts",) if case.shared else ()
        return (f"router-in=block.{BLOCKS[_family(case)].router}", "experts-in=block.experts", *shared)

    def build(self, case: Case, device: torch.device) -> nn.Module:
        """The block of the case's model. Raises Skip where transformers has none of these parts, BadInput without transformers."""
        if case.tp > 1:
            raise Skip("a block of transformers is one rank; its tensor parallelism is made by DTensor around it")
        if case.padded != case.width:
            raise Skip("a block of transformers pads nothing: --rules none")
        if case.experts > 2 * case.hidden:
            raise Skip(f"{case.experts} experts need a hidden width of half as many for routing without near-ties")
        return Layer(_block(case, self.implementation, device)).eval()

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, ...]:
        """hidden_states [tokens, hidden] bf16. Its first columns are what the router reads (``weights.fill``).

        Their magnitudes are distinct in each row, and bf16 holds each exactly: no order of summation can make two experts
        change places.
        """
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.randn(tokens, case.hidden, generator=generator)
        read = hidden[:, : case.experts]
        ranks = torch.rand(read.shape, generator=generator).argsort(-1)
        read.copy_(torch.ldexp(1 + ranks % _STEPS / _STEPS, ranks // _STEPS - 1) * read.sign())
        return (hidden.bfloat16().to(device),)

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``routed`` and, where there is a shared expert, ``shared``, fp32 [tokens, hidden]."""
        return oracle(case, _family(case), inputs[0], _tensors(case, inputs[0].device))

    def ops(self, case: Case) -> Sequence[str]:
        """None: the experts are torch's own matmuls."""
        return ()


class BatchedMm(GroupedMm):
    """The blocks with ``experts_implementation="batched_mm"``."""

    implementation = "batched_mm"


class Eager(GroupedMm):
    """The blocks with ``experts_implementation="eager"``, a loop over the experts that are hit."""

    implementation = "eager"


def _family(case: Case) -> str:
    if name := family(case):
        return name
    raise Skip("none of the four blocks of transformers has this shape's activation and parts")


def _block(case: Case, implementation: str, device: torch.device) -> nn.Module:
    with torch.device("meta"):
        block = build(_family(case), case, implementation)
    block = block.to_empty(device=device)
    fill(block, _family(case), case)
    return block.requires_grad_(False)


@lru_cache(maxsize=2)
def _tensors(case: Case, device: torch.device) -> dict[str, Tensor]:
    """The weights of a case's block by name, for the oracle; a layer's own could have been changed by it."""
    return _block(case, "eager", device).state_dict()
