"""From the forget and retain sets to the rows of each view, and the plan of which rows meet."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from expunge.data import PromptStyle, Row, load_rows, opened, windows
from expunge.errors import InputError
from expunge.objectives import Objective
from expunge.training.batching.encoding import EncodedViews
from expunge.training.batching.pairing import Pairing, RetainLed
from expunge.training.batching.refusals import load_refusals
from expunge.training.batching.token_cache import prepare_tokens
from expunge.training.batching.views import VIEWS, Sources, all_keys, takes
from expunge.training.config import UnlearningConfig


def plan_rows(
    objective: Objective,
    forget: Sequence[Row] | str | Path,
    retain: Sequence[Row] | str | Path | None,
    refusals: Sequence[str] | None,
    tokenizer: PreTrainedTokenizerBase,
    length: int | None,
    args: UnlearningConfig,
    cache: Path | None = None,
    style: PromptStyle = PromptStyle(),
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
        style: How conversations are written.

    Raises:
        InputError: A set is empty or missing, they overlap, a prompt fills the context, or plain text without a prompt
            is to be answered.
    """
    forget, retain = (load_rows(s) if isinstance(s, (str, Path)) else list(s or ()) for s in (forget, retain))
    views = objective.views
    whole = forget, retain
    cut, known = _windows(tokenizer, forget, length)
    forget = prepared_rows(cut, "forget", objective, args.text_prompt)
    if takes(views, "retain"):
        if not retain:
            raise InputError(f"Objective {objective.name} needs a retain set, and it is missing or empty.")
        refuse_overlap(*whole)
        cut, known_too = _windows(tokenizer, retain, length)
        retain, known = prepared_rows(cut, "retain", objective, args.text_prompt), known | known_too
    refusals = list(refusals or load_refusals()) if takes(views, "refusals") else []
    encoded = EncodedViews(tokenizer, Sources(forget, retain, refusals), length, style, known)
    pairing = _pairing(objective, args, len(forget), len(retain), len(refusals))
    whole_sets = {"forget": forget, "retain": retain if takes(views, "retain") else []}
    names = [(name, (i,)) for name, members in whole_sets.items() for i in range(len(members))]
    # Alternatives are not known yet: the model writes them when training starts.
    drawn = [view for view in views if view not in whole_sets and not takes([view], "alternates")]
    names += [(view, key) for view in drawn for key in all_keys(view, pairing, args.epochs(pairing.rows))]
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


def _pairing(objective: Objective, args: UnlearningConfig, forget: int, retain: int, refusals: int) -> Pairing:
    """The plan for sets of these sizes."""
    if args.forget_every and objective.forget_every:
        raise InputError(f"train.forget_every: {objective.name} has objective.every for that; leave one of them out.")
    if not (every := args.forget_every or objective.forget_every):
        return Pairing(args.seed, forget, retain, refusals, objective.mismatches)
    if not retain:
        raise InputError(f"train.forget_every: {objective.name} passes over no retain set; add a term, e.g. +GD.")
    if not set(objective.views) <= {"forget", "retain"}:
        raise InputError(
            f"{objective.name}: where an epoch is a pass over the retain set (RESET, train.forget_every), terms must "
            "be on forget and retain rows as they are, e.g. RESET+GD, NPO+KL."
        )
    if args.train_sampling_strategy != "random":
        raise InputError(
            f"train.train_sampling_strategy={args.train_sampling_strategy} orders the forget set, and "
            f"{objective.name} passes over the retain set: leave it out."
        )
    steps = args.rows_per_step, args.steps_per_epoch(retain), every
    first = int(objective.rests_at_first and args.epochs(retain) > 1)
    return RetainLed(args.seed, forget, retain, 0, 0, *steps, first)


def _windows(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], length: int | None
) -> tuple[list[list[Row]], dict[str, list[int]]]:
    return ([[row] for row in rows], {}) if length is None else windows(tokenizer, rows, length)


def prepared_rows(rows: Sequence[Sequence[Row]], name: str, objective: Objective, text_prompt: int | None) -> list[Row]:
    """The rows of a set as they are trained on: passages with their prompts.

    Args:
        rows: The windows of each row that was read; of most there is one.
        name: Of the set.
        objective: Says which views of the rows are needed.
        text_prompt: Characters of a passage that are its prompt; None: it has none.

    Raises:
        InputError: The set is empty, or a view answers the prompt of a row without one.
    """
    if not rows:
        raise InputError(f"The {name} set is empty.")
    answering = next((v for v in objective.views if VIEWS[v].set == name and VIEWS[v].answers_prompt), None)
    prepared: list[Row] = []
    for i, cut in enumerate(rows):
        parts = cut if text_prompt is None else [opened(part, text_prompt) for part in cut]
        if answering and not all(part.prompt for part in parts):
            raise InputError(
                f"{name} set, row {i}: plain text without a prompt, which view {answering} of objective "
                f"{objective.name} is to answer. "
                + (
                    "Make the first characters of passages their prompts with train.text_prompt=200, or give"
                    if text_prompt is None
                    else "It is too short to have its first half as a prompt: leave it out, or give"
                )
                + " 'prompt' and 'completion' in place of 'text'."
            )
        prepared += parts
    return prepared


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
