"""The pages: links lead somewhere, commands are accepted, and a command's output is what the page shows."""

from pathlib import Path

import pytest

from fixtures.docs.pages import PAGES, anchors, links
from fixtures.imports import ROOT


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
