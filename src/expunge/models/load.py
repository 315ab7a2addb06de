"""Loading and saving models: safetensors only, adapters welcome, no remote code unless asked."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.utils import logging

from expunge.data.processors import processor_of, tokenizer_of
from expunge.data.style import PromptStyle
from expunge.errors import InputError
from expunge.models.checks import check_finite_weights, check_keys, check_loading, check_tokenizer
from expunge.models.fingerprint import fingerprint_tokenizer
from expunge.models.hub import check_hub_name
from expunge.models.pictures import sees
from expunge.models.quantized import keep_unpacked, quantization_config, without_bitsandbytes


def load_model(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    quantization: str | None = None,
    **options: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer. That of a vision-language model (see `models.pictures`) has the
    model's processor beside it.

    Args:
        path: A model folder, an adapter folder (merged into the model it was trained on), a run folder, or a Hub name.
        dtype: Of the weights.
        device: Where to put it; default: a GPU if there is one, else the CPU.
        quantization: "nf4" (4 bits) or "int8", by bitsandbytes; for the frozen weights below an adapter.
        **options: Passed on to `from_pretrained`, e.g. `trust_remote_code`, `attn_implementation`.

    Raises:
        InputError: No model there, or one that is broken: weights that are pickled, missing, unexpected, of another
            shape or not finite, a tokenizer or a configuration that cannot be used; or remote code that was not
            allowed.
    """
    folder = resolve_folder(path)
    no_bars_in_logs()
    device = usable_device(device)
    if quantization is not None:
        options |= {"quantization_config": quantization_config(quantization, device), "device_map": {"": device}}
    reading = "tokenizer"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=options.get("trust_remote_code", False))
        if (Path(folder) / GENERATION).is_file():  # transformers would do without those that it cannot read
            reading = "generation settings"
            GenerationConfig.from_pretrained(folder)
        reading = "model, which must be a causal language model,"
        if is_adapter(folder):
            model = _load_adapter(Path(folder), dtype, options)
        else:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=options.get("trust_remote_code", False))
            found = (AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM).from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused by name instead
                **options,
            )
            model, info = cast(tuple[PreTrainedModel, dict[str, Any]], found)  # annotated without the loading info
            check_loading(path, info)
        if sees(model.config):
            reading = "processor"
            tokenizer = tokenizer_of(AutoProcessor.from_pretrained(folder))
    except InputError:
        raise
    except Exception as error:  # whatever a broken folder makes the libraries raise
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{path}: this model requires custom code. If you trust its author, allow it with "
                "--trust-remote-code (trust_remote_code: true in a recipe)."
            ) from error
        raise InputError(f"{path}: its {reading} cannot be loaded ({_in_short(error)}).") from error
    check_finite_weights(path, model)
    check_tokenizer(path, tokenizer, model)
    keep_unpacked(model)
    return (model if quantization else moved(model, device)).eval(), tokenizer


GENERATION = "generation_config.json"
MODEL_FILES = ("model.safetensors", "model.safetensors.index.json")
ADAPTER_FILES = ("adapter_model.safetensors",)

ModelOrPlace = PreTrainedModel | str | Path | Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]


def no_bars_in_logs() -> None:
    """Switch the bars of transformers off where nobody sees them: in a log file they are noise."""
    if not sys.stderr.isatty():
        logging.disable_progress_bar()


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Save a tokenizer, and the processor beside it, if there is one."""
    (processor_of(tokenizer) or tokenizer).save_pretrained(folder)


def loaded(
    model: ModelOrPlace, tokenizer: PreTrainedTokenizerBase | ProcessorMixin | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer: as they are, from their place, or from the function that loads them.

    Args:
        model: One of these.
        tokenizer: Overrides the one that is loaded with the model; of a vision-language model its processor.

    Raises:
        InputError: A model without its tokenizer, or one that cannot be loaded.
    """
    if isinstance(tokenizer, ProcessorMixin):
        tokenizer = tokenizer_of(tokenizer)
    if isinstance(model, (str, Path)):
        model, own = load_model(model)
    elif isinstance(model, nn.Module):
        own = tokenizer
    else:
        model, own = model()
    if (words := tokenizer or own) is None:
        raise InputError("A model that is already loaded needs its tokenizer: pass processing_class=tokenizer.")
    return cast(PreTrainedModel, model), words  # a PeftModel passes, too: it answers for the model in it


def check_same_tokenizer(target: PreTrainedTokenizerBase, reference: PreTrainedTokenizerBase) -> None:
    """Refuse a reference model that would read other tokens than the target.

    Raises:
        InputError: The tokenizers differ.
    """
    if fingerprint_tokenizer(target) != fingerprint_tokenizer(reference):
        raise InputError(
            "reference: the reference model has another tokenizer or chat template than the target, so its values "
            "would be those of other tokens."
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


def kept_style(path: str | Path) -> PromptStyle | None:
    """How the prompts of a model that expunge trained were written; None where nothing lies beside its weights."""
    return PromptStyle.kept_in(resolve_folder(path))


def moved(model: PreTrainedModel, to: str | torch.device | torch.dtype) -> PreTrainedModel:
    """The model, on another device or with weights of another type."""
    return cast(Any, model).to(to)  # transformers' decorator hides the method's signature


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (Path(folder) / "adapter_config.json").is_file()


def base_below(path: str | Path) -> str | None:
    """The model that an adapter folder was trained on; None where it is no adapter."""
    folder = resolve_folder(path)
    if not is_adapter(folder):
        return None
    return json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]


def usable_device(device: str | torch.device | None) -> torch.device:
    """The device that was asked for; the best one where none was.

    Raises:
        InputError: There is no such device here.
    """
    try:
        found = torch.device(device or best_device())
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises any of these
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise InputError(f"device {str(device)!r} cannot be used here. There is: {', '.join(there)}.") from error
    return found


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load_adapter(folder: Path, dtype: torch.dtype, options: dict[str, Any]) -> PreTrainedModel:
    base = base_below(folder)
    assert base is not None  # an adapter folder it is
    model, _ = load_model(base, dtype, "cpu", **options)
    with without_bitsandbytes():
        from peft import PeftModel, get_peft_model_state_dict
        from peft.utils import load_peft_weights

        adapted = PeftModel.from_pretrained(model, str(folder))
        wanted, given = get_peft_model_state_dict(adapted), load_peft_weights(str(folder), device="cpu")
        check_keys(folder, wanted.keys() - given.keys(), given.keys() - wanted.keys())
        merged = cast(PreTrainedModel, adapted.merge_and_unload())
    for parameter in merged.parameters():  # PEFT has frozen them; merged, they are a model's like any other
        parameter.requires_grad_(parameter.is_floating_point())
    return merged


def _refuse_pickles(folder: Path) -> None:
    """Refuse a folder without the files that are read; another one of that kind beside a pickle is a decoy."""
    files = ADAPTER_FILES if is_adapter(folder) else MODEL_FILES
    if any((folder / name).is_file() for name in files):
        return
    pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.pkl") for p in folder.glob(pattern))
    if pickles:
        raise InputError(
            f"{folder}: its weights are pickled ({pickles[0]}), and a pickle can run any code. Save the model as "
            "safetensors first."
        )
    raise InputError(f"{folder}: there are no weights in it (no {' and no '.join(files)}).")


def _in_short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{' ...' if len(text) > 300 else ''}"
