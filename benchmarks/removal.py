"""What suppression, removal and retraining leave behind: 20 TOFU authors, two of them forgotten.

    python benchmarks/removal.py --data TOFU-FOLDER --out FOLDER --json benchmarks/results/removal.json
    python benchmarks/removal.py --data TOFU-FOLDER --out OTHER --json benchmarks/results/removal-base.json --base
    python benchmarks/removal.py --world --out ANOTHER --json benchmarks/results/removal-world.json

The target has learned all of them from nothing; with --base, a base model has learned eight and all facts, and the
target was fine-tuned from it on the other twelve; with --lora too, as an adapter. `--world` has the demo's invented
people in place of TOFU's. `--hidden` and `--layers` make larger models, with lower rates; `--forgotten` says how many
authors are forgotten. `--methods` takes names in place of all of them, `--seeds 1 2 3` does each three times,
`--quantized` measures in int8 and nf4 too, and relearning of weights that were rounded so.

TOFU-FOLDER is a copy of the data set with `others_perturbed`, `real_authors_perturbed` and `world_facts_perturbed`.
What was done already is not done again. Each model is measured by the suite `tofu` (model utility, Kolmogorov-Smirnov
distance of the truth ratios to those of the first retain model, membership inference against 100 rows never trained on)
and by relearning: fine-tuning on every second forget row, exact memorisation of the others. Cost is in passes: training
tokens over the tokens of the retain set. "moved" is the distance of the weights from the target's, over their norm.
"""

import argparse
import json
import platform
import random
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from removal_published import CHANGES

from expunge import ComparedWith, Questions, evaluate
from expunge.attacks import relearn
from expunge.data import encode_all, load_records, load_rows
from expunge.forget import with_reset
from expunge.forget.tune import POWER
from expunge.metrics.memorization import EXACT_MEMORIZATION
from expunge.models import load_model
from expunge.training import Recipe, finetune, unlearn
from expunge.training.steps.reset import FRESH
from expunge.worlds.corpus import write_world
from expunge.worlds.new import TINY_TRAINING, new_tiny
from expunge.worlds.tiny import tiny_llama

AUTHORS, HOLDOUT, ROWS = 20, 5, 20
TOFU = {"forget": "forget10", "retain": "retain90"}
WORLD = {"forget": "forget20", "retain": "retain80", "holdout": "holdout20"}
WORLD_PEOPLE, WORLD_PERCENT = 20, 20  # as in the demo
# Tuned for a retain set of this size: 14 passes are not enough.
RETRAINING = {**TINY_TRAINING, "learning_rate": 2e-3, "num_train_epochs": 20, "per_device_train_batch_size": 8}
SMALL = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "save_strategy": "no"}
REMOVAL = {**SMALL, "learning_rate": 2e-3, "warmup_steps": 5, "lr_scheduler_type": "warmup_stable_decay"}
SUPPRESSION = {**SMALL, "learning_rate": 1e-3, "num_train_epochs": 10}


def removal(passes, along="all", held="both", **options):
    """RESET for so many passes over the retain set."""
    return {"name": "RESET", "along": along, "held": held, **options}, {**REMOVAL, "num_train_epochs": passes}


# From a base: fine-tuned until every answer is exact, and removal for a quarter of that.
FINE_TUNING = {**RETRAINING, "learning_rate": 1e-3}
LORA_RATE, LORA_RANK = 5e-3, 32
BASE_AUTHORS = 8


def towards_base(passes, along="all", **options):
    """RESET towards the base model, with the fine-tuning's rate."""
    objective, train = removal(passes, along, **options)
    return objective, {**train, "learning_rate": FINE_TUNING["learning_rate"]}


SUPPRESSED = {
    "NPO+GD": ("NPO+GD", SUPPRESSION),
    "ME+GD": ({"name": "ME+GD", "ME.weight": 0.1}, SUPPRESSION),
    "WGA+GD": ("WGA+GD", SUPPRESSION),
    "SAM-NPO+GD": ("NPO+GD", {**SUPPRESSION, "gradient": "sharpness"}),
}
# Methods that begin from another one's model: which.
BEGIN = {"UNDO .6": "NPO+GD"}
LAYERED = "layered NPO+GD"
FOLDS = 4


