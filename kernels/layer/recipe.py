"""The in-tree layer without this package: short text that makes its tensors, inputs and oracle, for `harness repro`.

The weights are random NVFP4, drawn in the format itself: a script needs no quantiser. The oracle reads the values that the
codes stand for, without the padding.
"""

from harness.matrix.case import Case
from harness.subjects.recipe import Recipe
from kernels.layer.experts import activate, routed_experts

# 2.2 is the rms of random codes times random scales: a product then has the rms of its input.
_RMS = 2.2
_COMMON = """\
VALUES = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])  # of the codes of E2M1

def dequantise(codes, scales, global_scale):  # NVFP4 [E, N, K] to fp32: two codes a byte, an E4M3 scale for 16 columns
    values = torch.cat((VALUES, -VALUES))[torch.stack((codes & 15, codes >> 4), -1).flatten(-2).long()]
    return values * scales.view(torch.float8_e4m3fn).float().repeat_interleave(16, -1) / global_scale[:, None, None]"""
_ACTIVATE = {
    "clamped-swiglu": """\
activate|def activate(projected, activation="", gated=True):
    gate, up = projected.chunk(2, -1)
    gate, up = gate.clamp(max=7), up.clamp(-7, 7)
    return gate * torch.sigmoid(1.702 * gate) * (up + 1)""",
    "gated": """\
activate|def activate(x, activation="$activation", gated=True):
    return $point(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1]""",
    "plain": """\
activate|def activate(projected, activation="$activation", gated=False):
    return $point(projected)""",
}
_POINTS = {
    "silu": "functional.silu",
    "gelu-tanh": "functional.gelu",
    "relu2": "torch.square(functional.relu",
}
_DENSE = """\
routed_experts|def routed_experts(x, ids, weights, w13, s13, g13, w2, s2, g2, activation, out_width, swizzled=False):
    out = x.new_zeros(x.shape[0], out_width, dtype=torch.float32)
    for expert in range(len(w13)):  # plain weights: a short kernel in place of the NVFP4 one
        inner = activate(x.float() @ w13[expert].T, activation)
        out += (weights * (ids == expert)).sum(-1, keepdim=True) * (inner @ w2[expert, :out_width].T)
    return out.to(x.dtype)"""
_ZEROS = """\
routed_experts|def routed_experts(x, ids, weights, w13, s13, g13, w2, s2, g2, activation, out_width, swizzled=False):
    return x.new_zeros(x.shape[0], out_width)  # in place of the kernel: its shapes alone matter here"""
_NVFP4 = """\
routed_experts|def routed_experts(x, ids, weights, w13, s13, g13, w2, s2, g2, activation, out_width, swizzled=False):
    first, second = dequantise(w13, s13, g13), dequantise(w2, s2, g2)[:, :out_width]
    out = x.new_zeros(x.shape[0], out_width, dtype=torch.float32)
    for expert in range(len(w13)):
        inner = activate(x.float() @ first[expert].T, activation).to(x.dtype).float()
        out += (weights * (ids == expert)).sum(-1, keepdim=True) * (inner @ second[expert].T)
    return out.to(x.dtype)"""


def recipes(case: Case) -> tuple[Recipe, ...]:
    """Those of a case, the shorter first: with a kernel of plain weights, and with one of NVFP4 weights."""
    dense, nvfp4 = {}, {}
    for function, text in ((activate, _activate(case)), (routed_experts.reals["cpu"], "")):
        dense[function], nvfp4[function] = text or _DENSE, text or _NVFP4
    oracle = _oracle(case)
    return (
        Recipe(_dense_tensors(case), _inputs(case), oracle, short=dense, zeros={routed_experts.reals["cpu"]: _ZEROS}),
        Recipe(_nvfp4_tensors(case), _inputs(case), _true_weights(case) + oracle, _COMMON, nvfp4),
    )


_TRIPLES = ('("w13", "w13_scale", "w13_global_scale")', '("w2", "w2_scale", "w2_global_scale")')


def _activate(case: Case) -> str:
    if case.activation == "clamped-swiglu":
        return _ACTIVATE["clamped-swiglu"]
    text = _ACTIVATE["gated" if case.gated else "plain"].replace("$activation", case.activation)
    text = text.replace("$point", _POINTS[case.activation])
    gate = "x.chunk(2, -1)[0])"
    return text.replace("(projected)", "(projected))").replace(gate, f"{gate})") if "square" in text else text


def _sizes(case: Case) -> tuple[int, int, int, int, int, int]:
    """Experts, projections in w13, expert width and its padded one, width and its padded one."""
    inner = case.intermediate, case.padded_intermediate
    return case.experts, 2 if case.gated else 1, *inner, case.width, case.padded


def _cut(case: Case, per: int) -> list[str]:
    """Zeros in the padding, of ``per`` columns an element."""
    _, _, inner, padded_inner, width, padded = _sizes(case)
    lines = [f"w13[:, :, {inner}:], w13[..., {width // per}:] = 0, 0  # the padding"]
    return (
        [*lines, f"w2[:, {width}:], w2[..., {inner // per}:] = 0, 0"]
        if (inner, width) != (padded_inner, padded)
        else []
    )


