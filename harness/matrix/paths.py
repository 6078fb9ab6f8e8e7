"""Code paths of an engine's layer that no published shape takes, each as a small shape of its own: ``--models vllm-modular``.

A path's name begins with the subject that can run it, ``vllm`` or ``sglang``. ``harness/engines/`` builds each;
docs/explanation/vllm.md and docs/explanation/sglang.md list them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.base.errors import BadInput


@dataclass(frozen=True, slots=True)
class Path:
    """A code path, and the small layer that takes it. Widths in elements.

    ``scaled`` says that the routed output is scaled though there is no shared expert. ``varied`` says that the path also runs
    at many token counts. ``captured`` says that a CUDA graph can hold it. ``narrow`` says that a kernel which writes the true
    width takes the path too. ``top_k`` is the number of experts of a token.
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
    top_k: int = 2


TITLES = {"vllm": "vLLM", "sglang": "SGLang"}
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
    "vllm-padded-rows": Path(
        "rows that only fill the batch, with -1 for each expert id", shared=None, varied=True, captured=False
    ),
    "vllm-input-weights": Path(
        "one expert for a token, whose routing weight multiplies the experts' input (Llama 4), in the modular kernel's prepare",
        hidden=256,
        varied=True,
        top_k=1,
    ),
    "vllm-input-weights-batched": Path(
        "the same over padded buffers", shared=None, varied=True, captured=False, top_k=1
    ),
    "vllm-gate": Path("the router's gate inside the runner, which no caller's logits reach", hidden=256, varied=True),
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
    "vllm-deferred-sum": Path("a layer whose model sums over the ranks: it returns each rank's own part"),
    "vllm-fp4-hidden": Path("packed FP4 weights, whose hidden width the release's own helpers pad", shared=None),
    "vllm-fp4-experts": Path(
        "packed FP4 weights, whose expert width the release's own helpers pad, gate and up apart", shared=None
    ),
    "vllm-lora": Path(
        "an adapter on each expert, by vLLM's LoRA layer around a modular kernel", hidden=256, shared=None, varied=True
    ),
    "sglang-plain": Path("no op around the experts, as where SGLang is not traced", scaled=True),
    "sglang-plain-latent": Path("the same behind a latent projection", hidden=384, latent=320, scaled=True),
    "sglang-plain-routed": Path("the same without a shared expert, by another model's block", shared=None),
    "sglang-kernel-scale": Path("a kernel that scales, in place of the top-k", scaled=True),
}


def paths_of(engine: str) -> tuple[str, ...]:
    """The names of the code paths of an engine's layer."""
    return tuple(name for name in PATHS if name.startswith(f"{engine}-"))


def refuse_paths(models: Iterable[str], subject: str) -> None:
    """Raise BadInput where one of these models is a code path of an engine's layer, and the subject is another."""
    for name in models:
        engine = name.partition("-")[0]
        if name in PATHS and not re.fullmatch(rf"{engine}([=@].*)?", subject):
            raise BadInput(
                f"--models {name} is a code path of {TITLES[engine]}'s layer; give --subject {engine}==RELEASE "
                f"in place of {subject!r}"
            )
