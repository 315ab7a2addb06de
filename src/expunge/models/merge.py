"""An adapter and its model made one: a plain model folder, for whatever loads plain models."""

from pathlib import Path

import torch

from expunge.errors import InputError
from expunge.files import whole_folder
from expunge.models.load import is_adapter, kept_style, load_model, moved, resolve_folder, save_tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def merge_adapter(run: str | Path, out: str | Path, dtype: str = "float32") -> Path:
    """Merge a run's adapter into the model it was trained on, in float32, and save both as one model.

    Args:
        run: A run or adapter folder.
        out: The folder to make; tokenizer, generation settings and prompt style go with the weights.
        dtype: Of the weights that are written.

    Raises:
        InputError: The folder exists, there is no adapter, or no such dtype.
    """
    out = Path(out)
    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: not one of {', '.join(DTYPES)}.")
    if out.exists():
        raise InputError(f"{out} already exists. Choose another --out, or remove it first.")
    if not is_adapter(resolve_folder(run)):
        raise InputError(f"{run}: there is no adapter to merge; it is a plain model already.")
    model, tokenizer = load_model(run, device="cpu")
    style = kept_style(run)
    with whole_folder(out) as folder:
        moved(model, DTYPES[dtype]).save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        if style is not None:
            style.save(folder)
    return out
