"""What a log states of a padding decides: two widths in words, a multiple, a kernel by name; and it comes first in what to try."""

import pytest

from fixtures.diagnosing import diagnosis_of

FRAMES = """Traceback (most recent call last):
  File "/srv/rook/experts.py", line 61, in {function}
    {code}
RuntimeError: {message}
"""
MET = "The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1"
GATED = FRAMES.format(function="run", code="y = F.silu(g) * u", message=MET.format(a=192, b=256))
DENIED = "Or no padding"


@pytest.mark.parametrize(
    "words",
    [
        "w13 of an expert: 192 rows on this rank, padded to 256",
        "intermediate size padded: 192 -> 256",
        "rounded up 192 columns of the expert width to 256",
        "moe: width 256 (192 before padding)",
        "experts run on CUTLASS, not MARLIN; 192 padded to 256",
    ],
)
def test_widths_that_the_log_states_are_no_chance(words: str) -> None:
    one = diagnosis_of(f"INFO {words}\n{GATED}")
    assert one.verdict == "family"
    assert 'The text says: "' in one.cause
    assert DENIED not in one.cause
    assert DENIED in diagnosis_of(GATED).cause


@pytest.mark.parametrize(
    "words",
    [
        "batch of 192 padded to 256",
        "padded the prompt from 192 tokens to 256",
        "width 192 is not padded to 256",
        "should 192 be padded to 256?",
        "192 experts and 256 slots of padding",
        "192 rows padded to 256",
    ],
)
def test_words_of_other_sizes_state_nothing(words: str) -> None:
    assert 'The text says: "' not in diagnosis_of(f"INFO {words}\n{GATED}").cause


ADDED = FRAMES.format(function="forward", code="return residual + routed", message=MET.format(a=2880, b=3072))


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("", "trtllm-nvfp4"),
        ("hidden size padded to a multiple of 512", "trtllm-mxfp8"),
        ("expert weights are aligned to 512", "trtllm-mxfp8"),
        ("using the mxfp4 experts of trtllm", "trtllm-mxfp4"),
        ("quantization=mxfp8", "trtllm-mxfp8"),
        ("Using MARLIN for nvfp4 experts out of potential backends: TRTLLM, CUTLASS", "marlin-nvfp4"),
        ("token counts padded to a multiple of 512", "trtllm-nvfp4"),
    ],
)
def test_the_rule_to_try_is_the_one_that_the_text_names(words: str, rule: str) -> None:
    assert f"--rules {rule} " in diagnosis_of(f"INFO {words}\n{ADDED}").tries[0]


def test_a_stated_multiple_leaves_no_other() -> None:
    one = diagnosis_of(f"INFO hidden size padded to a multiple of 512\n{ADDED}")
    assert one.alignments == ((512, ("trtllm-mxfp8",)),)
    assert one.rule == "3072 = 2880 rounded up to 512 (trtllm-mxfp8)"
    assert len(diagnosis_of(ADDED).alignments) > 1


def test_readings_that_the_text_contradicts_are_gone() -> None:
    text = FRAMES.format(function="run", code="y = F.silu(g) * u", message=MET.format(a=384, b=512))
    one = diagnosis_of(f"INFO model qwen3-235b-a22b, tensor_parallel_size=4\n{text}")
    assert one.widths[0].models == ("intermediate size / 4 ranks of qwen3-235b-a22b",)
    assert len(diagnosis_of(text).widths[0].models) > 1


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("y = F.silu(h[:, :self.n]) * h[:, self.n_padded:]", "The second factor is a slice that runs to the end"),
        ("y = F.silu(h[:, :self.n]) * up", "The narrow factor is cut at the user's line"),
        ("y = F.silu(gate) * up", "or is asked for where it is gone"),
    ],
)
def test_the_slices_of_an_activation_tell_which_half_keeps_its_padding(code: str, says: str) -> None:
    text = FRAMES.format(function="run", code=code, message=MET.format(a=1856, b=1920))
    assert says in diagnosis_of(text).cause
