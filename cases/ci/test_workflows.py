"""Workflows, action, pipeline, array and hooks: valid by their schemas, and every command in them is one that there is."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fixtures.imports import ROOT
from fixtures.workflows import (
    ACTION,
    BUILDKITE,
    EXAMPLE,
    HOOKS,
    SLURM,
    WORKFLOWS,
    Shell,
    environments,
    expressions_filled,
    read,
    run_steps,
    tox_commands,
    tox_environments,
)
from harness.cli import parser

SCHEMAS = [
    *(pytest.param(file, "github-workflows", id=file.stem) for file in WORKFLOWS),
    pytest.param(EXAMPLE, "github-workflows", id="example"),
    pytest.param(ACTION, "github-actions", id="action"),
    pytest.param(BUILDKITE, "buildkite", id="buildkite"),
]
RUNNERS = tomllib.loads((ROOT / ".ci" / "runners.toml").read_text("utf-8"))
SCRIPTS = [*sorted(path for path in (ROOT / ".ci").iterdir() if not path.suffix), ROOT / "action" / "check", SLURM]
# What the tools other than the harness are called with.
OTHERS = {"ruff": ("check", "format"), "mypy": (), "pytest": None, "python": None, "gh": None}


def schema_errors(file: Path, schema: str) -> str:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode else ""


def shell_errors(file: Path) -> str:
    shellcheck = shutil.which(
        "shellcheck", path=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
    )
    assert shellcheck, "shellcheck is not installed: pip install -e '.[test]'"
    done = subprocess.run([shellcheck, "--shell=bash", str(file)], capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode else ""


def matrix(*arguments: str) -> Any:
    command = [sys.executable, ROOT / ".ci" / "matrix.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["include"]


def known(words: list[str]) -> bool:
    """Whether a command is one that there is, with options that it takes."""
    tool, *arguments = words
    if tool == "harness":
        return parser().parse_args(arguments) is not None  # ends the test where it is refused
    if tool == "tox":
        return arguments[arguments.index("-e") + 1] in tox_environments()
    if tool == "python" and arguments[:1] == ["-m"] and arguments[1] != "pip":
        return importlib.util.find_spec(arguments[1]) is not None
    return tool in OTHERS and (OTHERS[tool] is None or not arguments or arguments[0] in OTHERS[tool])


@pytest.mark.parametrize(("file", "schema"), SCHEMAS)
def test_valid_by_the_engine_s_schema(file: Path, schema: str, tmp_path: Path) -> None:
    assert schema_errors(file, schema) == ""
    broken = tmp_path / file.name
    broken.write_text(re.sub(r"^( *)steps:", r"\1steqs:", file.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    assert schema_errors(broken, schema)


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(file: Path) -> None:
    assert file.read_text().startswith("#!/usr/bin/env bash\n")
    assert shell_errors(file) == ""


@pytest.mark.parametrize(("name", "script"), [pytest.param(*one, id=one[0]) for one in run_steps()])
def test_steps_are_clean(name: str, script: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(expressions_filled(script) + "\n")
    assert shell_errors(file) == ""


def test_an_input_never_becomes_shell() -> None:
    for name, script in run_steps():
        used = re.findall(r"\$\{\{\s*(.*?)\s*\}\}", script)
        assert not [one for one in used if not one.startswith("matrix.")], name


def test_the_example_and_the_page_give_the_action_inputs_that_it_has() -> None:
    inputs = read(ACTION)["inputs"].keys()
    page = (ROOT / "docs" / "how-to" / "ci.md").read_text("utf-8")
    (shown,) = (block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "/action\n" in block)
    (own,) = (workflow for workflow in map(read, WORKFLOWS) if "action" in workflow["jobs"])
    for workflow in (read(EXAMPLE), YAML(typ="safe").load(shown), own):
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        (used,) = (step for step in steps if step.get("uses", "").endswith("/action"))
        assert used["with"].keys() <= inputs
        folders = ["."] + [f"./{step['with']['path']}" for step in steps if "path" in step.get("with", {})]
        assert used["uses"].removesuffix("/action") in folders
        assert "pull_request" in workflow["on"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_of_a_workflow_is_known(workflow: Path, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    jobs = matrix(workflow.stem)
    for job in read(workflow)["jobs"].values():
        for step in job["steps"]:
            script = step.get("run", "")
            own = jobs if "matrix." in script else jobs[:1]
            for one in own:
                filled = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda match, one=one: str(one[match[1]]), script)
                shell.run(filled, code=2 if "publish" in script else 0, **VARIABLES)
    calls = shell.calls
    assert [words for words in calls if words[0] in ("harness", "tox") and not known(words)] == []
    assert {job["environment"] for job in jobs} == {words[2] for words in calls if words[:2] == ["tox", "-e"]}


VARIABLES = {"RUNNERS": "", "GITHUB_OUTPUT": "/dev/null", "HARNESS_RECORDS": "records/a/1", "RUN": "https://ci/1"}


def test_the_plan_is_the_matrix(tmp_path: Path) -> None:
    output = tmp_path / "output"
    for workflow in WORKFLOWS:
        steps = read(workflow)["jobs"]["plan"]["steps"]
        script = next(step["run"] for step in steps if step.get("id") == "matrix")
        (tmp_path / workflow.stem).mkdir()
        Shell(tmp_path / workflow.stem).run(script, RUNNERS="", GITHUB_OUTPUT=str(output))
        name, _, value = output.read_text().splitlines()[-1].partition("=")
        assert (name, json.loads(value)["include"]) == ("matrix", matrix(workflow.stem))


@pytest.mark.parametrize("environment", list(tox_environments()))
def test_every_command_of_tox_is_known(environment: str) -> None:
    commands = tox_commands(environment, "--shard 1/4" if environment.endswith(("night", "gpu")) else "")
    assert commands
    assert [words for words in commands if not known(words)] == []


def test_a_nightly_job_is_a_shard_of_each_command() -> None:
    for kind in ("night", "gpu"):
        commands = [words for words in tox_commands(f"torch211-{kind}", "--shard 3/8") if words[1] != "bench"]
        assert len(commands) >= 4
        assert all(words[words.index("--shard") + 1] == "3/8" for words in commands)
        assert len({words[words.index("--json") + 1] for words in commands}) == len(commands)


def test_names_of_tox_s_environments() -> None:
    assert environments("torch{211,212}{,-night}") == ["torch211", "torch211-night", "torch212", "torch212-night"]
    assert environments("lint") == ["lint"]


def test_the_machines_and_their_lanes() -> None:
    assert {"cpu", "h100", "h200", "b200"} <= RUNNERS["nightly"].keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (oldest,) = re.findall(r"torch>=2\.(\d+)", " ".join(project["dependencies"]))
    for name, machine in RUNNERS["nightly"].items():
        assert machine["labels"], name
        assert f"torch2{oldest}" in machine["lanes"], name
        jobs = matrix("nightly", name)
        shards = [job for job in jobs if job["shard"]]
        assert len(shards) == len(machine["lanes"]) * machine["shards"]
        assert [job["environment"] for job in jobs if not job["shard"]] == machine["once"]
        assert {job["environment"] for job in jobs} <= tox_environments().keys()
        assert bool(machine["gpu"]) == all(job["environment"].endswith("-gpu") for job in shards)


def test_a_night_makes_ten_thousand_random_inputs_of_each_kind() -> None:
    """Once, on one machine, and no records are expected of it."""
    (job,) = (job for job in matrix("nightly") if job["environment"] == "random")
    assert "--shard" not in job["arguments"]
    (command,) = tox_commands("random", job["arguments"])
    assert command[:2] == ["pytest", "cases/bad_input/test_random.py"]
    names = subprocess.run([sys.executable, ROOT / ".ci" / "matrix.py", "names"], capture_output=True, text=True)
    assert job["name"] not in names.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nightly", "h1000"], "no machine h1000; expected some of cpu, "), (["weekly"], "'weekly' is no matrix")],
)
def test_a_wrong_name_is_one_line(arguments: list[str], message: str) -> None:
    done = subprocess.run([sys.executable, ROOT / ".ci" / "matrix.py", *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


def test_the_hook_is_a_command() -> None:
    (hook,) = read(HOOKS)
    assert hook.keys() >= {"id", "name", "entry", "language", "types", "description"}
    assert parser().parse_args([*hook["entry"].split()[1:], "mypkg/ops.py"]).files == ["mypkg/ops.py"]


def test_the_pipeline_of_buildkite_runs_each_shard_once(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    part, _, together = read(BUILDKITE)["steps"]
    count = part["parallelism"]
    for number in range(count):
        variables = {"BUILDKITE_PARALLEL_JOB": str(number), "BUILDKITE_PARALLEL_JOB_COUNT": str(count)}
        shell.run(
            part["command"].replace("$$", "$"), **variables, SUBJECT="mine", BUILDKITE_AGENT_META_DATA_QUEUE="h100"
        )
    parts = [words for words in shell.calls if words[:2] == ["harness", "check"]]
    assert [words[words.index("--shard") + 1] for words in parts] == [f"{n}/{count}" for n in range(1, count + 1)]
    for command in together["commands"]:
        shell.run(command)
    assert [words for words in shell.calls if words[0] == "harness" and not known(words)] == []


def test_an_array_of_slurm_resumes_a_shard_that_was_killed(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    variables = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}
    shell.run(SLURM.read_text(), **variables, SUBJECT="mine")
    (tmp_path / "padding-7" / "shard-3.jsonl").write_text("{}\n")
    shell.run(SLURM.read_text(), **variables, SUBJECT="mine")
    first, second = shell.calls
    options = "check --subject mine --runner slurm --shard 3/8"
    assert " ".join(first[1:]) == f"{options} --json padding-7/shard-3.jsonl"
    assert " ".join(second[1:]) == f"{options} --resume padding-7/shard-3.jsonl"
    assert known(first)
    assert known(second)
