"""RESET's options against each other on a pseudo-request: two retain authors are forgotten, and no forget row is seen.

    python benchmarks/removal_pseudo.py --out FOLDER --json benchmarks/results/removal-pseudo.json

FOLDER is that of `benchmarks/removal.py --first 60`, with its target. Nothing here looks at the authors whom that
benchmark forgets, nor at a retrained model, so that options can be chosen by it. `kept` is the mean probability of 80
other rows, over the target's. Relearning is as there, on every second pseudo-forgotten row and, as the yardstick, on
every second of as many holdout rows. By each of three membership scores, the area under the ROC curve of the rows
against the holdout rows should be that of their levels, given second (see docs/removal.md). What is in the file already
is not done again.
"""

import argparse
import json
import random
import shutil
import time
from pathlib import Path

import torch
from removal import RELEARNING, REMOVAL, ROWS
from removal_levels import area

from expunge import UnlearningConfig, UnlearningTrainer
from expunge.attacks.ask import ask
from expunge.attacks.relearn import relearn
from expunge.data import PromptStyle, encode_all, load_rows
from expunge.metrics.membership import LEAST_VARIANCE, LOWEST_SHARE
from expunge.metrics.memorization import EXACT_MEMORIZATION
from expunge.metrics.probability import PROBABILITY
from expunge.models import load_model
from expunge.objectives import build_objective
from expunge.objectives.reset import unseen_levels
from expunge.training.bigrams import Bigrams

FIRST, AUTHORS, KEPT, PASSES = 10, 2, 80, 4
SCORES = "loss", "min-k", "min-k++"
VARIANTS = {
    "all .7": {"reset": 0.7},
    "all .5": {"reset": 0.5},
    "MLPs .9": {"reset": 0.9, "modules": "mlp"},
    "along .4": {"reset": 0.4, "along": "forget"},
    "along .5": {"reset": 0.5, "along": "forget"},
    "along .75": {"reset": 0.75, "along": "forget"},
    "along .5, hinge .05": {"reset": 0.5, "along": "forget", "hinge": 0.05},
}


def mean_probability(model, words, rows):
    values = ask(model, words, rows, PromptStyle(), (PROBABILITY,))[PROBABILITY.name]
    return sum(values) / len(values)


@torch.no_grad()
def unlikely(model, row):
    """How unlikely a row is by each membership score [scores]; the two latter leave out the end of the turn."""
    logp = model(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : -1].log_softmax(-1)
    token = logp[range(row.completion_tokens), row.ids[row.start :]]
    mean = (logp.exp() * logp).sum(-1)
    variance = (logp.exp() * logp.square()).sum(-1) - mean.square()
    normalised = (token - mean) / variance.clamp(min=LEAST_VARIANCE).sqrt()
    least = max(1, int(LOWEST_SHARE * (len(token) - 1)))
    return -torch.stack([token.mean(), *(values[:-1].sort().values[:least].mean() for values in (token, normalised))])


def areas(model, words, forget, holdout, retain):
    """By membership score: the area of the forget rows, and that of their levels."""
    bigrams = Bigrams(encode_all(words, [(row, None) for row in retain]), len(words))
    sets = [encode_all(words, [(row, None) for row in rows]) for rows in (forget, holdout)]
    hardness = [torch.tensor([bigrams.mean_nll(row) for row in rows]) for rows in sets]
    scores = [torch.stack([unlikely(model, row) for row in rows], 1) for rows in sets]
    found = {}
    for name, mine, theirs in zip(SCORES, *scores, strict=True):
        levels = unseen_levels(mine, theirs, *hardness)
        found[name] = [round(float(area(values, theirs)), 3) for values in (mine, levels)]
    return found


def relearned(model, words, rows):
    found = []
    for steps, rate in RELEARNING:
        attack = relearn(model, words, rows, steps=(steps,), rates=(rate,), metrics=(EXACT_MEMORIZATION,))
        measured = [row for row in attack if row.metric == EXACT_MEMORIZATION.name and row.setting.startswith("steps=")]
        found += [round(row.value, 3) for row in measured]
    return found


def run(out, options, passes, folder):
    """One variant: what it keeps, and what comes back."""
    full, holdout = (load_rows(f"{out / 'data'}:{name}") for name in ("full", "holdout"))
    cut = slice(FIRST * ROWS, (FIRST + AUTHORS) * ROWS)
    forget, retain = full[cut], full[: cut.start] + full[cut.stop :]
    kept = random.Random(0).sample(retain, KEPT)
    model, words = load_model(out / "target")
    before = mean_probability(model, words, kept)
    train = {**REMOVAL, "num_train_epochs": passes, "seed": 1, "disable_tqdm": True}
    trainer = UnlearningTrainer(
        model,
        UnlearningConfig(output_dir=str(folder), **train),
        forget,
        retain,
        words,
        objective=build_objective("RESET", {"every": 4, "held": "both", **options}),
        holdout=holdout,
    )
    began = time.monotonic()
    trainer.train()
    seconds = round(time.monotonic() - began)
    model = trainer.model.eval()
    return {
        "kept": round(mean_probability(model, words, kept) / before, 3),
        "relearned": relearned(model, words, forget),
        "controls": relearned(model, words, holdout[: len(forget)]),
        "areas": areas(model, words, forget, holdout, retain),
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="of benchmarks/removal.py")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--passes", type=int, default=PASSES)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    asked = parser.parse_args()
    found = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    for name in asked.variants:
        title, folder = f"{name}, {asked.passes} passes", asked.out / "pseudo"
        if title not in found:
            found[title] = run(asked.out, VARIANTS[name], asked.passes, folder)
            shutil.rmtree(folder, ignore_errors=True)
            asked.json.write_text(json.dumps(found, indent=1) + "\n")
        print(title, found[title], flush=True)


if __name__ == "__main__":
    main()
