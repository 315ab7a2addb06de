"""Quantized weights, by bitsandbytes: loaded so that an adapter on them can be trained on any CPU; and only then."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from expunge.errors import InputError


def quantization_config(name: str, device: torch.device) -> Any:
    """What `from_pretrained` is told: "nf4" (4 bits) or "int8".

    Raises:
        InputError: bitsandbytes is missing.
    """
    from transformers import BitsAndBytesConfig
    from transformers.utils.import_utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise InputError(f"quantization={name} needs bitsandbytes: pip install 'expunge[quantized]'.")
    if name == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.bfloat16 if device.type == "cuda" else torch.float32
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )


def keep_unpacked(model: nn.Module) -> None:
    """Keep bitsandbytes from packing 4-bit weights for inference on the CPU.

    On a CPU with AVX512-BF16 it packs them at the first forward in evaluation mode. Packed they stay, and the product
    with packed weights has no gradient.

    Raises:
        InputError: They are packed already; unpacking would not give the same weights back.
    """
    named = cast(Iterable[tuple[str, Any]], model.named_modules())  # bitsandbytes need not be there, nor its classes
    for name, module in named:
        weight = module._parameters.get("weight")
        if type(weight).__name__ != "Params4bit":
            continue
        if getattr(weight.quant_state, "packing_format_for_cpu", False):
            raise InputError(
                f"{name}: bitsandbytes has packed these 4-bit weights for inference on this CPU, and packed weights "
                "have no gradient. Load the model anew with expunge.models.load_model(..., quantization='nf4'), or "
                "hand it to UnlearningTrainer before its first forward."
            )
        module.support_avx512bf16_for_cpu = False


@contextmanager
def without_bitsandbytes() -> Iterator[None]:
    """Let PEFT be imported, or work on weights that are not quantized, as if bitsandbytes were not installed.

    It would import it without need: half a second, a warning on some CPUs, and a look for kernels on the Hub. Nothing
    changes where bitsandbytes has been imported already.
    """
    if "bitsandbytes" in sys.modules:
        yield
        return
    _forget_whether_available()
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # an import of it is now an ImportError
    try:
        yield
    finally:
        del sys.modules["bitsandbytes"]
        _forget_whether_available()


def _forget_whether_available() -> None:
    """PEFT asks once and remembers."""
    if "peft.import_utils" in sys.modules:
        from peft import import_utils

        import_utils.is_bnb_available.cache_clear()
        import_utils.is_bnb_4bit_available.cache_clear()