def _dense_tensors(case: Case) -> str:
    """W13 and W2 of the true sizes, which the oracle reads, and their padded copies."""
    experts, halves, inner, padded_inner, width, padded = _sizes(case)
    first, second = (0, padded - width, 0, padded_inner - inner), (0, padded_inner - inner, 0, padded - width)
    lines = ["torch.manual_seed(0)"]
    lines += [f"W13 = torch.randn({experts}, {halves * inner}, {width}).div({width**0.5:.4g})"]
    lines += [f"W2 = torch.randn({experts}, {width}, {inner}).div({inner**0.5:.4g})"]
    split = f"W13.unflatten(1, ({halves}, {inner}))" if case.gated else "W13"
    lines += [
        f"w13, w2 = functional.pad({split}, {first}){'.flatten(1, 2)' * case.gated}, functional.pad(W2, {second})"
    ]
    named = {"w13": "w13", "w2": "w2", "w2_global_scale": f"torch.ones({experts})"} | _pairs(case)
    ones = 'dict.fromkeys(("w13_scale", "w13_global_scale", "w2_scale"), torch.ones(1))'
    return "\n".join([*lines, f"tensors = {ones} | {{{', '.join(_entries(named))}}}"])


def _nvfp4_tensors(case: Case) -> str:
    experts, halves, inner, padded_inner, width, padded = _sizes(case)
    lines = ["torch.manual_seed(0)"]
    lines += [f"w13 = torch.randint(0, 256, ({experts}, {halves}, {padded_inner}, {padded // 2}), dtype=torch.uint8)"]
    lines += [
        f"w2 = torch.randint(0, 256, ({experts}, {padded}, {padded_inner // 2}), dtype=torch.uint8)",
        *_cut(case, 2),
    ]
    named = {"w13": "w13.flatten(1, 2)", "w2": "w2"}
    rows = {"w13": (halves * padded_inner, padded, width), "w2": (padded, padded_inner, inner)}
    for name, (height, columns, true) in rows.items():
        named[f"{name}_scale"] = f"torch.randint(48, 57, ({experts}, {height}, {columns // 16}), dtype=torch.uint8)"
        named[f"{name}_global_scale"] = f"torch.full(({experts},), {_RMS * true**0.5:.4g})"
    return "\n".join([*lines, f"tensors = {{{', '.join(_entries(named | _pairs(case)))}}}"])


def _entries(named: dict[str, str]) -> list[str]:
    return [f'"{name}": {text}' for name, text in named.items()]


def _pairs(case: Case) -> dict[str, str]:
    """The shared expert's weights and the latent projections, where the case has them."""
    hidden, shared, latent = case.hidden, case.shared, case.latent
    shapes: dict[str, tuple[int, int]] = {}
    if shared:
        shapes |= {"shared_up": ((2 if case.gated else 1) * shared, hidden), "shared_down": (hidden, shared)}
    if latent:
        shapes |= {"latent_down": (latent, hidden), "latent_up": (hidden, latent)}
    return {name: f"torch.randn({n}, {k}).div({k**0.5:.4g}).bfloat16()" for name, (n, k) in shapes.items()}


def _inputs(case: Case) -> str:
    return f"""\
def inputs(tokens, seed):
    weights, ids = torch.rand(tokens, {case.experts}, generator=torch.manual_seed(seed)).topk({case.top_k})
    return torch.randn(tokens, {case.hidden}).bfloat16(), ids.int(), weights"""


def _oracle(case: Case) -> str:
    """fp32 on the true widths."""
    shared, latent = (
        [f'tensors["{name}"].float().T' for name in _pairs(case) if part in name] for part in ("sh", "la")
    )
    lines = [
        "def oracle(batch):  # fp32, without the padding",
        "    hidden, ids, weights = batch[0].float(), *batch[1:]",
    ]
    lines += [f"    x = hidden @ {latent[0]}"] if latent else []
    x = "x" if latent else "hidden"
    lines += ["    share = [(weights * (ids == expert)).sum(-1, keepdim=True) for expert in range(len(W13))]"]
    lines += [f"    out = sum(part * (activate({x} @ a.T) @ b.T) for part, a, b in zip(share, W13, W2))"]
    after = (f" @ {latent[1]}" if latent else "") + (f" * {case.scaling}" if case.scaling != 1 else "")
    out = f"out{after}" + (f" + activate(hidden @ {shared[0]}) @ {shared[1]}" if shared else "")
    return "\n".join([*lines, f"    return {f'({out}) * {case.tp}' if case.tp > 1 else out}"])


def _true_weights(case: Case) -> str:
    """W13 and W2 of NVFP4 weights, before a layer can change them."""
    _, _, inner, padded_inner, width, _ = _sizes(case)
    rows = f"[*range({inner}), *range({padded_inner}, {padded_inner + inner})]" if case.gated else f":{inner}"
    first, second = (f"dequantise(*[tensors[name] for name in {names}])" for names in _TRIPLES)
    return f"W13 = {first}[:, {rows}, :{width}]\nW2 = {second}[:, :{width}, :{inner}]\n\n"
