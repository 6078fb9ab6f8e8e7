"""Logs in which many functions meet their limit of recompilations: what is counted gives the answer that reading it gives."""

import io
from collections.abc import Sequence
from random import Random

import pytest

from fixtures.diagnosing import lines_read
from harness.diagnosis.accounts.few import OF_A_SORT
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.log.again.tests import Sections

HEAD = "W1129 01:02:{second:02d}.{n:03d}000 {pid} torch/_dynamo/convert_frame.py:1358] [{n}/8] "
REASONS = (
    "{n}/7: tensor 'x' size mismatch at index 0. expected {n}, actual {m}",
    "{n}/7: ValueError: no {m} in y",
    '{n}/7: self.size == {m}  # File "/srv/acme/block.py", line {m}, in forward',
    "{n}/7: expected size {m}==2816, stride 1==1 at dim=0",
    "{n}/7: {m} \N{MULTIPLICATION SIGN} 2",
)
ABOVE = "torch._dynamo hit config.recompile_limit (8)"
BELOW = (
    'To log all recompilation reasons, use TORCH_LOGS="recompiles".',
    "To diagnose recompilation issues, see https://a.b/c.html",
)
BETWEEN = ("INFO: step done\n", "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x2688 and 2816x4)\n", "\n")


def limit(n: int, m: int = 3, reason: str = REASONS[0], below: Sequence[str] = BELOW[:1]) -> str:
    head = HEAD.format(n=n, second=m % 60, pid=4000 + m % 8)
    told = f"   last reason: {reason.format(n=n, m=m)}"
    return "".join(
        f"{head}{line}\n" for line in (ABOVE, f"   function: 'forward' (/srv/acme/moe.py:{n})", told, *below)
    )


def run_of(random: Random) -> str:
    """Limits of some functions with some reasons, and now and then another line between them."""
    reasons, below = random.sample(REASONS, random.randint(1, 3)), BELOW[: random.randint(0, 2)]
    most, parts = random.choice((2, 9, 400)), []
    for _ in range(random.randint(3, 200)):
        parts.append(limit(random.randint(1, most), random.randint(1, most), random.choice(reasons), below))
        if random.random() < 0.05:
            parts.append(random.choice(BETWEEN) * random.choice((1, 20)))
    text = "".join(parts) * random.choice((1, 1, 2))
    return (
        text
        if random.random() < 0.8
        else "".join(f"[rank{random.randint(0, 1)}]: {line}" for line in text.splitlines(True))
    )


@pytest.mark.parametrize("seed", range(60))
def test_limits_that_are_counted_give_the_answer_of_those_that_are_read(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = run_of(Random(seed)).encode()
    counted = diagnose(io.BytesIO(log), "x")
    monkeypatch.setattr(Sections, "passes", lambda *arguments: (0, False))
    assert counted == diagnose(io.BytesIO(log), "x")


def test_most_limits_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = lines_read(monkeypatch)
    text = "".join(limit(n, n + 1) for n in range(2000))
    report = diagnose(io.BytesIO(text.encode()), "x")
    assert len(read) < text.count("\n") / 10
    assert (len(report.failures), report.left_out) == (OF_A_SORT, 2000 - OF_A_SORT)
