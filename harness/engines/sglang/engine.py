"""The process's SGLang: its configuration, its process groups, and the context that its piecewise ops read."""

import contextlib
import inspect
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, distributed
from torch._C._distributed_c10d import FileStore, HashStore
from torch.distributed import ProcessGroup

from harness.base.errors import BadInput
from harness.engines.released.ranks import Ranks

ROUTING = "biased_grouped_topk_impl"
# The models whose blocks hold layers, and the op around the routed experts in each. gpt-oss's op holds the router and the top-k too.
BLOCKS = {"nemotron": ("nemotron_h", "NemotronHMoE"), "gpt-oss": ("gpt_oss", "GptOssSparseMoeBlock")}
OPS = {"nemotron": "sglang::moe_forward_piecewise_cuda_graph_impl", "gpt-oss": "sglang::moe_impl"}
PATIENCE = timedelta(seconds=120)
# The module that holds the flag and the context of piecewise graphs, and their names in it. Newest first.
CONTEXTS = (
    (
        "sglang.srt.model_executor.runner_backend_utils.tc_piecewise_cuda_graph.context_manager",
        "_in_tc_piecewise_cuda_graph",
        "_tc_piecewise_forward_context",
    ),
    ("sglang.srt.compilation.piecewise_context_manager", "_in_piecewise_cuda_graph", "_forward_context"),
)


class Engine:
    """The imported SGLang, set up once per process, since it keeps its configuration and its groups in globals."""

    def __init__(self, ranks: Ranks) -> None:
        import sglang

        self.ranks, self.version = ranks, str(sglang.__version__)
        self.root = Path(str(sglang.__file__)).parent
        _configure(ranks)
        self.models = {name: _block(*where, OPS[name]) for name, where in BLOCKS.items()}
        _start_groups(ranks)
        _route_in_torch()
        self._piecewise, self._flag, context = _context()
        # The ops find a layer and its block by number. On a GPU the model runner fills lists before it captures.
        self.layers: dict[int, Any] = {}
        self.blocks: dict[int, Any] = {}
        setattr(self._piecewise, context, SimpleNamespace(moe_layers=self.layers, moe_fusions=self.blocks))

    def piecewise(self, wanted: bool) -> None:
        """Whether the blocks that run next call their experts through the op of piecewise graphs."""
        setattr(self._piecewise, self._flag, wanted)

    def forget(self, number: int) -> None:
        """Remove a layer from the context, which would keep it alive."""
        self.layers.pop(number, None)
        self.blocks.pop(number, None)


def _block(module: str, name: str, op: str) -> Any:
    """The class of a model's block. Raises ImportError or BadInput where this SGLang has none, or not its op."""
    block = getattr(import_module(f"sglang.srt.models.{module}"), name)
    if not hasattr(torch.ops.sglang, op.partition("::")[2]):
        raise BadInput(f"this SGLang has no op {op}, by which its piecewise graphs call {name}'s experts")
    return block


def _configure(ranks: Ranks) -> None:
    """SGLang's configuration, for a model that is not there: ``dummy`` is its own name for one."""
    from sglang.srt.server_args import ServerArgs

    arguments = ServerArgs(model_path="dummy", tp_size=ranks.size)
    with contextlib.suppress(ImportError):
        from sglang.srt.runtime_context import SpawnRanks, publish

        publish(arguments, role="scheduler", ranks=SpawnRanks(world_rank=ranks.rank, gpu_id=0))
        return
    from sglang.srt.layers.moe import initialize_moe_config
    from sglang.srt.server_args import set_global_server_args_for_scheduler

    set_global_server_args_for_scheduler(arguments)
    initialize_moe_config(arguments)


