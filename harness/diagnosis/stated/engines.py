"""The engine whose code or name a text has, and the command that tries its own layer."""

import re

from harness.diagnosis.surroundings import Surroundings

_PADS = re.compile(r"--rules (?!none)|--tp (?!1\b)")  # what no block of transformers does by itself
# Engines by what a text has of them; of transformers a path or an import, as servers print its version too.
_ENGINES = {
    "vllm": re.compile(r"vllm|vLLM"),
    "sglang": re.compile(r"sglang|SGLang|sgl_kernel"),
    "transformers": re.compile(
        r"(?:^|[/\\\"])transformers[/\\](?:models|integrations)|(?:from|import) transformers\b", re.M
    ),
}


def on_engine(engine: str, around: Surroundings, chosen: str) -> tuple[str, ...]:
    """The same on an engine's own layer, of the release that the log names; none where the engine pads nothing, or is none."""
    if engine == "transformers" and not _PADS.search(chosen):
        return (f"harness check --subject transformers {chosen}",)
    if engine not in ("vllm", "sglang"):
        return ()
    release = around.release(engine)
    return (f"harness {engine} {release} {chosen}" if release else f"harness check --subject {engine} {chosen}",)


def engine_in(text: str) -> str:
    """The engine whose code or name a text has: vllm, sglang, transformers; empty for none."""
    return next((name for name, words in _ENGINES.items() if words.search(text)), "")
