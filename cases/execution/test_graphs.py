"""CUDA graphs: what a graph reads from outside, rows of padding, graphs by bucket, and torch.compile's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.corpus import CORRECT
from fixtures.faults import graphs
from fixtures.judged import judged, keys
from fixtures.planting import GRAPHS, SMALL, Planted, case
from harness.base.errors import Skip
from harness.execution import stages
from harness.execution.capture import OpGraph
from harness.execution.evidence import Call, Run
from harness.execution.memory.external_memory import ExternalMemory, ExternalMemoryMode, FreedMemory
from harness.execution.modes import buckets, own_graphs
from harness.execution.modes.cudagraph import Captured
from harness.execution.pinned import pinned
from harness.execution.rig import Rig
from harness.findings.explain import explain
from harness.findings.finding import OK, SKIPPED
from harness.matrix.modes import MODES
from harness.observers import poison, values
from harness.ops.registry import register_op
from harness.selftest.corpus import Correct, Fault
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CPU = torch.device("cpu")


class Holder:
    """A function with a buffer, as a layer holds one."""

    def __init__(self) -> None:
        self.buffer = torch.ones(4, 6)

    def __call__(self, x: Tensor) -> Tensor:
        return x + self.buffer


def captured(function: Callable[..., Any]) -> tuple[OpGraph, Tensor]:
    graph, x = OpGraph(), torch.zeros(4, 6)
    graph.capture(function, (x,))
    return graph, x


def test_what_a_graph_reads_is_freed_when_its_owner_lets_it_go() -> None:
    holder = Holder()
    graph, _x = captured(holder)
    graph.replay()
    holder.buffer = torch.ones(4, 6)
    with pytest.raises(
        FreedMemory, match=r"aten::add uses float32\[4, 6\] .*, which was freed after the capture"
    ) as told:
        graph.replay()
    assert told.value.line is not None
    assert told.value.line.text == "return x + self.buffer"


def test_memory_that_is_resized_is_moved() -> None:
    holder = Holder()
    graph, _x = captured(holder)
    holder.buffer.resize_(4000, 6)
    with pytest.raises(FreedMemory, match="which was moved after the capture"):
        graph.replay()


def test_the_graph_s_own_buffers_are_watched_too() -> None:
    graph, x = captured(torch.relu)
    del x
    with pytest.raises(FreedMemory, match="aten::relu uses"):
        graph.replay()


def test_memory_that_is_replaced_and_kept_is_read_again() -> None:
    holder = Holder()
    before = holder.buffer
    graph, x = OpGraph(), torch.zeros(4, 6)
    out = graph.capture(holder, (x,))
    holder.buffer = torch.zeros(4, 6)
    before.fill_(5)
    graph.replay()
    assert torch.equal(out, torch.full((4, 6), 5.0))


def test_a_view_alone_reads_nothing() -> None:
    holder = Holder()

    def function(x: Tensor) -> Tensor:
        _unused = holder.buffer[1:].t()
        return x * 2

    graph, _x = captured(function)
    holder.buffer = torch.ones(1)
    graph.replay()


def test_memory_made_in_the_capture_is_the_graph_s() -> None:
    def function(x: Tensor) -> Tensor:
        made = torch.zeros(4, 6)
        made[0] = 1  # a scalar, which a kernel is passed
        return (made.t() + x.t()).t()

    graph, x = OpGraph(), torch.zeros(4, 6)
    out = graph.capture(function, (x,))
    out.fill_(torch.nan)
    graph.replay()
    assert out[0].eq(1).all()
    assert out[1:].eq(0).all()


def test_a_list_of_tensors_is_borrowed_and_written() -> None:
    holder = Holder()
    graph, x = OpGraph(), torch.ones(4, 6)
    graph.capture(lambda x: torch._foreach_add_([holder.buffer], [x]), (x,))
    graph.replay()
    assert holder.buffer.eq(2).all()  # the capture executed nothing
    holder.buffer = torch.ones(1)
    with pytest.raises(FreedMemory):
        graph.replay()


WORKSPACE = [torch.ones(4, 6)]


@register_op("cases_graphs::with_workspace", "(Tensor x) -> Tensor", fake=torch.empty_like)
def with_workspace(x: Tensor) -> Tensor:
    made = x.double() + 1  # a composite that copies
    return (made.float().reshape(-1) - 1 + WORKSPACE[0].reshape(-1)).view(x.shape)


@pytest.mark.parametrize("function", [with_workspace, lambda x: x @ WORKSPACE[0].t()], ids=["inside an op", "plain"])
def test_what_a_real_capture_reads_is_noted_as_it_runs(function: Callable[..., Any]) -> None:
    outside, x = ExternalMemory("cpu"), torch.zeros(4, 6)
    with ExternalMemoryMode(outside):
        made = function(x) * 2 + torch.zeros(1)
    outside.check()
    del made
    outside.check()
    WORKSPACE[0] = torch.ones(4, 6)
    with pytest.raises(FreedMemory, match="which was freed after the capture"):
        outside.check()


def test_what_takes_the_form_alone_reads_nothing() -> None:
    outside, x = ExternalMemory("cpu"), torch.zeros(4, 6)
    with ExternalMemoryMode(outside):
        torch.zeros_like(x) + x.new_ones(6)
    del x
    outside.check()


def test_memory_made_after_a_capture_is_not_taken_for_memory_that_the_capture_made_and_freed() -> None:
    capture, later = ExternalMemory("cpu"), ExternalMemory("cpu")
    with ExternalMemoryMode(capture):
        made = torch.ones(4, 6)
        lasting = made * 2
    del made
    later.note_reads("aten::mul", [lasting, *(torch.ones(4, 6) for _ in range(20))])
    assert len(later.made_by(capture)) == 1
    with ExternalMemoryMode(capture):
        outside = [torch._C._nn.gelu(lasting) for _ in range(2)]
        del outside[0]
    capture.note_reads("aten::mul", [torch.ones(4, 6)])
    with pytest.raises(FreedMemory, match="which was freed after the capture"):
        capture.check()


def test_what_lies_on_another_device_is_passed_by_value() -> None:
    outside, host = ExternalMemory("cuda"), torch.zeros(())
    with ExternalMemoryMode(outside):
        host.add(1)
    del host
    outside.check()


def test_rows_that_fill_a_graph_up_are_nan_and_stale() -> None:
    hidden, ids = torch.zeros(4, 6), torch.full((4, 2), 3)
    graph = Captured((hidden, ids), torch.zeros(4, 6), lambda: None, ExternalMemory("cpu"))
    graph.fill((torch.ones(3, 6), torch.full((3, 2), 1)))
    assert hidden[:3].eq(1).all()
    assert hidden[3:].isnan().all()
    assert ids.tolist() == [[1, 1]] * 3 + [[3, 3]]


def bucket_run(tokens: int) -> Run:
    with pinned():
        return buckets.run(Rig(Planted(), case("small", tokens=tokens), CPU, "cudagraph-dynamic"), True)


@pytest.mark.parametrize(
    ("tokens", "few", "many"),
    [(0, (0, 8), (16, 24)), (7, (7, 8), (16, 24)), (8, (8, 16), (16, 24)), (33, (33, 40), (42, 48))],
)
def test_a_batch_takes_the_next_larger_graph(tokens: int, few: tuple[int, int], many: tuple[int, int]) -> None:
    run = bucket_run(tokens)
    assert not run.failed
    replays = [(call.tokens, call.tokens + call.padding_rows) for call in run.calls if call.replayed]
    assert replays == [few, many, few]
    assert [(call.label, call.tokens) for call in run.calls if not call.replayed] == [
        ("warm-up", many[1]),
        ("larger batch", 2 * many[1]),
    ]
    shown = [call for call in run.calls if call.replayed and call.tokens]
    assert all(call.output is not None and call.output.shape == (call.tokens, 80) for call in shown)
    assert all(call in values.comparable(run) for call in shown)


class FewerRows(PaddedMoELayer):
    """Correct while the batch is no multiple of eight."""

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        return out if out.shape[0] % 8 else out[:7]


class TooManyNaN(PaddedMoELayer):
    """Zeroes what is not finite, and adds up over all tokens."""

    def pad(self, x: Tensor) -> Tensor:
        bad = x.isnan().any().to(x.dtype)
        return super().pad(x.nan_to_num() * (1 + bad))


FOUND: list[tuple[type[PaddedMoELayer], tuple[str, str, str]]] = [
    (FewerRows, ("widths", "wrong-shape", "output")),
    (TooManyNaN, ("second call", "stale-replay", "routed experts")),
    (graphs.ScaleOfAllRows, ("poison", "padding-tokens-leak", "routed experts")),
    (graphs.GrownBuffer, ("addresses", "freed-memory", "replay")),
    (graphs.OutputOfCapturedSize, ("second call", "output-overwritten", "output")),
]


@pytest.mark.parametrize(("layer", "found"), FOUND, ids=lambda value: getattr(value, "__name__", ""))
def test_what_filled_and_larger_batches_show(layer: type[PaddedMoELayer], found: tuple[str, str, str]) -> None:
    verdict = judged(layer, mode="cudagraph-dynamic")
    assert found in keys(verdict)
    assert verdict.emulated
    assert verdict.reproduce.startswith("harness check --models small --modes cudagraph-dynamic ")


def test_a_capture_that_is_refused_ends_the_run() -> None:
    class ReadsItem(PaddedMoELayer):
        def dense(self, x: Tensor) -> Tensor:
            return super().dense(x) + 0 * float(x.float().sum().item())

    assert keys(judged(ReadsItem, mode="cudagraph-dynamic")) == [("capture", "capture-refused", "capture")]


# torch.compile's own graphs.


def own(layer: type[PaddedMoELayer] = PaddedMoELayer) -> Run:
    with pinned():
        return own_graphs.recorded(Rig(Planted(layer=layer), SMALL, CPU, "cudagraph-compiled"))


def test_own_graphs_are_skipped_without_cuda() -> None:
    with pytest.raises(Skip, match="need a CUDA device"):
        own_graphs.run(Rig(Planted(), SMALL, CPU), False)
    verdict = judge(Planted(), SMALL, MODES["cudagraph-compiled"], CPU)
    assert (verdict.status, verdict.checks) == (SKIPPED, ())


def test_a_graph_that_inductor_leaves_out_is_a_finding() -> None:
    """On a CPU it does so without a word, even where it was told to raise."""
    run = own()
    assert [call.error is not None for call in run.calls] == [False, False, True]
    finding = explain(run, run.calls[-1])
    assert (finding.observer, finding.kind, finding.stage) == ("capture", "not-captured", "capture")
    assert run.settings["inductor.triton.cudagraphs"] == "True"


def test_a_graph_left_out_is_never_ok_and_the_settings_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_graphs, "run", lambda rig, dynamic: own_graphs.recorded(rig))
    verdict = judge(Planted(), SMALL, MODES["cudagraph-compiled"], CPU)
    assert keys(verdict) == [("capture", "not-captured", "capture")]
    recorded = {name: verdict.environment[f"inductor.{name}"] for name in own_graphs.SETTINGS}
    assert recorded == {name: str(value) for name, value in own_graphs.SETTINGS.items()}


def test_what_inductor_says_of_a_skipped_graph_is_told() -> None:
    run = own()
    error = RuntimeError(
        "backend raised:\nRuntimeError: skipping cudagraphs due to mutated inputs (1 instances)\n\nmore"
    )
    finding = explain(run, Call("warm-up", 7, (), error=error))
    assert (finding.kind, finding.what) == ("not-captured", "skipping cudagraphs due to mutated inputs (1 instances)")


class Pretended:
    """A compiler that captures at the second call, and replays from then on."""

    def __init__(self, captures: tuple[int, ...], replays: tuple[int, ...]) -> None:
        self.captures, self.replays, self.calls = captures, replays, 0

    def __call__(self, layer: Any, **settings: Any) -> Callable[..., Any]:
        def compiled(*inputs: Tensor) -> Any:
            self.calls += 1
            for calls, method in ((self.captures, "capture_begin"), (self.replays, "replay")):
                if self.calls in calls:
                    getattr(torch.cuda.CUDAGraph, method)(None)
            return layer(*inputs)

        return compiled


@pytest.mark.parametrize(
    ("captures", "replays", "says"),
    [
        ((1, 2), (2, 3, 4), ""),
        ((2,), (2,), "ran none"),
        ((2,), (3,), "ran none"),
        ((2, 4), (2, 3, 4), "recorded again"),
    ],
    ids=["replayed", "never replayed", "replayed once", "recorded again"],
)
def test_replays_are_counted(
    captures: tuple[int, ...], replays: tuple[int, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("capture_begin", "replay"):
        monkeypatch.setattr(torch.cuda.CUDAGraph, method, lambda graph: None)
    monkeypatch.setattr(torch, "compile", Pretended(captures, replays))
    run = own()
    told = [str(call.error) for call in run.calls if call.error]
    assert len(told) == bool(says)
    assert all(says in text for text in told)
    assert [call.label for call in run.calls if call.replayed][:1] == ["replay with other inputs"]


# With a device.

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = torch.device("cuda")


class ScalesFromHost(PaddedMoELayer):
    """A scalar on the host: an explicit capture passes it by value, Inductor makes no graph."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.one = torch.ones((), dtype=torch.bfloat16)

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) * self.one


