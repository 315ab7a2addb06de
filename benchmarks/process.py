"""Whole commands as a user waits for them: seconds to the first pass over the model, and of a whole evaluation.

    python benchmarks/process.py [--model M --data SPEC --forget-split forget10] [--json OUT]

Wall time of processes of their own, from the start of the interpreter; the two sides of the evaluation take turns. The
plain side is `eval.py`'s: a pass per metric and answer column, answers by `model.generate`, and for mia_gradnorm a
backward pass for each row. Without --model and --data, the embedded example is written and a tiny model
learns it first.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

# Run in place of the command: notes when each stage is reached, and ends at the first pass.
WATCHED = """
import gc, json, os, sys, time
marks = {}
def mark(name):
    marks.setdefault(name, time.time() - float(os.environ["STARTED"]))
from expunge.cli.main import COLLECTING, main
gc.set_threshold(*COLLECTING)  # as main() does before a command imports anything
mark("command line")
import torch
import expunge.evaluation, expunge.models.load as load
if sys.argv[1] == "eval":
    import expunge.evaluation.measure as room
else:
    import expunge.training.run as room
mark("imports")
def first_pass(*_):
    if "weights" in marks:  # the check of the output head comes before, on three tokens
        mark("first pass")
        print(json.dumps(marks), flush=True)
        os._exit(0)
real = room.load_model
def loading(*args, **kwargs):
    found = real(*args, **kwargs)
    mark("weights")
    found[0].get_decoder().layers[0].register_forward_pre_hook(
        lambda module, given: None if given[0].shape[1] <= 3 else first_pass())
    return found
room.load_model = loading
main()
"""


def startup(words, repeats):
    """Median seconds at which each stage is reached."""
    found = []
    for _ in range(repeats):
        started = {"STARTED": str(time.time())}
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, *words], capture_output=True, text=True, env=environment(started)
        )
        if done.returncode or not done.stdout:
            raise SystemExit(done.stderr[-2000:])
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: round(median(marks[name] for marks in found), 2) for name in found[0]}


def environment(more=None):
    """What the children are run with: nothing from a hub."""
    import os

    return {**os.environ, "HF_HUB_OFFLINE": "1", **(more or {})}


def seconds_of(words):
    """Wall seconds of a process."""
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return time.perf_counter() - began


def plain(model_path, data, forget_split):
    """The plain side's whole process: everything that `expunge eval` measures, metric by metric."""
    from eval import SUITE, plain_generation, plain_scoring

    from expunge.data import encode, end_of_turn
    from expunge.evaluation import Questions, load_sets
    from expunge.evaluation.passes.gradients import gradient_norms
    from expunge.metrics import Example
    from expunge.models import load_model

    model, tokenizer = load_model(model_path)
    sets = load_sets(Questions(data=data, forget_split=forget_split), SUITE).sets
    values = plain_scoring(model, tokenizer, sets)
    answers = plain_generation(model, tokenizer, {name: rows for name, rows in sets.items() if name != "holdout"})
    kinds = {spec.kind for spec in SUITE.sets if spec.name in sets}
    for spec in (spec for spec in SUITE.sets if spec.name in sets):
        rows = sets[spec.name]
        for metric in SUITE.measured_on(spec, kinds):
            if metric.needs == frozenset({"generation"}):
                pairs = zip(rows, answers[spec.name], strict=True)
                values[f"{spec.name}/{metric.name}"] = [
                    metric.per_example(Example(spec.kind, spec.choices, generation=text, reference=row.completion))
                    for row, text in pairs
                ]
            if "gradient" in metric.needs:
                end = end_of_turn(tokenizer)
                values[f"{spec.name}/{metric.name}"] = [
                    norm for row in rows for [(_, norm)] in gradient_norms(model, [encode(tokenizer, row)], [0], end)
                ]
    print(len(values), "columns")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--forget-split", default="forget10")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain(options.model, options.data, options.forget_split)
        return
    with tempfile.TemporaryDirectory(prefix="expunge-benchmark-") as name:
        folder, model, data = Path(name), options.model, options.data
        if model is None or data is None:
            from eval import embedded_example

            model, data = map(str, embedded_example(folder))
        split = ["--forget-split", options.forget_split]
        evaluation = ["eval", "--model", model, "--data", data, *split]
        unlearning = ["unlearn", "--model", model, "--forget", f"{data}:{options.forget_split}"]
        unlearning += ["--retain", f"{data}:retain90", "--objective", "NPO+GD", "--quiet"]
        result = {
            "date": time.strftime("%Y-%m-%d"),
            "processor": platform.processor() or platform.machine(),
            "startup": {
                "eval": startup([*evaluation, "--out", str(folder / "first.json")], options.repeats),
                "unlearn": startup([*unlearning, "--out", str(folder / "run")], options.repeats),
            },
        }
        ours, theirs = [], []
        for i in range(options.repeats):
            out = ["--out", str(folder / f"{i}.json")]
            ours.append(seconds_of([sys.executable, "-m", "expunge", *evaluation, *out]))
            words = [sys.executable, __file__, "--plain", "--model", model, "--data", data, *split]
            theirs.append(seconds_of(words))
        result["evaluation"] = {
            "seconds": round(median(ours), 2),
            "plain_seconds": round(median(theirs), 2),
            "speedup": round(median(theirs) / median(ours), 2),
        }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
