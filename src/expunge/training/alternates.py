"""Alternative answers for AltPO: sampled from the target model before training, and kept in the run folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import Row, Turn, encode, encode_prompt, end_of_turn
from expunge.errors import InputError
from expunge.files import write_json
from expunge.models import fingerprint, fingerprint_json, fingerprint_rows

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
    main: bool = True,
    quiet: bool = False,
) -> list[str]:
    """Sample an alternative answer to each forget row, or find those of the same model, rows and seed in the folder.

    Args:
        folder: Where to keep them; inside the run directory, for they tell of the forget set.
        model: The target, before its first update.
        tokenizer: Its tokenizer.
        rows: The forget set.
        seed: Of the draws.
        main: Whether this process is the one that samples; the others must call after it is done.
        quiet: No progress bar.

    Raises:
        InputError: The model gave a row no answer.
    """
    file = folder / "alternates.json"
    if main:
        key = fingerprint_json([fingerprint(model), fingerprint_rows(rows), seed, REQUEST])
        if not file.is_file() or json.loads(file.read_text(encoding="utf-8"))["key"] != key:
            answers = sample_alternates(model, tokenizer, rows, seed, quiet)
            write_json(file, {"key": key, "answers": answers})
    return json.loads(file.read_text(encoding="utf-8"))["answers"]


@torch.no_grad()
def sample_alternates(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], seed: int, quiet: bool = False
) -> list[str]:
    """One alternative answer for each row, at temperature 1: the same for the same model, rows and seed."""
    prompts = [encode_prompt(tokenizer, _question(row)) for row in rows]
    lengths = [encode(tokenizer, row).completion_tokens for row in rows]
    answers = [""] * len(rows)
    pending = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
    training = model.training
    model.eval()
    with torch.random.fork_rng(), tqdm(total=len(rows), desc="alternative answers", disable=quiet, unit="row") as bar:
        torch.manual_seed(seed)
        for _ in range(TRIES):
            for at in range(0, len(pending), ROWS_AT_ONCE):
                members = pending[at : at + ROWS_AT_ONCE]
                limit = 2 * max(lengths[i] for i in members) + 8
                drawn = _draw(model, tokenizer, [prompts[i] for i in members], limit)
                for i, answer in zip(members, drawn, strict=True):
                    answers[i] = answer or answers[i]
            left = [i for i in pending if answers[i] in ("", rows[i].completion.strip())]
            bar.update(len(pending) - len(left))
            pending = left
    model.train(training)
    if "" in answers:
        raise InputError(
            f"forget set, row {answers.index('')}: the target model gave no alternative answer in {TRIES} tries. "
            "AltPO needs a model that answers; NPO or IDK do not."
        )
    return answers


def _question(row: Row) -> Row:
    """The row as a request for another answer."""
    told = f"Question: {row.prompt}\nAnswer: {row.completion}" if row.turns else f"Text: {row.completion}"
    return Row((*row.turns[:-1], Turn("user", f"{told}\n{REQUEST}")), "")


def _draw(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], limit: int
) -> list[str]:
    width, stop = max(map(len, prompts)), end_of_turn(tokenizer)
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
    output = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in output[:, width:].tolist()]
