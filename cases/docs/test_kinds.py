"""Every kind of finding that the code can make has an entry, and every entry a kind."""

import re
from pathlib import Path

import pytest

from fixtures.docs.source_kinds import Unresolved, kinds
from fixtures.imports import ROOT
from harness.findings.finding import Finding, Verdict
from harness.findings.kinds import KINDS, PAGE, page

PARTS = ("Means", "Example", "Causes", "Fix")


def entries() -> dict[str, str]:
    """The page's entries: kind -> text below its heading."""
    text = (ROOT / PAGE).read_text("utf-8")
    return dict(re.findall(r"^### ([a-z-]+)\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE))


def module(folder: Path, text: str) -> Path:
    (folder / "observer.py").write_text(text, "utf-8")
    return folder


def test_every_kind_that_the_code_makes_is_listed() -> None:
    made = kinds(ROOT / "harness")
    missing = {kind: modules for kind, modules in made.items() if kind not in KINDS}
    assert not missing, f"give each a line in harness/findings/kinds.py and an entry in {PAGE}: {missing}"


def test_every_listed_kind_is_made_somewhere() -> None:
    assert set(KINDS) - set(kinds(ROOT / "harness")) == set()


def test_every_kind_has_an_entry_and_every_entry_a_kind() -> None:
    assert list(entries()) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_has_all_its_parts(kind: str) -> None:
    text = entries()[kind]
    assert KINDS[kind] in text, "the entry begins with the line of harness/findings/kinds.py"
    missing = [part for part in PARTS if f"**{part}.**" not in text]
    assert not missing, missing
    assert re.search(rf"^{kind} at |No example here: ", text, re.MULTILINE), "the example is a finding of this kind"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('def f():\n    return Finding(kind="new")', {"new"}),
        ('def f(x):\n    return Finding(kind="a" if x else "b")', {"a", "b"}),
        ('def f(kind):\n    return Finding(kind=kind)\ndef g():\n    return f("c"), f(kind="d")', {"c", "d"}),
        ('NAME = "e"\ndef f():\n    return Finding(kind=NAME)', {"e"}),
        ('def d():\n    return "f", 1\ndef f():\n    kind, n = d()\n    return Finding(kind=kind)', {"f"}),
        (
            'def p():\n    return None\ndef d():\n    if t := p():\n        return t\n    u = "g", 1\n    return u\n'
            "def f():\n    kind, n = d()\n    return Finding(kind=kind)",
            {"g"},
        ),
    ],
)
def test_the_reader_follows_a_kind_to_its_text(code: str, expected: set[str], tmp_path: Path) -> None:
    assert set(kinds(module(tmp_path, code))) == expected


def test_a_kind_that_cannot_be_followed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unresolved, match="cannot follow"):
        kinds(module(tmp_path, "def f(run):\n    return Finding(kind=run.kind)"))


def test_a_finding_carries_the_address_of_its_entry() -> None:
    finding = Finding(observer="widths", kind="wrong-shape", stage="output", what="", cause="")
    assert finding.page == page("wrong-shape") == "docs/reference/findings.md#wrong-shape"
    verdict = Verdict(
        subject="s", case="c", model="m", hidden=1, padded=1, mode="eager", status="findings", findings=(finding,)
    )
    record = verdict.to_json()
    assert record["findings"][0]["page"] == finding.page
    assert Verdict.from_json(record) == verdict
