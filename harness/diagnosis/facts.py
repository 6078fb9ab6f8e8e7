"""What a failure's text says beside its message: exception, op, operands, user's line, and where it happened."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.diagnosis.calls import called_in, fakes_in, op_in
from harness.diagnosis.code import is_attention, may_be_attention
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.frames import Frame, frames_in, named_frames
from harness.diagnosis.known.drivers import near_lines
from harness.diagnosis.known.kinds import Match
from harness.diagnosis.log.forms import LIBRARY, chains, goes_on
from harness.diagnosis.log.lines import Line
from harness.diagnosis.log.quoted.message import message_of
from harness.diagnosis.log.texts import Joined, Texts
from harness.diagnosis.notation import rows_of, sizes
from harness.diagnosis.stated.stated import Stated
from harness.diagnosis.widths import Pair, read_pair

# Functions of a layer that runs, and of what comes before that.
_RUNS = re.compile(
    r"(?:\w+\.)*_?(?:forward|apply|finalize|combine|run_experts|profile_run|_?dummy_run|execute_model)\w*"
)
_PREPARES = re.compile(r"load|weight|convert|quantize|__init__")
# Messages that only a loader has.
_LOADS = re.compile(r"copying a param|to load weights?|checkpoint has")
# The destination of a copy whose name is a weight's.
_INTO_WEIGHT = re.compile(r"(?:weight|param|bias)\w*(?:\[[^\]]{0,40}\])?(?:\.data)?(?:\[[^\]]{0,40}\])?\.copy_\(", re.I)
# Names are of bounded length: a text may be one word of many thousand letters, and each letter would begin another search.
_RAISED = re.compile(
    r"(?<!\w)(?P<name>(?:\w{1,80}\.){0,12}[A-Z]\w{0,120}(?:Error|Exception|Violation|Unsupported|Node|Hit|Exceeded))(?=\(|:|$| )"
)


# eval_frame.py stands between any caller and compiled code, and around each call of a custom op: it traces nothing.
_TRACED = re.compile(
    r"FakeTensor|fake tensors?|maybe_fake_impl|\b(?:\w+_)?fake(?:_\w+)?\(\) (?:takes|missing|got)"
    r"|_dynamo/(?!eval_frame\.py)|_dynamo\.(?!config\b|eval_frame\b|mark_|reset\b)|fake_tensor\.py"
    r"|while attempting to run meta|(?<!torch\.compile/)torch\.export"
    r"|Attempting to broadcast a dimension|must have same reduction dim|Cannot view a tensor with"
)
# Folders and modules of code that moves caches between engines.
_TRANSFERS = re.compile(
    r"(?:^|/)(?:kv_(?:transfer|connector)\w*|disaggregation|nixl\w*|mooncake\w*|lmcache\w*)(?:/|\.py$)"
)
_COMPILER = re.compile(r"torch/_(?:inductor|functorch)/")
_COMPILED = re.compile(r"<eval_with_key>|runtime_wrappers\.py|in compile_wrapper\b|_inductor/output_code\.py")
# What an engine logs of its graphs when it starts: with it alone, what fails below is as well a replay of one.
_STARTING = re.compile(
    r"[Cc]apture (?:piecewise )?(?:cuda|CUDA) graphs? (?:bs|begin|end|num tokens)\b|[Gg]raph capturing finished"
    r"|[Cc]apturing (?:cuda|CUDA) graphs?[^\n]{0,80}?100%"
)
_BATCHED = frozenset(("bmm", "baddbmm", "matmul", "einsum"))
_CHOICES = re.compile(r"top_?k", re.I)
# Words of a layer, which the directory of a project may have by its name alone.
_OF_LAYERS = frozenset(("moe", "pad", "shared", "gate"))
# Words that say what a size may be, which frames around the layer have of their own.
_OF_SIZES = frozenset(("attention",))
_ROOT = re.compile(
    r'File ?"(?:[^"]{1,300}?(?:site|dist)-packages[\\/]|(?:[A-Za-z]:)?(?:[\\/][^\\/"]{1,100}){1,3}[\\/])'
)


@dataclass(frozen=True)
class Facts:
    """What one failure's text says. ``match`` is the message that was understood, ``number`` its line in the log.

    ``named`` are the models that the log names, ``told`` the dispatchers; ``foreign`` is a model of it that is not known here.
    ``stated`` is what it states in words.
    ``layer`` says that a layer with experts is known to have raised it, whatever the text says.
    """

    texts: Texts
    match: Match
    number: int
    named: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    foreign: str = ""
    stated: Stated = field(default_factory=Stated)
    layer: bool = False

    def pair(self, a: int, b: int) -> Pair:
        """What two sizes that differ are to each other, for the models that the log names and by what it states."""
        return self.stated.pair(read_pair(a, b, self.named, self.told, bool(self.foreign)))

    def said(self, words: str) -> bool:
        """Whether the message that was understood has these words, a terminal's line breaks aside."""
        return "".join(words.split()) in "".join(self.match.text.split())

    @cached_property
    def whole(self) -> str:
        """The whole text, single-spaced."""
        return self.texts.whole.text

    def seen(self, evidence: str) -> bool:
        """Whether the text, frames and code included, has words that speak for something."""
        if evidence in _OF_SIZES:
            return speaks_for(evidence, self.near)
        return speaks_for(evidence, self._below_roots if evidence in _OF_LAYERS else self.whole)

    @cached_property
    def near(self) -> str:
        """The whole text without frames that say nothing of the tensors: an engine's around the layer, and callers far out."""
        if not self.users:
            return self.whole
        lines = near_lines(self.texts.lines, self.users)
        return (
            self.whole
            if len(lines) == sum(bool(line.text.strip()) for line in self.texts.lines)
            else Joined.of(lines).text
        )

    @cached_property
    def _below_roots(self) -> str:
        """The whole text without the directories in which a frame's project or package lies: they say nothing of what ran."""
        return _ROOT.sub('File "', self.whole)

    @cached_property
    def op(self) -> str:
        """The op that the text names, as ns::name; empty where it names none."""
        return op_in(self.whole, self.match)

    @cached_property
    def called(self) -> str:
        """What Dynamo was running with fake tensors: add, view, a custom op; empty where the text does not say."""
        return called_in(self.whole)

    @cached_property
    def fakes(self) -> tuple[tuple[str, ...], ...]:
        """The sizes of the fake tensors in the message."""
        return fakes_in(self.whole)

    @cached_property
    def exception(self) -> str:
        """The exception's class, as the text has it."""
        for text in (self.texts.messages.text, self.whole):
            found = _RAISED.search(text)
            if found:
                return found["name"]
        return ""

    @cached_property
    def message(self) -> str:
        """The line of the log with the message, shortened; where a terminal wrapped it, what was understood."""
        return message_of(self.texts, self.match, self.number)

    def _own(self) -> str:
        """The text without what the process went on to print below the message."""
        lines = [line for line in self.texts.lines if line.number <= self.number or goes_on(line.text)]
        return " ".join(line.text for line in lines)

    @cached_property
    def phase(self) -> str:
        """When it happened: eager, traced, compiled or capture; empty where the text does not say."""
        text = self.whole
        if self.match.kind.id == "size-stride-assert" or "torchinductor_" in text:
            return "compiled"
        if _TRACED.search(text):
            return "traced"
        if _COMPILED.search(text):
            return "compiled"
        own = _STARTING.sub("", self._own())
        if self.match.kind.id in ("capture", "capture-failed") or all(
            speaks_for(word, own) for word in ("replay", "capturing")
        ):
            return "capture"
        return "eager" if self.frames and self.match.kind.reader in ("sizes", "product", "reshape", "view") else ""

    @cached_property
    def tokens(self) -> str:
        """Whether the token count was a symbol or a number in the trace; empty where the text does not say."""
        if self.loads_weights or self._by_expert:
            return ""
        fakes = [rows_of(size) for size in fakes_in(self.whole, parameters=False) if len(size) in (2, 3)][:1]
        firsts = fakes if self.fakes else self._shaped()
        symbols = [first for first in firsts if not first.isdigit()]
        if symbols:
            return f"symbolic ({symbols[0]})"
        # A symbol in another place is what changes from call to call, and may be the tokens.
        elsewhere = any(not size.isdigit() for fake in self.fakes for size in fake)
        return f"static ({firsts[0]})" if firsts and not elsewhere else ""

    def _shaped(self) -> list[str]:
        groups = self.match.groups
        shapes = [sizes(text) for name, text in groups.items() if name.endswith("_shape") or name in ("want", "have")]
        if "m" in groups:
            return [groups["m"]]
        if _CHOICES.search(self.code):
            shapes = [
                shape for shape in shapes if len(shape) < 3
            ]  # a row for each token and each expert that it chooses
        # A size that is left open, -1, is the tokens'.
        return [rows for shape in shapes if "-1" not in shape and (rows := rows_of(shape))]

    @property
    def _by_expert(self) -> bool:
        """Whether a product has a batch of weights, one for each expert, so that the rows are those of each expert."""
        if self.called not in _BATCHED and self.match.kind.reader != "product":
            return False
        return len([fake for fake in self.fakes if len(fake) == 3]) > 1

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """The frames in the text, in order."""
        return frames_in(self.texts.lines)

    @cached_property
    def loads(self) -> bool:
        """Whether it happened while weights were loaded: by the frames where there are any, else by words of the text."""
        if self.called:
            return self.called == "copy_"
        if _LOADS.search(self.match.text):
            return True
        if not self.frames:
            return self.seen("load")
        words = [*(frame.function for frame in self.frames), *(frame.code for frame in self.users[-1:])]
        return any(speaks_for("load", word) for word in words)

    @cached_property
    def loads_weights(self) -> bool:
        """Whether the text names a load of weights, and not only a copy."""
        return self.loads and (
            self.seen("weights") or bool(_LOADS.search(self.match.text) or _INTO_WEIGHT.search(self.code))
        )

    @cached_property
    def users(self) -> list[Frame]:
        """The user's frames: of the traceback that ends in the message where it has some, else of all."""
        return _users_of(frames_in(self._traceback())) or _users_of(self.frames)

    @property
    def runs_layer(self) -> bool:
        """Whether the frames are of a layer that runs, by the names of their functions, and none is of a load or a preparation."""
        names = [frame.function for frame in self.users]
        return any(map(_RUNS.fullmatch, names)) and not any(map(_PREPARES.search, names))

    def _traceback(self) -> list[Line]:
        """The lines of the exception whose message was understood, where the text has others that it led to or came of."""
        own: list[Line] = []
        for line in self.texts.lines:
            if chains(line.text):
                if any(one.number >= self.number for one in own):
                    break
                own = []
            own.append(line)
        return own

    @cached_property
    def user_line(self) -> str:
        """The innermost frame that is not torch's or Python's own, else what a message of torch names as one: file:line: code."""
        users = self.users or [frame for frame in named_frames(self.whole) if not LIBRARY.search(frame.file)]
        if not users:
            return ""
        file, number, _, code = users[-1]
        return f"{file}:{number}: {code}" if code else f"{file}:{number}"

    @cached_property
    def code(self) -> str:
        """The code of the user's line; empty where the text lacks it."""
        users = self.users
        return users[-1].code if users else ""

    @property
    def in_attention(self) -> bool:
        """Whether the user's line itself, or the function that it stands in, is of attention."""
        return self.attends(self.code)

    def attends(self, code: str) -> bool:
        """Whether ``code``, the user's line or a part of it, or the function that it stands in is of attention."""
        users = self.users
        if not users or is_attention(code) or speaks_for("attention", users[-1].function):
            return bool(users)
        return may_be_attention(code) and speaks_for("attention", users[-1].file)

    @property
    def in_transfer(self) -> bool:
        """Whether the user's line stands in code that moves a cache of keys and values between engines."""
        return bool(self.users and _TRANSFERS.search(self.users[-1].file.replace("\\", "/")))

    @property
    def in_optimizer(self) -> bool:
        """Whether it happened in a step of an optimiser."""
        return any("torch/optim/" in frame.file.replace("\\", "/") for frame in self.frames)

    @property
    def function(self) -> str:
        """The function that the user's line stands in; empty where the text lacks it."""
        users = self.users
        return users[-1].function if users else ""

    @property
    def ran_inside_compiler(self) -> bool:
        """Whether a line of the user's ran below the frames of torch's compiler, as code does that is traced again for a graph."""
        if self.torch_place:
            return False
        files = [frame.file.replace("\\", "/") for frame in self.frames]
        below = max((n for n, file in enumerate(files) if _COMPILER.search(file)), default=len(files))
        return any(not LIBRARY.search(file) and not file.startswith("<") for file in files[below + 1 :])

    @cached_property
    def torch_place(self) -> str:
        """The place in torch that the text blames, where it says one: 'Caused by: (_inductor/output_code.py:141 in ...)'."""
        found = re.search(r"Caused by: ?\(?[^(]*?(?P<place>_(?:inductor|functorch)/[\w/]+\.py:\d+ in \w+)", self.whole)
        return found["place"] if found else ""


def _users_of(frames: Sequence[Frame]) -> list[Frame]:
    """The frames that are not torch's or Python's own; of those that have no file none, where there are others."""
    users = [frame for frame in frames if not LIBRARY.search(frame.file.replace("\\", "/"))]
    return [frame for frame in users if not frame.file.startswith("<")] or users
