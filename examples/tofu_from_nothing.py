"""Real rows, no download of a model: a tiny Llama learns 20 TOFU authors from nothing and forgets two of them.

    python examples/tofu_from_nothing.py TOFU-FOLDER OUT [OBJECTIVE ...]

TOFU-FOLDER is a copy of the data set with the configurations `others_perturbed` (authors outside the forget sets, with
paraphrases and wrong answers), `real_authors_perturbed` and `world_facts_perturbed`. What was done already is not done
again, so a run that was stopped goes on. All objectives take about ten minutes on two cores.
"""

import json
import sys
from pathlib import Path

from expunge import ComparedWith, Questions, evaluate
from expunge.data import load_records, load_rows
from expunge.evaluation import load_results
from expunge.report import write_report
from expunge.training import Recipe, finetune, unlearn
from expunge.worlds.new import TINY_TRAINING, new_tiny

ROWS_OF_AN_AUTHOR, AUTHORS, FORGOTTEN, SAMPLE = 20, 20, 2, 5
OBJECTIVES = [
    *("GA+GD", "GA+KL", "NPO+GD", "NPO+KL", "SimNPO+GD", "DPO+GD", "DPO+KL"),
    *("IDK+GD", "IDK+AP", "ME+GD", "MISMATCH+GD", "LLMU"),
    *("WGA+GD", "SatImp+GD", "UNDIAL+GD", "CE-U+GD", "FLAT+GD", "AltPO+GD"),
]
UNLEARNING = {
    "learning_rate": 1e-3,
    "num_train_epochs": 10,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "save_strategy": "no",
}


def prepare(tofu: str, folder: Path) -> Path:
    """Write the rows in TOFU's layout: what is learned, forgotten, kept and asked."""
    authors = load_records(f"{tofu}:others_perturbed")[: AUTHORS * ROWS_OF_AN_AUTHOR]
    known = {name: load_records(f"{tofu}:{name}_perturbed") for name in ("real_authors", "world_facts")}
    cut = FORGOTTEN * ROWS_OF_AN_AUTHOR
    forget, retain = authors[:cut], authors[cut:] + known["real_authors"] + known["world_facts"]
    sets = {
        "full": forget + retain,
        "forget10": forget,
        "retain90": retain,
        "forget10_perturbed": forget,
        "retain_perturbed": authors[cut : cut + SAMPLE * ROWS_OF_AN_AUTHOR],
        **{f"{name}_perturbed": rows for name, rows in known.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in sets.items():
        (folder / f"{name}.json").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def learn(data: Path, out: Path) -> tuple[Path, Path]:
    """Target and retain model, the second with the first's tokenizer."""
    target, retain = out / "target", out / "retain"
    for place, name, tokenizer in ((target, "full", None), (retain, "retain90", target)):
        if not place.exists():
            rows = load_rows(f"{data}:{name}")
            finetune(*new_tiny(rows, tokenizer), rows, place, TINY_TRAINING)
    return target, retain


def forget(objective: str, data: Path, out: Path) -> Path:
    """One run directory with its results."""
    run, measured = out / "runs" / objective, out / "target" / "results.json"
    if not run.exists():
        sets = {"forget": f"{data}:forget10", "retain": f"{data}:retain90"}
        unlearn(Recipe(model=str(out / "target"), objective=objective, train=UNLEARNING, **sets), run)
    if not (run / "results.json").exists():
        results = evaluate(
            run,
            Questions("tofu", data),
            compared_with=ComparedWith(retain_results=measured.with_name("results.retain.json")),
        )
        results.companions["target"] = load_results(measured)
        results.save(run / "results.json")
    return run


def main() -> None:
    tofu, out, *objectives = sys.argv[1:]
    data = prepare(tofu, Path(out) / "data")
    target, retain = learn(data, Path(out))
    if not (target / "results.json").exists():
        evaluate(
            target,
            Questions("tofu", data),
            compared_with=ComparedWith(retain_model=retain),
            out=target / "results.json",
        )
    runs = [forget(objective, data, Path(out)) for objective in objectives or OBJECTIVES]
    print(write_report(runs, Path(out) / "report.html"))


if __name__ == "__main__":
    main()
