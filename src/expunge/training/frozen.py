"""The reference model, without a second model in memory: computed once before training, stored, read as needed."""

import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from expunge.data.chat import Encoded
from expunge.errors import InputError
from expunge.files import whole_file, write_json
from expunge.models import (
    FrozenHead,
    Request,
    fingerprint,
    fingerprint_json,
    hidden_states,
    output_head,
    token_values,
)
from expunge.models.batching import by_length
from expunge.objectives import Objective, log_probability
from expunge.training.batching import EncodedViews, Key, prepare_alternates, takes
from expunge.training.config import UnlearningConfig
from expunge.training.loss import whole

# Rows are computed in batches of about this many tokens, sorted by length so that hardly any is padding.
BATCH_TOKENS = 4096
VALUES, STATES = "reference.json", "hidden.bin"


class StoredReference:
    """Values of the frozen model for every row a run will meet.

    For NPO and DPO: a number per row. For KL and soft targets: the final hidden states, on disk, and a frozen output
    head; logits are recomputed from them for a chunk of tokens at a time. For EMBED: the hidden states of its layer.
    """

    def __init__(self, folder: Path, head: FrozenHead | None, width: int, dtype: torch.dtype) -> None:
        meta = json.loads((folder / VALUES).read_text(encoding="utf-8"))
        self._head, self._width = head, width
        self._nll: dict[str, float] = meta["nll"]
        self._spans: dict[str, list[int]] = meta["spans"]
        tokens: int = meta["tokens"]
        # Mapped, not read: a row's states are fetched when it is met.
        states = torch.from_file(str(folder / STATES), size=tokens * width, dtype=dtype) if tokens else torch.empty(0)
        self._states = states.view(-1, width)

    def nll(self, view: str, keys: Sequence[Key]) -> Tensor:
        """Negative log-likelihood of each completion [rows]."""
        return torch.tensor([self._nll[_name(view, key, None)] for key in keys], dtype=torch.float32)

    def hidden(self, view: str, keys: Sequence[Key], layer: int | None) -> Tensor:
        """Final hidden states, or a layer's, at each predicted token, row after row [tokens, width]."""
        return torch.cat([self._states[slice(*self._spans[_name(view, key, layer)])] for key in keys])

    def head(self, hidden: Tensor) -> Tensor:
        """Reference logits from reference hidden states: [n, width] -> [n, vocabulary]."""
        if self._head is None:
            raise LookupError("the objective asked for no logits of the reference model")
        return self._head(hidden)

    def check_fits(self, model: PreTrainedModel, objective: Objective) -> None:
        """Refuse a reference model that cannot be compared with the one to be trained.

        Raises:
            InputError: Its hidden states or logits are of another width.
        """
        head = output_head(model).weight
        if objective.uses("hidden") and self._width != head.shape[-1]:
            raise InputError(f"reference: its hidden states are {self._width} wide, the target's {head.shape[-1]}.")
        if self._head is not None and len(self._head.weight) != len(head):
            raise InputError(f"reference: it has {len(self._head.weight)} logits a token, the target {len(head)}.")

    @classmethod
    @torch.no_grad()
    def prepare(
        cls,
        folder: Path,
        model: PreTrainedModel,
        objective: Objective,
        views: EncodedViews,
        keys: dict[str, Iterable[Key]],
        weights: str | None = None,
        main: bool = True,
        quiet: bool = False,
    ) -> "StoredReference":
        """Compute what an objective needs of the model as it is now, or find it in the folder.

        Args:
            folder: Where to keep the values; inside the run directory, for they tell of the forget set.
            model: The model to freeze: the target before its first update, or another one.
            objective: Says what is needed of which views.
            views: Encodes rows by view and key.
            keys: Every key each view will meet in the run.
            weights: The model's fingerprint, where it is known already.
            main: Whether this process is the one that computes; the others must call after it is done.
            quiet: No progress bar.
        """
        head = FrozenHead(model) if objective.uses("logits") else None
        width = output_head(model).weight.shape[-1]
        if main:
            wanted = _wanted(objective, views, {view: list(members) for view, members in keys.items()})
            key = fingerprint_json([weights or fingerprint(model), [item.told for item in wanted]])
            if not _is_current(folder, key):
                _compute(folder, model, wanted, key, quiet)
        return cls(folder, head, width, model.dtype)


