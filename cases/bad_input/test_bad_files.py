"""Bad files: models, waivers and pyproject tables. Each gets one line that names the file and what is wrong in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.refusals import nothing_runs, refused
from harness.base.clashes import refuse_clashes

MODEL = {
    "name": "mine",
    "hidden": 2688,
    "intermediate": 64,
    "experts": 4,
    "top_k": 2,
    "shared_intermediate": None,
    "latent": None,
    "activation": "silu",
    "gated": True,
}
WAIVER = {"issue": "a/b#1", "reason": "known", "models": "any-*"}
DROP = object()


def models(**change: Any) -> str:
    """A models file of one model with some keys changed."""
    return json.dumps({"models": [{key: value for key, value in (MODEL | change).items() if value is not DROP}]})


def rule(**entry: Any) -> str:
    return json.dumps({"models": [MODEL], "alignment": {"mine": entry}})


def waiver(**change: Any) -> str:
    """A waivers file of one entry with some keys changed."""
    entry = {key: value for key, value in (WAIVER | change).items() if value is not DROP}
    return "[[waiver]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in entry.items()) + "\n"


MODELS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "Expecting value"),
    "binary": (b"\x80\x81\xff\x00", "not a valid models file"),
    "nested": ("[" * 100_000, "not a valid models file"),
    "nested-objects": ('{"a":' * 100_000, "not a valid models file"),
    "huge": (b" " * 16_000_001, "16,000,001 bytes"),
    "number": ("3", "'models'"),
    "no-models": ('{"models": []}', "holds no model"),
    "models-text": ('{"models": "mine"}', "'models'"),
    "model-list": ('{"models": [[]]}', "'name'"),
    "alignment-list": ('{"models": [], "alignment": []}', "'alignment'"),
    "twice": (json.dumps({"models": [MODEL, MODEL]}), "two models are called 'mine'"),
    "name-missing": (models(name=DROP), "'name'"),
    "name-number": (models(name=3), "'name'"),
    "name-empty": (models(name=""), "name"),
    "name-comma": (models(name="a,b"), "'a,b'"),
    "name-blank": (models(name="a b"), "'a b'"),
    "name-escape": (models(name="\x1b[31m"), "x1b"),
    "name-newline": (models(name="mine\n"), "name"),
    "name-dash": (models(name="--help"), "the first no dash"),
    "name-long": (models(name="x" * 300), "300 signs"),
    "hidden-nan": (models(hidden=float("nan")), "hidden is nan"),
    "hidden-text": (models(hidden="2688"), "hidden is '2688'"),
    "hidden-float": (models(hidden=2688.0), "hidden is 2688.0"),
    "hidden-odd": (models(hidden=2689), "hidden is 2689"),
    "hidden-negative": (models(hidden=-16), "hidden is -16"),
    "hidden-huge": (models(hidden=16 * 10**20), "at most"),
    "hidden-digits": ('{"models": [{"name": "a", "hidden": ' + "9" * 5000 + "}]}", "not a valid models file"),
    "hidden-missing": (models(hidden=DROP), "hidden is None"),
    "intermediate-zero": (models(intermediate=0), "intermediate is 0"),
    "experts-true": (models(experts=True), "experts is True"),
    "experts-zero": (models(experts=0), "experts is 0"),
    "experts-huge": (models(experts=10**12), "at most"),
    "top-k-above": (models(top_k=5), "top_k 5 is above its 4 experts"),
    "top-k-list": (models(top_k=[2]), "top_k is [2]"),
    "shared-odd": (models(shared_intermediate=7), "shared_intermediate is 7"),
    "shared-false": (models(shared_intermediate=False), "shared_intermediate is False"),
    "latent-text": (models(latent="wide"), "latent is 'wide'"),
    "activation": (models(activation="swish"), "'swish'"),
    "activation-list": (models(activation=["silu"]), "silu"),
    "gated-text": (models(gated="yes"), "gated is 'yes'"),
    "gated-missing": (models(gated=DROP), "gated is None"),
    "key-typo": (models(shared_intermediate=DROP, shared_intermedate=64), "did you mean shared_intermediate?"),
    "key-unknown": (models(zzzz=1), "unknown key 'zzzz'"),
    "rule-number": ('{"models": [], "synthetic": [' + json.dumps(MODEL) + '], "alignment": {"r": 3}}', "'hidden'"),
    "rule-odd": (rule(hidden=100, intermediate=64), "hidden is 100"),
    "rule-missing": (rule(hidden=128), "intermediate_gated is None"),
    "rule-typo": (rule(hidden=128, intermediat=64), "did you mean intermediate?"),
}
WAIVERS: dict[str, tuple[str | bytes, str]] = {
    "syntax": ("[[waiver]\n", "expected TOML"),
    "binary": (b"\xff\xfe\x00", "expected TOML"),
    "nested": ("a = " + "[" * 100_000, "expected TOML"),
    "huge": (b"#" * 16_000_001, "16,000,001 bytes"),
    "number": ("waiver = 3\n", "waiver is not a list of tables"),
    "numbers": ("waiver = [3]\n", "waiver is not a list of tables"),
    "other-table": ("[[wavier]]\n", "did you mean waiver?"),
    "no-issue": (waiver(issue=DROP), "issue is missing"),
    "issue-text": (waiver(issue="somewhere"), "issue is 'somewhere'"),
    "issue-list": (waiver(issue=["a/b#1"]), "issue is ['a/b#1']"),
    "no-reason": (waiver(reason=DROP), "reason is missing"),
    "reason-blank": (waiver(reason="  "), "reason is '  '"),
    "no-pattern": (waiver(models=DROP), "has no pattern"),
    "pattern-empty": (waiver(models=""), "models is ''"),
    "pattern-numbers": (waiver(modes=[1, 2]), "modes is [1, 2]"),
    "pattern-list-empty": (waiver(models=[]), "models is []"),
    "mode-typo": (waiver(modes="egaer"), "did you mean eager"),
    "key-typo": (waiver(model="x"), "did you mean models"),
    "escape": (waiver(**{"issue": "\x1b[2J"}), "x1b"),
}
TABLES: dict[str, tuple[str | bytes, str]] = {
    "syntax": ("[tool.harness\n", "cannot be read"),
    "binary": (b"\xff\xff", "cannot be read"),
    "nested": ("a = " + "[" * 100_000, "cannot be read"),
    "huge": (b"#" * 16_000_001, "16,000,001 bytes"),
    "tool-number": ("tool = 3\n", "tool is 3"),
    "table-number": ("[tool]\nharness = 3\n", "[tool.harness] is 3"),
    "key-typo": ('[tool.harness]\nwaiver = "x.toml"\n', "did you mean waivers?"),
    "subject-number": ("[tool.harness]\nsubject = 3\n", "subject is 3"),
    "subject-empty": ('[tool.harness]\nsubject = ""\n', "subject is ''"),
    "corpus-list": ('[tool.harness]\ncorpus = ["a"]\n', "corpus is ['a']"),
    "bench-date": ("[tool.harness]\nbench = 2026-01-01\n", "bench is"),
    "subjects-list": ('[tool.harness]\nsubjects = ["a:B"]\n', "subjects is ['a:B']"),
    "subjects-number": ("[tool.harness.subjects]\nmine = 3\n", "mine is 3"),
    "subjects-nested": ('[tool.harness.subjects.mine]\nat = "a:B"\n', "mine is {'at': 'a:B'}"),
    "default-unknown": ('[tool.harness]\nsubject = "mine"\n', "unknown subject 'mine'"),
    "waivers-missing": (
        '[tool.harness]\nwaivers = "gone.toml"\n[tool.harness.subjects]\nin-tree = "a:B"\n',
        "gone.toml",
    ),
}


def written(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_runs(monkeypatch)


@pytest.mark.parametrize(("content", "named"), MODELS.values(), ids=MODELS)
def test_a_bad_models_file(content: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["check", "--models-file", str(written(tmp_path / "m.json", content))], capsys)
    assert "m.json" in line
    assert named in line


@pytest.mark.parametrize(("content", "named"), WAIVERS.values(), ids=WAIVERS)
def test_a_bad_waivers_file(content: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["check", "--waivers", str(written(tmp_path / "w.toml", content))], capsys)
    assert "w.toml" in line
    assert named in line


@pytest.mark.parametrize(("content", "named"), TABLES.values(), ids=TABLES)
def test_a_bad_table_of_pyproject(
    content: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "pyproject.toml", content)
    monkeypatch.chdir(tmp_path)
    assert named in refused(["check"], capsys)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    from harness.matrix.shapes import load

    file = written(tmp_path / "m.json", b"\xef\xbb\xbf" + models().encode())
    assert list(load(file).shapes) == ["mine"]


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/cache"])
def test_a_cache_that_cannot_be_written_is_one_line(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("HARNESS_CACHE", place)
    line = refused(["check", "--models", "gpt-oss-20b", "--modes", "eager"], capsys)
    assert f"cannot write to the cache folder {place}" in line


def test_a_link_to_itself_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for option in ("--models-file", "--waivers", "--resume"):
        assert "loop" in refused(["check", option, str(tmp_path / "loop")], capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--models-file", "{m}", "--json", "{m}"],
        ["check", "--models-file", "{m}", "--output", "junit={link}"],
        ["check", "--models-file", "{m}", "--json", "{hard}"],
        ["check", "--json", "{new}", "--output", "sarif={new}"],
        ["check", "--output", "junit={new}", "--output", "sarif={new}"],
        ["merge", "{m}", "--output", "junit={m}"],
        ["merge", "{m}", "-o", "{new}", "--durations", "{m}"],
        ["report", "{m}", "-o", "{m}"],
        ["report", "--history", "{m}", "-o", "{link}"],
    ],
    ids=" ".join,
)
def test_no_file_is_written_over_another_of_the_command(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "m", models())
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "hard").hardlink_to(file)
    names = {name: str(tmp_path / name) for name in ("m", "link", "hard", "new")}
    assert "which would be lost" in refused([word.format(**names) for word in words], capsys)
    assert file.read_text() == models()
    assert not (tmp_path / "new").exists()


def test_a_device_may_be_the_file_of_two_options(tmp_path: Path) -> None:
    refuse_clashes([("--json", "/dev/null"), ("--output junit", "/dev/null")], [("--waivers", "/dev/null")])
    refuse_clashes([("--json", str(tmp_path / "a"))], [("--waivers", str(tmp_path / "b"))])


NO_RECORDS: dict[str, bytes] = {
    "empty": b"",
    "binary": bytes(range(256)) * 20,
    "gzip": b"\x1f\x8b" + bytes(range(100)),
    "list": b"[1]\n",
    "one-array": b'[{"status": "ok"}]',
    "nested": b"[" * 100_000 + b"\n",
    "foreign": b'{"status": "ok"}\n',
    "newer": b'{"format": 999, "run": {}}\n',
    "types": b'{"status": 3, "case": [], "mode": null, "findings": "x"}\n',
    "text": b"hello\nworld\n",
    "cut": b'{"run": {"form',
}


@pytest.mark.parametrize("command", ["diff", "waive", "merge", "report"])
@pytest.mark.parametrize("content", NO_RECORDS.values(), ids=NO_RECORDS)
def test_files_without_a_result_get_one_line(
    command: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    words = {"diff": ["{f}", "{f}"], "report": ["{f}", "-o", str(tmp_path / "page.html")]}.get(command, ["{f}"])
    line = refused([command, *(word.format(f=tmp_path / "bad.jsonl") for word in words)], capsys)
    assert "expected files that `harness check --json FILE` writes" in line
    assert "bad.jsonl" in line
    assert ("cut off" in line) == (content[:1] == b"{" and not content.endswith(b"\n") and command != "report")
