"""Probing: what the layers know, whatever the model says.

Three looks inside. The logit lens reads each layer's state through the output head: how much of the answer is there
already (or still). A linear probe on each layer learns, on some rows, to tell right answers from wrong ones, and is
tried on the others. Activation patching (arXiv 2605.24614) is in patching.py.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from expunge.attacks import patching
from expunge.attacks.ask import rows_of
from expunge.attacks.base import NONE, Findings, NotMeasured, Subject
from expunge.attacks.layers import layer_count, run_layers
from expunge.data import Encoded, Row, encode_all, end_of_turn, fitting
from expunge.errors import InputError
from expunge.evaluation.passes.plan import ends
from expunge.metrics import Completion
from expunge.metrics.memorization import exact_memorization
from expunge.models import context_length, last_norm, output_head
from expunge.models.head import live_head

NAME = "probe"
FOLDS = 5
LEAST_ROWS = 10
WRONG = 3
RIDGE = 0.1
QUICK_LAYERS = 4


def run(subject: Subject) -> Findings:
    """The attack of `expunge attack --attack probe`."""
    found = Findings()
    model, tokenizer = subject.load()
    try:
        layers = some_layers(layer_count(model), QUICK_LAYERS if subject.quick else None)
    except InputError as error:
        return Findings(not_measured=[NotMeasured(NAME, None, subject.role, str(error))])
    rows = fitting(tokenizer, subject.data.forget, context_length(model.config))
    encoded = encode_all(tokenizer, [(row, None) for row in rows], context_length(model.config), subject.style)
    lens = logit_lens(model, encoded, layers, end_of_turn(tokenizer, subject.style))
    before = lens[layers[-1]]  # the last layer's state is what the model says
    found.rows += rows_of(NAME, NONE, subject.role, before)
    for layer in layers[:-1]:
        found.rows += rows_of(NAME, f"logit_lens layer={layer}", subject.role, lens[layer], before)
    subject.progress("probing", 1, 3)

    asked = [row for row in rows if row.turns]
    if len(asked) < LEAST_ROWS:
        reason = f"a probe needs {LEAST_ROWS} question and answer rows to learn from; there are {len(asked)}"
        found.not_measured.append(NotMeasured(NAME, "linear_probe", subject.role, reason))
    else:
        candidates = [[row.completion, *wrong_answers(asked, i)] for i, row in enumerate(asked)]
        pairs = [(row, text) for row, texts in zip(asked, candidates, strict=True) for text in texts]
        told = encode_all(tokenizer, pairs, context_length(model.config), subject.style)
        states = last_states(model, told, layers)
        sizes = [len(texts) for texts in candidates]
        for layer in layers:
            values = {"probe_accuracy": probe_accuracy(states[layer], sizes)}
            found.rows += rows_of(NAME, f"linear_probe layer={layer}", subject.role, values)
    subject.progress("probing", 2, 3)

    if subject.role == "unlearned":
        del model
        measured = patching.run(subject, layers)
        found.rows += measured.rows
        found.not_measured += measured.not_measured
    subject.progress("probing", 3, 3)
    return found


def some_layers(count: int, most: int | None) -> list[int]:
    """All layers, or `most` of them evenly spaced, the last among them."""
    if most is None or count <= most:
        return list(range(count))
    return sorted({round((i + 1) * count / most) - 1 for i in range(most)})


def logit_lens(
    model: PreTrainedModel, rows: Sequence[Encoded], layers: Sequence[int], end: int
) -> dict[int, dict[str, np.ndarray]]:
    """By layer: probability and exact memorisation of each row's completion, read from that layer's state."""
    head, norm = live_head(model), last_norm(model)
    metrics = ("probability", "exact_memorization")
    found = {layer: {name: np.full(len(rows), np.nan) for name in metrics} for layer in layers}

    def watch(members: list[int]):
        def layer(number: int, output: Tensor) -> Tensor:
            if number in found:
                for line, i in enumerate(members):
                    row = rows[i]
                    if not row.completion_tokens:
                        continue
                    logits = head(norm(output[line, row.start - 1 : len(row.ids) - 1])).float()
                    targets = torch.tensor(row.ids[row.start :], device=logits.device)
                    logprobs = logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
                    greedy = (logits.argmax(-1) == targets).cpu().numpy()
                    said = Completion(logprobs.double().cpu().numpy(), greedy, ends(row, end))
                    share = exact_memorization(said)
                    found[number]["probability"][i] = np.exp(said.logprobs.mean())
                    found[number]["exact_memorization"][i] = np.nan if share is None else share
            return output

        return layer

    for _ in run_layers(model, rows, watch):
        pass
    return found


def last_states(model: PreTrainedModel, rows: Sequence[Encoded], layers: Sequence[int]) -> dict[int, Tensor]:
    """By layer: the state at each row's last token, [rows, width] on the CPU."""
    width = output_head(model).weight.shape[1]
    found = {layer: torch.zeros(len(rows), width, dtype=torch.float64) for layer in layers}

    def watch(members: list[int]):
        def layer(number: int, output: Tensor) -> Tensor:
            if number in found:
                at = torch.tensor([len(rows[i].ids) - 1 for i in members], device=output.device)
                lines = torch.arange(len(members), device=output.device)
                found[number][members] = output[lines, at].double().cpu()
            return output

        return layer

    for _ in run_layers(model, rows, watch):
        pass
    return found


def wrong_answers(rows: Sequence[Row], number: int) -> list[str]:
    """A row's own wrong answers, or else the answers of the rows after it that are others."""
    own = rows[number].columns.get("perturbed_answer")
    texts = [own] if isinstance(own, str) else list(own or [])
    if not texts:
        after = [rows[(number + k) % len(rows)].completion for k in range(1, len(rows))]
        texts = list(dict.fromkeys(text for text in after if text != rows[number].completion))
    return texts[:WRONG]


def probe_accuracy(states: Tensor, sizes: Sequence[int]) -> np.ndarray:
    """Whether a ridge regression that never saw a row puts its right answer before its wrong ones, 0 or 1 [rows].

    Args:
        states: of each row's right answer and then of its wrong ones, row after row [answers, width].
        sizes: answers of each row.
    """
    group = np.repeat(np.arange(len(sizes)), sizes)
    first = np.cumsum([0, *sizes[:-1]])
    right = np.zeros(len(group))
    right[first] = 1.0
    correct = np.full(len(sizes), np.nan)
    for fold in range(FOLDS):
        out = group % FOLDS == fold
        train, test = states[~out], states[out]
        mean, spread = train.mean(0), train.std(0).clamp(min=1e-6)
        train, test = (train - mean) / spread, (test - mean) / spread
        wanted = torch.from_numpy(right[~out] - right[~out].mean())
        kernel = train @ train.T / train.shape[1]
        weights = torch.linalg.solve(kernel + RIDGE * torch.eye(len(train), dtype=kernel.dtype), wanted)
        scores = np.full(len(group), -np.inf)
        scores[out] = (test @ train.T / train.shape[1] @ weights).numpy()
        for row in np.unique(group[out]):
            mine = scores[first[row] : first[row] + sizes[row]]
            correct[row] = float(mine[0] > mine[1:].max()) if len(mine) > 1 else np.nan
    return correct
