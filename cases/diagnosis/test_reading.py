"""The pieces of a diagnosis: widths, versions, prefixes of lines, patterns, public bugs."""

import pytest

from harness.diagnosis.frames import frames_in
from harness.diagnosis.known.alignments import alignments
from harness.diagnosis.known.patterns import Pattern, literal
from harness.diagnosis.known.relatives import Bug, bugs
from harness.diagnosis.known.versions import is_release, key, versions_in, within
from harness.diagnosis.log.lines import Line, LineReader
from harness.diagnosis.notation import op_name
from harness.diagnosis.owners import owners
from harness.diagnosis.readers.rows import is_bucket
from harness.diagnosis.widths import read_pair


@pytest.mark.parametrize(
    ("narrow", "wide", "multiples"),
    [
        (2688, 2816, [256]),
        (2880, 3072, [256, 512, 768, 1024]),
        (2688, 3072, [512, 768, 1024]),
        (2720, 2816, [128, 256]),
        (160, 192, [64]),
        (3072, 6144, []),
        (640, 8, []),
        (2688, 2688, []),
    ],
)
def test_every_alignment_that_fits_the_least_first(narrow: int, wide: int, multiples: list[int]) -> None:
    assert [alignment.multiple for alignment in alignments(narrow, wide)] == multiples
    assert all(-(-narrow // multiple) * multiple == wide for multiple in multiples)


def test_the_rules_of_a_multiple() -> None:
    (least,) = alignments(2688, 2816)
    assert least.hidden == ("trtllm-nvfp4", "trtllm-mxfp4", "marlin-nvfp4")
    inner = "intermediate sizes by marlin-nvfp4; intermediate sizes without a gate by trtllm-nvfp4"
    assert str(alignments(2720, 2816)[0]) == f"128 (cutlass-nvfp4; {inner})"


@pytest.mark.parametrize(
    ("a", "b", "padded"),
    [
        (2816, 2688, True),
        (2880, 3072, True),
        (2720, 2816, True),
        (63, 64, False),
        (500, 512, False),
        (768, 1024, False),
    ],
)
def test_which_pairs_are_believed_to_be_padding(a: int, b: int, padded: bool) -> None:
    assert read_pair(a, b).padded == padded


def test_other_relations_of_two_sizes() -> None:
    assert read_pair(1536, 2560).heads == (12, 20, 128)
    assert read_pair(2688, 2816).heads is None
    assert read_pair(3072, 6144).ratio == 2
    assert read_pair(1024, 4096).latent_of == "nemotron-3-super-120b-a12b"


def test_who_has_a_width() -> None:
    assert "hidden size of nemotron-3-nano-30b-a3b" in map(str, owners(2688))
    assert next(str(owner) for owner in owners(928)) == "intermediate size / 2 ranks of nemotron-3-nano-30b-a3b"
    assert owners(2704) == ()


@pytest.mark.parametrize(
    ("few", "many", "bucket"), [(6, 8, True), (11, 16, True), (33, 40, True), (17, 16, False), (6, 7, False)]
)
def test_buckets(few: int, many: int, bucket: bool) -> None:
    assert is_bucket(few, many) == bucket


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("vLLM API server version 0.9.1.dev17+g3b17ea26e", ("vllm", "0.9.1.dev17+g3b17ea26e")),
        ("Initializing a V1 LLM engine (v0.20.1) with config", ("vllm", "0.20.1")),
        ("PyTorch version: 2.7.0a0+git3a58512", ("torch", "2.7.0a0+git3a58512")),
        ("[pip3] torch==2.13.0", ("torch", "2.13.0")),
        ("flashinfer-python==0.6.12", ("flashinfer", "0.6.12")),
        ("sglang 0.4.9.post1", ("sglang", "0.4.9.post1")),
        ("vLLM v0.13.0, GLM", ("vllm", "0.13.0")),
        ("torch 1.57 s", None),
        ("torch/_dynamo/x.py 2.1.0", None),
    ],
)
def test_versions_that_a_log_names(text: str, named: tuple[str, str] | None) -> None:
    assert list(versions_in(text.encode())) == ([named] if named else [])


