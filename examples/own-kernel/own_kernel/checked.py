"""What the harness needs to know: how to build the layer, its inputs, and the right answer."""

import torch

from own_kernel.layer import Layer


class OwnKernel:
    """The subject (harness docs reference/subject)."""

    def build(self, case, device):
        """A fresh layer for a case."""
        if case.tp > 1:
            from harness.base.errors import Skip

            raise Skip("own-kernel runs on one rank")
        routed, shared = (weight.bfloat16().to(device) for weight in weights(case))
        return Layer(routed, shared, case.padded)

    def inputs(self, case, tokens, seed, device):
        """The hidden states of a batch."""
        made = torch.randn(tokens, case.hidden, generator=torch.Generator().manual_seed(seed))
        return (made.bfloat16().to(device),)

    def oracle(self, case, inputs):
        """The right output in fp32: no padding, and not the op."""
        routed, shared = (weight.to(inputs[0].device) for weight in weights(case))
        return {"routed": inputs[0].float() @ routed, "shared": inputs[0].float() @ shared.T}

    def ops(self, case):
        """What each forward must dispatch."""
        return ("own_kernel::experts",)


def weights(case):
    """Both weights, [hidden, hidden], rounded as the layer has them."""
    made = torch.Generator().manual_seed(1)
    return [
        (torch.randn(case.hidden, case.hidden, generator=made) / case.hidden**0.5).bfloat16().float() for _ in range(2)
    ]


def samples(device):
    """Arguments of the op, for `harness audit`: sizes of different meaning are different numbers."""
    yield torch.randn(5, 8, device=device), torch.randn(8, 3, device=device)