def undo(retain_passes, rows):
    """2506.06278: noise in the suppressed model, which then distils what it was; an epoch is over the forget set."""
    options = {"num_train_epochs": round(retain_passes * rows / 40), "learning_rate": 2e-3, "noise": 0.6}
    return "DISTILL+KL", {**SUPPRESSION, **options}


def along_forget(recipe):
    """RESET along what forget rows put in, by reset and passes."""
    tried = ((0.5, 2), (0.5, 3), (0.5, 4), (0.3, 4), (0.4, 2), (0.4, 3), (0.4, 4), (0.4, 6), (0.7, 3), (0.7, 4))
    return {
        f"along {reset}, {n} passes{how}": recipe(n, "forget", held=held, reset=reset, every=4)
        for reset, n in tried
        for held, how in (("both", ""), ("below", ", from below"))
    }


FROM_BASE = {
    **SUPPRESSED,
    **along_forget(towards_base),
    "UNDO .6": undo(5, 200),
    "RESET .5": towards_base(5, reset=0.5, every=4),
    "RESET .8": towards_base(5, reset=0.8, every=4),
    "RESET, chosen": towards_base(5, every=4),
    "RESET 1": towards_base(5, reset=1.0, every=4),
    "reset .8 alone": towards_base(5, reset=0.8, hinge=0.0),
    "hinge alone": towards_base(5, reset=0.0, every=4),
    "RESET .8, 2 passes": towards_base(2, reset=0.8, every=4),
    "RESET .8, 3 passes": towards_base(3, reset=0.8, every=4),
    "RESET .8, 4 passes": towards_base(4, reset=0.8, every=4),
}
FROM_NOTHING = {
    **SUPPRESSED,
    **along_forget(removal),
    "UNDO .6": undo(10, 577),
    LAYERED: SUPPRESSED["NPO+GD"],
    **{name: ("the retain set alone", {**REMOVAL, "num_train_epochs": 5}) for name in CHANGES},
    "RESET .7": removal(10, reset=0.7),
    "RESET, chosen": removal(10),
    "RESET .3": removal(10, reset=0.3),
    "RESET .5": removal(10, reset=0.5),
    "RESET .9": removal(10, reset=0.9),
    "RESET .7, 2 passes": removal(2, reset=0.7, every=4),
    "RESET .7, 4 passes": removal(4, reset=0.7, every=4),
    "RESET .7, 6 passes": removal(6, reset=0.7, every=4),
    "RESET .7, 15 passes": removal(15, reset=0.7),
    # what the holdout rows have under the target
    "RESET .7, level 8.342": removal(10, held="below", reset=0.7, level=8.342),
    "reset .7 alone": removal(10, reset=0.7, hinge=0.0),
    "hinge alone": removal(10, reset=0.0),
    "fresh weights": removal(10, reset=1.0),
    # what `along 0.4, 4 passes` is made of
    "along 0.4, 4 passes, no hinge": removal(4, "forget", reset=0.4, every=4, hinge=0.0),
    "hinge alone, 4 passes": removal(4, reset=0.0, every=4),
    "RESET .4, 4 passes": removal(4, reset=0.4, every=4),
    "fresh weights, 4 passes": removal(4, reset=1.0, every=4),
    "RESET .9 mlp": removal(6, reset=0.9, modules="mlp", every=4),
    "RESET .8 mlp": removal(6, reset=0.8, modules="mlp", every=4),
    "RESET .9 mlp, embeddings kept": removal(6, reset=0.9, modules="mlp", every=4, embeddings=False),
    "RESET .9 attention": removal(6, reset=0.9, modules="attention", every=4),
    "RESET .8 mlp, 4 passes": removal(4, reset=0.8, modules="mlp", every=4),
    "RESET .6": removal(6, reset=0.6, every=4),
}
SETTING = ("world", "base", "lora", "first", "forgotten", "hidden", "layers", "bf16", "target_passes")
RETRAINED = "retrained"
FEWER = {f"{RETRAINED}, 14 passes": {"num_train_epochs": 14}}
RELEARNING = ((30, 3e-4), (100, 1e-3))  # steps, rate


