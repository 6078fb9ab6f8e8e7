"""What a script does to the inputs for a variation: text that changes the list ``batch``; ``$ids`` and ``$weights`` are places."""

from harness.execution.modes.varied.contents import TOKENS as ROWS_OF_CONTENTS
from harness.execution.modes.varied.sizes import tokens_of
from harness.execution.modes.varied.special_rows import NO_WEIGHTS, SMALL_WEIGHTS
from harness.findings.finding import Finding
from harness.matrix.variations import growth_counts

_BUFFERS = "buffers = [torch.full({shape}, 3).to(value.dtype) for value in batch]  # {about}\n"
SLICE = (
    _BUFFERS.format(shape="(*value.shape[:-1], value.shape[-1] + 176)", about="the inputs are columns of wider buffers")
    + "batch = [buffer[..., : value.shape[-1]].copy_(value) for buffer, value in zip(buffers, batch)]"
)
_SLICE_OF = (
    "one = batch[{place}]\n"
    "buffer = torch.full((one.shape[0], one.shape[1] + 176), {value}).to(one.dtype)\n"
    "batch[{place}] = buffer[:, : one.shape[1]].copy_(one)"
)
_FIRST = "batch[{place}] = batch[{place}][:1].expand_as(batch[{place}]).contiguous()"
_LOGITS = "at = next(place for place, value in enumerate(batch) if place and value.shape[-1:] == ($experts,))\n"
_MISSING = """\
for row, chosen in enumerate(batch[$ids].unbind()):  # an id that names no expert, in each slot in turn
    slot, beside, kind = row % (slots := len(chosen)), (row + 1) % slots, row // slots % 3
    if slots > 1 and kind < 2:  # beside the first expert, and beside the last one
        chosen[chosen == (0, $experts - 1)[kind]], chosen[beside] = chosen[beside].clone(), (0, $experts - 1)[kind]
    others = [place for place in range(slots) if place != beside]
    chosen[others if kind == 2 and slots > 1 else [slot] if slots > 1 or row % 2 == 0 else []] = {number}"""
# What makes each special row, by what the finding calls it.
ROWS = {
    "that begins with zero": "rows[0, 0] = 0",
    "that ends with zero": "rows[1, -1] = 0",
    "of one value throughout": "rows[2] = 1",
    "of negative zeros": "rows[3] = -0.0",
    "of which every second value is zero": "rows[4, 1::2] = 0",
    "of the smallest numbers": "rows[5] = rows[5] * 2.0**-121",
    "with one value of 64": "rows[6, rows.shape[1] // 2] = 64",
    "that is 512 times as large": "rows[7] = rows[7] * 512",
    "that ends with 64": "rows[8, -1] = 64",
    SMALL_WEIGHTS: "for weights in batch[2:]:\n    if weights.is_floating_point():\n        weights[-2] /= 32",
    NO_WEIGHTS: "for weights in batch[2:]:\n    if weights.is_floating_point():\n        weights[-1] = 0",
}

_EMPTY = """\
for chosen in batch[$ids].unbind():  # no token chooses the {place} expert
    others = [one for one in range($experts) if one not in chosen and one != {number}]
    chosen[chosen == {number}] = next(iter(others), 0)"""
EMPTY = {
    "the first expert": _EMPTY.format(place="first", number="0"),
    "the last expert": _EMPTY.format(place="last", number="$experts - 1"),
    "the middle expert": _EMPTY.format(place="middle", number="$experts // 2"),
}

