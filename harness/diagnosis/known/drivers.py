"""Frames that stand around a layer and say nothing of its tensors: an engine's start and its driver, and callers far out."""

import re
from collections.abc import Collection, Sequence

from harness.diagnosis.frames import Frame, placed_frames
from harness.diagnosis.log.forms import LIBRARY, TRACEBACK, chains
from harness.diagnosis.log.lines import Line

_FILES = re.compile(
    r"(?:^|/)(?:vllm/(?:v\d/)?(?:engine|executor|worker|core|entrypoints|compilation|benchmarks|ray)/"
    r"|vllm/model_executor/(?:warmup|offloader)/"
    r"|sglang/(?:srt/(?:managers|entrypoints|model_executor)/|launch_server|bench_)"
    r"|tensorrt_llm/(?:_torch/pyexecutor|executor|llmapi|commands)/)"
)
_FUNCTIONS = re.compile(
    r"(?:\w+\.)*(?:_?profile_run|_?dummy_run|determine_(?:available|num_available)_\w+|_?init(?:ialize)?_kv_cache\w*|execute_model"
    r"|run_engine_core|capture_model|_?warm_?up\w*|collective_rpc|init_memory_pool)"
)
_NEAR = 4  # how many callers' words count, the failing line's own among them


def drives(frame: Frame) -> bool:
    """Whether a frame is of an engine's start or of what drives its model, and of no layer."""
    return bool(_FILES.search(frame.file.replace("\\", "/")) or _FUNCTIONS.fullmatch(frame.function))


def near_lines(lines: Sequence[Line], users: Sequence[Frame]) -> list[Line]:
    """The lines of a failure without the frames that are far out, and without those that drive the layer.

    ``users`` are the user's frames of the traceback that ends in the message. Where the innermost of them drives, no layer ran.
    """
    present, far = [line for line in lines if line.text.strip()], frozenset(users[:-_NEAR]) - frozenset(users[-_NEAR:])
    layer = bool(users) and not drives(users[-1])
    placed = placed_frames(lines)
    starts = {place for place, _ in placed}
    dropped: set[int] = set()
    for place, frame in placed:
        if frame in far or (layer and not LIBRARY.search(frame.file) and drives(frame)):
            dropped.update(range(place, _end(present, place, starts)))
    return [line for place, line in enumerate(present) if place not in dropped]


def _end(lines: Sequence[Line], place: int, starts: Collection[int]) -> int:
    """Where a frame ends that begins at ``place``: at the next one, or at a line that is not indented below it."""
    depth = _depth(lines[place].text)
    for end in range(place + 1, len(lines)):
        text = lines[end].text
        if end in starts or _depth(text) <= depth or TRACEBACK in text or chains(text):
            return end
    return len(lines)


def _depth(text: str) -> int:
    return len(text) - len(text.lstrip())
