"""The page as a person uses it, in a headless browser: filter, open a cell, copy, keyboard, phone, dark."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import browser as browsers
from fixtures.browser import Browser
from fixtures.nights import RUNNERS, recorded, run_record, tasks, three_nights, write_run
from harness.cli import main

WHY = browsers.missing()
pytestmark = [pytest.mark.skipif(bool(WHY), reason=WHY), pytest.mark.xdist_group("browser")]
DOWN, RIGHT, ENTER, ESCAPE, TAB = "\ue015", "\ue014", "\ue007", "\ue00c", "\ue004"
PHONE = 360
UNNAMED = """
const named = (one) => one.innerText || one.ariaLabel || one.labels?.length;
return [...document.querySelectorAll("button, a, input")].filter((one) => !named(one)).length;
"""
VIEWS = ("changes", "matrix", "times", "ops", "selftest")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.opened() as opened:
        yield opened


def page_of(folder: Path, files: list[Path]) -> Path:
    page = folder / "page.html"
    assert main(["report", *map(str, files), "-o", str(page)]) == 0
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three-nights")
    return page_of(folder, three_nights(folder))


@pytest.fixture(autouse=True)
def _silent(browser: Browser) -> Iterator[None]:
    browser.complaints()
    yield
    assert browser.complaints() == []


def shown_cells(browser: Browser) -> str:
    return browser.text("#count")


def test_what_changed_is_first_with_what_changed_in_the_environment(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("return document.title") == "Nightly results, 27 Nov 2026"
    assert browser.run("return [...document.querySelectorAll('#tiles b')].map((one) => one.textContent)") == [
        "16",
        "24",
        "0",
        "8",
        "12",
        "24",
    ]
    card = browser.text("#groups .card.new")
    assert "width-mismatch at shared add" in card
    assert "Changed in the environment since 26 Nov 2026" in card
    assert "torch: 2.12.0+cu128 → 2.13.0+cu130" in card
    assert "h200-newest: 1 run did not end." in browser.text("#notices")


def test_filter_by_typing(browser: Browser, page: Path) -> None:
    browser.open(page, "#matrix")
    assert shown_cells(browser) == "480 cells"
    browser.press("/")
    assert browser.focused("id") == "filter"
    browser.press("b200 compiled width-mismatch")
    assert shown_cells(browser) == "2 of 480 cells"
    assert browser.count(".cell") == 2
    browser.press("xyz")
    assert "No cell matches." in browser.text("#table")


@pytest.mark.parametrize(("state", "cells"), [("new", 14), ("flaky", 0), ("fixed", 6), ("incomplete", 4), ("gone", 12)])
def test_filter_by_state(state: str, cells: int, browser: Browser, page: Path) -> None:
    browser.open(page, "#matrix")
    browser.click(f"#states [data-value={state}]")
    assert shown_cells(browser) == f"{cells} of 480 cells"
    assert (
        browser.run("return document.querySelector(`#states [data-value=${arguments[0]}]`).ariaPressed", state)
        == "true"
    )


def test_a_cell_opens_its_finding_and_the_command_is_copied(browser: Browser, page: Path) -> None:
    browser.open(page, "#matrix")
    browser.click(".cell.new")
    text = browser.text("#detail")
    for part in ("nemotron-3-nano-30b-a3b, compiled", "Where each width comes from", "2816 = 2688 rounded up to 256, trtllm-nvfp4",
                 "Similar to", "vllm#35949", "torch: 2.12.0+cu128 → 2.13.0+cu130", "History of this case"):  # fmt: skip
        assert part in text
    assert browser.run(
        "return [...document.querySelectorAll('#detail .nights')[0].children].map((one) => one.className)"
    ) == [
        "ok",
        "ok",
        "findings",
    ]
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    browser.click("#detail .copyable button")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(...arguments, ...arguments)")
    assert copied == browser.text("#detail .copyable pre").strip()
    assert copied.startswith("harness check --models nemotron-3-nano-30b-a3b --modes compiled")


def test_copy_without_permission(browser: Browser, page: Path) -> None:
    browser.open(page, "#matrix")
    browser.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    browser.run("document.execCommand = () => { window.copied = getSelection().toString(); }")
    browser.click(".cell.new")
    browser.click("#detail .copyable button")
    assert browser.text("#detail .copyable button") == "Copied"
    assert browser.run("return window.copied").startswith("harness check --models")


def test_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page, "#matrix")
    browser.press("/", "gpt-oss")
    while not browser.focused("data-cell"):
        browser.press(TAB)
    where = (
        "const cell = document.activeElement.closest('td'); return [cell.parentNode.sectionRowIndex, cell.cellIndex]"
    )
    assert browser.run(where) == [0, 1]
    browser.press(RIGHT)
    assert browser.run(where) == [0, 2]
    browser.press(DOWN)
    assert browser.run(where) == [1, 2]
    cell = browser.focused("data-cell")
    browser.press(ENTER)
    assert browser.count("#detail") == 1
    browser.press(ESCAPE)
    assert browser.count("#detail") == 0
    assert browser.focused("data-cell") == cell


def test_landmarks_and_names(browser: Browser, page: Path) -> None:
    browser.open(page, "#matrix")
    assert [browser.count(one) for one in ("header", "nav[aria-label]", "main", "h1", "[role=search]")] == [1] * 5
    assert browser.run("return document.documentElement.lang") == "en"
    label = browser.run("return document.querySelector('.cell.new').ariaLabel")
    assert label == "nemotron-3-nano-30b-a3b, compiled, trtllm-nvfp4, wide, b200-nightly: New, 2 with findings"
    assert browser.run(UNNAMED) == 0
    assert browser.run("return document.querySelectorAll('th:not([scope])').length") == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_scrolls_one_way(view: str, dark: bool, browser: Browser, page: Path) -> None:
    browser.open(page, f"#{view}", width=PHONE, height=740, dark=dark)
    assert browser.run("return document.documentElement.scrollWidth") == PHONE
    assert browser.count("main h2") >= 1
    if view == "matrix":
        browser.click(".cell.new")
        assert browser.run("return document.getElementById('detail').getBoundingClientRect().left") == 0
        assert browser.run(
            "const panel = document.getElementById('detail'); return panel.scrollWidth <= panel.clientWidth"
        )


# Texts that WCAG 2.2 calls too faint: a contrast ratio below 4.5 between a text and the ground it stands on.
CONTRAST = """
const channel = (value) => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
const light = (color) => {
  const [red, green, blue] = color.match(/[\\d.]+/g).map((part) => channel(part / 255));
  return .2126 * red + .7152 * green + .0722 * blue;
};
const ground = (one) => {
  const color = getComputedStyle(one).backgroundColor;
  return !/, 0\\)$/.test(color) ? color : one.parentElement ? ground(one.parentElement) : "rgb(255, 255, 255)";
};
const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
const faint = (one, part) => {
  const [low, high] = [light(getComputedStyle(one, part).color), light(ground(one))].sort((a, b) => a - b);
  return (high + .05) / (low + .05) < 4.5;
};
const shown = [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility());
return shown.filter((one) => (hasText(one) && faint(one)) || (one.placeholder && faint(one, "::placeholder")))
  .map((one) => `${one.tagName}.${one.className}`);
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("view", VIEWS)
def test_text_has_contrast(view: str, dark: bool, browser: Browser, page: Path) -> None:
    browser.open(page, f"#{view}", dark=dark)
    assert browser.run(CONTRAST) == []
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(17, 22, 29)" if dark else "rgb(246, 247, 249)")


