"""Loading and saving models: safetensors only, adapters welcome, no remote code unless asked."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from expunge.errors import InputError
from expunge.models.hub import check_hub_name


def load_model(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    quantization: str | None = None,
    **options: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer.

    Args:
        path: A model folder, an adapter folder (merged into the model it was trained on), a run folder, or a Hub name.
        dtype: Of the weights.
        device: Where to put it; default: a GPU if there is one, else the CPU.
        quantization: "nf4" (4 bits) or "int8", by bitsandbytes; for the frozen weights below an adapter.
        **options: Passed on to `from_pretrained`, e.g. `trust_remote_code`, `attn_implementation`.

    Raises:
        InputError: No model there, pickled weights, or remote code that was not allowed.
    """
    folder = resolve_folder(path)
    if not sys.stderr.isatty():
        logging.disable_progress_bar()  # bars are for people; in a log file they are noise
    device = torch.device(device or best_device())
    if quantization is not None:
        options |= {"quantization_config": _quantization(quantization, device), "device_map": {"": device}}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=options.get("trust_remote_code", False))
        if is_adapter(folder):
            model = _load_adapter(Path(folder), dtype, options)
        else:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, **options)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{path}: this model comes with code of its own. If you trust its author, allow it with "
                "--trust-remote-code (trust_remote_code: true in a recipe)."
            ) from error
        raise InputError(f"{path}: cannot be loaded as a causal language model. {_first_line(error)}") from error
    return (model if quantization else model.to(device)).eval(), tokenizer


def _quantization(name: str, device: torch.device) -> Any:
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise InputError(f"quantization={name} needs bitsandbytes: pip install 'expunge[quantized]'.")
    if name == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.bfloat16 if device.type == "cuda" else torch.float32
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )


def resolve_folder(path: str | Path) -> str:
    """Find what to load: `path` itself, or `model` / `adapter` in a run folder; a Hub name is left as it is.

    Raises:
        InputError: A local path that does not exist, is not a folder, or holds no model; a name the Hub does not have.
    """
    folder = Path(path)
    if folder.is_dir():
        for candidate in (folder, folder / "model", folder / "adapter"):
            if (candidate / "config.json").is_file() or is_adapter(candidate):
                _refuse_pickles(candidate)
                return str(candidate)
        raise InputError(f"{path}: not a model folder (no config.json and no adapter_config.json in it).")
    return check_hub_name(str(path))


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (Path(folder) / "adapter_config.json").is_file()


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load_adapter(folder: Path, dtype: torch.dtype, options: dict[str, Any]) -> PreTrainedModel:
    from peft import PeftModel

    base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    model, _ = load_model(base, dtype, "cpu", **options)
    return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()


def _refuse_pickles(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.pkl") for p in folder.glob(pattern))
    if pickles:
        raise InputError(
            f"{folder}: its weights are pickled ({pickles[0]}), and a pickle can run any code. Save the model as "
            "safetensors first."
        )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
