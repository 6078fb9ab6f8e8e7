"""Which cases a block of transformers can be, and which of them are chosen where nobody chose. Imports no torch."""

from dataclasses import replace

from harness.base.project import TRANSFORMERS
from harness.matrix.case import Case
from harness.matrix.selection import Selection

MODULE = TRANSFORMERS
MODELS = (
    "nemotron-3-nano-30b-a3b",
    "nemotron-3-super-120b-a12b",
    "gpt-oss-20b",
    "qwen3-30b-a3b",
    "mixtral-8x7b",
)
_LIKE = (("nemotron", "nemotron_h"), ("gpt-oss", "gpt_oss"), ("mixtral", "mixtral"), ("qwen3-", "qwen3_moe"))


def family(case: Case) -> str:
    """The folder of the case's block in ``transformers.models``; empty where none of the four has its parts."""
    by_name = next((name for prefix, name in _LIKE if case.model.startswith(prefix)), "")
    return by_name or _by_parts(case)


def _by_parts(case: Case) -> str:
    """For a shape of the user's own: the block that has its activation and parts."""
    if case.activation == "relu2" and not case.gated and case.shared:
        return "nemotron_h"
    if case.shared or case.latent or not case.gated:
        return ""
    return {"clamped-swiglu": "gpt_oss", "silu": "qwen3_moe"}.get(case.activation, "")


def narrowed(spec: str, selection: Selection) -> Selection:
    """A selection for a subject's import path. A block pads nothing and has one rank, so that a model is one case a token count.

    What was chosen stays. A subject that is not of transformers keeps its selection.
    """
    if not spec.startswith(f"{MODULE}:"):
        return selection
    own_file = selection.models_file != Selection().models_file
    return replace(
        selection,
        models=selection.models or (() if own_file else MODELS),
        rules=selection.rules or ("none",),
        kernels=selection.kernels or ("wide",),
        tp=selection.tp or (1,),
        tokens=selection.tokens or (7, 1),
    )