def _start_groups(ranks: Ranks) -> None:
    from sglang.srt.distributed import parallel_state

    # SGLang would do this itself, but with a long timeout for a rank that died.
    store = HashStore() if ranks.size == 1 else FileStore(ranks.meeting, ranks.size)
    distributed.init_process_group("gloo", store=store, timeout=PATIENCE, world_size=ranks.size, rank=ranks.rank)
    parallel_state.init_distributed_environment(ranks.size, ranks.rank, "env://", 0, "gloo")
    sizes = inspect.signature(parallel_state.initialize_model_parallel).parameters
    given = {"tensor_model_parallel_size": ranks.size, "backend": "gloo"}
    parallel_state.initialize_model_parallel(**{name: value for name, value in given.items() if name in sizes})
    for group in _groups(parallel_state):
        _reduce_as_on_a_gpu(group)
    # A getter of a group that was called once warns no more. Until then it looks at its caller's frame, which Dynamo of a torch
    # older than the release's own cannot trace.
    getattr(parallel_state, "_ALREADY_WARNED", set()).update(getattr(parallel_state, "_CONTEXT_NAME_OF", ()))


def _groups(parallel_state: ModuleType) -> list[Any]:
    """The groups of more than one rank, each once."""
    groups = [group() for group in parallel_state._groups.values()]
    return [group for group in groups if group is not None and group.world_size > 1]


def _reduce_as_on_a_gpu(group: Any) -> None:
    """Let a group reduce through SGLang's custom op, out of place, as its custom all-reduce does on a GPU.

    On a CPU it would reduce in place without an op.
    """
    gloo = Gloo(group.device_group)

    def all_reduce(input_: Tensor) -> Tensor:
        reduced: Tensor = torch.ops.sglang.outplace_all_reduce(
            input_, group_name=group.unique_name, outplace_all_reduce_method="ca"
        )
        return reduced

    def out_of_place(input_: Tensor, *method: Any, **more: Any) -> Tensor:
        return gloo.all_reduce(input_)

    group.all_reduce, group._all_reduce_out_place = all_reduce, out_of_place


class Gloo:
    """An all-reduce over gloo. Like a GPU's, it returns a new tensor and accepts only contiguous memory."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group

    def all_reduce(self, x: Tensor) -> Tensor:
        """The sum over ranks. ``view(-1)`` raises RuntimeError on a tensor that is not contiguous."""
        summed = x.view(-1).clone()
        distributed.all_reduce(summed, group=self.group)
        # A copy in memory that gloo never referenced, as in vLLM's communicator: its thread may keep the sum alive longer.
        return summed.view(x.shape).clone()


def _context() -> tuple[ModuleType, str, str]:
    """The module of the piecewise context, and the names of the flag and of the context. Raises BadInput."""
    for name, flag, context in CONTEXTS:
        with contextlib.suppress(ModuleNotFoundError):
            module = import_module(name)
            if hasattr(module, flag) and hasattr(module, context):
                return module, flag, context
    raise BadInput("this SGLang has no piecewise graphs that the harness knows, which are what calls its MoE ops")


def _route_in_torch() -> None:
    """Let SGLang's torch top-k run as it is written, and take a batch of no tokens.

    A GPU routes with a kernel, which takes such a batch. The torch version, which stands in for it here, reshapes to
    ``(0, -1)``. SGLang also compiles it, which takes seconds in each process and changes no value.
    """
    from sglang.srt.layers.moe import topk

    compiled = getattr(topk, ROUTING, None)
    routing = getattr(compiled, "_torchdynamo_orig_callable", compiled)
    if routing is None:
        return

    def route(hidden_states: Tensor, gating_output: Tensor, *args: Any, **kwargs: Any) -> Any:
        if gating_output.shape[0]:
            return routing(hidden_states, gating_output, *args, **kwargs)
        width = inspect.signature(routing).bind(hidden_states, gating_output, *args, **kwargs).arguments["topk"]
        return gating_output.new_empty((0, width)), gating_output.new_empty((0, width), dtype=torch.int32)

    setattr(topk, ROUTING, route)
