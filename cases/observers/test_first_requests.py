"""A limit of tokens that an earlier call has set, on the layer or in the process, is told as that and not as a number."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fixtures.planting import SHARED, Planted
from harness.base.exception_text import user_caller, user_line
from harness.findings.finding import Finding
from harness.matrix.modes import MODES
from harness.matrix.variations import with_variations
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer


class FirstSize(PaddedMoELayer):
    """Copies its rows into a buffer that the first call makes, as large as that one needs and at least of 100 rows."""

    held: dict[str, Tensor]

    def pad(self, x: Tensor) -> Tensor:
        """By way of the buffer."""
        held = self.holder()
        if type(x) is not Tensor:
            return super().pad(x)
        buffer = held.setdefault("rows", x.new_empty(max(len(x), 100), x.shape[1]))
        return super().pad(buffer.view(-1)[: x.numel()].reshape(x.shape).copy_(x).clone())

    def holder(self) -> dict[str, Tensor]:
        """Of the layer."""
        return self.__dict__.setdefault("held", {})


class FirstOfAll(FirstSize):
    """As that one, with one buffer for all layers."""

    of_all: ClassVar[dict[int, dict[str, Tensor]]] = {}

    def holder(self) -> dict[str, Tensor]:
        """Of the class, by the width of the rows."""
        return self.of_all.setdefault(self.width, {})


class Known(Planted):
    """A subject that can give a layer what a new process would."""

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Without the buffers, which come back."""
        before, FirstOfAll.of_all = FirstOfAll.of_all, {}
        try:
            yield
        finally:
            FirstOfAll.of_all = before


def found(subject: Planted) -> Finding:
    (chosen,) = with_variations([MODES["varied-tokens"]], ("tokens=257",))
    FirstOfAll.of_all.clear()
    return judge(subject, SHARED, chosen, torch.device("cpu")).findings[0]


def test_a_buffer_of_the_first_call_of_a_layer_is_no_limit_of_tokens() -> None:
    finding = found(Planted(layer=FirstSize))
    assert "raises on a layer that was called before; right on another one" in finding.cause
    assert "this one depends on earlier calls" in finding.cause
    assert "right at" not in finding.cause
    assert "declares it" not in finding.cause


def test_nor_is_one_of_the_first_call_of_a_process() -> None:
    finding = found(Known(layer=FirstOfAll))
    assert "raises after other requests in the process; right where it is the first" in finding.cause
    assert "held for all layers of a process" in finding.cause
    assert "right at" not in finding.cause


def test_where_nothing_tells_the_process_from_a_new_one_the_counts_are_told() -> None:
    finding = found(Planted(layer=FirstOfAll))
    assert finding.cause.startswith("right at ")


def _read(rows: list[int]) -> list[int]:
    return [
        len(rows)
        // row
        for row in rows
    ]  # fmt: skip


def test_a_comprehension_is_not_called_from_its_own_statement() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        _read([0])
    caller = user_caller(raised.value, user_line(raised.value))
    assert caller is not None
    assert caller.text == "_read([0])"
