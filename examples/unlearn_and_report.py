"""Learn, forget, measure, report: the main job in ten lines of Python, on the embedded example.

    python examples/unlearn_and_report.py FOLDER

The folder gets `data`, the `target` model that learned all of it, the unlearned model's run directory `run`, and
`report.html`. About a minute on one core.
"""

import sys
from pathlib import Path

from expunge import ComparedWith, Questions, UnlearningConfig, UnlearningTrainer, evaluate
from expunge.data import load_rows
from expunge.report import write_report
from expunge.training import finetune
from expunge.worlds.corpus import write_world
from expunge.worlds.new import TINY_TRAINING, new_tiny


def learn(folder: Path, people: int) -> tuple[Path, Path]:
    """What you have already: data, and a model that knows it. Here both are made from nothing."""
    data, target = folder / "data", folder / "target"
    write_world(data, people, forget_percent=25)
    rows = load_rows(f"{data}:full")
    finetune(*new_tiny(rows), rows, target, TINY_TRAINING)
    return data, target


def unlearn_and_report(folder: Path, data: Path, target: Path) -> Path:
    """The main job: make the model forget a quarter of the people, and write down how well that worked."""
    run = folder / "run"
    config = UnlearningConfig(
        str(run), objective="ME+GD", learning_rate=1e-3, num_train_epochs=10, gradient_accumulation_steps=1
    )
    trainer = UnlearningTrainer(target, config, f"{data}:forget25", f"{data}:retain75")
    trainer.train()
    trainer.save_model(str(run / "model"))
    results = evaluate(
        run, Questions("tofu", data), compared_with=ComparedWith(target_model=target), out=run / "results.json"
    )
    for name in ("forget/fact_accuracy", "retain/fact_accuracy"):
        print(f"{name}: {results.companions['target'].metrics[name].value:.2f} -> {results.metrics[name].value:.2f}")
    return write_report([run], folder / "report.html")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    print(unlearn_and_report(place, *learn(place, people=8)))
