"""The projections around the routed experts of a latent layer, and what a release's own model says of them."""

import ast
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from harness.base.errors import BadInput
from harness.engines.vllm.weights import Pair
from harness.ops.product import product

MODEL = Path("model_executor", "models", "nemotron_h.py")
ATTRIBUTE = "reduce_commutative"
_EPS = 1e-6


class Normalising(nn.Module):
    """A projection of normalised rows: it does not commute with the sum over ranks."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[T, W] to [T, H]."""
        return product(normalised(x), self.weight)


class Projection(nn.Linear):
    """A projection summed in float32: for 33 rows torch's own product of bfloat16 takes four times as long without AVX-512."""

    def forward(self, x: Tensor) -> Tensor:
        """[T, W] to [T, H], or back."""
        return product(x, self.weight)


def normalised(x: Tensor) -> Tensor:
    """Rows of root mean square 1, in the input's dtype."""
    rows = x.float()
    scaled: Tensor = rows * (rows.pow(2).mean(-1, keepdim=True) + _EPS).rsqrt()
    return scaled.to(x.dtype)


def transforms(pair: Pair | None, normalise: bool, root: Path) -> tuple[nn.Module | None, nn.Module | None]:
    """The projections to and from the latent width. ``root`` is the folder of the vllm package."""
    if pair is None:
        return None, None
    down, up = linear(pair[0]), linear(pair[1])
    if normalise:
        return down, Normalising(pair[1])
    commutes = says_commutative(root)
    if commutes is not None:
        setattr(up, ATTRIBUTE, commutes)
    return down, up


def linear(weight: Tensor) -> nn.Linear:
    """A dense layer without bias that has a copy of this weight."""
    made = Projection(weight.shape[1], weight.shape[0], bias=False, device="meta")
    made.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return made


@cache
def says_commutative(root: Path) -> Any:
    """What the release's Nemotron-H model sets as ``reduce_commutative`` of an unquantised projection without bias.

    None where it sets nothing. The value is the model's own expression, evaluated. Raises BadInput where that fails.
    """
    source = (root / MODEL).read_text("utf-8")
    values = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign) and _sets(node)]
    if not values:
        return None
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod

    projection = SimpleNamespace(quant_method=object.__new__(UnquantizedLinearMethod))
    names = {
        "config": SimpleNamespace(mlp_bias=False),
        "self": SimpleNamespace(fc2_latent_proj=projection),
        "UnquantizedLinearMethod": UnquantizedLinearMethod,
    }
    try:
        return eval(compile(ast.Expression(values[0]), MODEL.name, "eval"), names)
    except (AttributeError, NameError, TypeError) as error:
        raise BadInput(f"{root / MODEL} sets {ATTRIBUTE} in a way that the harness does not know: {error}") from None


def _sets(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Attribute) and target.attr == ATTRIBUTE for target in node.targets)
