"""Bad options of every command: each gets one line that names it, and exit code 2, before any work begins."""

from pathlib import Path

import pytest

from fixtures.refusals import nothing_runs, refused

LONG = "x" * 300
# (command line, a word that its line must name). {dir} is a folder of the test.
OPTIONS: list[tuple[list[str], str]] = [
    *[(["check", "--tokens", value], named) for value, named in (
        ("seven", "seven"), ("-3", "-3"), ("7.5", "7.5"), ("", "tokens"), (",,", "tokens"), ("1e3", "1e3"),
        ("99999999999999", "99999999999999"), ("0x7", "0x7"), ("1_0", "1_0"), ("\u0667", "tokens"), ("7;8", "7;8"),
        ("9" * 5000, "tokens"), ("nan", "nan"), (" ", "tokens"), ("7\x00", "NUL"))],
    *[(["check", "--tp", value], "tp") for value in ("0", "-2", "", "\u0662", "two", "1.0", "99999", "\u00b2", "inf")],
    *[(["check", "--hidden", value], named) for value, named in (
        ("2689", "16"), ("0", "16"), ("-16", "16"), ("nan", "nan"), ("8", "16"),
        ("99999999999984", "at most"), ("1048592", "at most"), ("2688.0", "2688.0"), ("", "hidden"))],
    *[(["check", "--modes", value], named) for value, named in (
        ("egaer", "eager"), ("cuda-graph", "cudagraph"), ("", "modes"), (",", "modes"), (LONG, "mode"),
        ("eager,,fkae", "fake"), ("\x1b[31mred", "mode"), ("🦊", "mode"))],
    *[(["check", "--rules", value], named) for value, named in (("trtllm-nvfp5", "trtllm-nvfp4"), ("", "rules"), (LONG, "rule"))],
    *[(["check", "--kernels", value], named) for value, named in (("wid", "wide"), ("", "kernels"), ("Wide ", "wide"))],
    *[(["check", "--models", value], named) for value, named in (
        ("gpt-os-20b", "gpt-oss-20b"), (LONG, "model"), ("a\x1b[31mred\nb", "model"), ("", "models"), (" ", "model"),
        ("../../etc/passwd", "model"), ("any-pain", "any-plain"), ("gpt-oss-20b,nope", "nope"), ("\udcff", "model"))],
    *[(["check", "-j", value], named) for value, named in (
        ("0", "0"), ("-1", "-1"), ("two", "two"), ("1.5", "1.5"), ("\u0663", "whole"), ("", "whole"), ("9" * 30, "whole"))],
    *[(["check", f"--seconds={value}"], "--seconds is") for value in (
        "0", "-1", "nan", "inf", "-inf", "soon", "1e400", "\u0663", "")],
    *[(["check", "--device", value], named) for value, named in (("gpu", "gpu"), ("", "device"), ("CUDA", "CUDA"))],
    *[(["check", "--subject", value], named) for value, named in (
        ("in-tre", "in-tree"), ("zzzz", "zzzz"), (LONG, "subject"), ("\x1b[2J", "\\x1b"), ("no such", "no such"))],
    *[(["check", "--json", value], named) for value, named in (
        ("{dir}", "directory"), ("{dir}/no/such/x.jsonl", "No such"), ("{dir}/" + LONG, "too long"),
        ("{dir}/fifo", "FIFO"), ("{dir}/nul\x00", "NUL"), ("", "--json"))],
    *[(["check", "--waivers", value], named) for value, named in (
        ("{dir}/none.toml", "none.toml"), ("{dir}", "directory"), ("{dir}/" + LONG, "too long"), ("{dir}/fifo", "fifo"))],
    *[(["check", "--models-file", value], named) for value, named in (
        ("{dir}/none.json", "none.json"), ("{dir}", "directory"), ("{dir}/" + LONG, "too long"), ("{dir}/fifo", "regular"),
        ("/dev/zero", "regular"))],
    *[(words, named) for words, named in (
        (["repro", LONG * 20], "xxx"), (["report", LONG, "-o", "{dir}/p.html"], "no such file"),
        (["report", "--history", LONG, "-o", "{dir}/p.html"], "no such file"),
        (["check", "--output", f"junit={LONG}"], "cannot write"))],
    (["check", "--full", "-j", "4"], "one"), (["check", "--vllm", "{dir}"], "--vllm"), (["check", "extra"], "extra"),
    (["check", "--bogus"], "bogus"), (["check", "--tokns", "7"], "--tokens"), (["check", "--models"], "argument"),
    (["check", "--jsno", "x"], "--json"), (["check", "--mode=eager", "--x"], "ambiguous"),
    *[(["prove", "--exhaustive", value], "xhaustive") for value in ("-5", "many", "1e3", "99999999999")],
    *[(["prove", *words], named) for words, named in (
        (["--models", "any-pain"], "any-plain"), (["--tp", "0"], "tp"), (["--rules", "none2"], "none"), (["--kernels", "x"], "x"),
        (["--seconds", "nan"], "nan"), (["-j", "0"], "0"), (["--subject", "zzzz"], "zzzz"), (["--json", "{dir}"], "directory"),
        (["--tokens", "7"], "--tokens"))],
    *[(["audit", *words], named) for words, named in (
        ([], "no op"), (["a::b", "--seconds", "nan"], "nan"), (["a::b", "--seconds=-inf"], "inf"), (["a::b", "--seconds", "0"], "0"),
        (["a::b", "--rows", "strid"], "stride"), (["a::b", "--rows", ""], "rows"), (["a::b", "-j", "0"], "0"),
        (["a::b", "--device", "tpu"], "tpu"), (["a::b", "--versions", "0.7.2"], "--versions"),
        (["a::b", "--sizes", "99999999999999"], "at most"),
        (["a::b", "--samples", "m:f", "--samples", "m:g", "--samples", "m:h"], "samples"),
        (["flashinfer", "--import", "m"], "--import"), (["flashinfer", "--rows", "strid"], "row"),
        (["a::b", "--json", "{dir}"], "directory"), (["--files", "{dir}"], "is a folder"),
        (["--files", "{dir}/fifo"], "no regular file"),
        (["flashinfer", "--device", "cuda"], "cuda"))],
    *[(["selftest", *words], named) for words, named in (
        (["--faults", "vllm#0000"], "vllm#0000"), (["--faults", ""], "faults"), (["--modes", "egaer"], "eager"),
        (["--seconds", "nan"], "nan"), (["--seconds", "0"], "0"), (["-j", "0"], "0"), (["--corpus", "no.such.module"], "no.such"),
        (["--corpus", "os.path"], "os"), (["--json", "{dir}/a/b"], "No such"))],
    *[(["list", *words], named) for words, named in (
        (["--subject", "in-tre"], "in-tree"), (["--subject", "nowhere:X"], "nowhere"), (["--jsn"], "--json"), (["x"], "x"))],
    *[(["new-subject", *words], named) for words, named in (
        (["1abc"], "1abc"), (["class"], "class"), (["torch"], "torch"), ([], "NAME"),
        (["a-b"], "a-b"), (["{dir}/no/such/mine"], "No such"),
        ([LONG], "too long"))],
    *[(["diagnose", *words], named) for words, named in ((["{dir}/none.log"], "none.log"), (["{dir}"], "irectory"))],
    *[([command, "a\0b"], "NUL") for command in ("merge", "waive", "report", "diagnose", "docs")],
    *[([command, *words], named) for command in ("vllm", "sglang") for words, named in (
        ([""], "no release"), (["\x1b[31m"], "\\x1b"), (["--tokens", "x", "1.0"], "tokens"), (["--modes", "egaer", "1.0"], "eager"),
        ([f"--{command}", ""], "empty text"), (["1.0", "-j", "0"], "0"), (["1.0", "--shard", "0/3"], "shard"))],
    *[(["bench", *words], named) for words, named in (
        (["--shapes", "nope"], "nope"), (["--tokens", "-1"], "-1"), (["--replays", "0"], "0"), (["x"], "x"))],
    *[(["explain", *words], named) for words, named in (
        (["--models", "gpt-os"], "gpt-oss"), (["no-such-case"], "no-such-case"), (["--hidden", "7"], "16"), ([LONG], "xxx"))],
    *[(["repro", *words], named) for words, named in (
        (["--kind", "width-mismach"], "width-mismatch"), (["--seconds", "nan"], "nan"), (["no-such-case"], "no-such-case"))],
    *[(["diff", *words], named) for words, named in (
        ([], "A"), (["{dir}/a", "{dir}/b"], "a"), (["{dir}/a", "{dir}/a", "--slower", "nan"], "slower"))],
    *[([command, *words], named) for command in ("merge", "waive") for words, named in (
        ([], "RECORDS"), (["{dir}/none.jsonl"], "none.jsonl"), (["{dir}/fifo"], "fifo"))],
    *[(["report", *words], named) for words, named in (
        (["", "-o", "{dir}/p.html"], "empty"), (["{dir}/none"], "-o"), (["{dir}/none", "-o", "{dir}/p.html"], "none"),
        (["{dir}/none", "-o", "{dir}/p.html", "--nights", "0"], "0"))],
    *[(["docs", *words], named) for words, named in ((["no-such-page"], "no-such-page"), ([""], "unknown page"))],
    *[(["audit", word], "expected NAMESPACE::NAME") for word in (
        "::", ":", "::x", "aten::", "a:b", "a::b::c", "*", "x==", "torch.ops.")],
    *[(words, "empty text") for words in (
        ["check", "--subject", ""], ["check", "--models-file", ""], ["check", "--waivers", ""], ["check", "--runner", ""],
        ["check", "--resume", ""], ["explain", "--svg", ""], ["repro", "-o", ""], ["audit", "a::b", "--variant", ""])],
    *[([command, "banana"], "is not a release") for command in ("vllm", "sglang")],
    *[([*words], named) for words, named in (
        (["chekc"], "check"), (["--vresion"], "--version"), ([""], "command"), (["CHECK"], "check"),
        (["\x1b]0;title\x07"], "\\x1b"))],
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a FIFO in it that nobody reads or writes."""
    import os

    os.mkfifo(tmp_path / "fifo")
    return tmp_path


@pytest.mark.parametrize(("words", "named"), OPTIONS, ids=[ascii(" ".join(words))[1:60] for words, _ in OPTIONS])
def test_a_bad_option_gets_one_line_that_names_it(
    words: list[str], named: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing_runs(monkeypatch)
    line = refused([word.replace("{dir}", str(folder)) for word in words], capsys)
    assert named in line


def test_there_are_many() -> None:
    assert len(OPTIONS) >= 120
