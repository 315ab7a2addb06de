"""Tasks of lm-evaluation-harness on the model in memory, against the same likelihoods by hand."""

import json

import pytest
import torch

from evaluation.tiny import evaluate
from expunge.errors import InputError
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
QUESTIONS = [
    {"question": "where was ada born", "choices": ["paris", "rome", "berlin"], "answer": 0},
    {"question": "who is the author", "choices": ["bob", "eve", "dan"], "answer": 1},
    {"question": "what is red", "choices": ["book", "city", "london"], "answer": 2},
    {"question": "who was born in rome", "choices": ["eve", "ada", "bob"], "answer": 0},
]


pytestmark = pytest.mark.slow


@pytest.fixture
def tasks(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    (folder / "who.yaml").write_text(YAML.format(data=tmp_path / "questions.jsonl"))
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
    accuracy = {row["question"]: row["accuracy"] for row in result.table.to_pylist()}
    assert [accuracy[q["question"]] for q in QUESTIONS] == expected
    measured = result.metrics["who_is_it/accuracy"]
    assert measured.value == pytest.approx(sum(expected) / 4)
    assert (measured.n, measured.better) == (4, "lower")
    assert json.loads(out.read_text())["data"]["sets"]["who_is_it"]["rows"] == 4


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
