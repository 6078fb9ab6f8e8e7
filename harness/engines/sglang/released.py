"""SGLang as an engine whose releases are judged."""

from pathlib import Path

from harness.engines.released.engine import Released

SGLANG = Released(
    name="sglang",
    title="SGLang",
    layer=Path("sglang", "srt", "layers", "moe", "fused_moe_triton"),
    packages=Path(__file__).parent / "packages.txt",
    subject="harness.engines.sglang.subject:SglangLayer",
    start="harness.engines.sglang.ranks:start",
    example="0.5.23",
    wheel=True,
)
