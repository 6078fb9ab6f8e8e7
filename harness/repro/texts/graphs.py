"""Text that stands in for CUDA graphs where there is no CUDA, and that watches the memory which a graph reads."""

from harness.repro.texts.running import Running

_MODE = "from torch.utils._python_dispatch import TorchDispatchMode"
_LEAVES = "from torch.utils._pytree import tree_leaves"
CAPTURE = "Emulates the capture of a CUDA graph."
WRAPPED = """\
        if any(hasattr(kind, "__tensor_flatten__") for kind in types):  # it wraps other tensors
            return NotImplemented
"""
IN_AN_OP = """\
        if func.namespace not in ("aten", "prim", "prims"):
            keys = torch._C.DispatchKey.$dispatch, torch._C.DispatchKey.CompositeExplicitAutograd
            with self:  # a graph holds the kernels inside a custom op
                return func._op_dk(next(filter(func.has_kernel_for_dispatch_key, keys)), *args, **(kwargs or {}))
"""

REPLAY_CPU = Running(
    f"""\
class Graph(TorchDispatchMode):  # stands in for a CUDA graph: replays the ops of one call on the same memory
    steps = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
{IN_AN_OP}        out = func(*args, **(kwargs or {{}}))
        self.steps.append((torch.is_inference_mode_enabled(), func, args, kwargs or {{}}, out))
        return out

    def replay(self):
        for inference, func, args, kwargs, out in self.steps:
            with torch.inference_mode(inference):
                for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs))):
                    if isinstance(old, torch.Tensor) and old is not new:
                        old.copy_(new)


capturing = graph = Graph()""",
    (_MODE, _LEAVES),
    stands_in="Emulates a CUDA graph.",
)
CAPTURE_CPU = Running(
    f"""\
CaptureRefused = type("CaptureRefused", (RuntimeError,), {{}})


class Graph(TorchDispatchMode):  # stands in for the capture of a CUDA graph
    tags = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masks = [value.dtype == torch.bool for value in tree_leaves(args[1:]) if isinstance(value, torch.Tensor)]
        by_mask = func._schema.name in ("aten::index", "aten::index_put_") and any(masks)
        if by_mask or func._schema.name == "aten::item" or any(tag in func.tags for tag in self.tags):
            raise CaptureRefused(f"{{func._schema.name}} in a capture depends on the data")
{IN_AN_OP}        return func(*args, **(kwargs or {{}}))


capturing = Graph()""",
    (_MODE, _LEAVES),
    stands_in=CAPTURE,
)
GRAPH_CUDA = Running("graph = torch.cuda.CUDAGraph()\ncapturing = torch.cuda.graph(graph)")
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
        self.made |= {v.untyped_storage()._cdata for v in tree_leaves(out) if isinstance(v, torch.Tensor)} - set(self.read)
        return out

    def check(self):
        for reference, address, shape in self.read.values():
            storage = torch.UntypedStorage._new_with_weak_ptr(reference.cdata)
            if storage is None or storage.data_ptr() != address:
                raise FreedMemory(f"the graph reads memory of {shape} that was freed or moved after its capture")


FreedMemory = type("FreedMemory", (RuntimeError,), {})""",
    (_MODE, _LEAVES, "from torch.multiprocessing.reductions import StorageWeakRef"),
    stands_in="Emulates the memory of a CUDA graph.",
)
