"""Making target and retain models: ordinary fine-tuning on completions, with the trainer that also unlearns."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import PromptStyle, Row
from expunge.errors import InputError
from expunge.files import whole_folder
from expunge.objectives import Needs, Objective, Term, Views, Weighted
from expunge.runs import TRAIN_LOG
from expunge.training.run import Unrecorded, training_arguments


@dataclass(frozen=True)
class CE(Term):
    """token-mean CE(y) on the rows to learn, which take the place of the forget set: same plan, opposite sign of GA."""

    needs = Needs(views=("forget",))
    paper = "maximum likelihood"

    def loss(self, views: Views) -> Tensor:
        return views.forget.token_mean(-views.forget.logp)


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    out: str | Path,
    options: dict[str, Any] | None = None,
    quiet: bool = False,
    style: PromptStyle = PromptStyle(),
) -> Path:
    """Fine-tune a model on the completions of rows, and save it as a plain model folder.

    Args:
        model: To be trained, in place.
        tokenizer: Saved with it.
        rows: What to learn.
        out: The folder to make; it appears when the model is whole. Training log inside.
        options: Fields of `UnlearningConfig`.
        quiet: No progress bars.
        style: How conversations are written; kept with the model.

    Raises:
        InputError: The folder exists, or an option or row cannot be used.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out} already exists. Choose another --out, or remove it first.")
    with whole_folder(out) as folder:
        defaults = {"save_strategy": "no", "disable_tqdm": quiet}
        args = training_arguments(folder / "work", options or {}, **defaults)
        objective = Objective("CE", (Weighted("CE", CE()),))
        trainer = Unrecorded(model, args, rows, None, tokenizer, objective=objective, style=style)
        trainer.train()
        trainer.save_model(str(folder))
        (folder / "work" / TRAIN_LOG).replace(folder / TRAIN_LOG)
        shutil.rmtree(folder / "work")
    return out
