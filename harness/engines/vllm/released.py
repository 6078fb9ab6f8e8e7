"""vLLM as an engine whose releases are judged."""

from pathlib import Path

from harness.engines.released.engine import Released

IMPORTS = "harness.engines.vllm.subject:import_engine"
VLLM = Released(
    name="vllm",
    title="vLLM",
    layer=Path("vllm", "model_executor", "layers", "fused_moe"),
    packages=Path(__file__).parent / "packages.txt",
    subject="harness.engines.vllm.subject:VllmLayer",
    start="harness.engines.vllm.ranks:start",
    example="0.20.2",
    imports=IMPORTS,
)
