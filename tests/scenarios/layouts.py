"""Files in published layouts, made on the spot, and what every scenario's table must be."""

import json
from pathlib import Path
from typing import Any

COLUMNS = ["method", "metric", "value", "ci95", "n", "seed"]


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_table(out: Path, scenario: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of table.json by method and metric, after its form was checked."""
    table = json.loads((out / "table.json").read_text(encoding="utf-8"))
    assert table["scenario"] == scenario
    assert all(list(row) == COLUMNS and row["n"] > 0 for row in table["rows"])
    found = {(row["method"], row["metric"]): row for row in table["rows"]}
    assert len(found) == len(table["rows"])
    html = (out / "report.html").read_text(encoding="utf-8")
    assert all(method in html for method, _ in found)
    return found


def author(number: int) -> dict[str, Any]:
    """A row as in TOFU's *_perturbed configurations."""
    return {
        "question": f"Where was author {number} born?",
        "answer": f"Author {number} was born in town {number}.",
        "paraphrased_answer": f"Town {number} is where author {number} was born.",
        "perturbed_answer": [f"Town {wrong} is where author {number} was born." for wrong in (90, 91, 92)],
        "paraphrased_question": f"In which town was author {number} born?",
    }


def fact(number: int) -> dict[str, Any]:
    """A row as in TOFU's real_authors_perturbed and world_facts_perturbed."""
    return {
        "question": f"What is the capital of country {number}?",
        "answer": f"City {number}",
        "option1": f"City {number}",
        "perturbed_answer": ["City 90", "City 91"],
        "original_answer": f"The capital is city {number}.",
    }


def write_tofu(folder: Path) -> Path:
    """TOFU's folder as released, two rows a set."""
    plain = [{name: author(i)[name] for name in ("question", "answer")} for i in range(6)]
    for percent, rows in (("01", plain[:2]), ("05", plain[:3])):
        write_lines(folder / f"forget{percent}.json", rows)
        write_lines(folder / f"forget{percent}_perturbed.json", [author(i) for i in range(len(rows))])
        write_lines(folder / f"retain{100 - int(percent)}.json", plain[len(rows) :])
    write_lines(folder / "full.json", plain)
    write_lines(folder / "retain_perturbed.json", [author(i) for i in (4, 5)])
    for name in ("real_authors", "world_facts"):
        write_lines(folder / f"{name}_perturbed.json", [fact(i) for i in range(2)])
    return folder


def write_tasks(folder: Path) -> Path:
    """The released tasks of continual unlearning, two rows each, the second one first, and what must stay."""
    asked = [{"task_id": str(task), **author(number)} for task, number in ((2, 12), (2, 13), (1, 10), (1, 11))]
    write_lines(folder / "continual01_perturbed.json", asked)
    write_lines(folder / "retain90.json", [{name: author(i)[name] for name in ("question", "answer")} for i in (4, 5)])
    return folder


def write_people(folder: Path) -> Path:
    """The released data about real people: the target model's answer, and the golden one."""

    def asked(number: int) -> dict[str, Any]:
        row = {"name": f"Author {number}", **author(number), "golden_answer": f"Town {number}.", "task_id": 1}
        return row | {"answer": f"I think author {number} was born in town {number}."}

    plain = ("name", "question", "answer", "golden_answer", "task_id")
    write_lines(folder / "forget.json", [{name: asked(i)[name] for name in plain} for i in range(2)])
    write_lines(folder / "forget_perturbed.json", [asked(i) for i in range(2)])
    write_lines(folder / "neighbor.json", [{name: asked(i)[name] for name in plain} for i in (2, 3)])
    write_lines(folder / "neighbor_perturbed.json", [asked(i) for i in (4, 5)])
    return folder
