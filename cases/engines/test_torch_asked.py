"""A release that asks for another torch than the installed one: one line says so, before anything is judged."""

import io
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.cli import main
from harness.engines.released import releases
from harness.engines.released.torch_asked import torch_asked, torch_note
from harness.engines.vllm.released import VLLM

HERE = version("torch").partition("+")[0]
METADATA = "Name: vllm\nRequires-Dist: torchvision==0.29.0\nRequires-Dist: torch==2.99.0\nRequires-Dist: numpy\n"


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        ("PKG-INFO", METADATA, "2.99.0"),
        ("METADATA", 'Requires-Dist: torch==2.9.1; platform_machine != "s390x"\n', "2.9.1"),
        ("PKG-INFO", 'Requires-Dist: torch==2.9.1; extra == "test"\n', ""),
        ("PKG-INFO", "Requires-Dist: torch>=2.4\nRequires-Dist: torchaudio==2.11.0\n", ""),
        ("PKG-INFO", "Requires-Dist: torch==2.*\n", ""),
        ("requirements/cuda.txt", "ray>=2.48\ntorch==2.11.0\ntorchaudio==2.11.0\n", "2.11.0"),
        ("pyproject.toml", '[build-system]\nrequires = [\n    "ninja",\n    "torch == 2.11.0",\n]\n', "2.11.0"),
        ("README.md", "torch==2.11.0\n", ""),
    ],
)
def test_the_torch_that_a_tree_pins_itself_to(name: str, text: str, asked: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, "utf-8")
    assert torch_asked(tmp_path) == asked


def test_no_line_where_it_is_the_installed_one_or_unknown(tmp_path: Path) -> None:
    assert torch_note("vLLM 1", tmp_path) == ""
    (tmp_path / "PKG-INFO").write_text(f"Requires-Dist: torch=={HERE}\n", "utf-8")
    assert torch_note("vLLM 1", tmp_path) == ""
    (tmp_path / "PKG-INFO").write_text(METADATA, "utf-8")
    assert torch_note("vLLM 1", tmp_path).startswith(
        f"vLLM 1 asks for torch 2.99.0, and is run here with torch {HERE}: "
    )


def test_an_archive_is_unpacked_with_its_metadata(tmp_path: Path) -> None:
    archive = tmp_path / "vllm-9.9.9.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        for name, text in (("PKG-INFO", METADATA), ("setup.py", ""), (f"{VLLM.layer}/layer.py", "")):
            member = tarfile.TarInfo(f"vllm-9.9.9/{name}")
            member.size = len(text)
            opened.addfile(member, io.BytesIO(text.encode()))
    releases._unpack(VLLM, archive, tmp_path)
    assert torch_asked(tmp_path) == "2.99.0"
    assert not [*tmp_path.rglob("setup.py")]
    assert releases._count(VLLM, tmp_path) == 1


def test_the_line_comes_before_a_tree_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / VLLM.layer).mkdir(parents=True)
    (tmp_path / "PKG-INFO").write_text(METADATA, "utf-8")
    told = []
    monkeypatch.setattr("harness.commands.released._judge", lambda *args: told.append(capsys.readouterr().err))
    main(["vllm", "--vllm", str(tmp_path), "--models", "vllm-gate", "--modes", "eager"])
    assert [text.strip() for text in told] == [
        f"harness: vLLM {tmp_path} asks for torch 2.99.0, and is run here with torch {HERE}: a finding may come of that alone"
    ]
