"""In what precision a model computes: float32, or bfloat16 by autocast; its weights stay as they are."""

from contextlib import AbstractContextManager
from typing import Any

import torch

from expunge.errors import unknown

PRECISIONS = ("float32", "bfloat16", "auto")


def choose_precision(asked: str, device: torch.device) -> str:
    """float32 or bfloat16; "auto" takes bfloat16 where the device multiplies it faster than float32.

    Raises:
        InputError: `asked` is none of `PRECISIONS`.
    """
    if asked not in PRECISIONS:
        raise unknown("precision", asked, PRECISIONS)
    if asked != "auto":
        return asked
    return "bfloat16" if multiplies_bfloat16(device) else "float32"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16 matrices (on a CPU: AVX512-BF16 or AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to bfloat16, if that is the precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
