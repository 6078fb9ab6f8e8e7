"""How a script runs the layer: for each mode the text that defines ``run``, and the calls that lead to the finding."""

from dataclasses import dataclass

from harness.execution.modes.cudagraph import CAPTURE, REPLAY, WARM_UP
from harness.execution.modes.eager import larger_batch
from harness.matrix.case import Case
from harness.repro.variations import calls_of

_MODE = "from torch.utils._python_dispatch import TorchDispatchMode"
_LEAVES = "from torch.utils._pytree import tree_leaves"


@dataclass(frozen=True, slots=True)
class Running:
    """Text that defines ``run``, a function of a batch, and the imports it needs. Without one, ``run`` calls the layer."""

    text: str
    imports: tuple[str, ...] = ()


EAGER = Running("")
FAKE = Running(
    "mode = FakeTensorMode(allow_non_fake_inputs=True)\n\n\ndef run(batch):\n"
    "    with mode, enable_python_dispatcher():\n        return layer(*map(mode.from_tensor, batch))",
    (
        "from torch._dispatch.python import enable_python_dispatcher",
        "from torch._subclasses.fake_tensor import FakeTensorMode",
    ),
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
)
_FRESH = (
    "torch.compiler.config.cache_key_tag = os.urandom(8).hex()  # the caches of compiled code do not see a changed fake"
)
COMPILED = Running(
    f"{_FRESH}\ncompiled = torch.compile(layer, fullgraph=True, dynamic=False)\n\n\n"
    "def run(batch):\n    return compiled(*batch)",
    ("import os",),
)
COMPILED_DYNAMIC = Running(
    f"{_FRESH}\ncompiled = torch.compile(layer, fullgraph=True)\n\n\n"
    "def run(batch):\n    for tensor in batch:\n        torch._dynamo.mark_dynamic(tensor, 0)\n    return compiled(*batch)",
    ("import os",),
)
# A CUDA graph, and without CUDA what stands in for one: the ops of a call, replayed on the same memory.
GRAPH_CPU = Running(
    """\
class CaptureRefused(RuntimeError):
    pass


class Graph(TorchDispatchMode):  # stands in for a CUDA graph: replays the ops of one call on the same memory
    steps, refused = [], (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masks = [value.dtype == torch.bool for value in tree_leaves(args[1:]) if isinstance(value, torch.Tensor)]
        by_mask = func._schema.name in ("aten::index", "aten::index_put_") and any(masks)
        if by_mask or func._schema.name == "aten::item" or any(tag in func.tags for tag in self.refused):
            raise CaptureRefused(f"{func._schema.name} in a capture depends on the data")
        if func.namespace not in ("aten", "prim", "prims"):
            with self:  # a graph holds the kernels inside a custom op
                return func._op_dk(torch._C.DispatchKey.CPU, *args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        self.steps.append((func, args, kwargs or {}, out))
        return out

    def replay(self):
        for func, args, kwargs, out in self.steps:
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs))):
                if isinstance(old, torch.Tensor) and old is not new:
                    old.copy_(new)


graph = Graph()


def capture(batch):
    with graph:
        return layer(*batch)""",
    (_MODE, _LEAVES),
)
GRAPH_CUDA = Running(
    """\
graph = torch.cuda.CUDAGraph()


def capture(batch):
    with torch.cuda.graph(graph):
        return layer(*batch)"""
)
ADDRESSES = Running(
    """\
class Reads(TorchDispatchMode):  # the memory from outside that a graph of this call reads: it is not kept alive
    made, read = set(), {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for value in tree_leaves(args):
            if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in self.made:
                storage = value.untyped_storage()
                self.read[storage._cdata] = StorageWeakRef(storage), storage.data_ptr(), list(value.shape)
        out = func(*args, **(kwargs or {}))
        new = [value for value in tree_leaves(out) if isinstance(value, torch.Tensor)]
        self.made |= {value.untyped_storage()._cdata for value in new} - set(self.read)
        return out

    def check(self):
        for reference, address, shape in self.read.values():
            storage = torch.UntypedStorage._new_with_weak_ptr(reference.cdata)
            if storage is None or storage.data_ptr() != address:
                raise FreedMemory(f"the graph reads memory of {shape} that was freed or moved after its capture")


class FreedMemory(RuntimeError):
    pass""",
    (_MODE, _LEAVES, "from torch.multiprocessing.reductions import StorageWeakRef"),
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
# Calls that a mode makes in eager, whatever it is, by their labels: (tokens, seed).
_MORE_TOKENS = 9


def calls(case: Case, label: str, vary: str = "") -> list[tuple[int, int]]:
    """The calls up to the one with this label, as (tokens, seed). A label that no mode has stands for the first call.

    ``vary`` is the finding's variation.
    """
    if vary:
        return calls_of(vary, case.tokens)
    many = larger_batch(case.tokens)
    few = case.tokens
    eager = {
        "first call": (few, 0),
        "second call": (few, 1),
        "more tokens": (many, 1),
        "one token": (1, 2),
        "zero tokens": (0, 3),
        "repeated call": (few, 0),
    }
    if label == "extra call":
        return [(few, 0), (few, 1), *[(few, 1 + turn % 2) for turn in range(8)]]
    if label in eager:
        names = list(eager)
        return [eager[name] for name in names[: names.index(label) + 1]]
    if label == "other token count":
        return [(max(few, 2), 0), (max(few, 2) + _MORE_TOKENS, 1)]
    if label == "symbolic trace":
        return [(max(few, 2), 0)]
    return [(few, 0)]


def capture_text(case: Case) -> str:
    """A warm-up and a capture, as engines do."""
    return f"run(inputs({case.tokens}, {WARM_UP}))  # a warm-up\nbatch = inputs({case.tokens}, {CAPTURE})\nout = capture(batch)"


def replay_text(case: Case) -> str:
    """A replay with other inputs, in the buffers of the capture."""
    return (
        f"{capture_text(case)}\nfor old, new in zip(batch, inputs({case.tokens}, {REPLAY})):\n"
        "    old.copy_(new)  # other inputs, in the same memory\ngraph.replay()"
    )


def addresses_text(label: str, case: Case) -> str:
    """What a graph of one batch size reads, after what engines run beside it."""
    if "graph for" not in label:
        capture = f"with Reads() as graph:\n    out = run(inputs({case.tokens}, {CAPTURE}))"
        return f"run(inputs({case.tokens}, {WARM_UP}))\n{capture}\ngraph.check()"
    few, many = ((tokens // 8 + 1) * 8 for tokens in (case.tokens, larger_batch(case.tokens)))
    first, other = (many, few) if "larger" not in label else (few, 2 * many)
    return (
        f"run(inputs({many}, {WARM_UP}))\nwith Reads() as graph:\n    out = run(inputs({first}, {CAPTURE}))\n"
        f"run(inputs({other}, {REPLAY}))  # another number of tokens\ngraph.check()"
    )