class WritesInput(PaddedMoELayer):
    """The output is where the input was, of which Inductor makes no graph either."""

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        return hidden_states.copy_(super().forward(hidden_states, topk_ids, topk_weights))


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("mode", ["cudagraph", "cudagraph-dynamic", "cudagraph-compiled"])
@pytest.mark.parametrize("model", ["nemotron-3-nano-30b-a3b", "gpt-oss-20b", "synthetic-latent-padded"])
def test_the_right_layer_is_captured_and_replayed(model: str, mode: str) -> None:
    verdict = judge(InTree(), case(model), MODES[mode], CUDA)
    assert (verdict.status, verdict.emulated) == (OK, False), verdict


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("layer", [ScalesFromHost, WritesInput])
def test_a_compiled_layer_that_is_not_captured_is_found_on_cuda(layer: type[PaddedMoELayer]) -> None:
    verdict = judge(Planted(layer=layer), SMALL, MODES["cudagraph-compiled"], CUDA)
    assert ("capture", "not-captured", "capture") in keys(verdict), verdict
    by_hand = keys(judge(Planted(layer=layer), SMALL, MODES["cudagraph"], CUDA))
    assert "capture" not in {observer for observer, _, _ in by_hand}


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("fault", graphs.FAULTS, ids=lambda fault: fault.id)
def test_faults_of_graphs_are_told_on_cuda(fault: Fault) -> None:
    for where in fault.cases:
        verdict = judge(fault.subject, where, MODES["cudagraph-dynamic"], CUDA)
        told = {(finding.observer, finding.stage) for finding in verdict.findings}
        assert bool(told & fault.accounts) == fault.shows(where), verdict
        assert fault.shows(where) or verdict.status == OK, verdict


