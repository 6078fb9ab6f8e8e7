"""The example of each kind of finding is what its command finds today. EXPECTTEST_ACCEPT=1 rewrites the page."""

import os
import re

import pytest

from fixtures.docs.judging import example
from fixtures.docs.pages import Shown, accept, shown
from fixtures.imports import ROOT
from harness.findings.kinds import PAGE

EXAMPLES = list(shown(ROOT / PAGE))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: entry.lines[0].partition(" ")[0])
def test_an_example_is_what_its_command_finds(entry: Shown) -> None:
    kind = entry.lines[0].partition(" ")[0]
    found = example(entry.command, kind)
    assert found, f"{entry.command} gives no finding {kind}"
    if os.environ.get("EXPECTTEST_ACCEPT"):
        accept(entry, re.sub(r"(\.py):\d+", r"\1:...", found))
        return
    assert entry.missing(found) == ""
    assert len(found.splitlines()) == len(entry.lines), found
    assert not re.search(r"\.py:\d", "\n".join(entry.lines)), "leave line numbers out: they change with every edit"
