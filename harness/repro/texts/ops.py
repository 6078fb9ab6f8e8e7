"""Texts of checks that are dispatch modes, which see every op of a call, and of a layer's state."""

SEEN = """\
class Seen(TorchDispatchMode):  # the ops of a call, each with its first tensor
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        ops.append((func.name(), args[0] if args else None))
        return func(*args, **(kwargs or {}))


ops = []"""

POISON = """\
class Poison(TorchDispatchMode):  # a kernel may leave anything in the padded columns
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.name() == "$op":
            out[:, $width:] = torch.nan
        return out"""

WRITES = """\
class Watch(TorchDispatchMode):  # compares the arguments of an op before and after it
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [value for value in tree_leaves(args) if isinstance(value, torch.Tensor)]
        before = [value.clone() for value in given]
        out = func(*args, **(kwargs or {}))
        same = [torch.equal(*pair) for pair in zip(given, before)]
        if func.name().startswith("$name"):
            assert all(same), f"$kind: $name writes to its tensor {same.index(False)}, undeclared"
        return out"""

ALIASES = """\
class Watch(TorchDispatchMode):  # looks for memory that an op shares with its arguments
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        taken = [value.untyped_storage().data_ptr() for value in tree_leaves(args) if isinstance(value, torch.Tensor)]
        made = [value.untyped_storage().data_ptr() for value in tree_leaves(out) if isinstance(value, torch.Tensor)]
        if func.name().startswith("$name"):
            assert not {*taken} & {*made}, "$kind: $name returns memory of its argument, undeclared"
            assert len({*made}) == len(made), "$kind: $name returns outputs that lie in the same memory, undeclared"
        return out"""

VIEWS = """\
class Watch(TorchDispatchMode):  # whether the output is a view of an argument, as the schema declares
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.name().startswith("$name"):
            taken = [value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)]
            views = [value.untyped_storage().data_ptr() in taken for value in tree_leaves(out)]
            assert all(views), "$kind: $name returns memory of its own, where its schema declares a view"
        return out"""

STATE = """\
def state():
    modules = layer.modules() if isinstance(layer, torch.nn.Module) else [layer]
    parts = [part for one in modules for part in (vars(one), *(vars(one).get(k, {}) for k in ("_buffers", "_parameters")))]
    return {name: value for part in parts for name, value in part.items() if isinstance(value, torch.Tensor)}"""