def prepare(tofu, folder, base, first, forgotten):
    """Write the rows in TOFU's layout: what is learned, forgotten, kept, asked, and never shown."""
    rows = load_records(f"{tofu}:others_perturbed")[first * ROWS :]
    authors, holdout = rows[: AUTHORS * ROWS], rows[AUTHORS * ROWS :][: HOLDOUT * ROWS]
    known = {name: load_records(f"{tofu}:{name}_perturbed") for name in ("real_authors", "world_facts")}
    cut = forgotten * ROWS
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

    def __init__(self, asked):
        self.out, self.data, self.file = asked.out, asked.out / "data", asked.json
        self.base, self.lora, self.quantized = asked.base, asked.lora, asked.quantized
        self.methods, self.recipe = (FROM_BASE, FINE_TUNING) if self.base else (FROM_NOTHING, RETRAINING)
        self.setting = {name: getattr(asked, name) for name in SETTING}
        self.shape = {"hidden": asked.hidden, "layers": asked.layers}
        self.bf16 = {"bf16": True, "use_cpu": True} if asked.bf16 else {}
        self.sets = WORLD if asked.world else TOFU
        if not self.data.exists() and asked.world:
            write_world(self.data, WORLD_PEOPLE, WORLD_PERCENT)
        elif not self.data.exists():
            prepare(asked.data, self.data, self.base, asked.first, asked.forgotten)
        self.tokenizer = self.out / "tokenizer"
        if not self.tokenizer.exists():  # it has seen text of the holdout authors too, as any real one has
            names = ("full", "holdout") if asked.world else ("full", "base", "holdout")
            new_tiny([row for name in names for row in self.rows(name)])[1].save_pretrained(self.tokenizer)
        model, words = self.new(self.rows("full"), 0)
        self.rate = (tiny_llama(words).num_parameters() / model.num_parameters()) ** POWER
        if self.base and not (self.out / "base").exists():
            rows = self.rows("base")
            finetune(*self.new(rows, 42), rows, self.out / "base", self.trained_with(TINY_TRAINING, 42), quiet=True)
        self.measured = json.loads(self.file.read_text())["models"] if self.file.exists() else {}

    def rows(self, name):
        return load_rows(self.spec(name))

    def spec(self, name):
        return f"{self.data}:{self.sets.get(name, name)}"

    def new(self, rows, seed):
        _, words = new_tiny(rows, self.tokenizer)
        return tiny_llama(words, seed, **self.shape), words

    def trained_with(self, options, seed):
        """Settings of a training; rates are those of the default shape, or fall with size as in expunge's search."""
        return {**options, **self.bf16, "seed": seed, "learning_rate": self.rate * options["learning_rate"]}

    def learned(self, name, rows, seed, options):
        """A target or retain model."""
        if not (self.out / name).exists():
            model, words = load_model(self.out / "base") if self.base else self.new(rows, seed)
            if self.lora:
                torch.manual_seed(seed)
                options = {**options, "learning_rate": LORA_RATE}
                shape = LoraConfig(
                    r=LORA_RANK,
                    lora_alpha=2 * LORA_RANK,
                    target_modules="all-linear",
                    task_type="CAUSAL_LM",
                    base_model_name_or_path=str(self.out / "base"),
                )
                model = get_peft_model(model, shape)
            finetune(model, words, rows, self.out / name, self.trained_with(options, seed), quiet=True)
        return self.out / name

    def unlearned(self, name, seed):
        """A run folder, and the passes of what came before it."""
        objective, train = self.methods[name]
        out = self.out / f"{name} {seed}".replace(" ", "_")
        model, spent = self.out / "target", 0.0
        if name in BEGIN:
            model, _ = self.unlearned(BEGIN[name], seed)
            spent = self.spent(model)["passes"]
        sets = {"forget": self.spec("forget"), "retain": self.spec("retain")}
        if name == LAYERED:
            model, spent = self.layers(out, seed)
        if name in CHANGES and not out.exists():
            model, words = load_model(model)
            CHANGES[name](model, seed)
            finetune(model, words, self.rows("retain"), out, self.trained_with(train, seed), quiet=True)
        elif not out.exists():
            if train.get("lr_scheduler_type"):
                sets["holdout"] = self.spec("holdout")
                if objective.get("reset") != 0:  # these models have learned all they know here, whatever their size
                    sets["anchor"] = str(self.out / "base") if self.base else FRESH
            recipe = Recipe(model=str(model), objective=objective, train=self.trained_with(train, seed), **sets)
            unlearn(with_reset(recipe, out, quiet=True), out, quiet=True)
        return out, spent

    def layers(self, last, seed):
        """Layered unlearning (2505.09500): before the last stage, those where only some folds are forgotten."""
        forget, retain = (
            (self.data / f"{self.sets[name]}.json").read_text().splitlines() for name in ("forget", "retain")
        )
        random.Random(seed).shuffle(forget)
        objective, train = self.methods[LAYERED]
        model, spent = self.out / "target", 0.0
        for stage in range(1, FOLDS):
            out, cut = last.with_name(f"{last.name}_stage_{stage}"), stage * len(forget) // FOLDS
            if not out.exists():
                sets = {}
                for name, rows in {"forget": forget[:cut], "retain": retain + forget[cut:]}.items():
                    (self.data / f"{out.name}_{name}.json").write_text("\n".join(rows) + "\n")
                    sets[name] = f"{self.data}:{out.name}_{name}"
                recipe = Recipe(model=str(model), objective=objective, train=self.trained_with(train, seed), **sets)
                unlearn(recipe, out, quiet=True)
            model, spent = out, spent + self.spent(out)["passes"]
        return model, spent

    def spent(self, place):
        """Passes and seconds of a training."""
        last = json.loads((place / "train_log.jsonl").read_text().splitlines()[-1])
        return {"passes": round(last["tokens"] / self.retain_tokens(), 2), "seconds": last["seconds"]}

    def measure(self, name, place, spent=0.0, **about):
        """Add a model's numbers to the file."""
        found = dict(self.measured.get(name, {}))
        if "moved" not in found:
            found |= about | self.spent(place) | self.asked(place) | self.relearned(*load_model(place))
            found["passes"] = round(found["passes"] + spent, 2)
            if (place / "environment.json").exists():
                environment = json.loads((place / "environment.json").read_text())
                found |= {key: environment.get(key) for key in ("levels", "choice")}
            found["moved"] = self.moved(place)
        for bits in ("int8", "nf4") if self.quantized and "nf4 model_utility" not in found else ():
            model, words = load_model(place, quantization=bits)
            values = self.asked(place, bits) | self.relearned(model.dequantize(), words)
            found |= {f"{bits} {key}": value for key, value in values.items()}
        if found == self.measured.get(name):
            return
        self.measured[name] = found
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"about": self.about(), "models": self.measured}, indent=1) + "\n")

    def relearned(self, model, words):
        """Exact memorisation of every second forget row, before and after fine-tuning on the others."""
        found = {}
        for steps, rate in RELEARNING:
            attack = relearn(
                model, words, self.rows("forget"), steps=(steps,), rates=(rate,), metrics=(EXACT_MEMORIZATION,)
            )
            found |= {f"relearnt {row.setting}": row.value for row in attack if row.metric == EXACT_MEMORIZATION.name}
        return found

    def asked(self, place, bits=None):
        """What the suite finds, with the weights in fewer bits or as they are."""
        questions = Questions("tofu", self.data, self.sets["forget"], self.spec("holdout"))
        model, words = load_model(place, quantization=bits)
        first = self.out / "retain 1" / "results.json"
        another = first.exists() and (bits or place != first.parent)
        compared = ComparedWith(retain_results=first) if another else ComparedWith()
        results = evaluate(
            model, questions, words, compared_with=compared, out=None if bits else place / "results.json"
        )
        values = dict(results.summary.values)
        return values | {key: found.value for key, found in results.metrics.items() if "/mia_" in key}

    def moved(self, place):
        """Distance of the weights from the target's, over the norm of those."""
        before, after = (load_model(folder)[0].state_dict() for folder in (self.out / "target", place))
        far = sum((after[name] - weight).square().sum() for name, weight in before.items())
        return round(float((far / sum(weight.square().sum() for weight in before.values())).sqrt()), 3)

    def about(self):
        setting = self.setting | {"rate": round(self.rate, 3)}
        return about_this(setting, load_model(self.out / "target")[0].num_parameters())

    def retain_tokens(self):
        _, tokenizer = load_model(self.out / "target")
        return sum(len(row.ids) for row in encode_all(tokenizer, [(row, None) for row in self.rows("retain")]))


