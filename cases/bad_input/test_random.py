"""Inputs that hypothesis makes: none ends in a traceback, a hang or an untrue green.

A few hundred examples; ten thousand of each with HARNESS_NIGHTLY=1, as in ``tox -e random``.
"""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from fixtures.planting import SHARED
from fixtures.refusals import Accepted, assert_one_line, nothing_runs
from harness.base.errors import BadInput
from harness.base.printable import bounded, printable
from harness.base.project import find
from harness.cli import main
from harness.findings.finding import ERROR, FINDINGS, OK, SKIPPED, Finding, Verdict
from harness.matrix.modes import EVERY_MODE, MODES
from harness.matrix.shapes import ANY, Catalogue, load
from harness.output.records import Records
from harness.output.report import grouped, nothing_judged, summary, verdict_text
from harness.verdict.judge import judge
from harness.verdict.waivers import Waivers
from kernels.layer.subject import InTree

NIGHTLY = os.environ.get("HARNESS_NIGHTLY") == "1"
# Ten thousand examples of one test take longer than a test may otherwise.
pytestmark = [pytest.mark.timeout(3600)] if NIGHTLY else []
several = settings(
    max_examples=10_000 if NIGHTLY else 100,
    deadline=None,
    derandomize=not NIGHTLY,  # a pull request fails by its own change alone
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
fewer = settings(several, max_examples=2_000 if NIGHTLY else 40)

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*ANY, *MODES, "trtllm-nvfp4", "wide", "narrow", "in-tree", "7", "16", "0", "-1", "nan", ""])
OPTIONS = ["--models", "--hidden", "--tokens", "--modes", "--rules", "--kernels", "--tp", "-j", "--seconds", "--device",
           "--subject", "--full", "--allow-skipped", "--exhaustive", "-v"]  # fmt: skip
