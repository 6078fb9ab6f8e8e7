"""Where `pytest --pdb` stops on a failing case: a frame whose local variables are what a reader wants to look at."""

from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from harness.execution.evidence import Call, Run
    from harness.findings.finding import Verdict
    from harness.matrix.case import Case


def failing_padding_case(message: str, case: "Case", verdict: "Verdict", runs: "list[Run]") -> NoReturn:
    """Fail the test. ``layer`` and ``inputs`` are those of the call that raised, else of the first call of the mode.

    They are None and empty where no layer was built. ``runs`` is the evidence of the mode: calls, their records and outputs.
    """
    findings = verdict.findings
    run = runs[-1] if runs else None
    layer = run.layer if run else None
    call = _shown(run) if run else None
    inputs = call.inputs if call else ()
    pytest.fail(_message(message, case, layer, inputs, findings), pytrace=False)


def _message(
    message: str, case: "Case", layer: object, inputs: tuple[object, ...], findings: tuple[object, ...]
) -> str:
    """The verdict's text, with what there is to look at."""
    sizes = f"{len(inputs)} inputs, {len(findings)} finding{'' if len(findings) == 1 else 's'}"
    return f"{message}\n  {'in pdb':<12}layer ({type(layer).__name__}), inputs, runs, findings, case: {sizes} of {case.model}"


def _shown(run: "Run") -> "Call | None":
    return next((call for call in run.calls if call.error), run.calls[0] if run.calls else None)