def freeze(
    model: PreTrainedModel,
    objective: Objective,
    views: EncodedViews,
    keys: dict[str, Iterable[Key]],
    folder: Path,
    args: UnlearningConfig,
    weights: str | None,
) -> StoredReference | None:
    """All that an objective needs of a model as it is now: alternative answers, sampled, and reference values.

    Args:
        model: The model to freeze.
        objective: Says what is needed.
        views: Rows by view and key; gets the alternative answers.
        keys: Every key each view will meet in the run.
        folder: Where to keep all of it.
        args: Seed, processes, progress bars.
        weights: The model's fingerprint, if this process knows it.
    """
    quiet = bool(args.disable_tqdm)
    if takes(objective.views, "alternates"):
        views.sources.alternates = prepare_alternates(
            folder, model, views.tokenizer, views.sources.forget, args.seed, quiet, views.style, weights
        )
    if not objective.uses_reference:
        return None
    with args.main_process_first(local=False, desc="reference values"):
        return StoredReference.prepare(folder, model, objective, views, keys, weights, args.process_index == 0, quiet)


@dataclass(frozen=True)
class _Wanted:
    """One value to compute: a row's negative log-likelihood, or its hidden states (after `layer`, or the last one)."""

    kind: Literal["nll", "states"]
    name: str
    row: Encoded
    layer: int | None = None
    whole: bool = False

    @property
    def tokens(self) -> int:
        return len(self.row.predicted(self.whole))

    @property
    def told(self) -> list[Any]:
        """All that the value depends on beside the model, as JSON can hold it."""
        pictures = self.row.pixels.digests if self.row.pixels else []
        return [self.kind, self.name, self.row.ids, self.row.start, pictures, self.layer, self.whole]


def _wanted(objective: Objective, views: EncodedViews, keys: dict[str, list[Key]]) -> list[_Wanted]:
    """Every value once."""
    wanted: dict[tuple[str, str], _Wanted] = {}
    for part in objective.terms:
        needs = part.term.needs
        for view in needs.views if needs.reference else ():
            kind = "nll" if needs.reference == "nll" else "states"
            everything = kind == "states" and whole(objective, (view, needs.layer))
            for key in keys[view]:
                name = _name(view, key, needs.layer)
                wanted[kind, name] = _Wanted(kind, name, views.encode(view, key), needs.layer, everything)
    return list(wanted.values())


def _compute(folder: Path, model: PreTrainedModel, wanted: list[_Wanted], key: str, quiet: bool) -> None:
    (folder / VALUES).unlink(missing_ok=True)  # what says that the values are there goes first
    nll: dict[str, float] = {}
    spans: dict[str, list[int]] = {}
    done = 0
    training = model.training
    model.eval()
    progress = tqdm(total=len(wanted), desc="reference values", disable=quiet, unit="row")
    with whole_file(folder / STATES) as part, part.open("wb") as file, progress as bar:
        for members in by_length([len(item.row.ids) for item in wanted], BATCH_TOKENS):
            batch = [wanted[i] for i in members]
            sums = [item for item in batch if item.kind == "nll"]
            if sums:
                values = token_values(model, [Request([item.row for item in sums], [log_probability])])[0][0]
                pieces = values.split([item.tokens for item in sums])
                nll.update({item.name: -float(piece.sum()) for item, piece in zip(sums, pieces, strict=True)})
            kept = [item for item in batch if item.kind == "states"]
            requests = [Request([item.row], [], item.whole, layer=item.layer) for item in kept]
            for item, hidden in zip(kept, hidden_states(model, requests) if kept else (), strict=True):
                spans[item.name] = [done, done + len(hidden)]
                # Written piece by piece, not through a mapped file: on a full disk that ends in a bus error.
                file.write(hidden.cpu().contiguous().view(torch.uint8).numpy().data)
                done += len(hidden)
            bar.update(len(batch))
    model.train(training)
    values = {"tokens": done, "nll": nll, "spans": spans}
    digests = {"values": fingerprint_json(values), "states": _digest(folder / STATES)}
    write_json(folder / VALUES, {"key": key, "digests": digests, **values})


def _is_current(folder: Path, key: str) -> bool:
    """Whether the folder holds these values, as they were written."""
    if not (folder / VALUES).is_file():
        return False
    try:
        meta = json.loads((folder / VALUES).read_text(encoding="utf-8"))
        if meta["key"] != key:
            return False
        values = {name: meta[name] for name in ("tokens", "nll", "spans")}
        digests = {"values": fingerprint_json(values), "states": _digest(folder / STATES)}
        if meta["digests"] == digests:
            return True
    except (OSError, ValueError, KeyError):
        pass
    warnings.warn(f"{folder}: stored reference values are damaged or missing; they are computed again.", stacklevel=4)
    return False


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _name(view: str, key: Key, layer: int | None) -> str:
    return " ".join((view if layer is None else f"{view}@{layer}", *map(str, key)))
