"""How often the model runs: each distinct row once, each distinct prompt once, padding and order without effect."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluation.dense import nll
from evaluation.tiny import TEMPLATE, causal_tokenizer, evaluate, question_rows, tiny_model
from expunge.data import Encoded, Row, Turn, encode, encode_prompt
from expunge.evaluation.passes.generate import generate, stop_tokens
from expunge.evaluation.passes.plan import Prompt, plan
from expunge.evaluation.passes.progress import bars
from expunge.evaluation.passes.score import score
from expunge.evaluation.suites import SUITES
from expunge.models.batching import by_length
from expunge.models.packing import packing


class Counter:
    """Counts what goes through a model's decoder: tokens of teacher-forced passes, and prompts answered.

    Reading token ids keeps `torch.func` from batching gradients, so that each row is seen.
    """

    def __init__(self, model) -> None:
        self.scored = 0
        self.with_gradient: list[tuple[int, ...]] = []
        self.prompts = 0
        self.handle = model.get_decoder().register_forward_pre_hook(self.see, with_kwargs=True)

    def see(self, module, args, kwargs) -> None:
        cache, ids = kwargs.get("past_key_values"), kwargs["input_ids"]
        if cache is not None:
            self.prompts += len(ids) if cache.get_seq_length() == 0 else 0
        elif torch.is_grad_enabled():
            self.with_gradient.extend(tuple(row) for row in ids.tolist())
        elif ids.numel() > CHECKED_TOKENS:
            self.scored += ids.numel()


# The checks of the output head and of packing run a handful of tokens through the same decoder.
CHECKED_TOKENS = 11


def test_each_distinct_row_and_prompt_goes_through_the_model_once(tokenizer, sets) -> None:
    model = tiny_model()
    doubled = {name: [*rows, *rows] for name, rows in sets.items()}  # every row asked for twice
    counter = Counter(model)
    doubled["holdout"] = question_rows(["city", "red"])
    sets = sets | {"holdout": doubled["holdout"]}
    evaluate(model, tokenizer, suite="tofu", data=doubled)
    counter.handle.remove()
    texts = {
        (row.turns, text)
        for name, rows in sets.items()
        for row in rows
        for text in (
            row.completion,
            *(row.columns["perturbed_answer"] if name != "holdout" else []),
            *([row.columns["paraphrased_answer"]] if name in ("forget", "retain") else []),
        )
    }
    encoded = [encode(tokenizer, Row(turns, text)) for turns, text in texts]
    prompts = {row.ids[: row.start] for row in encoded}
    # the last token of a row predicts nothing that is asked for
    assert counter.scored == sum(map(len, prompts)) + sum(row.completion_tokens - 1 for row in encoded)
    # the backward passes of gradnorm aside, which need their own forward
    assert len(counter.with_gradient) == len(
        {(row.prompt, row.completion) for n in ("forget", "holdout") for row in sets[n]}
    )
    assert counter.prompts == len({row.prompt for name, rows in sets.items() if name != "holdout" for row in rows})


def test_the_plan_shows_what_was_saved(tokenizer, sets) -> None:
    work = plan(SUITES["closer_look"], sets, tokenizer)
    # forget, retain: answer + (paraphrase, 3 wrong); real_authors, world_facts: (answer, 3 wrong) twice
    assert work.asked == 5 * (1 + 4) + 4 * (4 + 4)
    assert len(work.scored) == 5 * 5 + 4 * 4
    assert work.asked_tokens > work.scored_tokens == sum(len(row.ids) for row in work.scored)
    # rougeL and cosine similarity, entailment, fact accuracy: four, and token entropy on retain-like sets
    assert work.asked_generations == 3 * 4 + 6 * 5
    assert len(work.prompts) == len({row.prompt for rows in sets.values() for row in rows})


def test_scores_do_not_depend_on_batches(model, tokenizer, sets) -> None:
    rows = sorted(
        {encode(tokenizer, row, text) for rows in sets.values() for row in rows for text in (row.completion, "a")},
        key=lambda e: e.ids,
    )
    found = [
        dict(pair for batch in score(model, rows, range(len(rows)), moments, budget) for pair in batch)
        for moments, budget in (((), 1), (range(len(rows)), 50), ([0], 10000))
    ]
    for i in range(len(rows)):
        for other in found[1:]:
            np.testing.assert_allclose(other[i].logprobs, found[0][i].logprobs, rtol=1e-4)
            np.testing.assert_array_equal(other[i].greedy, found[0][i].greedy)
    assert found[0][0].mean is None
    assert found[2][0].mean is not None
    assert found[2][1].mean is None
    assert (found[1][0].std > 0).all()


def test_shared_prompts_give_the_same_numbers(tokenizer) -> None:
    """Prompts of different lengths in one batch, completions of different lengths, one of them empty."""
    answers = ["a", "the author of a red book", "born in paris in the blue city of london"]
    rows = [encode(tokenizer, row, text) for row in question_rows(["ada", "bob", "eve", "dan"]) for text in answers]
    rows.append(Encoded(rows[0].ids[: rows[0].start], rows[0].start))
    rows.append(encode(tokenizer, Row((Turn("user", "what is a city"),), "paris")))
    model, found = tiny_model(), []
    tokens: list[int] = []
    model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: tokens.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    for how in (packing, lambda model: nullcontext()):
        for budget in (30, 4000):
            with how(model):
                tokens.clear()
                pairs = [
                    pair for batch in score(model, rows, range(len(rows)), range(0, 9, 2), budget) for pair in batch
                ]
                found.append((dict(pairs), sum(tokens)))
    for i in range(len(rows)):
        assert len(found[0][0][i].logprobs) == rows[i].completion_tokens
        for other, _ in found[1:]:
            np.testing.assert_allclose(found[0][0][i].logprobs, other[i].logprobs, rtol=1e-4, atol=1e-6)
            np.testing.assert_array_equal(found[0][0][i].greedy, other[i].greedy)
    prompts = {row.ids[: row.start] for row in rows}
    once = sum(map(len, prompts)) + sum(row.completion_tokens - 1 for row in rows if row.completion_tokens)
    once += len(rows[-2].ids) - 1  # the empty completion: its prompt ends a token earlier
    assert found[1][1] == once < found[3][1] / 1.5, "packed in one batch, every prompt goes through the model once"
    assert model.config._attn_implementation == "sdpa"


def test_completions_are_cut_into_runs_of_like_length() -> None:
    lengths = [5, 30, 6, 29, 5, 31, 1]
    runs = list(by_length(lengths, overhead=4, budget=1000))
    assert runs == [[5, 1, 3], [2, 0, 4], [6]]  # 31, 30, 29; 6, 5, 5; and 1, which would be padded by 5
    assert [len(run) for run in by_length(lengths, overhead=1000, budget=62)] == [2, 2, 3]
    assert list(by_length([40], overhead=4, budget=10)) == [[0]]
    assert list(by_length([], overhead=4, budget=10)) == []


def test_moments_against_the_definition(model, tokenizer, sets) -> None:
    row = encode(tokenizer, sets["forget"][0])
    [[(_, found)]] = score(model, [row], [0], moments=[0])
    with torch.no_grad():
        logp = model(torch.tensor([row.ids])).logits[0, row.start - 1 : -1].double().log_softmax(-1)
    mean = (logp.exp() * logp).sum(-1)
    std = ((logp.exp() * logp**2).sum(-1) - mean**2).sqrt()
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(found.std, std, rtol=1e-3)


def test_batches_are_sorted_by_length_and_within_budget() -> None:
    lengths = [3, 9, 1, 9, 30, 2]
    batches = list(by_length(lengths, 18))
    assert batches == [[4], [1, 3], [0, 5, 2]]  # a row longer than the budget goes alone
    assert list(by_length([], 18)) == []


def test_greedy_limits_and_stops(model, tokenizer) -> None:
    ids = [
        tuple(tokenizer.encode(text)) for text in ("<bos> <user> where <bot>", "<bos> <user> who is the author <bot>")
    ]
    stop = stop_tokens(model, tokenizer)
    assert stop == {tokenizer.eos_token_id}
    prompts = [Prompt(ids[0], 0), Prompt(ids[0], 1), Prompt(ids[0], 7), Prompt(ids[1], 7), Prompt((), 5)]
    together = dict(pair for batch in generate(model, prompts, range(5), frozenset()) for pair in batch)
    assert [len(together[i]) for i in range(5)] == [0, 1, 7, 7, 0]
    assert together[1] == together[2][:1]
    alone = dict(pair for batch in generate(model, prompts, range(5), frozenset(), batch_tokens=1) for pair in batch)
    assert alone == together
    first = together[2][2]
    cut = together[2][: together[2].index(first)]
    stopped = dict(pair for batch in generate(model, prompts, [2], frozenset({first})) for pair in batch)
    assert stopped == {2: cut}


def test_the_end_of_turn_stops_where_it_is_not_the_end_token(model, sets) -> None:
    """As in Llama 3, whose template ends an answer with <|eot_id|> while the end token is <|end_of_text|>."""
    tokenizer = causal_tokenizer(TEMPLATE.replace("<eos>", "<bot>"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<bot>"]})
    turn = tokenizer.convert_tokens_to_ids("<bot>")
    assert stop_tokens(model, tokenizer) == {turn, tokenizer.eos_token_id}
    talkative = tiny_model()
    with torch.no_grad():
        talkative.lm_head.weight[turn] *= 3
        talkative.lm_head.weight[tokenizer.eos_token_id] = 0
    said = []
    for row in evaluate(talkative, tokenizer, data={"forget": sets["forget"]}).table.to_pylist():
        ids = encode_prompt(tokenizer, Row((Turn("user", row["question"]),), ""))
        whole = talkative.generate(torch.tensor([ids]), max_new_tokens=200, do_sample=False)[0, len(ids) :].tolist()
        if turn in whole:
            said.append(whole.index(turn))
            assert row["generation"] == tokenizer.decode(whole[: said[-1]], skip_special_tokens=True)
    assert said  # some end there


def test_nothing_is_generated_beyond_the_context(tokenizer) -> None:
    model, positions = tiny_model(), []
    model.config.max_position_embeddings = 40
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0  # no answer ends by itself

    def see(module, args, kwargs) -> None:
        if kwargs.get("attention_mask") is not None:  # the generator's; the scorer does not pad on the left
            positions.append(int(kwargs["position_ids"].max()))

    handle = model.get_decoder().register_forward_pre_hook(see, with_kwargs=True)
    evaluate(model, tokenizer, data={"forget": question_rows(["ada"])})
    handle.remove()
    assert max(positions) == 38  # the fortieth token is written, not read


def test_a_row_that_was_cut_has_no_end_of_turn(tokenizer) -> None:
    """Its last token is text like the others, and counts."""
    model = tiny_model()
    row = Row((Turn("user", "who is ada"),), " ".join(["red", "blue", "the", "a", "book"] * 60))
    found = evaluate(model, tokenizer, data={"forget": [row], "holdout": question_rows(["bob"])}).table.to_pylist()[0]
    ids = torch.tensor([encode(tokenizer, row, max_length=256).ids])
    start = encode(tokenizer, row).start
    assert ids.shape[1] == 256
    assert int(ids[0, -1]) != tokenizer.eos_token_id
    logp = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
    targets = ids[0, start:]
    assert found["exact_memorization"] == pytest.approx((logp.argmax(-1) == targets).float().mean().item())
    chosen = logp.gather(-1, targets[:, None])[:, 0]
    assert found["mia_min_k"] == pytest.approx(chosen.sort().values[: int(0.4 * len(targets))].mean().item(), rel=1e-4)
    gradients = torch.autograd.grad(-chosen.mean(), list(model.parameters()))
    assert found["mia_gradnorm"] == pytest.approx(float(torch.stack([g.norm() for g in gradients]).mean()), rel=1e-3)


def test_closer_look_counts_the_prompt_in_its_limit() -> None:
    suite = SUITES["closer_look"]
    forget = suite.sets[0]
    assert suite.new_tokens(forget, 50) == 150
    assert suite.new_tokens(forget, 230) == 0
    assert SUITES["tofu"].new_tokens(forget, 230) == 200


def test_an_answer_of_a_thousand_tokens(tokenizer) -> None:
    model = tiny_model()
    model.config.max_position_embeddings = 2048
    row = Row((Turn("user", "who is ada"),), " ".join(["red", "blue", "the", "a"] * 250))
    result = evaluate(model, tokenizer, data={"forget": [row]}, batch_tokens=64)
    assert result.metrics["forget/probability"].value == pytest.approx(
        np.exp(-nll(model, tokenizer, row, row.completion)), rel=1e-3
    )


def test_all_rows_are_evaluated(model, tokenizer) -> None:
    rows = [replace(row, columns={}) for row in question_rows(["ada"]) * 320]
    result = evaluate(model, tokenizer, data={"forget": rows})
    assert result.data.sets["forget"].rows == result.metrics["forget/probability"].n == len(result.table) == 320


def test_a_bar_shows_how_many_there_are_of_what_is_under_way(capsys) -> None:
    """The same stage comes again with other rows."""
    with bars("target", shown=True) as report:
        report("scoring", 40, 40)
        report("scoring", 205, 205)
    assert "205/205" in capsys.readouterr().err
