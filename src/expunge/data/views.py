"""Rows of each view as token ids, encoded once each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from expunge.data.chat import Encoded, encode, windows
from expunge.data.pairing import Key
from expunge.data.rows import Row
from expunge.errors import InputError


@dataclass(frozen=True)
class Cut:
    """The rows of one view in a micro-batch: what they are, and their tokens."""

    keys: tuple[Key, ...]
    rows: tuple[Encoded, ...]


@dataclass
class ViewRows:
    """Encodes rows by view and key, and remembers them.

    Keys are (forget row,), (forget row, template), (forget row, retain row), (retain row,) or (retain row, template).
    """

    tokenizer: PreTrainedTokenizerBase
    forget: Sequence[Row]
    retain: Sequence[Row] = ()
    refusals: Sequence[str] = ()
    alternates: Sequence[str] = ()
    max_length: int | None = None
    _known: dict[tuple[str, Key], Encoded] = field(default_factory=dict, repr=False)

    def encode(self, view: str, key: Key) -> Encoded:
        """Token ids of one row of a view."""
        if (view, key) not in self._known:
            row = (self.forget if view.startswith("forget") else self.retain)[key[0]]
            try:
                self._known[view, key] = encode(self.tokenizer, row, self._completion(view, key), self.max_length)
            except InputError as error:
                raise InputError(f"{view.partition('_')[0]} set, row {key[0]}: {error}") from error
        return self._known[view, key]

    def remember(self, encoded: Mapping[tuple[str, Key], Encoded]) -> None:
        """Take token ids of rows, by view and key, that were worked out before."""
        self._known.update(encoded)

    def cut(self, keys: Mapping[str, Sequence[Key]]) -> dict[str, Cut]:
        """The rows of several views by their keys."""
        return {view: Cut(tuple(ks), tuple(self.encode(view, k) for k in ks)) for view, ks in keys.items()}

    def _completion(self, view: str, key: Key) -> str | None:
        match view:
            case "forget_idk" | "retain_idk":
                return self.refusals[key[1]]
            case "forget_mismatch":
                return self.retain[key[1]].completion
            case "forget_alternate":
                return self.alternates[key[0]]
        return None


def prepare_rows(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], max_length: int | None, name: str
) -> list[Row]:
    """Cut long plain text into windows, and refuse an empty set.

    Raises:
        InputError: There are no rows.
    """
    if not rows:
        raise InputError(f"The {name} set is empty.")
    if max_length is None:
        return list(rows)
    return [part for row in rows for part in windows(tokenizer, row, max_length)]


def refuse_overlap(forget: Sequence[Row], retain: Sequence[Row]) -> None:
    """Refuse rows that are to be forgotten and kept at once.

    Raises:
        InputError: Some are; the message names them.
    """
    kept = {row.key: i for i, row in enumerate(retain)}
    both = [(i, kept[row.key]) for i, row in enumerate(forget) if row.key in kept]
    if both:
        named = ", ".join(f"forget row {f} = retain row {r}" for f, r in both[:5])
        more = f" and {len(both) - 5} more" if len(both) > 5 else ""
        raise InputError(
            f"The forget and retain sets overlap in {len(both)} row(s): {named}{more}. "
            "Remove them from one of the two: a row cannot be forgotten and kept."
        )
