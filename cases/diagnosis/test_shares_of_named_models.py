"""A width that is a share of the named model's, over the ranks that the text sets, is that model's before any other's."""

import pytest

from fixtures.diagnosing import diagnosis_of

LOAD = """{head}
Traceback (most recent call last):
  File "/srv/heron/load.py", line 31, in load_weights
    param.data[e].copy_(w)
RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1
"""


def answer(head: str, a: int, b: int) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The models of the narrow width and of the wide one, and the first command."""
    one = diagnosis_of(LOAD.format(head=head, a=a, b=b))
    narrow, wide = sorted(one.widths, key=lambda width: width.size)
    return narrow.models, wide.models, one.tries[0]


@pytest.mark.parametrize(
    "more", ["", "\n[tp 2] loading failed", "\ntp 2 of 4 failed", "\n(tp 1) waits\n(tp 2) fails", "\ntp 0, 1: ended"]
)
def test_the_number_of_one_rank_is_not_how_many_there_are(more: str) -> None:
    models, _, command = answer(f"INFO gpt-oss-120b, tp_size=4{more}", 768, 720)
    assert models[0] == "intermediate size / 4 ranks of gpt-oss-120b"
    assert "--models gpt-oss-120b --tp 4 " in command


@pytest.mark.parametrize(
    "more", ["[tp 2] loading failed", "[dp 0, tp 2] failed", "(tp 1) waits\n(tp 2) fails", "tp 0 waits\ntp 2 fails"]
)
def test_the_number_of_one_rank_excludes_no_share(more: str) -> None:
    models, _, command = answer(f"INFO gpt-oss-120b\n{more}", 768, 720)
    assert models[0] == "intermediate size / 4 ranks of gpt-oss-120b"
    assert "--models gpt-oss-120b --tp 4 " in command


def test_ranks_in_words_count_where_nothing_else_does() -> None:
    assert "--models glm-4.5-air --tp 2 " in answer("INFO glm-4.5-air with tp 2", 768, 704)[2]


@pytest.mark.parametrize(
    ("head", "a", "b", "share"),
    [
        ("gpt-oss-20b tp_size=3", 1024, 960, "intermediate size / 3 ranks of gpt-oss-20b"),
        ("gpt-oss-20b tp_size=4", 1536, 1440, "2 x intermediate size / 4 ranks (gate and up) of gpt-oss-20b"),
        ("glm-4.5-air tp_size=2", 768, 704, "intermediate size / 2 ranks of glm-4.5-air"),
    ],
)
def test_the_share_of_so_many_ranks_comes_first(head: str, a: int, b: int, share: str) -> None:
    models, _, command = answer(f"INFO {head}", a, b)
    assert models[0] == share
    assert f"--models {head.replace(' tp_size=', ' --tp ')} " in command


def test_the_padded_width_is_no_other_models_where_the_named_one_has_the_true_width() -> None:
    assert answer("INFO gpt-oss-20b tp_size=4", 768, 720)[1] == ()
    assert answer("INFO no model", 3072, 2880)[1] != ()
