"""``harness docs``: the pages that the package carries, listed or printed."""

import argparse
import re
from pathlib import Path

from harness.base.errors import BadInput, unknown
from harness.base.project import pages
from harness.findings.kinds import KINDS
from harness.findings.kinds import PAGE as KINDS_PAGE

ABOUT = """\
List the pages of the documentation, each with its title, or print one as it is written, in Markdown.

examples:
  harness docs                    the list
  harness docs own-engine         a page
  harness docs width-mismatch     the entry of a kind of finding

exit code: 0 printed, 2 there is no such page"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness docs``."""
    parser.description = ABOUT
    parser.add_argument(
        "page", nargs="?", metavar="PAGE", help="a page's name, as the list shows it, or a kind of finding"
    )


def run(chosen: argparse.Namespace) -> int:
    """Print the list or the page. Raises BadInput."""
    found = _pages()
    if chosen.page in KINDS:
        print(_entry(chosen.page, _page(KINDS_PAGE, found)))
        return 0
    if chosen.page is not None:
        print(_page(chosen.page, found).read_text("utf-8"), end="")
        return 0
    width = max(map(len, found))
    for name, path in found.items():
        print(f"{name:<{width}}  {_title(path)}")
    return 0


def _pages() -> dict[str, Path]:
    """Every page by its path below the folder, without the suffix."""
    folder = pages()
    if folder is None:
        raise BadInput("this installation has no documentation; install the wheel, or run in a checkout")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.md"))}


def _page(name: str, found: dict[str, Path]) -> Path:
    """The page of this name; the folders before it may be left out where that leaves one page. Raises BadInput."""
    wanted = name.removeprefix("docs/").removesuffix(".md")
    matches = [path for page, path in found.items() if wanted in (page, page.rpartition("/")[2])]
    if wanted in found:
        return found[wanted]
    if len(matches) != 1:
        raise unknown("page", name, found, listed=False)
    return matches[0]


def _entry(kind: str, page: Path) -> str:
    """The part of the page between the heading of this kind and the next heading."""
    _, _, after = page.read_text("utf-8").partition(f"\n### {kind}\n")
    return f"### {kind}\n" + re.split(r"^#{2,3} ", after, maxsplit=1, flags=re.MULTILINE)[0].rstrip()


def _title(path: Path) -> str:
    lines = path.read_text("utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
