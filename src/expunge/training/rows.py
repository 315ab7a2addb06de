"""From the forget and retain sets to the rows of each view, and the plan of which rows meet."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from expunge.data.load import load_rows
from expunge.data.pairing import Pairing
from expunge.data.refusals import load_refusals
from expunge.data.rows import Row
from expunge.data.views import ViewRows, prepare_rows, refuse_overlap
from expunge.errors import InputError
from expunge.objectives import Objective
from expunge.objectives.base import RETAIN_VIEWS
from expunge.training.config import UnlearningConfig
from expunge.training.tokens import prepare_tokens


def plan_rows(
    objective: Objective,
    forget: Sequence[Row] | str | Path,
    retain: Sequence[Row] | str | Path | None,
    refusals: Sequence[str] | None,
    tokenizer: PreTrainedTokenizerBase,
    length: int | None,
    args: UnlearningConfig,
) -> tuple[ViewRows, Pairing]:
    """Read both sets, encode every row the run will meet, and draw up which rows meet.

    Args:
        objective: Says which views of the rows are needed.
        forget: Rows, or a SPEC to read them from.
        retain: Likewise.
        refusals: Refusal templates; default: those that come with expunge.
        tokenizer: Encodes the rows.
        length: The longest row in tokens, if there is a limit.
        args: Seed, epochs, and the run folder.

    Raises:
        InputError: A set is empty or missing, they overlap, or a prompt fills the context.
    """
    forget, retain = (load_rows(s) if isinstance(s, (str, Path)) else list(s or ()) for s in (forget, retain))
    forget = prepare_rows(tokenizer, forget, length, "forget")
    views = objective.views
    needs_retain = [v for v in views if v in RETAIN_VIEWS or v == "forget_mismatch"]
    if needs_retain:
        if not retain:
            raise InputError(f"Objective {objective.name} needs a retain set, and it is missing or empty.")
        refuse_overlap(forget, retain)
        retain = prepare_rows(tokenizer, retain, length, "retain")
    refusals = list(refusals or load_refusals()) if any(view.endswith("_idk") for view in views) else []
    answers = max((getattr(part.term, "answers", 0) for part in objective.terms), default=0)
    rows = ViewRows(tokenizer, forget, retain, refusals, max_length=length)
    pairing = Pairing(args.seed, len(forget), len(retain), len(refusals), answers)
    whole_sets = {"forget": forget, "retain": retain if needs_retain else []}
    names = [(name, (i,)) for name, members in whole_sets.items() for i in range(len(members))]
    # Alternatives are not known yet: the model writes them when training starts.
    drawn = [view for view in views if view not in (*whole_sets, "forget_alternate")]
    names += [(view, key) for view in drawn for key in pairing.all_keys(view, int(args.num_train_epochs))]
    with args.main_process_first(local=False, desc="tokens"):
        prepare_tokens(Path(args.output_dir) / "reference", rows, names, main=args.process_index == 0)
    cut_short = sum(
        len(rows.encode(name, (i,)).ids) == length and bool(row.turns)
        for name, members in whole_sets.items()
        for i, row in enumerate(members)
    )
    if cut_short:
        warnings.warn(f"{cut_short} row(s) fill the maximum of {length} tokens; what is beyond is cut.", stacklevel=3)
    return rows, pairing
