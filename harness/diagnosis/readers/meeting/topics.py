"""What else a text speaks of that has sizes of its own: adapters, vocabularies, caches, packed weights, heads, ranks."""

import re
from dataclasses import dataclass

from harness.diagnosis.facts import Facts


@dataclass(frozen=True, slots=True)
class Topic:
    """``words`` show it in a text; ``says`` names what its sizes may be."""

    name: str
    words: re.Pattern[str]
    says: str


TOPICS = (
    Topic(
        "adapters",
        re.compile(r"(?<![a-z])q?lora|adapter_config|punica", re.I),
        "adapters (LoRA): one size may be the rank or the width of an adapter of another model",
    ),
    Topic(
        "cache",
        re.compile(
            r"kv[_ -]?(?:cache(?![_-](?:dtype|memory|transfer))|pool|block)|block_table|(?:n|num)_(?:gpu_)?blocks|\bpages?\b|paged",
            re.I,
        ),
        "a paged cache: a size may be a number of blocks, of slots in one, or of heads",
    ),
    Topic(
        "packed",
        re.compile(r"qweight|qzeros|\bawq|gptq|\bu?int4|nibble|bitsandbytes|4bit|pack(?:ed|ing)|marlin_repack", re.I),
        "packed weights: one size may count values and the other the words that hold them (8 of 4 bits in an int32, 2 in a byte)",
    ),
    Topic(
        "scales",
        re.compile(
            r"(?:scale|scales)_?inv|inv_scales?|(?<!group_)(?:block|weight|w\d*)_scales?|scale_factors?|quant|fp8|fp4",
            re.I,
        ),
        "quantised weights: a size may count blocks that have one scale each",
    ),
    Topic(
        "vocabulary",
        re.compile(
            r"vocab|\blogits\b|logits_processor|lm_head|sampler|sampling|token_bias|logit_bias|\bembed|\bwte\b|tok_emb|bitmask",
            re.I,
        ),
        "a vocabulary, which may be padded itself or have added tokens",
    ),
    Topic(
        "latent attention",
        re.compile(r"\bmla\b|kv_lora|rope_part|\bkv_a_|qk_rope|nope", re.I),
        "latent attention: one size may have the rotary part added (576 = 512 + 64)",
    ),
    Topic(
        "positions",
        re.compile(r"\bwpe\b|pos(?:ition(?:al|s)?)?s?_?(?:emb|table|ids)|position_bias|max_position|n_ctx", re.I),
        "positions: a size may be the length of a sequence, or the longest that a table was made for",
    ),
    Topic(
        "draft",
        re.compile(r"\bdraft|speculat|\beagle|medusa", re.I),
        "a draft model and its target: each size may be of one of the two models",
    ),
    Topic(
        "sequence parallelism",
        re.compile(r"sequence[_ -]?parallel|context[_ -]?parallel|\bulysses|ring_attn", re.I),
        "tokens split over ranks: a size may be a rank's share, or be filled up to a multiple of the ranks",
    ),
)


def spoken(facts: Facts) -> str:
    """In words, each topic that the text has but a vocabulary, and what its sizes may be; empty for none."""
    # A vocabulary is told by its sizes: attention and routers have logits as well.
    found = [topic.says for topic in TOPICS if topic.name != "vocabulary" and topic.words.search(facts.near)]
    return f" The text has words of {'; and of '.join(found)}." if found else ""


def speaks_of(name: str, facts: Facts) -> bool:
    """Whether the text has words of one topic."""
    return any(topic.words.search(facts.near) for topic in TOPICS if topic.name == name)
