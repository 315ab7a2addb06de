"""The model card of an unlearned model: what was done, what it shows, how to serve it and how to undo it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import expunge
from expunge.forget.request import ForgetRequest
from expunge.report.rows import losses
from expunge.runs import ADAPTER, MERGED, MODEL, RECIPE
from expunge.training.recipe import read_recipe

MEANING = {
    "forgotten": "In every setting that was tried, these rows are no better known than answers no model was taught.",
    "partly": "The rows are not known as the model is, or only some are; others come back. It is not removal.",
    "not_forgotten": "Most of the rows are still known. Do not ship this model as one that forgot them.",
    "model_damaged": "What must stay is damaged. Do not ship this model.",
    "inconclusive": "What was measured settles nothing; the reasons say what is missing.",
    "nothing_to_forget": "The model did not know the rows.",
}


def card(request: ForgetRequest, verdict: Mapping[str, Any], out: Path) -> str:
    """The card as Markdown with the front matter that model hubs read; it has no text of any row."""
    recipe = read_recipe(out / RECIPE, {})
    adapter = (out / ADAPTER).is_dir()
    head = {
        "base_model": request.model,
        "tags": ["unlearning", "expunge", *(["lora"] if adapter else [])],
        "library_name": "peft" if adapter else "transformers",
    }
    statuses = Counter(row["status"].replace("_", " ") for row in verdict["rows"])
    known = verdict["evidence"]["known_under"]
    lines = [
        *("---", yaml.safe_dump(head, sort_keys=False).strip(), "---", ""),
        f"# {out.resolve().name}: a model that was made to forget",
        "",
        f"**Verdict: {verdict['overall'].replace('_', ' ')}.** {MEANING[verdict['overall']]}",
        "",
        *(f"- {reason}" for reason in verdict["reasons"]),
        "",
        f"Rows: {', '.join(f'{count} {status}' for status, count in statuses.items())}.",
        "",
        *(f"- {line}" for line in losses(verdict["evidence"])),
        "",
        "Rows that must stay were trained on, so that what is lost of others lies nearer to the second line.",
        "",
        "| setting | known | controls that would be | above chance, 95 % |",
        "|---|---|---|---|",
        *(_setting(name, share) for name, share in known.items()),
        "",
        f"A row is known where its right answer is likelier than every control by more than "
        f"{verdict['evidence']['settings']['nats']:g} nats. Forgotten means: the upper bound is at most "
        f"{verdict['evidence']['settings']['margin']:.0%} in every setting.",
        "",
        "## What was done",
        "",
        f"expunge {expunge.__version__}, objective {recipe.objective_name}, "
        f"{'an adapter' if adapter else 'all weights'} trained; all settings are in `{RECIPE}`, all measurements in "
        "`verdict.json`, `results.json` and `attack.json`, and for reading in `report.html`.",
        "",
        "## How to serve it",
        "",
        *_serving(request, adapter),
        "",
        "## How to undo it",
        "",
        f"The model before is unchanged: {request.model}."
        + (f" Serve it without the adapter `{ADAPTER}/`." if adapter else ""),
        "",
        "## Limits",
        "",
        "Nothing here shows that the rows cannot be brought back by attacks that were not tried. Controls are made by "
        "rules; a few rows that no model saw count as known. Other copies of the data, of the model before, and what "
        "was made from them are untouched.",
        "",
    ]
    return "\n".join(lines)


def _setting(name: str, share: Mapping[str, Any]) -> str:
    low, high = share["above_chance"]
    return f"| {name} | {share['value']:.0%} | {share['chance']:.0%} | {low:.0%} to {high:.0%} |"


def _serving(request: ForgetRequest, adapter: bool) -> list[str]:
    if not adapter:
        return [
            f"`{MODEL}/` is a plain transformers folder: `vllm serve ./{MODEL}`. For llama.cpp: "
            f"`python convert_hf_to_gguf.py ./{MODEL} --outfile model.gguf`. Measure what you ship again, quantised "
            "too."
        ]
    return [
        f"As an adapter: `vllm serve {request.model} --enable-lora --lora-modules forgot=./{ADAPTER}`. Whoever can ask "
        "the server for the model below gets the model that has not forgotten.",
        "",
        f"As one model: `vllm serve ./{MERGED}`; for llama.cpp `python convert_hf_to_gguf.py ./{MERGED} --outfile "
        "model.gguf`. Measure what you ship again, quantised too.",
    ]
