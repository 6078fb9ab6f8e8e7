"""What torch's tools said is kept for the same code, and asked anew for any other."""

import json
import site
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fixtures.corpus import FAULTS
from harness.selftest import kept
from harness.selftest.kept import Kept
from harness.selftest.tool_names import KEPT, TOOLS
from harness.selftest.trials import Trial, start

RESULTS = {"opcheck": {"seen": True, "says": "it aliases"}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def asked(store: Kept, entry: str = "a#b", case: str = "Case(hidden=2688)") -> bool:
    """Whether the tools were asked, not the cache."""
    times: list[int] = []

    def look() -> dict[str, Any]:
        times.append(1)
        return dict(RESULTS)

    found = store.results(entry, case, look)
    assert found.pop(KEPT, False) is not bool(times)
    assert found == RESULTS
    return bool(times)


def module_of(text: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded module of the user's, with this source."""
    place.write_text(text, "utf-8")
    module = ModuleType("user_kernels")
    module.__file__ = str(place)
    monkeypatch.setitem(sys.modules, "user_kernels", module)


def test_the_same_code_is_asked_once() -> None:
    assert asked(Kept())
    assert not asked(Kept())


def test_another_entry_or_case_is_asked() -> None:
    assert asked(Kept())
    assert asked(Kept(), entry="a#c")
    assert asked(Kept(), case="Case(hidden=2720)")


def test_another_source_is_asked_and_the_old_one_is_still_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module_of("WIDTH = 2688", tmp_path / "own.py", monkeypatch)
    assert asked(Kept())
    module_of("WIDTH = 2816", tmp_path / "own.py", monkeypatch)
    assert asked(Kept())
    module_of("WIDTH = 2688", tmp_path / "own.py", monkeypatch)
    assert not asked(Kept())


@pytest.mark.parametrize("value", ["2.99.0", "2.13.0+cpu.other"])
def test_another_torch_is_asked(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(Kept())
    monkeypatch.setattr("torch.__version__", value)
    assert asked(Kept())


def test_the_harness_is_code_wherever_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    managed = [*site.getsitepackages(), str(Path(kept.__file__).parents[2])]
    monkeypatch.setattr("site.getsitepackages", lambda: managed)
    names = kept._own_files()
    assert "harness.selftest.kept" in names
    assert not any(name.startswith("torch.") for name in names)


def test_a_file_that_is_no_result_is_asked_again(own_cache: Path) -> None:
    assert asked(Kept())
    (file,) = own_cache.glob("torch-tools/*/*.json")
    file.write_text('{"opch', "utf-8")
    assert asked(Kept())
    assert json.loads(file.read_text()) == RESULTS


def test_old_states_are_removed(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_STATES", 2)
    for width in range(4):
        module_of(f"WIDTH = {width}", tmp_path / "own.py", monkeypatch)
        assert asked(Kept())
    assert len(list((own_cache / "torch-tools").iterdir())) == 2


@pytest.mark.parametrize("anew", [False, True])
def test_a_worker_asks_once_unless_the_run_is_whole(anew: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("harness.selftest.tools.look", lambda *_: calls.append("") or dict(RESULTS))
    task = Trial(FAULTS[0].id, 0, TOOLS).to_json()
    for _ in range(2):
        answer = start({"path": (), "device": "cpu", "corpus": "fixtures.corpus", "anew": anew})(task)
    assert len(calls) == 1 + anew
    assert answer.get(KEPT, False) is not anew