# Targets that a finger misses: smaller than 44 pixels, where WCAG 2.2 asks for 24 and phones' own guides for 44.
SMALL = """
const wanted = "a, button, input, summary", bare = (one) => !one.closest(".skip, .unseen");
return [...document.querySelectorAll(wanted)].filter((one) => one.checkVisibility() && bare(one))
  .filter((one) => { const box = one.getBoundingClientRect(); return box.height < 44 || box.width < 44; })
  .map((one) => `${one.tagName}.${one.className} ${one.innerText}`);
"""


@pytest.mark.parametrize("view", VIEWS)
def test_a_finger_hits_what_it_aims_at(view: str, browser: Browser, page: Path) -> None:
    browser.open(page, f"#{view}", width=PHONE, height=740)
    assert browser.run(SMALL) == []
    if view == "matrix":
        browser.click(".cell.new")
        assert browser.run(SMALL) == []


def test_the_page_behind_an_open_cell_stays(browser: Browser, page: Path) -> None:
    browser.open(page, "#matrix")
    browser.click(".cell.new")
    assert browser.run("return getComputedStyle(document.documentElement).overflowY") == "hidden"
    browser.press(ESCAPE)
    assert browser.run("return getComputedStyle(document.documentElement).overflowY") == "visible"


def test_the_first_column_stays_where_a_table_is_wide(browser: Browser, page: Path) -> None:
    browser.open(page, "#matrix", width=760)
    browser.run("document.getElementById('table').scrollLeft = 150")
    assert browser.run("return document.getElementById('table').scrollLeft") > 50
    left = "document.querySelector('#table tbody th').getBoundingClientRect().left"
    assert abs(browser.run(f"return {left} - document.getElementById('table').getBoundingClientRect().left")) <= 1


