"""JUnit XML, as pytest writes it (family xunit2), and valid by the schema by which Jenkins takes or refuses a file."""

from collections.abc import Sequence
from xml.etree import ElementTree

from harness.base.printable import printable
from harness.findings.finding import ERROR, FINDINGS, LATENT, SKIPPED, WAIVED
from harness.output.formats.items import Item
from harness.runs.header import RunHeader

# The statuses that count as skipped, with pytest's name for each.
_SKIPS = {SKIPPED: "pytest.skip", WAIVED: "pytest.xfail", LATENT: "pytest.xfail"}


def junit(items: Sequence[Item], header: RunHeader) -> str:
    """The text of the file: one suite, one test case a result."""
    counts = {
        "errors": sum(one.status == ERROR for one in items),
        "failures": sum(one.status == FINDINGS for one in items),
        "skipped": sum(one.status in _SKIPS for one in items),
        "tests": len(items),
    }
    suites = ElementTree.Element("testsuites", name=header.title)
    about = {name: str(count) for name, count in counts.items()}
    about |= {"time": f"{sum(one.seconds for one in items):.3f}", "timestamp": header.started.rstrip("Z")}
    about |= {"name": header.title, "hostname": printable(header.machine)}
    suite = ElementTree.SubElement(suites, "testsuite", about)
    _properties(suite, {"runner": header.runner, "commit": header.commit, **header.environment})
    for one in items:
        _case(suite, one)
    ElementTree.indent(suites)
    body: str = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _case(suite: ElementTree.Element, one: Item) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=one.group or one.task.subject, name=one.name, time=f"{one.seconds:.3f}"
    )
    if one.status in _SKIPS:
        ElementTree.SubElement(case, "skipped", type=_SKIPS[one.status], message=one.reason).text = one.reason
    elif one.failing:
        tag = "error" if one.status == ERROR else "failure"
        ElementTree.SubElement(case, tag, message=one.message).text = one.text
    _output(case, one.properties)


def _output(case: ElementTree.Element, values: dict[str, str]) -> None:
    """The facts of a case. The schema has properties for a suite alone; this is how readers of JUnit take a case's."""
    lines = [f"[[PROPERTY|{name}={printable(value)}]]" for name, value in values.items() if value]
    if lines:
        ElementTree.SubElement(case, "system-out").text = "\n".join(lines)


def _properties(parent: ElementTree.Element, values: dict[str, str]) -> None:
    known = {name: value for name, value in values.items() if value}
    if known:
        properties = ElementTree.SubElement(parent, "properties")
        for name, value in known.items():
            ElementTree.SubElement(properties, "property", name=name, value=printable(value))