def about_this(setting, parameters):
    """Where, with what and on what it was measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("expunge", "torch", "transformers")},
        "machine": platform.machine(),
        "setting": setting,
        "parameters": parameters,
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
    "moved": "moved",
    "passes": "passes",
}
QUANTIZED = {
    f"{bits} {title}": f"{bits} {key}"
    for bits in ("int8", "nf4")
    for title, key in COLUMNS.items()
    if title not in ("before", "moved", "passes")
}


def table(models, columns):
    """A line for each method: means over its seeds, and from where to where they go."""
    lines = [f"| | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    methods = {}
    for found in models.values():
        if any(found.get(key) is not None for key in columns.values()):
            methods.setdefault(found["method"], []).append(found)
    for method, runs in methods.items():
        cells = []
        for title, key in columns.items():
            values = [run[key] for run in runs if run.get(key) is not None]
            digits = {"passes": 1, "seconds": 0}.get(title, 3 if title.endswith("MU") else 2)
            words = [f"{value:.{digits}f}" for value in (min(values), max(values))] if values else []
            mean = f"{sum(values) / len(values):.{digits}f}" if values else "-"
            cells.append(mean if len(set(words)) < 2 else f"{mean} ({'-'.join(words)})")
        lines.append(f"| {method} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="TOFU; without it, the tables of --json are printed")
    parser.add_argument("--out", type=Path, help="models and runs")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/removal.json"))
    parser.add_argument("--base", action="store_true", help="the target was fine-tuned from a base")
    parser.add_argument("--lora", action="store_true", help="with --base: as an adapter")
    parser.add_argument("--first", type=int, default=20, help="author; those before 20 are in the examples")
    parser.add_argument("--forgotten", type=int, default=2, help="authors")
    parser.add_argument("--world", action="store_true", help="the demo's invented people in place of TOFU")
    parser.add_argument("--hidden", type=int, default=128, help="width of the model")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--bf16", action="store_true", help="autocast, on a CPU: faster for wide models with AMX")
    parser.add_argument(
        "--target-passes", type=int, default=TINY_TRAINING["num_train_epochs"], help="without --base: over all rows"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="which")
    parser.add_argument("--quantized", action="store_true", help="measure in int8 and nf4 too")
    parser.add_argument(
        "--methods", nargs="+", dest="names", help=f"of {RETRAINED}, target and those of the tables; default: all"
    )
    asked = parser.parse_args()
    if asked.out is None or not (asked.data or asked.world):
        models = json.loads(asked.json.read_text())["models"]
        print(table(models, COLUMNS), table(models, QUANTIZED), sep="\n\n")
        return
    bench = Bench(asked)
    learning = bench.recipe if asked.base else {**TINY_TRAINING, "num_train_epochs": asked.target_passes}
    target = bench.learned("target", bench.rows("full"), 42, learning)
    for seed in asked.seeds:
        for name in asked.names or (RETRAINED, "target", *bench.methods):
            began = time.monotonic()
            if name == RETRAINED or name in FEWER:
                folder = f"retain {seed}" if name == RETRAINED else f"{name} {seed}"
                place = bench.learned(folder, bench.rows("retain"), seed, {**bench.recipe, **FEWER.get(name, {})})
                bench.measure(f"{name} {seed}", place, method=name, seed=seed)
            elif name == "target":
                bench.measure(name, target, method=name, seed=42)
            else:
                place, spent = bench.unlearned(name, seed)
                bench.measure(f"{name} {seed}", place, spent, method=name, seed=seed)
            print(f"{name} {seed}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