def test_a_kill_matrix_is_filtered_by_typing(browser: Browser, tmp_path: Path) -> None:
    marks = {"eager": "found", "fake": "missed"}
    fault = {"record": "selftest", "kind": "fault", "killed": True, "marks": {"eager": "found"}, "survived": []}
    rows = [fault | {"id": f"vllm#{number}"} for number in range(300)]
    rows.append(fault | {"id": "vllm#4118", "killed": False, "marks": marks, "survived": ["not seen in fake"]})
    file = tmp_path / "selftest.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    browser.open(page_of(tmp_path, [file]), "#selftest")
    browser.press("/", "missed FAKE")
    assert browser.count("#faults tbody tr") == 1
    assert browser.shows("#faults", "1 of 301 rows")
    browser.press("x")
    assert "No row matches." in browser.text("#faults")
    for _ in "missed FAKEx":
        browser.press("\ue003")
    assert browser.count("#faults tbody tr") == 200
    browser.click("#faults .more")
    assert browser.count("#faults tbody tr") == 301


def test_other_views(browser: Browser, page: Path) -> None:
    browser.open(page, "#times")
    assert "41.5" in browser.text("#kernels")
    label = browser.run("return document.querySelector('#kernels svg').ariaLabel")
    assert label == "25 Nov: 41.5 µs; 26 Nov: 41.5 µs; 27 Nov: 41.5 µs"
    browser.click("nav a[href='#ops']")
    assert "1 op: 3 properties break, 3 hold." in browser.text("#audits")
    browser.click("nav a[href='#selftest']")
    assert "3 of 6 planted faults found; 0 false alarms on 3 correct variants." in browser.text("#faults")
    browser.click("#faults button[aria-label='Open vllm#41184']")
    assert "not seen in fake" in browser.text("#detail")


def test_empty_views_say_what_fills_them(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text(json.dumps({"op": "mylib::op", "row": "fake", "status": "holds", "what": ""}) + "\n")
    browser.open(page_of(tmp_path, [file]))
    assert "No results of the matrix." in browser.text("#groups")
    for view, text in (
        ("matrix", "No results of the matrix."),
        ("times", "No kernel times."),
        ("selftest", "No self-test."),
    ):
        browser.click(f"nav a[href='#{view}']")
        assert browser.shows(f"#view-{view}", text)


def test_hostile_text_is_shown_and_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    hostile = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\u202e\x00"
    chosen = list(tasks("h100-newest", 0, (f"model{hostile}",), (1,)))
    run = run_record("h100-newest", 0, chosen) | {"runner": hostile}
    finding = {"what": hostile, "kind": hostile, "widths": "none", "similar_to": 5, "line": hostile}
    browser.open(
        page_of(tmp_path, [write_run(tmp_path / "n.jsonl", run, chosen, lambda task: ("findings", finding))]), "#matrix"
    )
    browser.click(".cell")
    assert "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\\u202e\\x00" in browser.text(
        "#detail"
    )
    assert browser.run("return [window.hit ?? null, document.images.length, document.scripts.length]") == [None, 0, 3]
    for view in VIEWS:
        browser.run("location.hash = arguments[0]", view)
    assert browser.run("return document.documentElement.scrollWidth") <= 1280


def test_a_foreign_script_is_refused(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run(
        "const one = document.createElement('script'); one.textContent = 'window.hit = 1'; document.body.append(one)"
    )
    assert browser.run("return window.hit ?? null") is None
    assert any("Content Security Policy" in line for line in browser.complaints())


@pytest.mark.skipif(not recorded(), reason="no records of a real run: fixtures/records/README.md")
def test_records_of_real_runs(browser: Browser, tmp_path: Path) -> None:
    browser.open(page_of(tmp_path, [*three_nights(tmp_path), *recorded()]), "#matrix")
    assert browser.count("#runner-choices button") > len(RUNNERS) + 1
    browser.run(
        "[...document.querySelectorAll('#runner-choices button')].find((one) => one.innerText.startsWith('recorded')).click()"
    )
    browser.click(".cell")
    assert "History" in browser.text("#detail")


def test_screenshots(browser: Browser, page: Path) -> None:
    """With ``SCREENSHOTS=FOLDER``, the page as it looks, to be looked at."""
    folder = Path(os.environ.get("SCREENSHOTS") or page.parent)
    for view in VIEWS:
        for width, dark in ((1280, False), (1280, True), (PHONE, False), (PHONE, True)):
            browser.open(page, f"#{view}", width=width, dark=dark)
            name = folder / f"{view}-{width}-{'dark' if dark else 'light'}.png"
            assert browser.driver.save_screenshot(str(name))
            assert name.stat().st_size > 5_000
