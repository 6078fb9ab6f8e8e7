"""The scenario of a finding's variation."""

from harness.execution.difference import TOLERANCE
from harness.findings.finding import Finding
from harness.repro.texts import keeping, several, surroundings
from harness.repro.texts.scenario import Scenario

_SCENARIOS = surroundings.SCENARIOS | several.SCENARIOS | keeping.SCENARIOS
_OFF = """\
def off(out, wanted):  # the largest difference, in units of the reference's rms
    return ((out.float() - wanted).abs().max() / wanted.square().mean().sqrt()).item()


"""
_CHECK = (
    f'assert off(out, wanted) < {TOLERANCE}, f"$kind: the output is off by {{off(out, wanted):.2g}} of the reference"'
)


def scenario_of(finding: Finding) -> Scenario | None:
    """The scenario that shows a finding; None where its variation is none of several calls or layers, or has no script."""
    if finding.vary.startswith("process="):
        return surroundings.process(finding.what, build=finding.vary == "process=build")
    return _SCENARIOS.get(finding.vary)


def text_of(scenario: Scenario, raises: bool) -> str:
    """The text behind the layer, with its check; without one where the layer ``raises`` by itself."""
    compares = scenario.compares and not raises
    text = f"{scenario.text}\n{_CHECK}" if compares else scenario.text
    text = text.replace("$check", _CHECK)
    return f"{_OFF}{text}" if "off(" in text else text
