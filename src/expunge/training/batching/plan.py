"""From the forget and retain sets to the rows of each view, and the plan of which rows meet."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from expunge.data import windows
from expunge.data.load import load_rows
from expunge.data.rows import Row
from expunge.errors import InputError
from expunge.objectives import Objective
from expunge.training.batching.encoding import EncodedViews
from expunge.training.batching.pairing import Pairing
from expunge.training.batching.refusals import load_refusals
from expunge.training.batching.token_cache import prepare_tokens
from expunge.training.batching.views import Sources, all_keys, takes
from expunge.training.config import UnlearningConfig


def plan_rows(
    objective: Objective,
    forget: Sequence[Row] | str | Path,
    retain: Sequence[Row] | str | Path | None,
    refusals: Sequence[str] | None,
    tokenizer: PreTrainedTokenizerBase,
    length: int | None,
    args: UnlearningConfig,
    cache: Path | None,
) -> tuple[EncodedViews, Pairing]:
    """Read both sets, encode every row the run will meet, and draw up which rows meet.

    Args:
        objective: Says which views of the rows are needed.
        forget: Rows, or a SPEC to read them from.
        retain: Likewise.
        refusals: Refusal templates; default: those that come with expunge.
        tokenizer: Encodes the rows.
        length: The longest row in tokens, if there is a limit.
        args: Seed and epochs.
        cache: Where to keep token ids, inside the run folder; None: nowhere.

    Raises:
        InputError: A set is empty or missing, they overlap, or a prompt fills the context.
    """
    forget, retain = (load_rows(s) if isinstance(s, (str, Path)) else list(s or ()) for s in (forget, retain))
    forget = _prepared(tokenizer, forget, length, "forget")
    views = objective.views
    if takes(views, "retain"):
        if not retain:
            raise InputError(f"Objective {objective.name} needs a retain set, and it is missing or empty.")
        refuse_overlap(forget, retain)
        retain = _prepared(tokenizer, retain, length, "retain")
    refusals = list(refusals or load_refusals()) if takes(views, "refusals") else []
    encoded = EncodedViews(tokenizer, Sources(forget, retain, refusals), length)
    pairing = Pairing(args.seed, len(forget), len(retain), len(refusals), objective.mismatches)
    whole_sets = {"forget": forget, "retain": retain if takes(views, "retain") else []}
    names = [(name, (i,)) for name, members in whole_sets.items() for i in range(len(members))]
    # Alternatives are not known yet: the model writes them when training starts.
    drawn = [view for view in views if view not in whole_sets and not takes([view], "alternates")]
    names += [(view, key) for view in drawn for key in all_keys(view, pairing, args.epochs(len(forget)))]
    with args.main_process_first(local=False, desc="tokens"):
        prepare_tokens(cache, encoded, names, main=args.process_index == 0)
    cut_short = sum(
        len(encoded.encode(name, (i,)).ids) == length and bool(row.turns)
        for name, members in whole_sets.items()
        for i, row in enumerate(members)
    )
    if cut_short:
        warnings.warn(f"{cut_short} row(s) fill the maximum of {length} tokens; what is beyond is cut.", stacklevel=3)
    return encoded, pairing


def _prepared(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], length: int | None, name: str) -> list[Row]:
    """Cut long plain text into windows, and refuse an empty set."""
    if not rows:
        raise InputError(f"The {name} set is empty.")
    if length is None:
        return list(rows)
    return [part for row in rows for part in windows(tokenizer, row, length)]


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