WORDS = st.lists(st.sampled_from(OPTIONS) | NAMES | TEXT, max_size=6)
MODEL_KEYS = [
    "name",
    "hidden",
    "intermediate",
    "experts",
    "top_k",
    "shared_intermediate",
    "latent",
    "activation",
    "gated",
]
MODEL = {
    "name": "mine",
    "hidden": 80,
    "intermediate": 64,
    "experts": 4,
    "top_k": 2,
    "activation": "silu",
    "gated": True,
}


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_runs(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def ran(arguments: list[str]) -> tuple[int, str]:
    """Exit code and standard error. Options that are right end at the first case, with code 0."""
    errors = io.StringIO()
    with redirect_stderr(errors), redirect_stdout(io.StringIO()):
        try:
            code = main(arguments)
        except (Accepted, SystemExit):  # --help ends by SystemExit
            return 0, ""
    return code, errors.getvalue()


@several
@given(command=st.sampled_from(["check", "prove"]), words=WORDS)
def test_options(command: str, words: list[str]) -> None:
    code, errors = ran([command, *words])
    assert code in (0, 2)
    if code:
        assert_one_line(errors)


@several
@given(content=JSON | st.fixed_dictionaries({"models": st.lists(JSON, max_size=3)}))
def test_models_files_of_anything(content: Any, file: Path) -> None:
    check_models(json.dumps(content), file)


@several
@given(key=st.sampled_from([*MODEL_KEYS, "more"]), value=JSON)
def test_models_files_with_one_key_changed(key: str, value: Any, file: Path) -> None:
    catalogue = check_models(json.dumps({"models": [MODEL | {key: value}]}), file)
    assert catalogue is None or (key != "more" and len(catalogue.shapes) == 1)


def check_models(text: str, file: Path) -> Catalogue | None:
    """The catalogue, whose every case can be listed; or None, where it was refused in one line."""
    file.write_text(text)
    try:
        load.cache_clear()
        return load(file)
    except BadInput as error:
        assert_one_line(f"harness: {error}\n")
        return None


def toml(value: Any) -> str:
    """Nearly TOML: JSON's texts, numbers and lists are TOML's too."""
    return json.dumps(value)


KEYS = (
    st.sampled_from(["issue", "reason", "models", "cases", "modes", "kinds", "stages", "observers", "subjects"]) | TEXT
)
ENTRY = st.dictionaries(KEYS, JSON, max_size=4)


@several
@given(entry=ENTRY, table=st.sampled_from(["[[waiver]]", "[waiver]", "", "[[waver]]"]), raw=TEXT)
def test_waivers_files(entry: dict[str, Any], table: str, raw: str, file: Path) -> None:
    lines = [f"{json.dumps(key)} = {toml(value)}" for key, value in entry.items()]
    file.write_text("\n".join([table, *lines, raw]), encoding="utf-8", errors="replace")
    try:
        waivers = Waivers.read(file)
    except BadInput as error:
        assert_one_line(f"harness: {error}\n")
        return
    assert all(waiver.issue and waiver.reason and waiver.patterns for waiver in waivers.waivers)


@several
@given(
    entry=st.dictionaries(
        st.sampled_from(["subject", "corpus", "bench", "waivers", "subjects"]) | TEXT, JSON, max_size=3
    )
)
def test_pyproject_tables(entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("project")
    lines = [f"{json.dumps(key)} = {toml(value)}" for key, value in entry.items()]
    (folder / "pyproject.toml").write_text("\n".join(["[tool.harness]", *lines]), encoding="utf-8", errors="replace")
    (folder / ".git").touch()
    try:
        project = find(folder)
    except BadInput as error:
        assert_one_line(f"harness: {error}\n")
        return
    assert all(isinstance(value, str) for value in (project.corpus, project.bench, *project.subjects.values()))


FINDING = st.builds(
    Finding,
    observer=TEXT,
    kind=TEXT,
    stage=TEXT,
    what=TEXT,
    cause=TEXT,
    call=TEXT,
    blame=TEXT,
    similar_to=st.tuples(TEXT),
)
VERDICT = st.builds(
    Verdict,
    subject=TEXT,
    case=TEXT,
    model=TEXT,
    hidden=st.integers(0, 10**6),
    padded=st.integers(0, 10**6),
    mode=st.sampled_from(sorted(EVERY_MODE)),
    status=st.sampled_from([OK, FINDINGS, SKIPPED, ERROR]),
    findings=st.lists(FINDING, max_size=2).map(tuple),
    reason=TEXT,
    reproduce=TEXT,
)


@several
@given(verdicts=st.lists(VERDICT, max_size=4))
def test_records_and_reports(verdicts: list[Verdict], file: Path) -> None:
    with Records(str(file)) as records:
        for verdict in verdicts:
            records.write(verdict.to_json())
    lines = file.read_text("utf-8").splitlines() if verdicts else []
    assert [Verdict.from_json(json.loads(line)) for line in lines] == verdicts
    for text in (*map(verdict_text, verdicts), *grouped(verdicts), nothing_judged(verdicts)):
        assert text.replace("\n", "").replace("\t", "").isprintable()
    count = "1 verdict" if len(verdicts) == 1 else f"{len(verdicts)} verdicts"
    assert summary(verdicts, 1.0).startswith(f"{count}: ")
    assert bool(nothing_judged(verdicts)) == all(verdict.status == SKIPPED for verdict in verdicts)


TENSORS = st.builds(
    lambda shape, dtype: torch.zeros(shape, dtype=dtype),
    st.lists(st.integers(0, 8), max_size=3),
    st.sampled_from([torch.float32, torch.int64, torch.bool, torch.bfloat16]),
)
ANYTHING = st.recursive(
    JSON | TENSORS | st.binary(max_size=4) | st.sampled_from([object, type, print, float("nan"), ...]),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@fewer
@example(method="ops", value=b"")
@given(method=st.sampled_from(["build", "inputs", "oracle", "ops", "forward"]), value=ANYTHING)
def test_what_a_subjects_methods_return(method: str, value: Any) -> None:
    assume(method != "ops" or value not in ((), []))  # a layer without a custom op may be judged
    verdict = judge(returning(method, value), SHARED, MODES["eager"], torch.device("cpu"))
    assert verdict.status != OK
    assert verdict.findings or verdict.reason
    assert printable(verdict_text(verdict)) == verdict_text(verdict)


def returning(method: str, value: Any) -> InTree:
    """The in-tree subject with one method, or its layer, that returns this value."""
    if method == "forward":
        return returning("build", lambda *inputs: value)
    return type("Random", (InTree,), {method: lambda self, *arguments: value})()


@several
@given(text=st.text(), longest=st.integers(0, 40))
def test_text_can_be_shown(text: str, longest: int) -> None:
    assert printable(text).replace("\n", "").replace("\t", "").isprintable()
    assert len(bounded(text, longest)) <= max(len(text), longest) + 40
    assert printable(printable(text)) == printable(text)
