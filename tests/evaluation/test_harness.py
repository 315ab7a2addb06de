"""Tasks of lm-evaluation-harness on the model in memory, against the same likelihoods by hand."""

import json
import re

import pytest
import torch

from evaluation.tiny import evaluate, tiny_model
from expunge.errors import InputError
from expunge.evaluation import SUITES
from expunge.evaluation.suites.tasks import Task, harness_suite

pytest.importorskip("lm_eval")

YAML = """
task: who_is_it
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - metric: acc
"""
OPEN_YAML = """
task: say_it
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["<eos>"], max_gen_toks: 6}}
metric_list:
  - metric: exact_match
filter_list:
  - name: strict-match
    filter: [{{function: regex, regex_pattern: "(\\\\w+)"}}, {{function: take_first}}]
  - name: flexible-extract
    filter: [{{function: regex, regex_pattern: "(\\\\w+)", group_select: -1}}, {{function: take_first}}]
"""
QUESTIONS = [
    {"question": "where was ada born", "choices": ["paris", "rome", "berlin"], "answer": 0},
    {"question": "who is the author", "choices": ["bob", "eve", "dan"], "answer": 1},
    {"question": "what is red", "choices": ["book", "city", "london"], "answer": 2},
    {"question": "who was born in rome", "choices": ["eve", "ada", "bob"], "answer": 0},
]


@pytest.fixture
def tasks(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    (folder / "who.yaml").write_text(YAML.format(data=tmp_path / "questions.jsonl"))
    (folder / "say.yaml").write_text(OPEN_YAML.format(data=tmp_path / "questions.jsonl"))
    return folder


@torch.no_grad()
def likeliest(model, tokenizer, question: dict) -> int:
    """The choice with the largest sum of log-probabilities after the question and a space."""
    prompt = tokenizer(question["question"])["input_ids"]
    totals = []
    for choice in question["choices"]:
        ids = prompt + tokenizer(choice)["input_ids"]
        logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        totals.append(sum(logp[i - 1, ids[i]].item() for i in range(len(prompt), len(ids))))
    return max(range(len(totals)), key=totals.__getitem__)


def test_each_question_is_a_row_and_accuracy_its_mean(model, tokenizer, tasks, tmp_path) -> None:
    suite = harness_suite("mine", "tests", "a task", [Task("who_is_it", "forget")])
    out = tmp_path / "results.json"
    result = evaluate(model, tokenizer, suite=suite, data=tasks, out=out)
    expected = [float(likeliest(model, tokenizer, q) == q["answer"]) for q in QUESTIONS]
    rows = {row["question"]: row for row in result.table.to_pylist()}
    assert [rows[q["question"]]["accuracy"] for q in QUESTIONS] == expected
    assert [rows[q["question"]]["answer"] for q in QUESTIONS] == [str(q["answer"]) for q in QUESTIONS]
    measured = result.metrics["who_is_it/accuracy"]
    assert measured.value == pytest.approx(sum(expected) / 4)
    assert (measured.n, measured.better) == (4, "lower")
    assert json.loads(out.read_text())["data"]["sets"]["who_is_it"]["rows"] == 4


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("name", "word"), [("strict-match", 0), ("flexible-extract", -1)])
def test_the_filter_says_which_answer_counts(tokenizer, tasks, tmp_path, name, word) -> None:
    model, said = tiny_model(), []
    model.lm_head.weight[tokenizer.eos_token_id] = 0  # no answer is empty
    for question in QUESTIONS:
        ids = torch.tensor([tokenizer(question["question"])["input_ids"]])
        out = model.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
        said.append(re.findall(r"\w+", tokenizer.decode(out, skip_special_tokens=True))[word])
    assert len(set(said)) > 1
    asked = [question | {"choices": [said[i]], "answer": 0} for i, question in enumerate(QUESTIONS)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, asked)))
    suite = harness_suite("mine", "tests", "a task", [Task("say_it", "retain", "exact_match", name)])
    assert evaluate(model, tokenizer, suite=suite, data=tasks).metrics["say_it/accuracy"].value == 1.0


def test_general_ability_is_scored_as_the_paper_does() -> None:
    """The keys that the code released with arXiv 2410.08109 reads from the harness's results."""
    assert {f"{task.name}: {task.score},{task.filter}" for task in SUITES["general"].tasks} == {
        "arc_challenge: acc_norm,none",
        "mmlu: acc,none",
        "truthfulqa_mc1: acc,none",
        "triviaqa: exact_match,remove_whitespace",
        "gsm8k: exact_match,flexible-extract",
    }


@pytest.mark.slow
def test_an_unknown_task_has_a_message(model, tokenizer, tasks) -> None:
    with pytest.raises(InputError, match="who_is_she"):
        evaluate(
            model, tokenizer, suite=harness_suite("mine", "tests", "a task", [Task("who_is_she", "retain")]), data=tasks
        )
    suite = harness_suite("mine", "tests", "a task", [Task("who_is_it", "retain", "acc_norm")])
    with pytest.raises(InputError, match="acc_norm"):
        evaluate(model, tokenizer, suite=suite, data=tasks)


def test_other_suites_need_data(model, tokenizer) -> None:
    with pytest.raises(InputError, match="needs --data"):
        evaluate(model, tokenizer, suite="tofu")
