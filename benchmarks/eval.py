"""Evaluation: expunge against metric-by-metric evaluation of the same suite, same model, same rows, in one run.

    python benchmarks/eval.py [--model M] [--data SPEC --forget-split forget10] [--json OUT]

Without --model and --data, the embedded example is written and a tiny model learns it first (a minute or two). Both
sides tokenise, score and generate; seconds are CPU time of this process on one thread. The backward passes of
mia_gradnorm are left out on both sides: process.py has them.

The plain side: one pass per metric and answer column, rows in dataset order, fixed batches padded to their longest row,
full logits; greedy answers once per row with `model.generate`, dataset order, fixed batches. (Released code often
generates again for each text metric; once is the harder comparison.)
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from expunge.data import encode, encode_prompt, end_of_turn
from expunge.evaluation import SUITES, Questions, load_sets
from expunge.evaluation.passes.examples import examples
from expunge.evaluation.passes.generate import generate, stop_tokens
from expunge.evaluation.passes.plan import plan
from expunge.evaluation.passes.run import Measured
from expunge.evaluation.passes.score import score
from expunge.evaluation.suites.columns import text_of, texts_of
from expunge.metrics import Completion, Example
from expunge.models import load_model

BATCH = 32
SUITE = SUITES["tofu"]


class ForwardTime:
    """CPU seconds inside the model: decoder and output layer."""

    def __init__(self, model) -> None:
        self.seconds = 0.0
        for module in (model.get_decoder(), model.get_output_embeddings()):
            module.register_forward_pre_hook(self._start)
            module.register_forward_hook(self._stop)

    def _start(self, *_) -> None:
        self.seconds -= time.process_time()

    def _stop(self, *_) -> None:
        self.seconds += time.process_time()


def timed(work: Callable, forward: ForwardTime) -> tuple[object, float, float]:
    """Result, CPU seconds, and how many of them were in the model."""
    forward.seconds, started = 0.0, time.process_time()
    result = work()
    return result, time.process_time() - started, forward.seconds


# ---- the plain side ----


@torch.no_grad()
def plain_pass(model, tokenizer, rows: Sequence, texts: Sequence[str]) -> list[Completion]:
    """Score one answer column in dataset order, with full logits."""
    found, end = [], end_of_turn(tokenizer)
    for at in range(0, len(rows), BATCH):
        encoded = [encode(tokenizer, r, t) for r, t in zip(rows[at : at + BATCH], texts[at : at + BATCH], strict=True)]
        width = max(len(e.ids) for e in encoded)
        ids, mask = torch.zeros(2, len(encoded), width, dtype=torch.long)
        for line, e in enumerate(encoded):
            ids[line, : len(e.ids)] = torch.tensor(e.ids)
            mask[line, : len(e.ids)] = 1
        logp = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
        for line, e in enumerate(encoded):
            here = logp[line, e.start - 1 : len(e.ids) - 1]
            target = ids[line, e.start : len(e.ids)]
            mean = (here.exp() * here).sum(-1)
            variance = (here.exp() * (here - mean[:, None]) ** 2).sum(-1)
            columns = (here.gather(-1, target[:, None])[:, 0], here.argmax(-1) == target, mean, variance.sqrt())
            logprobs, greedy, means, stds = (c.numpy() for c in columns)
            as_double = [v.astype(np.float64) for v in (logprobs, means, stds)]
            found.append(Completion(as_double[0], greedy, e.ids[-1] == end, as_double[1], as_double[2]))
    return found


def plain_scoring(model, tokenizer, sets) -> dict[str, list[float | None]]:
    """Every metric that needs probabilities, one after the other."""
    values = {}
    kinds = {spec.kind for spec in SUITE.sets if spec.name in sets}
    for spec in (s for s in SUITE.sets if s.name in sets):
        rows = sets[spec.name]
        for metric in SUITE.measured_on(spec, kinds):
            if "generation" in metric.needs or "gradient" in metric.needs:
                continue
            parts: dict[str, list] = {}
            if "answer" in metric.needs:
                parts["answer"] = plain_pass(model, tokenizer, rows, [row.completion for row in rows])
            if "paraphrase" in metric.needs:
                parts["paraphrase"] = plain_pass(model, tokenizer, rows, [text_of(r, spec.paraphrase) for r in rows])
            if "wrong" in metric.needs or (spec.choices and "choices" in metric.needs):
                columns = zip(*(texts_of(row, spec.wrong) for row in rows), strict=True)
                passes = [plain_pass(model, tokenizer, rows, column) for column in columns]
                parts["wrong"] = list(zip(*passes, strict=True))
            if "answer_text" in metric.needs:
                parts["answer_text"] = [
                    tokenizer.decode((e := encode(tokenizer, row)).ids[e.start :], skip_special_tokens=True)
                    for row in rows
                ]
            names = list(parts)
            values[f"{spec.name}/{metric.name}"] = [
                metric.per_example(Example(spec.kind, spec.choices, **dict(zip(names, row, strict=True))))
                for row in zip(*parts.values(), strict=True)
            ]
    return values


@torch.no_grad()
def plain_generation(model, tokenizer, sets) -> dict[str, list[str]]:
    """Greedy answers in dataset order."""
    answers = {}
    stop = sorted(stop_tokens(model, tokenizer))
    for name, rows in sets.items():
        answers[name] = []
        for at in range(0, len(rows), BATCH):
            prompts = [encode_prompt(tokenizer, row) for row in rows[at : at + BATCH]]
            width = max(map(len, prompts))
            ids, mask = torch.zeros(2, len(prompts), width, dtype=torch.long)
            for line, prompt in enumerate(prompts):
                ids[line, width - len(prompt) :] = torch.tensor(prompt)
                mask[line, width - len(prompt) :] = 1
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=SUITE.max_tokens,
                eos_token_id=stop,
                pad_token_id=stop[0],
            )
            answers[name] += tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
    return answers


# ---- expunge ----


def our_scoring(model, tokenizer, sets):
    """The plan and its one pass."""
    work = plan(SUITE, sets, tokenizer)
    measured = Measured()
    for batch in score(model, work.scored, range(len(work.scored)), work.moments):
        measured.scores.update(batch)
    return work, measured


def our_generation(model, tokenizer, work, measured) -> None:
    """The plan's prompts, once each."""
    for batch in generate(model, work.prompts, range(len(work.prompts)), stop_tokens(model, tokenizer)):
        measured.answers.update(batch)


