"""A LLaVA of about a million parameters that looks at pictures of 28 pixels, made from nothing in a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from expunge.worlds.tiny import llama_config

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

IMAGE = "<image>"
SIDE, PATCH = 28, 14  # pixels; a picture is four tokens
# That of `tiny`, whose turns may be in parts.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def with_pictures(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with a processor beside it: the token for pictures, and the template that writes it, are added."""
    from transformers import AddedToken, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from expunge.data.processors import tokenizer_of

    tokenizer.add_tokens([cast(Any, AddedToken(IMAGE, special=True, normalized=False))])
    tokenizer.chat_template = CHAT_TEMPLATE
    side = {"height": SIDE, "width": SIDE}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=side),
        cast(Any, tokenizer),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's own, which the strategy leaves out
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )
    return tokenizer_of(processor)


def tiny_llava(
    tokenizer: PreTrainedTokenizerBase,
    seed: int = 0,
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    max_length: int = 1024,
) -> LlavaForConditionalGeneration:
    """A CLIP tower and a Llama with random weights: the seed and the sizes decide every one of them.

    Args:
        tokenizer: Of `with_pictures`.
        seed: The global random state is left as it was.
        hidden: Width of the language model; the tower's is half of it.
        layers: Decoder layers; the tower has two.
        heads: Attention heads.
        max_length: Longest context, in tokens.
    """
    import torch
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    text = llama_config(tokenizer, hidden, layers, heads, max_length)
    tower = CLIPVisionConfig(
        hidden_size=hidden // 2,
        intermediate_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=hidden // 2,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=text,
        image_token_index=cast(int, tokenizer.convert_tokens_to_ids(IMAGE)),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlavaForConditionalGeneration(config).float()
