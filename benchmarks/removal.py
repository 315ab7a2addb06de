"""What suppression, removal and retraining leave behind: 20 TOFU authors, two of them forgotten.

    python benchmarks/removal.py --data TOFU-FOLDER --out FOLDER --json benchmarks/results/removal.json
    python benchmarks/removal.py --data TOFU-FOLDER --out OTHER --json benchmarks/results/removal-base.json --base

The target has learned all of them from nothing; with --base, a base model has learned eight and all facts, and the
target was fine-tuned from it on the other twelve. Names of methods in place of all of them: at the end of the command.

TOFU-FOLDER is a copy of the data set with `others_perturbed`, `real_authors_perturbed` and `world_facts_perturbed`.
What was done already is not done again. Each model is measured by the suite `tofu` (model utility, Kolmogorov-Smirnov
distance of the truth ratios to those of the first retain model, membership inference against 100 rows never trained on)
and by relearning: fine-tuning on every second forget row, exact memorisation of the others. Cost is in passes: training
tokens over the tokens of the retain set.
"""

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from expunge import ComparedWith, Questions, evaluate
from expunge.attacks import relearn
from expunge.data import encode_all, load_records, load_rows
from expunge.models import load_model
from expunge.training import Recipe, finetune, unlearn
from expunge.worlds.new import TINY_TRAINING, new_tiny

FIRST_AUTHOR, AUTHORS, FORGOTTEN, HOLDOUT, ROWS = 20, 20, 2, 5, 20  # those before are in the examples
# Tuned for a retain set of this size: 14 passes are not enough.
RETRAINING = {**TINY_TRAINING, "learning_rate": 2e-3, "num_train_epochs": 20, "per_device_train_batch_size": 8}
SMALL = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "save_strategy": "no"}
REMOVAL = {**SMALL, "learning_rate": 2e-3, "warmup_steps": 5, "lr_scheduler_type": "warmup_stable_decay"}
SUPPRESSION = {**SMALL, "learning_rate": 1e-3, "num_train_epochs": 10}


def removal(passes, **options):
    """RESET for so many passes over the retain set."""
    return {"name": "RESET", **options}, {**REMOVAL, "num_train_epochs": passes}


# From a base: fine-tuned until every answer is exact, and removal for a quarter of that.
FINE_TUNING = {**RETRAINING, "learning_rate": 1e-3}
BASE_AUTHORS = 8


def towards_base(passes, **options):
    """RESET towards the base model, with the fine-tuning's rate."""
    objective, train = removal(passes, **options)
    return objective, {**train, "learning_rate": FINE_TUNING["learning_rate"]}


FROM_BASE = {
    "NPO+GD": ("NPO+GD", SUPPRESSION),
    "ME+GD": ({"name": "ME+GD", "ME.weight": 0.1}, SUPPRESSION),
    "RESET .5": towards_base(5, reset=0.5, every=4),
    "RESET .8": towards_base(5, reset=0.8, every=4),
    "RESET 1": towards_base(5, reset=1.0, every=4),
    "reset .8 alone": towards_base(5, reset=0.8, hinge=0.0),
    "hinge alone": towards_base(5, reset=0.0, every=4),
    "RESET .8, 2 passes": towards_base(2, reset=0.8, every=4),
}
FROM_NOTHING = {
    "NPO+GD": ("NPO+GD", SUPPRESSION),
    "ME+GD": ({"name": "ME+GD", "ME.weight": 0.1}, SUPPRESSION),
    "RESET .7": removal(10, reset=0.7),
    # what the holdout rows have under the target
    "RESET .7, level 8.342": removal(10, reset=0.7, level=8.342),
    "reset .7 alone": removal(10, reset=0.7, hinge=0.0),
    "hinge alone": removal(10, reset=0.0),
    "fresh weights": removal(10, reset=1.0),
    "RESET .9 mlp": removal(6, reset=0.9, modules="mlp", every=4),
    "RESET .8 mlp": removal(6, reset=0.8, modules="mlp", every=4),
    "RESET .9 mlp, embeddings kept": removal(6, reset=0.9, modules="mlp", every=4, embeddings=False),
    "RESET .9 attention": removal(6, reset=0.9, modules="attention", every=4),
    "RESET .8 mlp, 4 passes": removal(4, reset=0.8, modules="mlp", every=4),
    "RESET .6": removal(6, reset=0.6, every=4),
}


