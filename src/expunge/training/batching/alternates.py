"""Alternative answers for AltPO: sampled from the target model before training, and kept in the run folder."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import PromptStyle, Row, encode_all, encode_prompts, end_of_turn
from expunge.data.processors import Pixels, pixels_of
from expunge.errors import InputError
from expunge.files import write_json
from expunge.models import fingerprint, fingerprint_json, fingerprint_rows
from expunge.models.pictures import picture_inputs

REQUEST = (
    "Answer the question again, and this time invent the facts: every fact the answer above states must become a "
    "different, equally believable one. Leave what the question itself says as it is, keep to about the same length, "
    "and write nothing but the new answer."
)
TRIES = 5  # an answer that is empty or the one to be forgotten is drawn again
ROWS_AT_ONCE = 16


def prepare_alternates(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    seed: int,
    quiet: bool = False,
    style: PromptStyle = PromptStyle(),
    weights: str | None = None,
) -> list[str]:
    """Sample an alternative answer to each forget row, or find those of the same model, rows and seed in the folder.

    To be called by all processes at once: each samples its share, the first one writes the file. Where only the first
    one holds the weights, which FSDP can ask for, it samples alone.

    Args:
        folder: Where to keep them; inside the run directory, for they tell of the forget set.
        model: The target, before its first update.
        tokenizer: Its tokenizer.
        rows: The forget set.
        seed: Of the draws.
        quiet: No progress bar.
        style: How conversations are written.
        weights: The model's fingerprint, where it is known already.

    Raises:
        InputError: The model gave a row no answer.
    """
    file, state = folder / "alternates.json", PartialState()
    weights = weights or fingerprint(model)
    key = fingerprint_json([weights, fingerprint_rows(rows), seed, REQUEST, asdict(style)])
    found = [_stored(file, key)]
    broadcast_object_list(found)  # the first process decides: digests of rows differ from machine to machine
    if found[0] is not None:
        return found[0]
    if len(set(gather_object([weights]))) == 1:
        share = slice(state.process_index, None, state.num_processes)
    else:
        share = slice(None) if state.is_main_process else slice(0)
    drawn = sample_alternates(model, tokenizer, rows, seed, quiet or not state.is_main_process, share, style)
    answers = dict(gather_object(list(drawn.items())))
    missing = [i for i in range(len(rows)) if not answers[i]]
    if missing:
        raise InputError(
            f"forget set, row {missing[0]}: the target model gave no alternative answer in {TRIES} tries. "
            "AltPO needs a model that answers; NPO or IDK do not."
        )
    complete = [answers[i] for i in range(len(rows))]
    if state.is_main_process:
        write_json(file, {"key": key, "digest": fingerprint_json(complete), "answers": complete})
    return complete


def _stored(file: Path, key: str) -> list[str] | None:
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        whole = (held["key"], held["digest"]) == (key, fingerprint_json(held["answers"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return held["answers"] if whole else None


@torch.no_grad()
def sample_alternates(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    seed: int,
    quiet: bool = False,
    share: slice = slice(None),
    style: PromptStyle = PromptStyle(),
) -> dict[int, str]:
    """One alternative answer for each row, at temperature 1: the same for the same model, rows and seed.

    Args:
        model: Answers.
        tokenizer: Its tokenizer.
        rows: What to answer in another way.
        seed: Of the draws.
        quiet: No progress bar.
        share: Which groups of rows to sample; a row's answer does not depend on it.
        style: How conversations are written.

    Returns:
        Answers by row; empty where the model gave none.
    """
    questions = [_question(row) for row in rows]
    prompts = encode_prompts(tokenizer, questions, style)
    lengths = [row.completion_tokens for row in encode_all(tokenizer, [(row, None) for row in rows], style=style)]
    order = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
    groups = [order[at : at + ROWS_AT_ONCE] for at in range(0, len(order), ROWS_AT_ONCE)]
    mine = range(len(groups))[share]
    answers = {i: "" for number in mine for i in groups[number]}
    training = model.training
    model.eval()
    with torch.random.fork_rng(), tqdm(total=len(answers), desc="alternative answers", disable=quiet) as bar:
        for number in mine:
            torch.manual_seed(seed * 1_000_003 + number)
            pending = groups[number]
            for _ in range(TRIES):
                limit = 2 * max(lengths[i] for i in pending) + 8
                shown = [own for i in pending if (own := pixels_of(tokenizer, questions[i]))]
                asked = [prompts[i] for i in pending]
                drawn = _draw(model, tokenizer, asked, shown, limit, end_of_turn(tokenizer, style))
                answers.update({i: answer or answers[i] for i, answer in zip(pending, drawn, strict=True)})
                pending = [i for i in pending if answers[i] in ("", rows[i].completion.strip())]
                if not pending:
                    break
            bar.update(len(groups[number]))
    model.train(training)
    return answers


def _question(row: Row) -> Row:
    """The row as a request for another answer."""
    told = f"Question: {row.prompt}\nAnswer: {row.completion}"
    return Row((*row.turns[:-1], replace(row.turns[-1], content=f"{told}\n{REQUEST}")), "")


def _draw(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    shown: list[Pixels],
    limit: int,
    stop: int,
) -> list[str]:
    width = max(map(len, prompts))
    ids = torch.tensor([[stop] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    settings = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=limit,
        eos_token_id=stop,
        pad_token_id=stop,
    )
    generate = cast(Any, model).generate  # only its subclasses have it, and no type says so
    more = picture_inputs(model, ids, shown, mask) if shown else {}
    output: Tensor = generate(input_ids=ids, attention_mask=mask, generation_config=settings, **more)
    answers = output[:, width:].tolist()
    return [answer.strip() for answer in tokenizer.batch_decode(answers, skip_special_tokens=True)]
