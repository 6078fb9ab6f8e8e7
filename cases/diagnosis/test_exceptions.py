"""One reader of failures: a text that a log holds and the exception that has it get the same answer."""

import re

import pytest
import torch

from fixtures.failure_texts import TEXTS, Text
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.exception import read_exception
from harness.diagnosis.known.kinds import kinds
from harness.diagnosis.known.relatives import bugs
from harness.execution.evidence import Call, Run
from harness.findings.explain import explain
from harness.findings.finding import Finding
from harness.findings.kinds import KINDS
from harness.matrix.case import Case
from harness.matrix.selection import Selection
from harness.verdict.known_bugs import SHOWS_AS, known_bugs, name_bugs

_RAISED = re.compile(r"\s*(?P<module>(?:\w+\.)*)(?P<name>\w+(?:Error|Hit|Violation)): ")


def exception_of(text: str) -> Exception:
    """The exception that prints such a text, of a class of that name."""
    found = _RAISED.match(text)
    if not found:
        return RuntimeError(text)
    made = type(found["name"], (RuntimeError,), {"__module__": found["module"].rstrip(".") or "builtins"})
    error: Exception = made(text[found.end() :])
    return error


def diagnosis_of(text: str) -> Diagnosis:
    return read_exception(exception_of(text))[1]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_an_exception_is_answered_as_its_text_is(text: Text) -> None:
    one = diagnosis_of(text.text)
    assert one.kind == text.kind
    # Of a layer under test sizes that a text alone leaves open are those of padding.
    assert one.verdict == text.verdict or (text.verdict, one.verdict) == ("undecided", "family")
    assert tuple(sorted(width.size for width in one.widths)) == text.sizes
    assert (one.padded or 0) == text.padded


def case() -> Case:
    found: Case = Selection(models=("nemotron-3-nano-30b-a3b",), modes=("eager",)).tasks()[0][0]
    return found


def finding_of(error: Exception) -> Finding:
    """The finding of a call that raised and of which no op was recorded."""
    return explain(Run(case(), "compiled", ()), Call("first call", 7, (), error=error))


ADD = "The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1"
TRACED = (
    "RuntimeError when making fake tensor call\n  Explanation: Dynamo failed to run FX node with fake tensors: call_function "
    "<built-in function add>(*(FakeTensor(..., size=(s9, 2688)), FakeTensor(..., size=(s9, 2816))), **{}): "
    f"got RuntimeError('{ADD}')"
)


@pytest.mark.parametrize(
    ("text", "kind", "stage", "says"),
    [
        (ADD, "width-mismatch", "shared add", "not cut off before the shared add: 2816 = 2688 rounded up to 256"),
        (TRACED, "width-mismatch", "shared add", "not cut off before the shared add"),
        (
            "expected size 64==64, stride 2880==3072 at dim=0; expected size 2880==3072, stride 1==1 at dim=1\n"
            "Error in op: torch.ops.mine.experts.default",
            "fake-differs",
            "routed experts",
            "The kernel and its fake implementation disagree",
        ),
        (
            "    assert_size_stride(arg3_1, (5, 256), (256, 1), 'input')\nexpected size 5==5, stride 999==256 at dim=0",
            "specialised",
            "an input of a compiled graph",
            "The assert is on an input of the compiled graph",
        ),
        ("Multiple dispatch failed for 'torch._ops.mine.gemm.default'; all", "no-fake", "mine::gemm, or", "no fake"),
        (
            "mine::gemm (with implementation in ???): The output of this custom operator (1) must not also be an input",
            "raised",
            "layer",
            "gives back one of its inputs",
        ),
        ("gemm_fake() missing 1 required positional argument: 'eps'", "signature", "the fake gemm_fake", "'eps'"),
        (
            "operation not permitted when stream is capturing",
            "capture-refused",
            "capture",
            "CUDA graph records kernels",
        ),
        ("L['x'].size()[0] was inferred to be a constant (64).", "specialised", "layer", "became the constant 64"),
        ("no rule knows this", "raised", "layer", "The layer raised before it returned an output."),
    ],
)
def test_an_exception_without_a_record_is_told_by_its_text(text: str, kind: str, stage: str, says: str) -> None:
    finding = finding_of(RuntimeError(text))
    assert finding.kind == kind
    assert finding.stage.startswith(stage)
    assert says in finding.cause


def test_a_text_of_no_padding_blames_no_width() -> None:
    finding = finding_of(RuntimeError("The size of tensor a (640) must match the size of tensor b (8)"))
    assert (finding.kind, finding.similar_to) == ("raised", ())


def test_a_class_tells_what_the_text_does_not() -> None:
    made = torch._dynamo.exc.Unsupported("a line that Dynamo cannot trace")
    assert finding_of(made).kind == "graph-break"
    made = torch._dynamo.exc.Unsupported("Data-dependent branching")
    assert (finding_of(made).kind, "value that only a run has" in finding_of(made).cause) == ("graph-break", True)
    assert finding_of(torch._dynamo.exc.RecompileError("again")).kind == "specialised"
    assert finding_of(RuntimeError("again")).kind == "raised"


def test_relatives_of_a_text_come_before_those_of_the_finding() -> None:
    finding = name_bugs(finding_of(RuntimeError(ADD)), case())
    assert finding.similar_to == ("vllm#35949 (fixed by vllm#40794)", "vllm#41184 (fixed by vllm#45707)")


def test_frames_of_the_harness_and_of_torch_do_not_count() -> None:
    try:
        torch.zeros(2, 640) + torch.zeros(2, 8)
    except RuntimeError as error:
        facts, _ = read_exception(error)
    assert [frame[0] for frame in facts.frames] == [__file__]


def test_the_data_names_kinds_of_findings_and_predicates() -> None:
    assert {entry["kind"] for kind in kinds() for entry in kind.findings} <= set(KINDS)
    assert {bug.finding for bug in bugs()} - {""} == set(SHOWS_AS)
    assert {bug.id for bug in known_bugs()} < {bug.id for bug in bugs()}


def test_an_error_inside_dynamo_is_no_line_that_it_cannot_trace() -> None:
    text = 'torch._dynamo.exc.InternalTorchDynamoError: KeyError: 208\n\nfrom user code:\n  File "moe.py", line 3, in forward'
    diagnosis = diagnosis_of(text)
    assert (diagnosis.kind, diagnosis.finding) == ("graph-break", "graph-break")
    assert diagnosis.cause.startswith("Dynamo itself ended in an error that it does not expect")
    assert "comes without fullgraph too" in diagnosis.cause
    unsupported = diagnosis_of("torch._dynamo.exc.Unsupported: Attempted to call function marked as skipped")
    assert unsupported.cause.startswith("Dynamo cannot put a line")