def test_versions_are_ordered_and_compared() -> None:
    order = ["0.20.0.dev3", "0.20.1rc1", "0.20.1", "0.20.1.post1", "0.21"]
    assert sorted(set(order), key=key) == order
    assert key("0.20") == key("0.20.0")
    assert within("0.6.12", ">=0.6.8,<=0.6.18")
    assert not within("0.7.2.post1", ">=0.6.8,<=0.6.18")
    assert (is_release("0.7.2.post1"), is_release("0.26.1rc1.dev602+g1")) == (True, False)
    with pytest.raises(ValueError, match="no version range"):
        within("1.0", "~1.0")


def bug(name: str) -> Bug:
    return next(bug for bug in bugs() if bug.id == name)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("0.20.1", "vllm 0.20.1 has it"),
        ("0.20.2", "vllm 0.20.2 does not have it"),
        ("0.99.0", "vllm 0.99.0 does not have it"),
        ("0.20.0.dev5", "vllm 0.20.0.dev5 is a development build"),
        ("0.17.0", "vllm 0.17.0 is not among the releases known to have it"),
    ],
)
def test_whether_a_release_has_a_bug(version: str, status: str) -> None:
    assert bug("vllm#41645").status(version).startswith(status)


def test_ranges_of_the_data_can_be_read() -> None:
    for entry in bugs():
        assert all(within("1.0", spec) in (True, False) for spec in entry.affected)
        assert all(is_release(version) for version in entry.clean)


@pytest.mark.parametrize(
    ("raw", "writer", "level", "text"),
    [
        ("(EngineCore_DP0 pid=1) ERROR 11-26 20:03:01 [core.py:7]   File", "(EngineCore_DP0 pid=1)", "ERROR", "  File"),
        ("[rank3]:     x = 1", "[rank3]:", "", "    x = 1"),
        ("\x1b[36m(Worker pid=2)\x1b[0m INFO 11-26 20:03:01 [a.py:1] up", "(Worker pid=2)", "INFO", "up"),
        ("    plain, indented", "", "", "    plain, indented"),
        (" 50%|#  | 1/2\r100%|##| 2/2\rValueError: x", "", "", "ValueError: x"),
        ("E   ValueError: x", "", "", "ValueError: x"),
        ("Error in op: torch.ops.a.b.default", "", "", "Error in op: torch.ops.a.b.default"),
    ],
)
def test_what_stands_before_a_line_is_taken_off(raw: str, writer: str, level: str, text: str) -> None:
    (line,) = LineReader().read(1, raw)
    assert (line.writer, line.level, line.text) == (writer, level, text)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("<gpu 3> Traceback (most recent call last):", "<gpu 4>   File", "  File"),
        ("9:Traceback (most recent call last):", "10:    x = 1", "    x = 1"),
        ('run 7 |   File "a.py", line 3, in f', "run 7 |     x = 1", "    x = 1"),
        ("    Traceback (most recent call last):", "      File", "  File"),
        ("a:Traceback (most recent call last):", "b:  File", "b:  File"),
        ("ValueError: Traceback (most recent call last):", "ValueError: x", "ValueError: x"),
    ],
)
def test_a_prefix_is_what_lines_of_a_traceback_share(first: str, second: str, text: str) -> None:
    reader = LineReader()
    reader.read(1, first, lambda: [second])
    assert [line.text for line in reader.read(2, second)] == [text]


def test_a_prefix_of_spaces_ends_with_its_traceback() -> None:
    reader = LineReader()
    reader.read(1, "    Traceback (most recent call last):", lambda: ["      File"])
    reader.read(2, "Traceback (most recent call last):", lambda: ["  File"])
    assert [line.text for line in reader.read(3, "    x = 1")] == ["    x = 1"]


