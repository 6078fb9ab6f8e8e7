"""Code paths of vLLM's layer that no published shape takes, each as a small shape of its own: ``--models vllm-modular``.

Only the subject ``vllm`` can run them. ``harness/engines/vllm/`` builds each, and docs/explanation/vllm.md lists them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.base.errors import BadInput


@dataclass(frozen=True, slots=True)
class Path:
    """A code path, and the small layer that takes it. Widths in elements.

    ``scaled`` says that the routed output is scaled though there is no shared expert. ``varied`` says that the path also runs
    at many token counts. ``captured`` says that a CUDA graph can hold it. ``narrow`` says that a kernel which writes the true
    width takes the path too.
    """

    about: str
    hidden: int = 320
    shared: int | None = 64
    latent: int | None = None
    dtype: str = "bfloat16"
    scaled: bool = False
    varied: bool = False
    captured: bool = True
    narrow: bool = False


PATHS = {
    "vllm-modular": Path(
        "the modular kernel: select_experts, forward_modular, prepare and finalize, its workspaces",
        varied=True,
        narrow=True,
    ),
    "vllm-modular-latent": Path(
        "the modular kernel behind a latent projection: the shared expert has an input of its own",
        hidden=384,
        latent=320,
    ),
    "vllm-batched": Path(
        "a modular kernel whose prepare sorts tokens into a padded buffer for each expert",
        shared=None,
        varied=True,
        captured=False,
    ),
    "vllm-padded-rows": Path("rows that only fill the batch, with -1 for each expert id", shared=None, captured=False),
    "vllm-gate": Path("the router's gate inside the runner, which no caller's logits reach", hidden=256),
    "vllm-float16": Path("float16, where the shared expert's output is divided by the scale", dtype="float16"),
    "vllm-float16-scaled": Path(
        "float16 without a shared expert, where the routed output is multiplied",
        shared=None,
        dtype="float16",
        scaled=True,
    ),
    "vllm-norm-latent": Path(
        "a latent transform that normalises, so that the ranks' parts are summed before it", hidden=384, latent=256
    ),
    "vllm-norm-latent-padded": Path("the same at a latent width that is padded", hidden=384, latent=320),
    "vllm-fp4-hidden": Path("packed FP4 weights, whose hidden width the release's own helpers pad", shared=None),
    "vllm-fp4-experts": Path(
        "packed FP4 weights, whose expert width the release's own helpers pad, gate and up apart", shared=None
    ),
    "vllm-lora": Path(
        "an adapter on each expert, by vLLM's LoRA layer around a modular kernel", hidden=256, shared=None
    ),
}


def refuse_paths(models: Iterable[str], subject: str) -> None:
    """Raise BadInput where one of these models is a code path of vLLM's layer, and the subject is another."""
    for name in models:
        if name in PATHS:
            raise BadInput(
                f"--models {name} is a code path of vLLM's layer; give --subject vllm==RELEASE in place of {subject!r}"
            )