_TRANSPOSED = "batch = [value.mT.contiguous().mT for value in batch]"
SPECIAL_ROWS, EMPTY_EXPERTS = "content=special-rows", "content=empty-experts"
CHANGES = {
    "content=zero-row": "batch[0][-1] = 0",
    "content=same-rows": "batch = [value[:1].expand_as(value).contiguous() for value in batch]",
    "content=times-32": "batch[0] = batch[0] * 32",
    "content=times-512": "batch[0] = batch[0] * 512",
    "content=negative": "batch[0] = -batch[0].abs()",
    "content=positive": "batch[0] = batch[0].abs()",
    "content=tiny": "batch[0] = batch[0] / 8192",
    "content=one-routing": "batch = [value.repeat(24, *[1] * (value.dim() - 1)) for value in batch]\n"
    + _FIRST.format(place="$ids"),
    "content=zero-weights": "batch[$weights][:, 0] = 0",
    "sizes=130-crowded": _FIRST.format(place="$ids"),
    "sizes=top-1": "batch[$weights] = batch[$weights] * 0.75",
    "content=weights-above-one": "batch[$weights] = batch[$weights] * 2.5 + 1",
    "content=duplicate-ids": "batch[$ids][: -(len(batch[0]) // 4), 0] = batch[$ids][0, 0].item()  # most rows name one expert\n"
    "batch[$ids] = batch[$ids][:, :1].expand_as(batch[$ids]).contiguous()",
    "content=minus-one": _MISSING.replace("{number}", "-1"),
    "content=minus-one-row": "batch[$ids][-1] = -1  # names no expert",
    "content=minus-one-all": "batch[$ids][:] = -1  # names no expert",
    "content=logits-shifted": f"{_LOGITS}batch[at] = batch[at] + 100",
    "content=logits-masked": f"{_LOGITS}batch[at] = batch[at].scatter(-1, batch[at].argmin(-1, keepdim=True), -torch.inf)",
    "content=logits-tied": f"{_LOGITS}top = batch[at].topk($top_k)\n"
    "batch[at] = batch[at].scatter(-1, top.indices, top.values[:, :1].expand_as(top.values))",
    "content=id-experts": _MISSING.replace("{number}", "$experts"),
    "form=slice": SLICE,
    "form=hidden-slice": _SLICE_OF.replace("{place}", "0").replace("{value}", "3"),
    "form=ids-slice": _SLICE_OF.replace("{place}", "$ids").replace("{value}", "0"),
    "form=padded-buffer": "more = -batch[0].shape[1] % $multiple  # the buffer has the padded width\n"
    "batch[0] = torch.nn.functional.pad(batch[0], (0, more), value=torch.nan)[:, : batch[0].shape[1]]",
    "form=beside-nan": f"{SLICE}\nfor buffer, value in zip(buffers, batch):\n    if buffer.is_floating_point():\n"
    "        buffer[..., value.shape[-1] :] = torch.nan",
    "form=row-offset": _BUFFERS.format(
        shape="(value.shape[0] + 4, *value.shape[1:])", about="the inputs begin at the third row"
    )
    + "batch = [buffer[2:-2].copy_(value) for buffer, value in zip(buffers, batch)]",
    "form=unaligned": _BUFFERS.format(shape="(value.numel() + 2,)", about="the inputs begin one element late")
    + "batch = [buffer[1:-1].view(value.shape).copy_(value) for buffer, value in zip(buffers, batch)]",
    "form=transposed-fakes": _TRANSPOSED,
    "form=expanded": "batch = [value[:1].expand_as(value).contiguous() for value in batch]  # the rows are alike\n"
    "buffers = [torch.cat((value[:1], value[1:].flip(-1))) for value in batch]\n"
    "batch = [buffer[:1].expand_as(value) for buffer, value in zip(buffers, batch)]",
    "form=transposed": _TRANSPOSED,
    "form=requires-grad": "torch.set_grad_enabled(True)\nbatch[0].requires_grad_()",
    "dtype=bfloat16-weights": "batch[$weights] = batch[$weights].bfloat16()",
    "dtype=int64-ids": "batch[$ids] = batch[$ids].long()",
    "dtype=float16": "batch[0] = batch[0].half()",
    "dtype=float32": "batch[0] = batch[0].float()",
}
"""By the name of the variation. Those of the token count are calls, not changes."""

BESIDE = (
    "before = [buffer.clone() for buffer in buffers]",
    'assert all(map(torch.equal, before, buffers)), "$kind: the layer wrote beside its inputs"',
)
TOKENS, GROWS, CAPTURED, CONTENTS = "tokens=", "growth=", "captured=", "content="


SIZES = "sizes="


def change_of(finding: Finding, whole: bool) -> str:
    """The text of a finding's variation, empty for none; ``whole`` with every special row, not only the one that it names."""
    if finding.vary == EMPTY_EXPERTS:
        return next(text for words, text in EMPTY.items() if words in finding.what)
    if finding.vary != SPECIAL_ROWS:
        return CHANGES.get(finding.vary, "")
    named = [text for words, text in ROWS.items() if words in finding.what and not whole]
    return "\n".join(("rows = batch[0]", *(named or ROWS.values())))


def is_change(name: str) -> bool:
    """Whether a variation is a change of the inputs, or calls of one layer; the empty name is none."""
    return (
        not name or name in (*CHANGES, SPECIAL_ROWS, EMPTY_EXPERTS) or name.startswith((TOKENS, GROWS, CAPTURED, SIZES))
    )


def calls_of(name: str, tokens: int) -> list[tuple[int, int]]:
    """The calls of a variation, as (tokens, seed), for a case of so many tokens."""
    if name.startswith(TOKENS):
        return [(tokens, 0), (int(name.removeprefix(TOKENS)), 1)]
    if name.startswith(GROWS):
        return [(count, seed) for seed, count in enumerate(growth_counts(name))]
    if name.startswith(SIZES):
        return [(tokens_of(name), 0)]
    return [(ROWS_OF_CONTENTS if name.startswith(CONTENTS) else tokens, 0)]
