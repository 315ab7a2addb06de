"""Rows of each view as token ids, encoded once each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from expunge.data.chat import Encoded, encode
from expunge.errors import InputError
from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views import VIEWS, Key, Sources, takes


@dataclass(frozen=True)
class ViewBatch:
    """The rows of one view in a micro-batch: which they are, and their tokens."""

    keys: tuple[Key, ...]
    rows: tuple[Encoded, ...]


MicroBatch = Mapping[str, ViewBatch]
"""The rows of a micro-batch by view."""


@dataclass
class EncodedViews:
    """Encodes rows by view and key, and remembers them.

    Attributes:
        tokenizer: Of the model.
        sources: What views are made from.
        max_length: The longest row in tokens; longer completions are cut.
    """

    tokenizer: PreTrainedTokenizerBase
    sources: Sources
    max_length: int | None = None
    _known: dict[tuple[str, Key], Encoded] = field(default_factory=dict, repr=False)

    def encode(self, view: str, key: Key) -> Encoded:
        """Token ids of one row of a view."""
        if (view, key) not in self._known:
            kind = VIEWS[view]
            row, completion = kind.row(self.sources, key), kind.completion(self.sources, key)
            try:
                self._known[view, key] = encode(self.tokenizer, row, completion, self.max_length)
            except InputError as error:
                raise InputError(f"{kind.set} set, row {key[0]}: {error}") from error
        return self._known[view, key]

    def remember(self, encoded: Mapping[tuple[str, Key], Encoded]) -> None:
        """Take token ids of rows, by view and key, that were worked out before."""
        self._known.update(encoded)

    def lengths(self, views: Sequence[str], pairing: Pairing, epoch: int) -> list[list[int]]:
        """For each forget row, the tokens of each row that goes through the model with it in an epoch."""
        # Alternatives are sampled when training starts; they are about as long as the answers.
        sampled = bool(self.sources.alternates)
        read_as = {v: VIEWS[v].set if takes([v], "alternates") and not sampled else v for v in views}
        return [
            [len(self.encode(read_as[v], key).ids) for v in views for key in VIEWS[v].keys(pairing, epoch, index)]
            for index in range(pairing.forget)
        ]

    def batch(self, keys: Mapping[str, Sequence[Key]]) -> MicroBatch:
        """The rows of several views by their keys."""
        return {view: ViewBatch(tuple(ks), tuple(self.encode(view, k) for k in ks)) for view, ks in keys.items()}
