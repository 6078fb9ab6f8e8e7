"""Texts that call the fake of an op beside it, one for each way in which a fake is wrong."""

from harness.repro.texts.check import Check

_IMPORTS = (
    "from torch.utils._python_dispatch import TorchDispatchMode",
    "from torch.utils._pytree import tree_leaves, tree_map_only",
    "from torch._subclasses.fake_tensor import FakeTensorMode",
)
_FORM = """\
def form(value):
    if not isinstance(value, torch.Tensor):
        return value
    steps = [step for size, step in zip(value.shape, value.stride()) if size != 1 and value.numel()]
    return list(value.shape), steps, value.dtype, value.device.type, value.storage_offset()


"""
_MODE = """\
class Compare(TorchDispatchMode):  # calls the fake of an op beside the op
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
"""
_NAMED = """\
        if func.name().startswith("$name"):
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
"""
_GIVEN = """\
                given = tree_map_only(torch.Tensor, mode.from_tensor, args)
"""
_CALL = """\
        return func(*args, **(kwargs or {}))"""


def _check(text: str) -> Check:
    return Check("", text, "Compare()", _IMPORTS, calls_fakes=True)


DIFFERS = _check(
    f"""\
{_FORM}{_MODE}        out = func(*args, **(kwargs or {{}}))
{_NAMED}                fake = func(*tree_map_only(torch.Tensor, mode.from_tensor, args), **(kwargs or {{}}))
            real, faked = ([form(value) for value in tree_leaves(one)] for one in (out, fake))
            assert real == faked, f"$kind: $name gives {{real}}, its fake {{faked}}"
        return out"""
)
ALIASES = _check(
    f"""\
{_MODE}{_NAMED}{_GIVEN}                fakes = tree_leaves(func(*given, **(kwargs or {{}})))
            taken = [value.untyped_storage()._cdata for value in given if isinstance(value, torch.Tensor)]
            shared = any(value.untyped_storage()._cdata in taken for value in fakes)
            assert not shared, "$kind: the fake of $name returns memory of its input, and the op does not"
{_CALL}"""
)
ON_CUDA = _check(
    f"""\
{_MODE.replace("calls the fake of an op beside the op", "calls the fake with fake CUDA tensors, which need no GPU")}\
{_NAMED}                given = tree_map_only(torch.Tensor, lambda value: torch.empty_like(value, device="cuda"), args)
                fakes = tree_leaves(func(*given, **(kwargs or {{}})))
            wrong = {{value.device.type for value in fakes if value.is_floating_point()}} - {{"cuda"}}
            assert not wrong, f"$kind: given CUDA tensors, the fake of $name returns one on {{wrong}}"
{_CALL}"""
)
BY_DEVICE = _check(
    f"""\
{_MODE.replace("beside the op", "with fake tensors of the CPU and of CUDA, which need no GPU")}\
{_NAMED}                both = [func(*tree_map_only(torch.Tensor, lambda value: torch.empty_like(value, device=device), args),
                             **(kwargs or {{}})) for device in ("cpu", "cuda")]
            one, two = ([(list(value.shape), value.stride(), value.dtype) for value in tree_leaves(out)] for out in both)
            assert one == two, f"$kind: the fake of $name gives {{one}} on a CPU, {{two}} on CUDA"
{_CALL}"""
)
TWICE = _check(
    f"""\
{_FORM}{_MODE}{_NAMED}                mode.cache_enabled = False
{_GIVEN}                one, two = ([form(value) for value in tree_leaves(func(*given))] for _ in range(2))
            assert one == two, f"$kind: the fake of $name gives {{one}}, and when it is called once more {{two}}"
{_CALL}"""
)

# By words of what the finding says, the first that fits.
_BY_WORDS = {
    "returns memory of": ALIASES,
    "given fake CUDA": ON_CUDA,
    "for CUDA tensors": BY_DEVICE,
    "called a second time": TWICE,
}


def check_of_fake(what: str) -> Check:
    """The check that shows what a finding says of a fake."""
    return next((check for words, check in _BY_WORDS.items() if words in what), DIFFERS)
