"""`harness diagnose` as a command: exit codes, bad input, JSON, time and memory, and that its commands exist."""

import io
import json
import os
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from fixtures.failure_texts import TEXTS
from fixtures.pace import is_done_within
from harness.audit.plan import rows
from harness.cli import main, parser
from harness.diagnosis.accounts.few import OF_A_SORT
from harness.diagnosis.accounts.found import LIMIT
from harness.diagnosis.diagnose import diagnose
from harness.matrix.selection import Selection

ROOT = Path(__file__).parent.parent.parent
ADD = "RuntimeError: The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1\n"
INFO = "(EngineCore_DP0 pid=1234) INFO 11-26 20:03:01 [loggers.py:123] throughput: 1.1 tokens/s, KV cache usage: 3.1%\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.mark.parametrize(
    ("text", "code"),
    [(ADD, 0), ("KeyError: 'x'\n", 1), (ADD + "\n\nKeyError: 'x'\n", 0), ("all is well\n", 2), ("", 2)],
)
def test_exit_codes(log: Path, text: str, code: int) -> None:
    log.write_text(text)
    assert main(["diagnose", str(log)]) == code


def test_the_answer_on_a_pipe_is_plain_text(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text("vLLM version 0.21.0\n" + ADD)
    assert main(["diagnose", str(log)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1. two sizes that do not fit: line 2 (lines 1 to 2)  of this family"
    assert lines[1].split(maxsplit=1) == ["message", ADD.strip()]
    assert (
        "   try        harness vllm 0.21.0 --models nemotron-3-nano-30b-a3b --rules trtllm-nvfp4 --modes eager" in lines
    )
    assert lines[-1].endswith("1 failure, 1 of this family, 0 others; it names vllm 0.21.0")
    assert "\x1b" not in "".join(lines)


def test_json_has_a_format_and_every_field(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text("vLLM, model nvidia/nemotron-3-nano-30b-a3b\n" + ADD)
    assert main(["diagnose", "--json", str(log)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["exit_code"], report["lines"]) == (1, 0, 2)
    (one,) = report["failures"]
    assert [(width["size"], width["padded"]) for width in one["widths"]] == [(2688, False), (2816, True)]
    assert one["alignments"] == [[256, ["trtllm-nvfp4", "trtllm-mxfp4", "marlin-nvfp4"]]]
    assert {relative["id"] for relative in one["relatives"]} == {"vllm#35949", "vllm#41184"}
    log.write_text("nothing\n")
    assert main(["diagnose", "--json", str(log)]) == 2
    assert json.loads(capsys.readouterr().out)["failures"] == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; expected a text that holds a failure"),
        (b" \n\n", "is empty"),
        (b"\x1f\x8b\x08\x00" + bytes(50), "is not a text but gzip; try: zcat"),
        (b"PK\x03\x04" + bytes(50), "a zip archive (a torch checkpoint is one)"),
        (bytes(range(256)) * 40, "is binary; expected a text"),
        (b"RuntimeError\n" + bytes(4000), "is binary"),
        (b"foo.c:3:5: error: expected expression\nmake: *** [all] Error 1\n", "no failure in it, 2 line(s)"),
        (b"a\tb\nc\td\n" * 9, "no failure in it, 18 line(s); expected a traceback or a message of torch"),
    ],
)
def test_bad_input_is_one_line(log: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str) -> None:
    log.write_bytes(content)
    assert main(["diagnose", str(log)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("harness: ")
    assert error.count("\n") == 1


def test_what_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path, tmp_path / "not-there"):
        assert main(["diagnose", str(path)]) == 2
        assert "give a file, or - for standard input" in capsys.readouterr().err


def test_a_log_that_begins_with_nuls_is_read() -> None:
    assert diagnose(io.BytesIO(bytes(3000) + ADD.encode()), "x").exit_code == 0


def test_a_log_in_latin_1_is_read() -> None:
    assert diagnose(io.BytesIO("échec\n".encode("latin-1") + ADD.encode()), "x").exit_code == 0


def run(code: str, stdin: bytes) -> str:
    """What Python prints that reads a log of standard input; its own last line is what ``code`` prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], input=stdin, capture_output=True, env=environment, check=True)
    return done.stdout.decode()


def test_torch_is_not_imported() -> None:
    code = "import sys; from harness.cli import main; c = main(['diagnose']); print(c, sorted({'torch', 'rich'} & set(sys.modules)))"
    assert run(code, ADD.encode()).splitlines()[-1] == "0 []"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_log_takes_little_memory() -> None:
    code = (
        "from harness.cli import main; c = main(['diagnose']); "
        "print(c, next(int(line.split()[1]) >> 10 for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    chunk = (INFO * 900).encode() + ADD.encode()
    code_, mebibytes = run(code, chunk * ((64 << 20) // len(chunk))).splitlines()[-1].split()
    assert (code_, int(mebibytes) < 80) == ("0", True)


def test_a_line_without_an_end_takes_little_memory() -> None:
    class Endless(io.RawIOBase):
        left = 48 << 20

        def read(self, size: int = -1) -> bytes:
            self.left -= size
            return b"x" * size if self.left > 0 else b""

    import tracemalloc

    tracemalloc.start()
    try:
        assert diagnose(Endless(), "x").failures == ()  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


TRACES = "".join(text.text + "\n" for text in TEXTS)
LOGS = {
    "little": INFO * 900 + ADD,
    "failures": TRACES,
    "prefixed failures": "".join(
        f"(Worker_TP0 pid=1) ERROR 11-26 20:03:01 [a.py:1] {line}\n" for line in TRACES.split("\n")
    ),
    "one line": "x RuntimeError: " * 900,
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", LOGS)
def test_ten_mebibytes_take_less_than_two_seconds(name: str) -> None:
    content = (LOGS[name] * ((10 << 20) // len(LOGS[name]) + 1)).encode()

    def work() -> None:
        assert bool(diagnose(io.BytesIO(content), name).failures) == (name != "one line")

    assert is_done_within(2.0, work)


def test_failures_without_end_are_counted_and_a_rare_one_is_found() -> None:
    many = "".join(f"ValueError: the number {n} is wrong\n" for n in range(3000))
    report = diagnose(io.BytesIO((many + ADD + many).encode()), "x")
    assert report.failures[0].padded == 2816
    assert len(report.failures) == 1 + OF_A_SORT <= LIMIT
    assert report.left_out == 6000 - 2 * OF_A_SORT


def test_the_place_in_a_long_log() -> None:
    report = diagnose(io.BytesIO((INFO * 20_000 + ADD + INFO * 20_000).encode()), "x")
    assert (report.failures[0].line, report.lines) == (20_001, 40_001)


def test_a_traceback_across_two_chunks_is_whole() -> None:
    frames = "Traceback (most recent call last):\n" + '  File "my/layer.py", line 7, in forward\n    a + b\n' * 9
    for lines in range(2200, 2220):  # a chunk ends somewhere in the traceback, or just before or after it
        report = diagnose(io.BytesIO((INFO * lines + frames + ADD).encode()), "x")
        (one,) = report.failures
        assert (one.line, one.user_line) == (lines + 20, "my/layer.py:7: a + b")


def test_the_commands_that_it_gives_can_be_run() -> None:
    commands = {
        command
        for text in TEXTS
        for one in diagnose(io.BytesIO(text.text.encode()), "x").failures
        for command in one.tries
    }
    assert len(commands) > 20
    for command in sorted(commands):
        words = shlex.split(command)
        assert words[0] == "harness"
        chosen = vars(parser().parse_args(words[1:]))
        if chosen["command"] in ("check", "vllm"):
            names = [field.name for field in fields(Selection) if chosen.get(field.name)]
            assert Selection(**{name: chosen[name] for name in names}).tasks(), command
        elif chosen["command"] == "audit":
            assert rows(chosen["rows"])