def difference(ours: Sequence, plain: Sequence) -> float:
    """The largest relative difference between two columns; infinite where one is null and the other is not."""
    if [v is None for v in ours] != [v is None for v in plain]:
        return float("inf")
    pairs = [(a, b) for a, b in zip(ours, plain, strict=True) if a is not None]
    return max((abs(a - b) / max(abs(b), 1e-6) for a, b in pairs), default=0.0)


def embedded_example(folder: Path) -> tuple[Path, Path]:
    """Write the embedded example and let a tiny model learn it."""
    from expunge.data import load_rows
    from expunge.training import finetune
    from expunge.worlds.corpus import write_world
    from expunge.worlds.new import TINY_TRAINING, new_tiny

    write_world(folder / "world", people=40, seed=0)
    rows = load_rows(f"{folder / 'world'}:full")
    model, tokenizer = new_tiny(rows)
    return finetune(model, tokenizer, rows, folder / "model", TINY_TRAINING, quiet=True), folder / "world"


def main() -> None:
    """Measure, check that both sides have the same numbers, print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--forget-split")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model_path, data = options.model, options.data
        if model_path is None or data is None:
            model_path, data = embedded_example(Path(folder))
        model, tokenizer = load_model(model_path, device="cpu")
        sets = load_sets(Questions(data=data, forget_split=options.forget_split), SUITE).sets
    few = {name: rows[:4] for name, rows in sets.items()}  # imports, templates and kernels are warm on both sides
    our_scoring(model, tokenizer, few), plain_scoring(model, tokenizer, few)
    forward = ForwardTime(model)
    (work, measured), seconds, inside = timed(lambda: our_scoring(model, tokenizer, sets), forward)
    plain_values, plain_seconds, _ = timed(lambda: plain_scoring(model, tokenizer, sets), forward)
    rows = [stage("scoring", seconds, plain_seconds, inside)]
    _, seconds, inside = timed(lambda: our_generation(model, tokenizer, work, measured), forward)
    asked = {name: sets[name] for name in sets if name != "holdout"}
    plain_answers, plain_seconds, _ = timed(lambda: plain_generation(model, tokenizer, asked), forward)
    rows.append(stage("generation", seconds, plain_seconds, inside))
    table = examples(SUITE, sets, work, measured, tokenizer)
    metrics = {metric.name: metric for metric in SUITE.metrics}
    worst = max(
        difference([metrics[key.split("/")[1]].per_example(e) for e in table[key.split("/")[0]]], column)
        for key, column in plain_values.items()
    )
    same = np.mean(
        [e.generation == text for name in asked for e, text in zip(table[name], plain_answers[name], strict=True)]
    )
    report = {
        "rows": rows,
        "largest_relative_difference": worst,
        "same_answers": float(same),
        "scored": len(work.scored),
        "asked": work.asked,
        "generated": len(work.prompts),
    }
    for row in rows:
        print(
            f"{row['stage']:10} {row['seconds']:8.2f} s   plain {row['plain_seconds']:8.2f} s   "
            f"{row['speedup']:.1f}x   in the model {row['forward_share']:.0%}"
        )
    print(f"largest relative difference {worst:.1e}; same answers {same:.1%}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if worst > 1e-4:
        raise SystemExit("the two sides differ by more than 1e-4")


def stage(name: str, seconds: float, plain_seconds: float, inside: float) -> dict[str, str | float]:
    """One row of the output."""
    return {
        "stage": name,
        "seconds": seconds,
        "plain_seconds": plain_seconds,
        "speedup": plain_seconds / seconds,
        "forward_share": inside / seconds,
    }


if __name__ == "__main__":
    main()
