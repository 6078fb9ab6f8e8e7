"""What several processes word alike but for a time, a counter or an amount that each measured: one failure of all of them."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose

WATCHDOG = (
    "[E1030 03:22:10.40827{rank}057 ProcessGroupNCCL.cpp:683] [Rank {rank}] Watchdog caught collective operation timeout: WorkNCCL("
    "SeqNum={sequence}, OpType={op}, NumelIn=5376, NumelOut=5376, Timeout(ms)=600000) ran for {ms} milliseconds before timing out.\n"
)
ENDS = (
    "terminate called after throwing an instance of 'c10::DistBackendError'\n  what():  [PG ID 2 PG GUID 3 Rank {rank}] Process "
    "group watchdog thread terminated with exception: [Rank {rank}] Watchdog caught collective operation timeout: WorkNCCL("
    "SeqNum=1580, OpType=ALLREDUCE, NumelIn=5376, NumelOut=5376, Timeout(ms)=600000) ran for {ms} milliseconds before timing out.\n"
)
MEMORY = (
    'Traceback (most recent call last):\n  File "/x/acme/fused.py", line 53, in experts\n    out = torch.empty(rows, width)\n'
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.50 GiB. GPU {gpu} has a total capacity of 79.11 GiB of which "
    "{free} GiB is free. Process {pid} has 76.91 GiB memory in use.\n"
)


def watchdog(rank: int, ms: int, sequence: int = 1580, op: str = "ALLREDUCE", prefix: str = "[rank{rank}]:") -> str:
    return prefix.format(rank=rank) + WATCHDOG.format(rank=rank, ms=ms, sequence=sequence, op=op)


def memory(rank: int, gpu: int, prefix: str = "") -> str:
    text = MEMORY.format(gpu=gpu, free=f"{1 + rank / 10:.2f}", pid=4000 + rank)
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


def told(text: str) -> list[tuple[str, int, int]]:
    report = diagnose(io.BytesIO(text.encode()), "x")
    assert report.left_out == 0
    return [(one.kind, one.count, len(one.writers)) for one in report.failures]


@pytest.mark.parametrize("prefix", ["[rank{rank}]:", ""])
@pytest.mark.parametrize("ranks", [2, 8, 48])
def test_a_timeout_of_every_rank_is_one_failure(prefix: str, ranks: int) -> None:
    log = "".join(watchdog(rank, 600_060 + rank, prefix=prefix) for rank in range(ranks))
    assert told(log) == [("collective", ranks, ranks)]


def test_the_same_time_by_chance_is_counted_as_well() -> None:
    assert told("".join(watchdog(rank, 600_060) for rank in range(8))) == [("collective", 8, 8)]


def test_a_counter_may_differ_and_the_operation_may_not() -> None:
    assert told("".join(watchdog(rank, 600_060 + rank, 1580 + rank) for rank in range(4))) == [("collective", 4, 4)]
    log = "".join(watchdog(rank, 600_060 + rank, op="ALLREDUCE" if rank else "ALLGATHER") for rank in range(4))
    assert told(log) == [("collective", 1, 1), ("collective", 3, 3)]


@pytest.mark.parametrize("between", ["", "INFO waiting\n" * 30])
def test_what_ends_each_process_is_no_failure_more(between: str) -> None:
    ends = (ENDS.format(rank=rank, ms=600_060 + rank) + between for rank in range(8))
    log = "".join(watchdog(rank, 600_060 + rank) for rank in range(8)) + between + "".join(ends)
    assert told(log) == [("collective", 8, 8)]


def test_memory_of_several_devices_is_one_failure() -> None:
    assert told("".join(memory(rank, rank) for rank in range(4))) == [("out-of-memory", 4, 4)]
    named = (
        memory(rank, rank % 2, f"(Worker_TP{rank} pid={rank}) ERROR 10-30 03:12:09 [a.py:4] ") for rank in range(4)
    )
    assert told("".join(named)) == [("out-of-memory", 4, 4)]


def test_one_process_that_measures_again_fails_again() -> None:
    assert len(told("".join(memory(rank, 0) for rank in range(3)))) == 3
