"""How a script runs the layer in each mode."""

from harness.repro.about import About
from harness.repro.texts import graphs
from harness.repro.texts.running import Running

__all__ = ["OF_ONE_BATCH", "Running", "running_of"]

# Findings of graphs that a call of one full batch shows, without a graph.
OF_ONE_BATCH = ("padding-tokens-leak", "output-overwritten")

EAGER = Running("")
FAKE = Running(
    "mode = FakeTensorMode(allow_non_fake_inputs=True)\n\n\ndef run(batch):\n"
    "    with mode, enable_python_dispatcher():\n        return layer(*map(mode.from_tensor, batch))",
    (
        "from torch._dispatch.python import enable_python_dispatcher",
        "from torch._subclasses.fake_tensor import FakeTensorMode",
    ),
    calls_fakes=True,
)
FAKE_DYNAMIC = Running(
    "env = ShapeEnv()\nmode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)\n\n\ndef symbolic(tensor):\n"
    "    sizes = [DimDynamic.DUCK, *[DimDynamic.STATIC] * (tensor.dim() - 1)]\n"
    "    return mode.from_tensor(tensor, symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))\n\n\n"
    "def run(batch):  # the number of tokens is a symbol\n    batch = [symbolic(tensor) for tensor in batch]\n"
    "    with mode, enable_python_dispatcher():\n        return layer(*batch)",
    (
        *FAKE.imports,
        "from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext",
    ),
    calls_fakes=True,
)
_FRESH = (
    "torch.compiler.config.cache_key_tag = os.urandom(8).hex()  # the caches of compiled code do not see a changed fake"
)
COMPILED = Running(
    f"{_FRESH}\nlayer = torch.compile(layer, fullgraph=True, dynamic=False)",
    ("import os",),
    calls_fakes=True,
)
COMPILED_DYNAMIC = Running(
    f"{_FRESH}\ncompiled = torch.compile(layer, fullgraph=True)\n\n\n"
    "def run(batch):\n    for tensor in batch:\n        torch._dynamo.mark_dynamic(tensor, 0)\n    return compiled(*batch)",
    ("import os",),
    calls_fakes=True,
)
# A mode, or a family of modes, to how a script runs the layer. What is new needs a row here.
RUNNING = {
    "eager": EAGER,
    "fake": FAKE,
    "fake-dynamic": FAKE_DYNAMIC,
    "compiled": COMPILED,
    "compiled-dynamic": COMPILED_DYNAMIC,
    "cudagraph": EAGER,
    "cudagraph-dynamic": EAGER,
    "proof": EAGER,
    "varied": EAGER,
}


def running_of(about: About) -> Running:
    """How the script of a symptom runs the layer."""
    finding = about.symptom.finding
    if finding.kind == "freed-memory":
        return graphs.ADDRESSES
    if finding.call == "eager audit" or (about.mode.family == "cudagraph" and finding.kind in OF_ONE_BATCH):
        return EAGER
    if about.at_capture and about.device == "cuda":
        return graphs.GRAPH_CUDA
    if about.at_capture:
        return graphs.CAPTURE_CPU if finding.kind == "capture-refused" else graphs.REPLAY_CPU
    return RUNNING.get(about.mode.name) or RUNNING[about.mode.family]
