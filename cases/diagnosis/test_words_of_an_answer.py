"""What an answer says in single words: how many arguments, which line, whose slice, and of which lines it denies something."""

import io
import re
from pathlib import Path

import pytest

import harness.diagnosis
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

TRACE = "Traceback (most recent call last):\n"


def every(text: str) -> tuple[Diagnosis, ...]:
    return diagnose(io.BytesIO(text.encode()), "x").failures


def only(text: str) -> Diagnosis:
    (one,) = every(text)
    return one


ARGUMENTS = {
    "takes 4 positional arguments but 5 were given": "lacks an argument that the op has",
    "takes 4 positional arguments but 7 were given": "lacks 3 arguments that the op has (it takes 4 of 7)",
    "takes from 2 to 4 positional arguments but 6 were given": "lacks 2 arguments that the op has (it takes 4 of 6)",
    "got an unexpected keyword argument 'scale'": "lacks the argument scale, which the op has",
    "got multiple values for argument 'top_k'": "does not take the op's arguments in their order: top_k comes twice",
}


@pytest.mark.parametrize("says", ARGUMENTS)
def test_what_a_fake_lacks_is_counted(says: str) -> None:
    assert f"The fake sort_fake {ARGUMENTS[says]}," in only(f"TypeError: sort_fake() {says}\n").cause


MISSING = {
    "1 required positional argument: 'a'": "requires 'a', which torch did not pass: the schema has a default for it",
    "2 required positional arguments: 'a' and 'b'": "requires 'a' and 'b', which torch did not pass: the schema has defaults",
    "3 required positional arguments: 'a', 'b', and 'c'": "requires 'a', 'b', and 'c', which torch did not pass",
}


@pytest.mark.parametrize("missing", MISSING)
def test_what_a_fake_requires_is_named_whole(missing: str) -> None:
    assert f"The fake sort_fake {MISSING[missing]}" in only(f"TypeError: sort_fake() missing {missing}\n").cause


GUARD = "Could not guard on data-dependent expression Eq(u3, 0) (unhinted: Eq(u3, 0)).  (Size-like symbols: none)"


@pytest.mark.parametrize("code", ["y = attend(q, k)", "outs = [f(q) for q in splits]"])
def test_a_line_that_makes_no_value_is_not_searched_for_one(code: str) -> None:
    one = only(f'{TRACE}  File "/x/m.py", line 4, in forward\n    {code}\ntorch._dynamo.exc.UserError: {GUARD}\n')
    assert one.look.startswith("the line that makes u3 ")
    assert "nothing at the user's line does" in one.look


@pytest.mark.parametrize("code", ["if x.sum() > 0:", "n = counts.max().item()", "y = x[x > 0]", "y = x[mask]"])
def test_a_line_that_makes_a_value_is_named(code: str) -> None:
    one = only(f'{TRACE}  File "/x/m.py", line 4, in forward\n    {code}\ntorch._dynamo.exc.UserError: {GUARD}\n')
    assert "the user's line" in one.look
    assert "nothing at" not in one.look


def test_a_sentence_behind_a_stack_is_no_code() -> None:
    one = only(
        "RuntimeError: Error: accessing tensor output of CUDAGraphs that has been overwritten by a subsequent run. Stack trace: "
        'File "/srv/vlm/block.py", line 7, in forward\n    return self.mlp(x). To prevent overwriting, clone the tensor outside of '
        "torch.compile() or call torch.compiler.cudagraph_mark_step_begin() before each model invocation.\n"
    )
    assert one.user_line == "/srv/vlm/block.py:7: return self.mlp(x)"


def test_the_slice_that_a_caller_gives_to_a_collective_is_named() -> None:
    one = only(
        f'{TRACE}  File "/srv/runner.py", line 23, in forward\n    return self.reduce(moe_out[:, : self.width])\n'
        '  File "/srv/one_shot.py", line 88, in all_reduce\n    flat = inp.view(-1)\n'
        "RuntimeError: view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
        "contiguous subspaces). Use .reshape(...) instead.\n"
    )
    assert "gives such a view: moe_out[:, : self.width], in /srv/runner.py:23." in one.cause


ADD = "The size of tensor a (2880) must match the size of tensor b (3072) at non-singleton dimension 1"
RAN = "Dynamo failed to run FX node with fake tensors: call_function <built-in function add>"
FAKES = "(*(FakeTensor(..., size=(s47, 2880)), FakeTensor(..., size=(s47, 3072))), **{})"
PYTEST = f"""=================================== FAILURES ===================================
_______________________________ test_load ________________________________

    def test_load():
>       block.load_w2(3, weight)

test_block.py:35:
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

self = Block(), expert = 3

    def load_w2(self, expert, loaded):
>       self.w2.data[expert].copy_(loaded)
E       RuntimeError: The size of tensor a (3072) must match the size of tensor b (2880) at non-singleton dimension 1

test_block.py:25: RuntimeError
_______________________________ test_add ________________________________

    def test_add():
>       compiled(x)

test_block.py:42:
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

explanation = "{RAN}(*(FakeTensor(... got RuntimeError('{ADD}')"
from_exc   = RuntimeError('{ADD}')

>           raise Unsupported(msg) from from_exc
E           torch._dynamo.exc.TorchRuntimeError: RuntimeError when making fake tensor call
E             Explanation: {RAN}{FAKES}: got RuntimeError('{ADD}')
E           from user code:
E              File "/ci/block.py", line 30, in forward
E               return dense + moe_out

/venv/lib/python3.11/site-packages/torch/_dynamo/exc.py:723: TorchRuntimeError
"""


def test_pytests_arguments_are_no_message() -> None:
    assert every(PYTEST)[1].what.startswith("Explanation: Dynamo failed")


def test_a_loader_of_one_weight_loads_weights() -> None:
    assert every(PYTEST)[0].stage == "load of the weights"


def test_a_test_denies_nothing_of_another() -> None:
    denied = " ".join(every(PYTEST)[1].against)
    assert "these lines have no copy_ and no load of weights" in denied


def test_no_answer_denies_words_of_the_whole_text() -> None:
    folder = Path(harness.diagnosis.__file__).parent
    sources = [path for path in folder.rglob("*") if path.suffix in (".py", ".toml")]
    denies = re.compile(
        r"[\"' ](?:the text (?:has|names|gives) no|[Nn]othing in the text|[Nn]o word[^\"']{0,40} in the text)\b"
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in sources
        for line in path.read_text(encoding="utf-8").splitlines()
        if denies.search(line)
        and ('"' in line.partition("#")[0])
        and '"""' not in line
        and not line.strip().startswith("#")
    ]
    assert found == []
