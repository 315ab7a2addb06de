"""Rows with pictures are scored and answered as the model itself does, and nothing that depends on them is reused."""

from dataclasses import replace

import pytest
import torch

import tinyvision as vision
from evaluation.tiny import evaluate
from expunge.data import encode_all, encode_prompts
from expunge.data.processors import pixels_of, tokenizer_of
from expunge.errors import InputError
from expunge.evaluation.passes.generate import generate, stop_tokens
from expunge.evaluation.passes.gradients import gradient_norms
from expunge.evaluation.passes.plan import Prompt
from expunge.evaluation.passes.score import score
from expunge.evaluation.passes.vllm import Vllm, vllm_answers
from expunge.training.batching.alternates import sample_alternates

ROWS = vision.FORGET + vision.RETAIN
NEW = 12


def as_given(processor, row):
    """A row's prompt and pictures as the model's own processor makes them."""
    pictures = [vision.opened(picture.data) for turn in row.turns for picture in turn.pictures]
    messages = [
        {"role": "user", "content": [*({"type": "image"} for _ in pictures), {"type": "text", "text": row.prompt}]}
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    images = {"images": [pictures]} if pictures else {}
    return processor(text=[text], **images, return_tensors="pt", add_special_tokens=False)


@pytest.mark.parametrize("family", vision.FAMILIES)
def test_answers_are_those_of_the_models_own_generate(family):
    model, processor = vision.FAMILIES[family]()
    tokenizer = tokenizer_of(processor)
    ids = encode_prompts(tokenizer, ROWS)
    prompts = [Prompt(tuple(own), NEW, pixels_of(tokenizer, row)) for own, row in zip(ids, ROWS, strict=True)]
    stop = stop_tokens(model, tokenizer)
    answers = dict(pair for batch in generate(model, prompts, range(len(prompts)), stop) for pair in batch)
    for i, row in enumerate(ROWS):
        given = as_given(processor, row)
        own = model.generate(**given, max_new_tokens=NEW, do_sample=False, eos_token_id=sorted(stop), pad_token_id=0)
        said = own[0, given["input_ids"].shape[1] :].tolist()
        assert answers[i] == [token for token in said if token not in stop]
    assert len({tuple(answer) for answer in answers.values()}) > 3


def test_a_row_is_scored_with_its_own_picture():
    model, processor = vision.llava()
    tokenizer = tokenizer_of(processor)
    same = [vision.shown("Who is this?", "Ada Quill.", vision.png(seed)) for seed in range(3)]
    rows = encode_all(tokenizer, [(row, None) for row in same])
    scored = dict(pair for batch in score(model, rows, range(3)) for pair in batch)
    for i, row in enumerate(same):
        given = as_given(processor, row)
        ids = torch.tensor([rows[i].ids])
        with torch.no_grad():
            logits = model(input_ids=ids, pixel_values=given["pixel_values"]).logits[0].log_softmax(-1)
        wanted = [float(logits[p - 1, rows[i].ids[p]]) for p in range(rows[i].start, len(rows[i].ids))]
        assert scored[i].logprobs.tolist() == pytest.approx(wanted, abs=1e-5)
    assert len({round(float(one.logprobs.sum()), 4) for one in scored.values()}) == 3
    batches = gradient_norms(model, rows, range(3), tokenizer.eos_token_id)
    norms = dict(pair for batch in batches for pair in batch)
    assert len({round(norm, 6) for norm in norms.values()}) == 3


def test_the_same_question_of_two_pictures_is_asked_twice_and_of_one_picture_once():
    model, processor = vision.llava()
    one, other = (vision.shown("Who is this?", "Ada.", vision.png(seed)) for seed in (0, 1))
    found = evaluate(model, processor, suite="own", data={"forget": [one, other, one]})
    column = found.table.column("probability").to_pylist()
    assert column[0] == column[2] != column[1]
    again = evaluate(model, processor, suite="own", data={"forget": [one, one, one]})
    assert found.data.sets["forget"].fingerprint != again.data.sets["forget"].fingerprint


def test_the_processor_is_part_of_what_results_depend_on():
    model, processor = vision.llava()
    rows = {"forget": [vision.FORGET[0]]}
    before = evaluate(model, processor, suite="own", data=rows)
    processor.image_processor.image_mean = [0.5, 0.5, 0.5]
    after = evaluate(model, processor, suite="own", data=rows)
    assert before.recipe["tokenizer"] != after.recipe["tokenizer"]


def test_alternatives_are_sampled_with_the_picture():
    model, processor = vision.llava()
    tokenizer = tokenizer_of(processor)
    rows = [vision.FORGET[0], vision.FORGET[3]]
    first = sample_alternates(model, tokenizer, rows, seed=0, quiet=True)
    assert first == sample_alternates(model, tokenizer, rows, seed=0, quiet=True)
    [turn] = rows[0].turns
    other = replace(rows[0], turns=(replace(turn, pictures=vision.FORGET[1].turns[0].pictures),))
    assert first != sample_alternates(model, tokenizer, [other, rows[1]], seed=0, quiet=True)


def test_vllm_is_not_asked_about_pictures():
    processor = vision.llava()[1]
    prompt = Prompt((1, 2), 3, pixels_of(tokenizer_of(processor), vision.FORGET[0]))
    with pytest.raises(InputError, match="leave --vllm out"):
        vllm_answers(Vllm("python", "0"), "model", [prompt], [0], [1])
