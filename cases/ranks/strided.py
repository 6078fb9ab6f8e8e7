"""The view that cuts padding off, [7, 2880] of a [7, 3072] buffer, given to each collective as it is.

Two processes or more, each a rank, on gloo or on a GPU each. For each way to reduce: the error, or the share of wrong values,
and whether the padding was overwritten. Run from the checkout's root: ``python -m cases.ranks.strided --device cuda``.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from harness.base.exception_text import first_line
from harness.execution.device import choose_device
from harness.execution.ranks.collectives import Symmetric, functional, in_place
from harness.execution.ranks.group import Place
from harness.execution.ranks.raw_nccl import RawNccl
from harness.ops.collectives import all_reduce
from harness.ranks.team import RankAnswer, Team
from harness.workers.process import Job

TOKENS, WIDTH, PADDED = 7, 2880, 3072
Way = Callable[[Tensor, Tensor], Tensor]
_SECONDS = 120.0


def start(settings: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    """In a worker: returns a function from a way's name to what it does on this rank. Raises BadInput."""
    place = Place.of(settings["place"])
    device = place.join()
    ways, only_cuda = _ways(place, device), device.type != "cuda"

    def answer(name: str) -> dict[str, Any]:
        if only_cuda and name in NEED_CUDA:
            return {"skipped": "needs CUDA"}
        with torch.no_grad():
            return _met(ways[name], device)

    return answer


def _met(way: Way, device: torch.device) -> dict[str, Any]:
    """What a way does with this rank's view."""
    base, expected = _buffer(device)
    before = base.clone()
    try:
        out = way(base, base[:, :WIDTH])
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {first_line(error)}"}
    near = (out.float() - expected).abs() <= 0.02 * expected.abs() + 0.05
    kept = torch.equal(base[:, WIDTH:], before[:, WIDTH:])
    return {"wrong": 1.0 - near.float().mean().item(), "overwritten": not kept, "stride": list(out.stride())}


def _buffer(device: torch.device) -> tuple[Tensor, Tensor]:
    """A rank's buffer, and what the sum of all ranks' views is."""
    buffers = [
        torch.randn(TOKENS, PADDED, generator=torch.Generator().manual_seed(rank)).bfloat16() for rank in _ranks()
    ]
    expected = torch.stack([buffer[:, :WIDTH].float() for buffer in buffers]).sum(0)
    return buffers[distributed.get_rank()].to(device), expected.to(device)


def _ranks() -> range:
    return range(distributed.get_world_size())


def _gathered(base: Tensor, view: Tensor) -> Tensor:
    size = distributed.get_world_size()
    out = view.new_empty(size * view.shape[0], view.shape[1])
    distributed.all_gather_into_tensor(out, view)
    return out.view(size, *view.shape).float().sum(0)


def _flattened(base: Tensor, view: Tensor) -> Tensor:
    flat = view.view(-1)
    distributed.all_reduce(flat)
    return flat.view(view.shape)


def _ways(place: Place, device: torch.device) -> dict[str, Way]:
    """The ways by name. Those of symmetric memory and NCCL are made when they are first used, by all ranks at once."""
    made: dict[str, Any] = {}

    def once(name: str, make: Callable[[], Any]) -> Any:
        if name not in made:
            made[name] = make()
        return made[name]

    def symmetric(two: bool) -> Way:
        return lambda base, view: once(f"symmetric {two}", lambda: Symmetric(device, in_place=two))(view, place.size)

    def mapped(op: Callable[..., Any]) -> Way:
        def reduce(base: Tensor, view: Tensor) -> Tensor:
            group = distributed.group.WORLD
            assert group is not None
            buffer = once("mapped", lambda: Symmetric(device, in_place=True)).buffer(base.numel(), base.dtype)
            whole = buffer[: base.numel()].view(base.shape)
            whole.copy_(base)
            torch.cuda.synchronize(device)
            distributed.barrier()
            inside = whole[:, :WIDTH]
            out = op(inside, "sum", group.group_name)
            base.copy_(whole)  # what became of the padding
            return inside if out is None else out

        return reduce

    return {
        "dist.all_reduce": lambda base, view: in_place(view, place.size),
        "functional all_reduce": lambda base, view: functional(view, place.size),
        "dist.all_gather_into_tensor, then a sum": _gathered,
        "view(-1), then dist.all_reduce": _flattened,
        "harness.all_reduce": lambda base, view: all_reduce(view, place.size),
        "symm_mem one_shot, of a flattened copy": symmetric(False),
        "symm_mem two_shot, of a flattened copy": symmetric(True),
        "symm_mem one_shot, of the view itself": mapped(lambda *args: torch.ops.symm_mem.one_shot_all_reduce(*args)),
        "symm_mem two_shot, of the view itself": mapped(lambda *args: torch.ops.symm_mem.two_shot_all_reduce_(*args)),
        "raw ncclAllReduce": lambda base, view: once("nccl", lambda: RawNccl(device))(view, place.size),
    }


NEED_CUDA = (
    "symm_mem one_shot, of a flattened copy",
    "symm_mem two_shot, of a flattened copy",
    "symm_mem one_shot, of the view itself",
    "symm_mem two_shot, of the view itself",
    "raw ncclAllReduce",
)
WAYS = (
    "dist.all_reduce",
    "functional all_reduce",
    "dist.all_gather_into_tensor, then a sum",
    "view(-1), then dist.all_reduce",
    "harness.all_reduce",
    *NEED_CUDA,
)


def measured(device: str, size: int, ways: tuple[str, ...] = WAYS) -> dict[str, dict[str, Any]]:
    """What each way does: the worst of all ranks."""
    team = Team(Job("cases.ranks.strided:start", {}, _SECONDS), size, device)
    try:
        return {name: _worst(team.ask(name)) for name in ways}
    finally:
        team.close()


def _worst(answers: list[RankAnswer]) -> dict[str, Any]:
    ended = [f"rank {one.rank}: {one.end}" for one in answers if one.answer is None]
    given = [one.answer for one in answers if one.answer is not None]
    failed = [one for one in given if "error" in one or "skipped" in one]
    if ended:
        return {"error": "; ".join(ended)}
    return failed[0] if failed else max(given, key=lambda one: float(one["wrong"]))


def text_of(result: dict[str, Any]) -> str:
    """What a way does, in words."""
    if "skipped" in result:
        return str(result["skipped"])
    if "error" in result:
        return str(result["error"])
    padding = "overwritten" if result["overwritten"] else "as it was"
    return f"no error; {result['wrong']:.1%} of the values are wrong; the padding is {padding}"


def main() -> None:
    """Measure, and print a table; with ``--json`` write it too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    choose_device(chosen.device)
    results = measured(chosen.device, chosen.ranks)
    where = torch.cuda.get_device_name() if chosen.device == "cuda" else "cpu"
    print(
        f"torch {torch.__version__} on {chosen.ranks} x {where}: [{TOKENS}, {WIDTH}] of [{TOKENS}, {PADDED}], bfloat16"
    )
    for name, result in results.items():
        print(f"  {name:<42}{text_of(result)}")
    if chosen.json:
        chosen.json.write_text(
            json.dumps({"torch": torch.__version__, "device": where, "ways": results}, indent=1), "utf-8"
        )


if __name__ == "__main__":
    main()
