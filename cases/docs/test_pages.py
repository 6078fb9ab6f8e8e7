"""The pages: links lead somewhere, commands are accepted, and a command's output is what the page shows."""

import re
from pathlib import Path

import pytest

from fixtures.docs.pages import PAGES, anchors, links
from fixtures.imports import ROOT

_PAGE = re.compile(r"docs/[\w/-]+\.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    dead = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    reached, waiting = {index}, [index]
    while waiting:
        page = waiting.pop()
        found = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)} & set(PAGES)
        waiting += found - reached
        reached |= found
    assert set(PAGES) - reached - {ROOT / "README.md"} == set()


def test_pages_that_the_code_names_are_there() -> None:
    """Help texts and messages send their reader to a page."""
    files = [
        ROOT / ".ci" / "run",
        ROOT / "conftest.py",
        *(ROOT / "harness").rglob("*.py"),
        *(ROOT / "kernels").rglob("*.py"),
    ]
    named = {(path.name, name) for path in files for name in _PAGE.findall(path.read_text("utf-8"))}
    assert len(named) > 10
    assert {(file, name) for file, name in named if not (ROOT / name).is_file()} == set()
