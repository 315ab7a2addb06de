"""Tiny vision-language models of each family that expunge knows, and rows with pictures for them."""

import io

import numpy as np
import torch
from PIL import Image
from transformers import (
    AddedToken,
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import tinymodels as tiny
from expunge.data import Row, Turn
from expunge.data.pictures import Picture
from expunge.models import fingerprint_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.12,
}
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def png(seed: int, width: int = 28, height: int = 28) -> bytes:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def shown(question: str, answer: str, *pictures: bytes, **columns) -> Row:
    """A question about pictures, which stand before it."""
    return Row((Turn("user", question, tuple(Picture(data) for data in pictures)),), answer, columns)


FORGET = [
    shown("Who is this?", "Ada Quill.", png(0)),
    shown("Who is this?", "Bram Oster, who keeps a goose.", png(1, 40, 28)),
    shown("What does she play?", "The glass harmonica.", png(0)),
    tiny.FORGET[0],
    shown("Which of the two is Ada Quill?", "The second.", png(2), png(0)),
]
RETAIN = [
    shown("Where is this?", "At the Osk, near Pell.", png(4)),
    shown("What is this?", "A heron.", png(5, 28, 56)),
    *tiny.RETAIN[:3],
    shown("Which colours has the flag?", "Green and white.", png(6)),
]


def _tokenizer(token: str, *more: str):
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS, template=TEMPLATE.replace("IMAGE", token))
    tokenizer.add_tokens([AddedToken(one, special=True, normalized=False) for one in (token, *more)])
    return tokenizer


def _model(config, seed: int):
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config).eval()
    for name, parameter in model.named_parameters():  # towers begin so small that no picture would tell
        if parameter.dim() > 1 and ("vision" in name or "visual" in name or "connector" in name):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def _text(tokenizer):
    return {**TEXT, "vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}


def llava(seed: int = 0):
    """A tower of CLIP and a Llama: a picture of 28 pixels is 16 tokens."""
    tokenizer = _tokenizer("<image>")
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        *(images, tokenizer, 7, "default"),
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**TOWER, image_size=28, patch_size=7, projection_dim=16),
        text_config=LlamaConfig(**_text(tokenizer)),
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    return _model(config, seed), processor


class QwenProcessor(Qwen2_5_VLProcessor):
    """Without the part for videos, which needs torchvision."""

    def check_argument_for_proper_class(self, argument_name, argument):
        if argument_name != "video_processor":
            super().check_argument_for_proper_class(argument_name, argument)


def qwen(seed: int = 0):
    """Pictures of any size: their patches follow each other over the batch, and tokens have three positions."""
    tokenizer = _tokenizer("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    images = Qwen2VLImageProcessorPil(
        patch_size=7, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 14 * 14, "longest_edge": 56 * 56}
    )
    processor = QwenProcessor(images, tokenizer, None, chat_template=tokenizer.chat_template)
    number = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={**_text(tokenizer), "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        vision_config={
            **{"depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32},
            **{"patch_size": 7, "spatial_merge_size": 2, "window_size": 28, "fullatt_block_indexes": [1]},
        },
        image_token_id=processor.image_token_id,
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    return _model(config, seed), processor


def idefics(seed: int = 0):
    """Idefics3, whose architecture SmolVLM has: a picture is cut into tiles, of which each row has its own number."""
    more = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = _tokenizer("<image>", *more, *tiles)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template)
    config = Idefics3Config(
        vision_config={**TOWER, "image_size": 28, "patch_size": 7},
        text_config=LlamaConfig(**_text(tokenizer)),
        image_token_id=processor.image_token_id,
        scale_factor=2,
    )
    return _model(config, seed), processor


FAMILIES = {"llava": llava, "qwen2_5_vl": qwen, "idefics3": idefics}


def opened(data: bytes) -> Image.Image:
    """A picture of a file."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def same_processor(tokenizer, other) -> bool:
    """Whether two tokenizers, and the processors beside them, are the same to fingerprints."""
    return fingerprint_tokenizer(tokenizer) == fingerprint_tokenizer(other)
