"""The reference model, without a second model in memory: computed once before training, stored, read as needed."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from expunge.data.chat import Encoded
from expunge.data.pairing import Key
from expunge.data.views import ViewRows
from expunge.files import write_json
from expunge.models import FrozenHead, Request, final_hidden, fingerprint, fingerprint_json, token_values
from expunge.objectives import Objective, log_probability
from expunge.training.views import whole

# Rows are computed in batches of about this many tokens, sorted by length so that hardly any is padding.
BATCH_TOKENS = 4096


class Reference:
    """Values of the frozen target model for every row a run will meet.

    For NPO and DPO: a number per row. For KL and soft targets: the final hidden states, on disk, and a frozen output
    head; logits are recomputed from them for a chunk of tokens at a time.
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
        return torch.tensor([self._nll[_name(view, key)] for key in keys], dtype=torch.float32)

    def hidden(self, view: str, keys: Sequence[Key]) -> Tensor:
        """Final hidden states at each predicted token, row after row [tokens, width]."""
        return torch.cat([self._states[slice(*self._spans[_name(view, key)])] for key in keys])

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
        rows: ViewRows,
        keys: dict[str, Iterable[Key]],
        main: bool = True,
        quiet: bool = False,
    ) -> "Reference":
        """Compute what an objective needs of the model as it is now, or find it in the folder.

        Args:
            folder: Where to keep the values; inside the run directory, for they tell of the forget set.
            model: The target, before its first update.
            objective: Says what is needed of which views.
            rows: Encodes rows by view and key.
            keys: Every key each view will meet in the run.
            main: Whether this process is the one that computes; the others must call after it is done.
            quiet: No progress bar.
        """
        head = FrozenHead(model) if objective.uses("logits") else None
        width = model.get_output_embeddings().weight.shape[-1]
        if main:
            wanted = _wanted(objective, rows, keys)
            key = fingerprint_json([fingerprint(model), [(k, v, e.ids, e.start) for k, v, e in wanted]])
            if not _is_current(folder, key):
                _compute(folder, model, objective, wanted, key, width, quiet)
        return cls(folder, head, width, model.dtype)


def _wanted(objective: Objective, rows: ViewRows, keys: dict[str, Iterable[Key]]) -> list[tuple[str, str, Encoded]]:
    """(kind, "view key", row) for every value, longest rows first."""
    wanted = []
    for kind in ("nll", "logits"):
        parts = [part.term.needs for part in objective.terms if part.term.needs.reference == kind]
        for view in dict.fromkeys(view for needs in parts for view in needs.views):
            wanted += [(kind, _name(view, key), rows.encode(view, key)) for key in keys[view]]
    return sorted(wanted, key=lambda item: -len(item[2].ids))


def _compute(
    folder: Path,
    model: PreTrainedModel,
    objective: Objective,
    wanted: list[tuple[str, str, Encoded]],
    key: str,
    width: int,
    quiet: bool,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    everything = {view: whole(objective, view) for view in objective.views}
    sizes = {n: len(r.ids) - (1 if everything[_view(n)] else r.start) for kind, n, r in wanted if kind == "logits"}
    total = sum(sizes.values())
    states = _states(folder, total, width, model.dtype) if total else None
    nll: dict[str, float] = {}
    spans: dict[str, list[int]] = {}
    done = 0
    training = model.training
    model.eval()
    with tqdm(total=len(wanted), desc="reference values", disable=quiet, unit="row") as bar:
        for batch in _batches(wanted):
            for kind in ("nll", "logits"):
                mine = [(name, row) for k, name, row in batch if k == kind]
                if kind == "nll" and mine:
                    values = token_values(model, [Request([row for _, row in mine], [log_probability])])[0][0]
                    pieces = values.split([row.completion_tokens for _, row in mine])
                    nll.update({name: -float(p.sum()) for (name, _), p in zip(mine, pieces, strict=True)})
                elif mine:
                    requests = [Request([row], [], everything[_view(name)]) for name, row in mine]
                    for (name, _), hidden in zip(mine, final_hidden(model, requests), strict=True):
                        spans[name] = [done, done + len(hidden)]
                        states[done : done + len(hidden)] = hidden.cpu()
                        done += len(hidden)
            bar.update(len(batch))
    model.train(training)
    write_json(folder / "reference.json", {"key": key, "tokens": total, "nll": nll, "spans": spans})


def _batches(wanted: list[tuple[str, str, Encoded]]) -> Iterable[list[tuple[str, str, Encoded]]]:
    batch: list[tuple[str, str, Encoded]] = []
    for item in wanted:
        if batch and (len(batch) + 1) * len(batch[0][2].ids) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _states(folder: Path, tokens: int, width: int, dtype: torch.dtype) -> Tensor:
    """Hidden states as a file that is mapped, not read: [tokens, width]."""
    file = str(folder / "hidden.bin")
    return torch.from_file(file, shared=True, size=tokens * width, dtype=dtype).view(tokens, width)


def _is_current(folder: Path, key: str) -> bool:
    file = folder / "reference.json"
    return file.is_file() and json.loads(file.read_text(encoding="utf-8"))["key"] == key


def _name(view: str, key: Key) -> str:
    return " ".join((view, *map(str, key)))


def _view(name: str) -> str:
    return name.partition(" ")[0]