LEFT_ALONE = [
    pytest.param(right, mode, id=f"{right.id}-{mode}")
    for right in CORRECT
    if right.modes == GRAPHS or right.id in ("right#scale-of-each-row", "right#workspace")
    for mode in right.modes
    if MODES[mode].family == "cudagraph"
]


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize(("right", "mode"), LEFT_ALONE)
def test_right_variants_are_left_alone_on_cuda(right: Correct, mode: str) -> None:
    verdict = judge(right.subject, right.cases[0], MODES[mode], CUDA)
    assert verdict.status == OK, verdict


def test_a_product_that_mixes_rows_is_not_onednn_s() -> None:
    """Whatever width it is that oneDNN mixes rows at: NaN that is gone without it is no finding, and other NaN is one."""

    class Mixes(PaddedMoELayer):
        always = False

        def dense(self, x: Tensor) -> Tensor:
            joins = self.always or torch._C._get_mkldnn_enabled()
            return super().dense(x) + (torch.where(x.isnan().any(0), torch.nan, 0).to(x.dtype) if joins else 0)

    class MixesItself(Mixes):
        always = True

    before = torch._C._get_mkldnn_enabled()
    assert keys(judged(Mixes, mode="cudagraph-dynamic")) == []
    assert keys(judged(MixesItself, mode="cudagraph-dynamic")) == [("poison", "padding-tokens-leak", stages.EXPERTS)]
    assert torch._C._get_mkldnn_enabled() == before


@pytest.mark.parametrize(("tokens", "told"), [([15], ", in tokens 15 of 16"), (list(range(16)), "")])
def test_nan_in_some_tokens_names_them(tokens: list[int], told: str) -> None:
    output = torch.zeros(16, 80)
    output[tokens, 64:] = torch.nan
    call = Call("replay", 16, (), snapshot=output, expected={"routed": torch.zeros(16, 80)}, padding_rows=8)
    run = Run(case=SMALL, mode="cudagraph-dynamic", ops=(), calls=[call])
    (finding,) = poison.look(run) or []
    assert finding.what == f"columns 64-79 (16 of 80) are NaN{told}"