@pytest.mark.parametrize(
    ("raw", "texts"),
    [
        (r'{"level": "info", "msg": "a\n  b", "pod": "c"}', ["a", "  b"]),
        (r'{"a": {"text": "x = {1: 2}"}}', ["x = {1: 2}"]),
        (r"error='Traceback (most recent call last):\n  File'", ["Traceback (most recent call last):", "  File'"]),
        (r'  File "C:\new\test.py", line 1, in f', [r'  File "C:\new\test.py", line 1, in f']),
        ("x = {1: &quot;a&quot;} &lt;lambda&gt;", ['x = {1: "a"} <lambda>']),
        ("call_function <built-in function add>", ["call_function <built-in function add>"]),
        ("\u201cit\u2019s\u00a0so\u201d", ['"it\'s so"']),
    ],
)
def test_what_is_escaped_in_a_line_is_written_out(raw: str, texts: list[str]) -> None:
    assert [line.text for line in LineReader().read(1, raw)] == texts


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('  File "/a/b.py", line 3, in f\n    x + y\n      ^', ("/a/b.py", 3, "f", "x + y")),
        ('  File "/a/lo\nng.py", line 3, in f\n    x + y', ("/a/long.py", 3, "f", "x + y")),
        ('  File "/a/b.py", line\n3, in f\n    x + y', ("/a/b.py", 3, "f", "x + y")),
        ("File ~/a/b.py:3, in f(x)\n      2 y = 1\n----> 3 x + y\n      4 z", ("~/a/b.py", 3, "f", "x + y")),
        ("a/b.py:3 in f\n\n   2   y = 1\n❱  3   x + y", ("a/b.py", 3, "f", "x + y")),
        ("a/b.py:3: in f\n    x + y", ("a/b.py", 3, "f", "x + y")),
        ('  File "<string>", line 3', ("<string>", 3, "", "")),
    ],
)
def test_frames_in_the_forms_that_they_are_printed_in(text: str, frame: tuple[str, int, str, str]) -> None:
    assert frames_in([Line(number, "", "", line) for number, line in enumerate(text.split("\n"))]) == (frame,)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("torch.ops.vllm.moe_forward.default", "vllm::moe_forward"),
        ("torch._ops.vllm.moe_forward.default", "vllm::moe_forward"),
        ("<CustomOpDef(mylib::gemm", "mylib::gemm"),
        ("aten.nonzero.default", "aten::nonzero"),
        ("gemm", ""),
    ],
)
def test_names_of_ops(written: str, name: str) -> None:
    assert op_name(written) == name


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a size of (?:x|y) and much more", " and much more"),
        ("one|another", ""),
        (r"colou?rs \(b\)", "rs (b)"),
        (r"[ab]cd{2}ef", "ef"),
    ],
)
def test_the_text_that_every_match_has(pattern: str, found: str) -> None:
    assert literal(pattern) == found


def test_a_pattern_is_found_where_lines_are_broken() -> None:
    pattern = Pattern.of("tensor a <a> of <shape:shape>")
    (spaced,) = pattern.finds("tensor a 2688 of [7, s3]", wrapped=False)
    (broken,) = pattern.finds("tensora2688of[7,s3]", wrapped=True)
    assert (spaced["a"], spaced["shape"], broken["shape"]) == ("2688", "[7, s3]", "[7,s3]")


def test_a_line_is_settled_once_its_prefix_was_taught_and_its_escapes_are_none() -> None:
    reader = LineReader()
    first = "engine-3 ~ Traceback (most recent call last):"
    after = ["engine-3 ~   File 'a'", "engine-3 ~ x"]
    assert not reader.settled(first)
    reader.read(1, first, lambda: after)
    assert reader.settled(first)
    assert reader.settled("engine-3 ~ call_function <built-in function add>")
    assert not reader.settled(r'{"message": "a\nb"}')
