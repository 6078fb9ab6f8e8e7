"""Settings of a project, and who may import whom."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from fixtures.imports import ROOT, files, imported
from harness.base.errors import BadInput
from harness.base.loading import import_named
from harness.base.project import Project, find, find_or_in_tree

# What a worker runs. It must live inside somebody else's environment, which has torch and perhaps nothing else.
RUNTIME = (
    "base.errors",
    "base.source",
    "matrix.case",
    "matrix.modes",
    "ops.registry",
    "subjects.load",
    "execution.modes",
    "findings.finding",
    "observers",
    "proof.mode",
    "verdict.judge",
    "selftest.corpus",
    "selftest.trials",
    "selftest.tools",
    "workers.worker",
    "workers.plan",
)


def settings(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, "utf-8")
    return folder


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@cache
def runtime() -> dict[str, Path]:
    """Every module of the harness that the runtime ones reach, by dotted name."""
    found: dict[str, Path] = {}
    waiting = [path for name in RUNTIME for path in module_files(f"harness.{name}", deep=True)]
    while waiting:
        path = waiting.pop()
        name = str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
        if name not in found:
            found[name] = path
            names = [word for word in imported(path, everything=False) if word.startswith("harness")]
            waiting += [file for word in names for file in module_files(word)]
    return found


def module_files(name: str, deep: bool = False) -> list[Path]:
    place = ROOT.joinpath(*name.split("."))
    inside = sorted(place.glob("*.py")) if deep else [place / "__init__.py"]
    return [path for path in [place.with_suffix(".py"), *inside] if path.is_file()]


def test_checkout_names_the_in_tree_subject() -> None:
    project = find(ROOT)
    assert project.root == ROOT
    assert project.subjects["in-tree"] == "kernels.layer.subject:InTree"
    assert project.subject("in-tree") == "kernels.layer.subject:InTree"
    assert project.path == (str(ROOT),)


def test_found_from_a_folder_below() -> None:
    assert find(ROOT / "harness" / "matrix").root == ROOT


def test_settings_of_the_nearest_file_with_a_harness_table(tmp_path: Path) -> None:
    settings(tmp_path, '[tool.harness.subjects]\nmine = "my.layers:Mine"\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    settings(inner, "[tool.other]\nkey = 1\n")
    assert find(inner) == Project(tmp_path, {"mine": "my.layers:Mine"})


def test_a_corpus_and_its_faults_by_id(tmp_path: Path) -> None:
    project = find(settings(tmp_path, '[tool.harness]\ncorpus = "my.faults"\n'))
    assert project == Project(tmp_path, {}, "my.faults")
    assert project.subject("vllm#35949") == "my.faults:vllm#35949"
    assert project.subject("other.faults:vllm#35949") == "other.faults:vllm#35949"
    with pytest.raises(BadInput, match="unknown subject 'vllm#35949'"):
        Project(tmp_path).subject("vllm#35949")


def test_no_settings_at_all(tmp_path: Path) -> None:
    assert find(tmp_path) == Project(tmp_path)
    with pytest.raises(BadInput, match=r"no subject is chosen for .*: give --subject package\.module:Name, or set"):
        find(tmp_path).subject("in-tree")


def test_default_subject(tmp_path: Path) -> None:
    table = '[tool.harness]\nsubject = "mine"\n[tool.harness.subjects]\nmine = "my.layers:Mine"\n'
    project = find(settings(tmp_path, table))
    assert project.subject(project.default) == "my.layers:Mine"
    assert find(ROOT).default == "in-tree"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('"mine"', r'by-sizes is .mine.; expected a list such as \["name"\]'),
        ('["mine"]', "by-sizes names 'mine', which is no subject; named here: other"),
        ("[[1]]", r"by-sizes names \[1\], which is no subject"),
    ],
)
def test_by_sizes_is_a_list_of_subjects(value: str, problem: str, tmp_path: Path) -> None:
    table = f'[tool.harness]\nby-sizes = {value}\n[tool.harness.subjects]\nother = "my.layers:Other"\n'
    with pytest.raises(BadInput, match=problem):
        find(settings(tmp_path, table))
    assert find(settings(tmp_path, table.replace(value, '["other"]'))).by_sizes == ("other",)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("subject-s", "did you mean subjects or subject"),
        ("waiver", "did you mean waivers"),
        ("zzz", "expected subject,"),
    ],
)
def test_unknown_key_offers_the_nearest(key: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"unknown key '{key}' in \[tool.harness\]; {hint}"):
        find(settings(tmp_path, f'[tool.harness]\n{key} = "x"\n'))


@pytest.mark.parametrize("git", ["folder", "file"])
def test_the_search_stops_at_the_root_of_the_repository(git: str, tmp_path: Path) -> None:
    settings(tmp_path, '[tool.harness.subjects]\nmine = "my.layers:Mine"\n')
    plain, repository = tmp_path / "plain" / "tests", tmp_path / "repository" / "tests"
    for folder in (plain, repository):
        folder.mkdir(parents=True)
    mark = repository.parent / ".git"
    mark.mkdir() if git == "folder" else mark.write_text("gitdir: elsewhere\n")
    assert find(plain) == Project(tmp_path, {"mine": "my.layers:Mine"})
    assert find(repository) == Project(repository)


def test_no_project_is_the_in_tree_layer_but_for_a_subject_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("", "in-tree", "vllm#35949"):
        assert find_or_in_tree(name).root == ROOT
    assert find_or_in_tree("mine.layers:Mine") == Project(tmp_path)


def test_a_project_s_own_table_is_never_the_in_tree_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(settings(tmp_path, "[tool.harness]\n"))
    assert find_or_in_tree() == Project(tmp_path)


def test_a_project_s_folder_comes_last_and_the_in_tree_one_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('hides the one of the standard library')\n")
    (tmp_path / "only_mine.py").write_text("import json\nNAME = json.__name__\n")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if Path(folder or ".").resolve() != ROOT])
    monkeypatch.delitem(sys.modules, "json")
    assert import_named("it", "only_mine", (str(tmp_path), str(ROOT))).NAME == "json"
    assert (sys.path[0], sys.path[-1]) == (str(ROOT), str(tmp_path))


def test_table_without_subjects(tmp_path: Path) -> None:
    assert find(settings(tmp_path, "[tool.harness]\n")) == Project(tmp_path)


def test_import_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert Project(tmp_path).subject("my.layers:Mine") == "my.layers:Mine"


def test_unknown_subject_offers_the_nearest(tmp_path: Path) -> None:
    project = Project(tmp_path, {"in-tree": "a:B", "marlin": "c:D"})
    with pytest.raises(BadInput, match=r"unknown subject 'marln'; did you mean marlin\?"):
        project.subject("marln")
    with pytest.raises(BadInput, match=r"unknown subject 'xyz'; named here: in-tree, marlin"):
        project.subject("xyz")
    with pytest.raises(BadInput, match=r"unknown subject 'xyz'; named here: none"):
        Project(tmp_path).subject("xyz")


@pytest.mark.parametrize(
    "text",
    [
        "[tool.harness\n",
        "tool = 3\n",
        "[tool]\nharness = 3\n",
        "[tool.harness]\nsubjects = 3\n",
        "[tool.harness.subjects]\nmine = 3\n",
        "[tool.harness]\ncorpus = 3\n",
        '[tool.harness]\nwaivers = ""\n',
    ],
    ids=[
        "not-toml",
        "tool-a-number",
        "harness-a-number",
        "subjects-a-number",
        "subject-a-number",
        "corpus-a-number",
        "waivers-empty",
    ],
)
def test_settings_of_the_wrong_form(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"pyproject\.toml") as caught:
        find(settings(tmp_path, text)).subject("mine")
    assert "\n" not in str(caught.value)


def test_kernels_are_out_of_reach_outside_the_checkout() -> None:
    source = (
        "import importlib.util\n"
        "for name in ('kernels', 'cases', 'fixtures'):\n"
        "    spec = importlib.util.find_spec(name)\n"
        "    print(name, list(spec.submodule_search_locations or []) if spec else [])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", source], cwd="/", capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3
    assert str(ROOT) not in done.stdout


# One test for all modules: a thousand tests would be made in each worker, and take longer than what they look at.
@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("harness", {"kernels", "cases", "fixtures"}), ("kernels", {"cases", "fixtures"})],
)
def test_nothing_imports_what_tests_it(package: str, forbidden: set[str]) -> None:
    paths = files(package)
    assert len(paths) > 20
    assert not [str(path.relative_to(ROOT)) for path in paths if roots(path) & forbidden]


@pytest.mark.parametrize(
    "path",
    [ROOT / "kernels" / "layer" / name for name in ("experts.py", "layer.py", "weights.py", "nvfp4.py")],
    ids=lambda p: p.stem,
)
def test_a_layer_knows_nothing_of_its_oracle(path: Path) -> None:
    assert not {name for name in imported(path) if name.startswith("kernels.layer.oracle")}


def test_oracle_shares_no_code_with_the_op() -> None:
    names = {name for name in imported(ROOT / "kernels" / "layer" / "oracle.py") if name.startswith("kernels")}
    assert not names & {"kernels.layer.experts", "kernels.layer.layer", "kernels.layer.weights"}


def test_runtime_needs_torch_and_the_standard_library_alone() -> None:
    allowed = sys.stdlib_module_names | {"torch", "harness"}
    # torch itself needs sympy; numpy comes with the harness, and only a proof uses it.
    proof = allowed | {"sympy", "numpy"}
    others = {
        name: roots(path) - (proof if name.startswith("harness.proof.") else allowed)
        for name, path in runtime().items()
    }
    assert not {name: sorted(roots) for name, roots in others.items() if roots}


def test_runtime_reaches_what_a_worker_runs() -> None:
    names = set(runtime())
    assert {
        "harness.verdict.judge",
        "harness.execution.modes.eager",
        "harness.observers.widths",
        "harness.matrix.selection",
    } <= names
    assert not names & {"harness.commands.check", "harness.cli", "harness.output.terminal", "harness.plugin"}


@pytest.mark.parametrize(
    "module",
    ["harness.cli", "harness.matrix.selection", "harness.plugin", "harness.commands.check", "harness.workers.plan"],
)
def test_front_ends_import_no_torch(module: str) -> None:
    source = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
