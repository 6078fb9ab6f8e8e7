"""`harness report`: what is read, what is said of what cannot be, the exit codes, and a page that is inert."""

import gzip
import json
import re
import sqlite3
from pathlib import Path

import pytest

from fixtures.nights import MODELS, all_ok, run_record, tasks, verdict_record, write_run
from harness.cli import main

HOSTILE = "</script><img src=x onerror=alert(1)><!-- \u202egnp.exe \x1b[31m\x00 {{script}} \u2028 \ud800"


def night(folder: Path, name: str = "night.jsonl") -> Path:
    chosen = list(tasks("h100-newest", 0, MODELS[:1], (1,)))
    return write_run(folder / name, run_record("h100-newest", 0, chosen), chosen, all_ok)


def report(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


def payload(page: Path, part: str = "overview") -> dict:
    match = re.search(
        rf'<script type="application/json" id="{part}">(.*?)</script>', page.read_text("utf-8"), re.DOTALL
    )
    assert match
    return json.loads(match[1])


def total(page: Path) -> int:
    return sum(map(sum, payload(page)["cells"]["counts"]))


def test_a_page_of_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(night(tmp_path), "-o", tmp_path / "page.html") == 0
    assert total(tmp_path / "page.html") == 32
    assert "page.html: 34 record(s) added, 32 cells" in capsys.readouterr().out


def test_folders_and_gzip(tmp_path: Path) -> None:
    plain = night(tmp_path)
    folder = tmp_path / "shards" / "one"
    folder.mkdir(parents=True)
    (folder / "night.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert report(tmp_path / "shards", "-o", tmp_path / "page.html") == 0
    assert total(tmp_path / "page.html") == 32


def test_a_history_is_enough(tmp_path: Path) -> None:
    history = tmp_path / "history.sqlite"
    assert report(night(tmp_path), "-o", tmp_path / "a.html", "--history", history) == 0
    assert report("-o", tmp_path / "b.html", "--history", history) == 0
    assert (tmp_path / "a.html").read_text("utf-8") == (tmp_path / "b.html").read_text("utf-8")


def test_formats_1_and_2(tmp_path: Path) -> None:
    task = next(tasks("h100-newest", 0))
    record = verdict_record(task, "findings", {}, "")
    for key in ("record", "run", "format"):
        record.pop(key)
    record["again"] = record.pop("reproduce")
    record["findings"][0]["guilty"] = "inductor"
    file = tmp_path / "old.jsonl"
    file.write_text(json.dumps(record) + "\n")
    assert report(file, "-o", tmp_path / "page.html", "--night", "2026-11-20") == 0
    assert payload(tmp_path / "page.html")["nights"] == ["2026-11-20"]
    (detail,) = payload(tmp_path / "page.html", "details")
    assert detail["reproduce"].startswith("harness check --models")
    assert detail["findings"][0]["blame"] == "inductor"


def test_a_truncated_file_is_used_up_to_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = night(tmp_path)
    file.write_bytes(file.read_bytes()[:-200])
    assert report(file, "-o", tmp_path / "page.html") == 0
    assert (
        "the last line ends in the middle of a record, so its run was stopped; the rest is used"
        in capsys.readouterr().err
    )


def test_a_truncated_gzip_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "night.jsonl.gz"
    file.write_bytes(gzip.compress(night(tmp_path).read_bytes())[:-40])
    assert report(file, "-o", tmp_path / "page.html") == 1
    assert "it cannot be read to its end" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json\n", "line 1: it is not JSON"),
        (b"[1, 2]\n", "line 1: it is not a JSON object"),
        (b'{"a": 1}\n', "line 1: the harness writes no such record"),
        (b'{"record": [], "run": 1}\n', "line 1: the harness writes no such record"),
        (b'{"record": ["verdict"], "run": 1}\n', "line 1: the harness writes no such record"),
        (b"\xff\xfe\n", "line 1: it is not JSON"),
        (
            b'{"format": 9, "record": "verdict"}\n',
            "line 1: it has format 9, and this version of the harness reads formats 1 to 3",
        ),
        (
            b'{"record": "verdict", "subject": "s", "case": 3, "mode": "m", "status": "ok"}\n',
            "line 1: 'case' is missing",
        ),
        (
            b'{"subject": "s", "case": "c", "mode": "m", "status": "fine"}\n',
            "line 1: status 'fine' is unknown; expected one of ok,",
        ),
        (b"[" * 100_000 + b"\n", "line 1: it is not JSON"),
    ],
)
def test_a_foreign_line_is_named_and_the_rest_used(
    line: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_bytes(line + night(tmp_path).read_bytes())
    assert report(foreign, "-o", tmp_path / "page.html") == 1
    error = capsys.readouterr().err
    assert f"foreign.jsonl: 1 line(s) are not used; the first is {reason}" in error
    assert error.count("\n") == 1
    assert total(tmp_path / "page.html") == 32


def test_values_of_other_types_cost_only_themselves(tmp_path: Path) -> None:
    task = next(tasks("h100-newest", 0))
    odd = {"findings": [3, {"kind": 5, "widths": None}], "environment": [1], "seconds": float("nan")}
    odd = verdict_record(task, "findings", {}, "r") | odd
    strange = {"planned": {"cases": [7, {"modes": 1}]}, "environment": "x", "started": "soon", "shard": 3}
    run = run_record("h100-newest", 0, []) | strange
    file = tmp_path / "odd.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in (run | {"run": "r"}, odd)))
    assert report(file, "-o", tmp_path / "page.html") == 0
    assert total(tmp_path / "page.html") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "page.html"], "give records files of --json, or --history FILE, or both"),
        (["none.jsonl", "-o", "page.html"], "none.jsonl: there is no such file"),
        (["empty", "-o", "page.html"], "empty: no records file in this folder"),
        (["blank.jsonl", "-o", "page.html"], "there is no record to show"),
        (["night.jsonl", "-o", "none/page.html"], "cannot write -o none/page.html: No such file or directory"),
        (["-o", "page.html", "--history", "none.sqlite"], "--history none.sqlite: there is no such file"),
        (["night.jsonl", "-o", "page.html", "--history", "night.jsonl"], "expected a file that `harness report` wrote"),
        (["night.jsonl", "-o", "page.html", "--history", "other.sqlite"], "it is another program's file"),
        (["night.jsonl", "-o", "page.html", "--nights", "0"], "--nights is 0; expected 1 or more"),
        (
            ["night.jsonl", "-o", "page.html", "--night", "tonight"],
            "'tonight' is no date; expected one such as 2026-11-27",
        ),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    night(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.jsonl").write_text("\n\n")
    with sqlite3.connect("other.sqlite") as other:
        other.execute("create table theirs (a)")
    other.close()
    assert report(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert not any(line.startswith("Traceback") for line in lines)
    assert not (tmp_path / "page.html").exists()


def test_a_page_without_cells(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text(json.dumps({"op": "mylib::op", "row": "fake", "status": "holds", "what": ""}) + "\n")
    assert report(file, "-o", tmp_path / "page.html") == 0
    assert payload(tmp_path / "page.html")["cells"] == {}


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    chosen = list(tasks("h100-newest", 0, (f"model{HOSTILE}",), (1,)))
    run = run_record("h100-newest", 0, chosen) | {"runner": HOSTILE}
    file = write_run(
        tmp_path / "night.jsonl", run, chosen, lambda task: ("findings", {"what": HOSTILE, "stage": HOSTILE})
    )
    assert report(file, "-o", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<img" not in text
    assert text.count("</script>") == 3
    assert all(sign.isprintable() or sign in "\n\t" for sign in text)
    (what,) = {detail["findings"][0]["what"] for detail in payload(tmp_path / "page.html", "details")}
    assert what.startswith("</script><img src=x onerror=alert(1)><!-- \\u202egnp.exe \\x1b[31m\\x00 {{script}}")


def test_only_the_page_s_own_script_may_run(tmp_path: Path) -> None:
    assert report(night(tmp_path), "-o", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text("utf-8")
    own = r"style-src 'sha256-[\w+/=]+'; script-src 'sha256-[\w+/=]+'"
    assert re.search(rf"content=\"default-src 'none'; {own}; base-uri 'none'; form-action 'none'\"", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
