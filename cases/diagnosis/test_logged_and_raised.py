"""One error that a program logs and then raises is one event; each request that fails is one of its own."""

import io
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

MESSAGE = "The size of tensor a (2816) must match the size of tensor b (2688) at non-singleton dimension 1"
FORMATS = {
    "logging": "%(levelname)s:%(name)s:%(message)s",
    "times": "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
}


@contextmanager
def logged(form: str, each_line: bool) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger and what it writes; with the form before each line, as engines write."""

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = super().format(record)
            before = text.partition(record.message)[0] if each_line else ""
            return text.replace("\n", f"\n{before}")

    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), logging.getLogger("acme.server")
    handler.setFormatter(Formatter(form))
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield logger, stream
    finally:
        logger.removeHandler(handler)


def layer() -> None:
    raise_here = RuntimeError(MESSAGE)
    shared = None
    if shared is None:
        raise raise_here


def step(logger: logging.Logger) -> None:
    try:
        layer()
    except RuntimeError:
        logger.exception("the step failed")
        raise


def serve(logger: logging.Logger, requests: int) -> None:
    for number in range(requests):
        try:
            step(logger)
        except RuntimeError:
            logger.exception("request %d failed", number)


def only(text: str) -> Diagnosis:
    (one,) = diagnose(io.BytesIO(text.encode()), "x").failures
    return one


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("each_line", [False, True])
def test_an_error_that_is_logged_and_raised_is_one_event(form: str, each_line: bool) -> None:
    with logged(form, each_line) as (logger, stream):
        try:
            step(logger)
        except RuntimeError:
            stream.write(traceback.format_exc())
    assert stream.getvalue().count(MESSAGE) == 2
    assert only(stream.getvalue()).count == 1


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("requests", [1, 3])
def test_each_request_that_is_logged_twice_is_one_event(form: str, requests: int) -> None:
    with logged(form, False) as (logger, stream):
        serve(logger, requests)
    assert stream.getvalue().count(MESSAGE) == 2 * requests
    assert only(stream.getvalue()).count == requests


def test_another_error_that_is_raised_of_it_is_no_other_event() -> None:
    with logged(FORMATS["logging"], False) as (logger, stream):
        try:
            try:
                step(logger)
            except RuntimeError as error:
                raise ValueError(f"the engine died: {error}") from error
        except ValueError:
            stream.write(traceback.format_exc())
    assert only(stream.getvalue()).count == 1


# As torch 2.13 writes it; the frames of its own are fewer here.
TORCH = "E1129 01:43:42.601000 {pid} torch/_guards.py:375] [0/0] "
CREATED = """  File "/opt/lib/python3.12/site-packages/torch/_guards.py", line 373, in create
    return self.create_fn(builder, self)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/opt/lib/python3.12/site-packages/torch/fx/experimental/symbolic_shapes.py", line 6731, in produce_guards_verbose
    raise ConstraintViolationError(
torch.fx.experimental.symbolic_shapes.ConstraintViolationError: Constraints violated (L['rows'].size()[0])!
  - You marked L['rows'].size()[0] as dynamic but your code specialized it to be a constant (48).

User stack:
  File "/srv/acme/block.py", line 31, in forward
    return rows.view(48, 64) + 1
           ^^^^^^^^^^^^^^^^^
"""
HEADING = "Traceback (most recent call last):\n"
CALLED = f"""{HEADING}  File "/srv/acme/run.py", line 6, in <module>
    model(rows)
"""


def by_torch(pid: int = 7) -> str:
    """What torch logs, and then raises."""
    lines = ["Error while creating guard:", "Name: ''", HEADING.rstrip(), *CREATED.splitlines(), ""]
    created = [
        "Created at:",
        '  File "/opt/lib/python3.12/site-packages/torch/_dynamo/output_graph.py", line 9, in __init__',
    ]
    return "".join(f"{TORCH.format(pid=pid)}{line}\n" for line in [*lines, *created]) + CALLED + CREATED


@pytest.mark.parametrize("prefix", ["", "[rank1]: "])
@pytest.mark.parametrize("times", [1, 2])
def test_what_torch_logs_before_it_raises_is_one_event(prefix: str, times: int) -> None:
    text = "".join(f"{prefix}{line}\n" for line in (by_torch() * times).splitlines())
    one = only(text)
    assert (one.kind, one.count, one.user_line) == (
        "constraint",
        times,
        "/srv/acme/block.py:31: return rows.view(48, 64) + 1",
    )
