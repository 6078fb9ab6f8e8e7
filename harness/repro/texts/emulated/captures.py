"""Scenarios of graphs: what a capture makes has no contents, and a graph reads what a load replaced."""

from harness.findings.finding import Finding
from harness.repro.texts.graphs import ADDRESSES, CAPTURE, GRAPH_CUDA, IN_AN_OP, REPLAY_CPU, WRAPPED
from harness.repro.texts.scenario import Scenario
from harness.repro.texts.several import DOUBLED, FIRST, LOADED

_MODES = (
    "from torch.utils._python_dispatch import TorchDispatchMode",
    "from torch.utils._pytree import tree_leaves",
)
_CAPTURE = f"""\
class Capture(TorchDispatchMode):  # stands in for the capture of a CUDA graph, which computes nothing
    made, read = {{}}, {{}}  # the memory that the capture makes, and what lay in the memory from outside

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
{WRAPPED}{IN_AN_OP}        for value in filter(torch.is_tensor, tree_leaves((args, kwargs))):
            storage = value.untyped_storage()
            if storage._cdata not in self.made and storage._cdata not in self.read:
                self.read[storage._cdata] = storage, storage.clone()
        out = func(*args, **(kwargs or {{}}))
        for value in filter(torch.is_tensor, tree_leaves(out)):
            if value.untyped_storage()._cdata not in self.read:
                self.made.setdefault(value.untyped_storage()._cdata, value)
        return out

    @torch.inference_mode()
    def undo(self):  # what the capture made holds anything, and all else is as it was
        for storage, before in self.read.values():
            storage.copy_(before)
        for value in self.made.values():
            value.fill_(torch.nan if value.is_floating_point() else $garbage)


"""
_GARBAGE = "True if value.dtype == torch.bool else torch.iinfo(value.dtype).max"
_COLD = f"""\
{_CAPTURE}layer(*inputs(7, 0))  # what does not depend on the size is made here
batch = inputs($called, 0)
with Capture() as capture:
    layer(*batch)
capture.undo()
out, wanted = layer(*batch), oracle(batch)  # before the first replay"""
_SECOND = f"""\
{_CAPTURE}layer(*inputs($large, 0))  # a warm-up
batch = [value if value is None else value[:$large] for value in inputs($large, 2)]  # parts of persistent buffers
with Capture() as capture:
    layer(*batch)
capture.undo()
batch = [value if value is None else value[:$small] for value in batch]
out, wanted = layer(*batch), oracle(batch)  # as a smaller graph's first replay, captured second"""
_USED = f"{DOUBLED}batch = inputs(7, 0)\nlayer(*inputs(7, 1))\n"
_DISPATCH = "    def __torch_dispatch__(self, func, types, args=(), kwargs=None):\n"
_FREED = f"""\
{ADDRESSES.text.replace(_DISPATCH, _DISPATCH + WRAPPED)}


{_USED}with Reads() as graph:
    layer(*batch)
layer.load_state_dict(doubled())
graph.check()"""
_REPLAYED = f"""\
{FIRST}layer(*inputs(7, 1))
with capturing:
    out = layer(*batch)
{LOADED.partition(chr(10))[0]}
graph.replay()"""

OTHER_GRAPHS = Scenario(_SECOND.replace("$garbage", _GARBAGE), _MODES, stands_in=CAPTURE, long=True)
_COLD_CALL = Scenario(_COLD.replace("$garbage", "0"), _MODES, stands_in=CAPTURE, long=True)
SCENARIOS = {"graphs=not-warmed-up": _COLD_CALL}


def reloaded(finding: Finding, device: str) -> Scenario:
    """The scenario of a graph that is replayed after a load: of its addresses where memory was freed, else of its values."""
    if finding.kind == "freed-memory":
        return Scenario(_FREED, ADDRESSES.imports, compares=False, stands_in=ADDRESSES.stands_in)
    running = GRAPH_CUDA if device == "cuda" else REPLAY_CPU
    return Scenario(f"{running.text}\n\n\n{_REPLAYED}", running.imports, stands_in=running.stands_in)
