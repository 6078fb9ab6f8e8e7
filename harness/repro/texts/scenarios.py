"""The scenario of a finding's variation."""

import re

from harness.findings.finding import Finding
from harness.repro.texts import keeping, leaks, process, several, surroundings
from harness.repro.texts.emulated.captures import OTHER_GRAPHS, reloaded
from harness.repro.texts.emulated.captures import SCENARIOS as CAPTURES
from harness.repro.texts.emulated.ranks import RANKS
from harness.repro.texts.scenario import Scenario
from harness.repro.texts.values import OFF, OFF_CHECK, ONCE

_SCENARIOS = surroundings.SCENARIOS | several.SCENARIOS | keeping.SCENARIOS | leaks.SCENARIOS | CAPTURES
# What only a comparison needs: nothing where the layer raises.
_REFERENCE = re.compile(
    r"(?m)^ *(?:wanted = oracle\(batch\)|\$check).*\n?|, wanted(?= = )|, (?:oracle\(batch\)|held\.float\(\))$"
)


def scenario_of(finding: Finding, device: str = "cpu") -> Scenario | None:
    """The scenario that shows a finding; None where its variation is none of several calls or layers, or has no script."""
    if finding.observer == "proof":
        return Scenario("", compares=False)  # its script is a trace, which has the check in it
    if finding.vary.startswith("process="):
        return process.process(finding.what, build=finding.vary == "process=build")
    if finding.vary == "memory=40-calls":
        return leaks.leak(finding.what)
    if finding.vary == "graphs=reloaded":
        return reloaded(finding, device)
    if finding.vary.startswith("ranks="):
        return RANKS
    if finding.kind == "other-graphs-memory":
        return OTHER_GRAPHS
    return _SCENARIOS.get(finding.vary)


def text_of(scenario: Scenario, raises: bool, form: str = "") -> str:
    """The text behind the layer, with its check; without one where the layer ``raises`` by itself.

    ``form`` is the check of an output of the wrong form, whose values are not compared.
    """
    if raises:
        return _REFERENCE.sub("", scenario.text)
    if "$check" not in scenario.text:
        return f"{scenario.text}\n{form or ONCE}" if scenario.compares else scenario.text
    text = f"{scenario.text}\n$check" if scenario.compares else scenario.text
    return text.replace("$check", form) if form else OFF + text.replace("$check", OFF_CHECK)