def prepare(tofu, folder, base):
    """Write the rows in TOFU's layout: what is learned, forgotten, kept, asked, and never shown."""
    rows = load_records(f"{tofu}:others_perturbed")[FIRST_AUTHOR * ROWS :]
    authors, holdout = rows[: AUTHORS * ROWS], rows[AUTHORS * ROWS :][: HOLDOUT * ROWS]
    known = {name: load_records(f"{tofu}:{name}_perturbed") for name in ("real_authors", "world_facts")}
    cut = FORGOTTEN * ROWS
    facts = known["real_authors"] + known["world_facts"]
    below = authors[-BASE_AUTHORS * ROWS :] if base else []
    forget, retain = authors[:cut], authors[cut : len(authors) - len(below)] + ([] if base else facts)
    sets = {
        "base": below + facts,
        "full": forget + retain,
        "forget10": forget,
        "retain90": retain,
        "holdout": holdout,
        "forget10_perturbed": forget,
        "retain_perturbed": authors[cut : cut + 5 * ROWS],
        **{f"{name}_perturbed": rows for name, rows in known.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, members in sets.items():
        (folder / f"{name}.json").write_text("".join(json.dumps(row) + "\n" for row in members), encoding="utf-8")


class Bench:
    """Models are made and measured where they are missing."""

    def __init__(self, tofu, out, results, base):
        self.out, self.data, self.file, self.base = out, out / "data", results, base
        self.methods, self.recipe = (FROM_BASE, FINE_TUNING) if base else (FROM_NOTHING, RETRAINING)
        if not self.data.exists():
            prepare(tofu, self.data, base)
        self.tokenizer = out / "tokenizer"
        if not self.tokenizer.exists():  # it has seen text of the holdout authors too, as any real one has
            seen = [row for name in ("full", "base", "holdout") for row in self.rows(name)]
            new_tiny(seen)[1].save_pretrained(self.tokenizer)
        if base and not (out / "base").exists():
            rows = self.rows("base")
            finetune(*new_tiny(rows, self.tokenizer), rows, out / "base", TINY_TRAINING, quiet=True)
        self.measured = json.loads(results.read_text())["models"] if results.exists() else {}

    def rows(self, name):
        return load_rows(f"{self.data}:{name}")

    def learned(self, name, rows, seed, options):
        """A target or retain model."""
        if not (self.out / name).exists():
            model = load_model(self.out / "base") if self.base else new_tiny(rows, self.tokenizer, seed)
            finetune(*model, rows, self.out / name, {**options, "seed": seed}, quiet=True)
        return self.out / name

    def unlearned(self, name, seed):
        objective, train = self.methods[name]
        out = self.out / f"{name} {seed}".replace(" ", "_")
        if not out.exists():
            sets = {"forget": f"{self.data}:forget10", "retain": f"{self.data}:retain90"}
            if train.get("lr_scheduler_type"):
                sets["holdout"] = f"{self.data}:holdout"
                sets |= {"anchor": str(self.out / "base")} if self.base and objective["reset"] else {}
            recipe = Recipe(model=str(self.out / "target"), objective=objective, train={**train, "seed": seed}, **sets)
            unlearn(recipe, out, quiet=True)
        return out

    def measure(self, name, place, **about):
        """Add a model's numbers to the file."""
        if name in self.measured:
            return
        questions = Questions("tofu", self.data, "forget10", f"{self.data}:holdout")
        first = self.out / "retain 1" / "results.json"
        compared = ComparedWith(retain_results=first) if first.exists() else ComparedWith()
        results = evaluate(place, questions, compared_with=compared, out=place / "results.json")
        values = dict(results.summary.values)
        values |= {key: found.value for key, found in results.metrics.items() if "/mia_" in key}
        forget = self.rows("forget10")
        attacks = relearn(place, None, forget, steps=(30,), rates=(3e-4,)) + relearn(
            place, None, forget, steps=(100,), rates=(1e-3,)
        )
        values |= {f"relearnt {row.setting}": row.value for row in attacks if row.metric == "exact_memorization"}
        log = [json.loads(line) for line in (place / "train_log.jsonl").read_text().splitlines()]
        if (place / "environment.json").exists():
            about |= {"levels": json.loads((place / "environment.json").read_text()).get("levels")}
        passes = log[-1]["tokens"] / self.retain_tokens()
        self.measured[name] = {**about, "passes": round(passes, 2), "seconds": log[-1]["seconds"], **values}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"about": about_this(), "models": self.measured}, indent=1) + "\n")
        print(name, json.dumps(self.measured[name]), flush=True)

    def retain_tokens(self):
        _, tokenizer = load_model(self.out / "target")
        return sum(len(row.ids) for row in encode_all(tokenizer, [(row, None) for row in self.rows("retain90")]))


def about_this():
    """Where and with what it was measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("expunge", "torch", "transformers")},
        "machine": platform.machine(),
        "parameters": "1.9 million",
    }


COLUMNS = {
    "MU": "model_utility",
    "KS distance": "forget_quality_ks_distance",
    "MIA loss": "forget/mia_loss",
    "min-k": "forget/mia_min_k",
    "min-k++": "forget/mia_min_k_plus_plus",
    "before": "relearnt none",
    "30 steps at 3e-4": "relearnt steps=30 rate=0.0003 on=forget",
    "100 at 1e-3": "relearnt steps=100 rate=0.001 on=forget",
    "passes": "passes",
}


def table(models):
    """A line for each method: means over its seeds, and from where to where they go."""
    lines = [f"| | seeds | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    methods = {}
    for found in models.values():
        methods.setdefault(found["method"], []).append(found)
    for method, runs in methods.items():
        cells = []
        for title, key in COLUMNS.items():
            values = [run[key] for run in runs if run.get(key) is not None]
            digits = 1 if title == "passes" else 3 if title == "MU" else 2
            mean = f"{sum(values) / len(values):.{digits}f}" if values else "-"
            spread = f" ({min(values):.{digits}f}-{max(values):.{digits}f})" if len(set(values)) > 1 else ""
            cells.append(mean + spread)
        lines.append(f"| {method} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="TOFU; without it, the table of --json is printed")
    parser.add_argument("--out", type=Path, help="models and runs")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/removal.json"))
    parser.add_argument("--base", action="store_true", help="the target was fine-tuned from a base")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    if asked.data is None or asked.out is None:
        print(table(json.loads(asked.json.read_text())["models"]))
        return
    bench = Bench(asked.data, asked.out, asked.json, asked.base)
    target = bench.learned("target", bench.rows("full"), 42, bench.recipe if asked.base else TINY_TRAINING)
    for seed in range(1, asked.seeds + 1):
        place = bench.learned(f"retain {seed}", bench.rows("retain90"), seed, bench.recipe)
        bench.measure(f"retrained {seed}", place, method="retrained", seed=seed)
        bench.measure("target", target, method="target", seed=42)
        for name in asked.names or bench.methods:
            began = time.monotonic()
            bench.measure(f"{name} {seed}", bench.unlearned(name, seed), method=name, seed=seed)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
