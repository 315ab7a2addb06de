"""Rows of each view as token ids, encoded once each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from expunge.data import Encoded, PromptStyle, encode_all
from expunge.data.processors import Pixels, pixels_of
from expunge.errors import InputError
from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views import VIEWS, Key, Sources, takes

Name = tuple[str, Key]
"""A view, and a row of it."""


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
        style: How conversations are written.
        known: Token ids of plain texts that were worked out before (see `windows`).
    """

    tokenizer: PreTrainedTokenizerBase
    sources: Sources
    max_length: int | None = None
    style: PromptStyle = field(default_factory=PromptStyle)
    known: Mapping[str, Sequence[int]] = field(default_factory=dict)
    _known: dict[Name, Encoded] = field(default_factory=dict)

    def encode(self, view: str, key: Key) -> Encoded:
        """Token ids of one row of a view."""
        if (view, key) not in self._known:
            self.encode_all([(view, key)])
        return self._known[view, key]

    def encode_all(self, names: Sequence[Name]) -> list[Encoded]:
        """Token ids of rows by view and key.

        Raises:
            InputError: A row's prompt fills the context, or the template cannot write it; the message names the row.
        """
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        if new:
            asked = [(VIEWS[v].row(self.sources, key), VIEWS[v].completion(self.sources, key)) for v, key in new]
            try:
                encoded = encode_all(self.tokenizer, asked, self.max_length, self.style, self.known)
            except InputError as error:
                if len(new) == 1:
                    ((view, key),) = new
                    raise InputError(f"{VIEWS[view].set} set, row {key[0]}: {error}") from error
                half = len(new) // 2  # which one?
                encoded = [*self.encode_all(new[:half]), *self.encode_all(new[half:])]
            self.remember(dict(zip(new, encoded, strict=True)))
        return [self._known[name] for name in names]

    def pixels(self, view: str, key: Key) -> Pixels | None:
        """The pictures of one row of a view."""
        return pixels_of(self.tokenizer, VIEWS[view].row(self.sources, key))

    def remember(self, encoded: Mapping[Name, Encoded]) -> None:
        """Take token ids of rows, by view and key, that were worked out before."""
        self._known.update(encoded)

    def lengths(self, views: Sequence[str], pairing: Pairing, epoch: int) -> list[list[int]]:
        """For each row of an epoch, the tokens of each row that goes through the model with it."""
        # Alternatives are sampled when training starts; they are about as long as the answers.
        sampled = bool(self.sources.alternates)
        read_as = {v: VIEWS[v].set if takes([v], "alternates") and not sampled else v for v in views}
        return [
            [len(self.encode(read_as[v], key).ids) for v in views for key in VIEWS[v].keys(pairing, epoch, index)]
            for index in range(pairing.rows)
        ]

    def batch(self, keys: Mapping[str, Sequence[Key]]) -> MicroBatch:
        """The rows of several views by their keys."""
        self.encode_all([(view, key) for view, ks in keys.items() for key in ks])
        return {view: ViewBatch(tuple(ks), tuple(self.encode(view, k) for k in ks)) for view, ks in keys.items()}
