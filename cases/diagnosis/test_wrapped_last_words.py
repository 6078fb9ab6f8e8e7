"""The last word of a message that was wrapped between words, below a panel as rich draws it or at any width, is quoted too."""

import pytest

from fixtures.diagnosing import diagnosis_of

BAR, BLANK = "─" * 96, " " * 96
PANEL = "\n".join(
    (
        f"╭─{BAR}─╮",
        f"│ {'/srv/heron/slots.py:40 in put':<96} │",
        f"│ {BLANK} │",
        f"│ {'❱ 40     self.rows[slot].copy_(rows)':<96} │",
        f"╰─{BAR}─╯",
    )
)
FRAME = (
    'Traceback (most recent call last):\n  File "/srv/heron/slots.py", line 40, in put\n    self.rows[slot].copy_(rows)'
)
SIZES = "RuntimeError: The size of tensor a (48) must match the size of tensor b (96) at non-singleton dimension"
OTHER = "ValueError: the adapter that was asked for was made with another target module than the slots are for, namely"


@pytest.mark.parametrize("above", [PANEL, FRAME])
def test_a_number_that_the_message_needs_is_quoted(above: str) -> None:
    assert diagnosis_of(f"{above}\n{SIZES}\n2\n\nready\n").what == f"{SIZES} 2"


def test_the_last_words_below_a_panel_are_quoted() -> None:
    assert diagnosis_of(f"{PANEL}\n{OTHER}\ndown_proj of layers\n\nready\n").what == f"{OTHER} down_proj of layers"


@pytest.mark.parametrize(
    ("above", "message", "below"),
    [
        (PANEL, OTHER, "Ready"),
        (PANEL, OTHER.replace(", namely", "."), "ready"),
        (PANEL, OTHER[:70], "down_proj"),
        (FRAME, OTHER, "down_proj"),
    ],
)
def test_another_line_is_none_of_the_message(above: str, message: str, below: str) -> None:
    assert diagnosis_of(f"{above}\n{message}\n{below}\n").what == message.strip()
