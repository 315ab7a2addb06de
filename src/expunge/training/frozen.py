"""The reference model, without a second model in memory: computed once before training, stored, read as needed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from expunge.data.chat import Encoded
from expunge.files import write_json
from expunge.models import FrozenHead, Request, fingerprint, fingerprint_json, hidden_states, token_values
from expunge.models.batching import by_length
from expunge.objectives import Objective, log_probability
from expunge.training.batching import EncodedViews, Key
from expunge.training.loss import whole

# Rows are computed in batches of about this many tokens, sorted by length so that hardly any is padding.
BATCH_TOKENS = 4096


class StoredReference:
    """Values of the frozen target model for every row a run will meet.

    For NPO and DPO: a number per row. For KL and soft targets: the final hidden states, on disk, and a frozen output
    head; logits are recomputed from them for a chunk of tokens at a time. For EMBED: the hidden states of its layer.
    """

    def __init__(self, folder: Path, head: FrozenHead | None, width: int, dtype: torch.dtype) -> None:
        self._folder, self._head, self._width, self._dtype = folder, head, width, dtype
        meta = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
        self._nll: dict[str, float] = meta["nll"]
        self._spans: dict[str, list[int]] = meta["spans"]
        self._tokens: int = meta["tokens"]
        self._states = _states(folder, self._tokens, width, dtype) if self._tokens else None

    def nll(self, view: str, keys: Sequence[Key]) -> Tensor:
        """Negative log-likelihood of each completion [rows]."""
        return torch.tensor([self._nll[_name(view, key, None)] for key in keys], dtype=torch.float32)

    def hidden(self, view: str, keys: Sequence[Key], layer: int | None) -> Tensor:
        """Final hidden states, or a layer's, at each predicted token, row after row [tokens, width]."""
        return torch.cat([self._states[slice(*self._spans[_name(view, key, layer)])] for key in keys])

    def head(self, hidden: Tensor) -> Tensor:
        """Reference logits from reference hidden states: [n, width] -> [n, vocabulary]."""
        return self._head(hidden)

    @classmethod
    @torch.no_grad()
    def prepare(
        cls,
        folder: Path,
        model: PreTrainedModel,
        objective: Objective,
        views: EncodedViews,
        keys: dict[str, Iterable[Key]],
        main: bool = True,
        quiet: bool = False,
    ) -> "StoredReference":
        """Compute what an objective needs of the model as it is now, or find it in the folder.

        Args:
            folder: Where to keep the values; inside the run directory, for they tell of the forget set.
            model: The target, before its first update.
            objective: Says what is needed of which views.
            views: Encodes rows by view and key.
            keys: Every key each view will meet in the run.
            main: Whether this process is the one that computes; the others must call after it is done.
            quiet: No progress bar.
        """
        head = FrozenHead(model) if objective.uses("logits") else None
        width = model.get_output_embeddings().weight.shape[-1]
        if main:
            wanted = _wanted(objective, views, {view: list(members) for view, members in keys.items()})
            key = fingerprint_json([fingerprint(model), [astuple(item) for item in wanted]])
            if not _is_current(folder, key):
                _compute(folder, model, wanted, key, width, quiet)
        return cls(folder, head, width, model.dtype)


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
        return len(self.row.ids) - (1 if self.whole else self.row.start)


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


def _compute(folder: Path, model: PreTrainedModel, wanted: list[_Wanted], key: str, width: int, quiet: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(item.tokens for item in wanted if item.kind == "states")
    states = _states(folder, total, width, model.dtype) if total else None
    nll: dict[str, float] = {}
    spans: dict[str, list[int]] = {}
    done = 0
    training = model.training
    model.eval()
    with tqdm(total=len(wanted), desc="reference values", disable=quiet, unit="row") as bar:
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
                states[done : done + len(hidden)] = hidden.cpu()
                done += len(hidden)
            bar.update(len(batch))
    model.train(training)
    write_json(folder / "reference.json", {"key": key, "tokens": total, "nll": nll, "spans": spans})


def _states(folder: Path, tokens: int, width: int, dtype: torch.dtype) -> Tensor:
    """Hidden states as a file that is mapped, not read: [tokens, width]."""
    file = folder / "hidden.bin"
    file.touch()  # by the umask; torch would make a private file
    return torch.from_file(str(file), shared=True, size=tokens * width, dtype=dtype).view(tokens, width)


def _is_current(folder: Path, key: str) -> bool:
    file = folder / "reference.json"
    return file.is_file() and json.loads(file.read_text(encoding="utf-8"))["key"] == key


def _name(view: str, key: Key, layer: int | None) -> str:
    return " ".join((view if layer is None else f"{view}@{layer}", *map(str, key)))
