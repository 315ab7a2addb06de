"""`expunge eval` measures a model; `expunge metrics` says what is measured."""

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli.train import Date, System, Template


def evaluate_model(
    model: Annotated[str, typer.Option(help="Model folder, run folder, adapter folder or Hub name.")],
    data: Annotated[str | None, typer.Option(help="Folder or Hub id with the suite's configurations.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results file to write, e.g. RUN/results.json.")] = None,
    suite: Annotated[
        str,
        typer.Option(
            help="tofu, closer_look, closer_look_real_people, muse, llmu, own, wmdp, general, or FILE.py:NAME."
        ),
    ] = "tofu",
    forget_split: Annotated[
        str | None, typer.Option(help="e.g. forget10; needed where the data has several forget splits.")
    ] = None,
    holdout: Annotated[
        str | None,
        typer.Option(
            help="Rows never trained on, for membership inference; default: holdout10 with forget10, if there."
        ),
    ] = None,
    retain_model: Annotated[
        str | None, typer.Option(help="Model trained without the forget set, for forget quality.")
    ] = None,
    retain_results: Annotated[
        Path | None, typer.Option(help="Its results in place of the model: ours, or OpenUnlearning's *_EVAL.json.")
    ] = None,
    target_model: Annotated[str | None, typer.Option(help="The model before unlearning, for comparison.")] = None,
    embedding_model: Annotated[
        str | None, typer.Option(help="Sentence-embedding model for cosine_similarity, by Hub name or folder.")
    ] = None,
    nli_model: Annotated[str | None, typer.Option(help="NLI classifier for entailment, by Hub name or folder.")] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=MODEL:LABEL, repeatable: how many outputs carry the label of a sequence classifier, as "
            "NAME_rate; e.g. gibberish, harmful.",
        ),
    ] = None,
    moderator: Annotated[
        list[str] | None,
        typer.Option(help="NAME=MODEL:LABEL, repeatable: the same, of a classifier that reads prompt and output."),
    ] = None,
    reward_model: Annotated[
        str | None, typer.Option(help="Reward model (a classifier with one output) for suite llmu, Hub name or folder.")
    ] = None,
    fluency_model: Annotated[
        str | None, typer.Option(help="Causal language model for the perplexity of outputs, Hub name or folder.")
    ] = None,
    bertscore_model: Annotated[
        str | None,
        typer.Option(help="Encoder for bert_score_f1 of suite llmu: MODEL, or MODEL:LAYER; Hub name or folder."),
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a scoring batch; changes time and memory, no number.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="What the models compute in: float32, bfloat16 (faster on a GPU, and on CPUs with AVX512-BF16 or AMX; "
            "last digits differ), or auto: the faster of the two here."
        ),
    ] = "float32",
    vllm: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON", help="Python of an environment with vLLM, which then answers the prompts (on a GPU)."
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be run, and run nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """Measure what a model still knows of the forget set, and what it kept of the rest."""
    import json as json_format

    from rich.console import Console

    from expunge.errors import InputError
    from expunge.evaluation import ComparedWith, Execution, JudgeModels, Questions

    questions = Questions(suite, data, forget_split, holdout, template, system, date)
    if plan:
        from expunge.evaluation.passes.describe import plan_evaluation

        if data is None:
            raise InputError("--data is missing: the plan is made from the rows.")
        work = plan_evaluation(model, questions, batch_tokens)
        if json:
            typer.echo(json_format.dumps(work, indent=2))
            return
        for name, number in work.items():
            shown = f"{number:.1%}" if isinstance(number, float) else f"{number:,}"
            typer.echo(f"{name.replace('_', ' '):24} {shown:>14}")
        return
    if out is None:
        raise InputError("--out is missing: the results file to write, e.g. --out results.json.")
    from expunge.evaluation import evaluate
    from expunge.evaluation.judges import parse_classifiers
    from expunge.evaluation.passes import processes

    results = evaluate(
        model,
        questions,
        compared_with=ComparedWith(retain_model, retain_results, target_model),
        judges=JudgeModels(
            embedding_model,
            nli_model,
            parse_classifiers([*(classifier or []), *(moderator or [])]),
            reward_model,
            fluency_model,
            bertscore_model,
            frozenset(parse_classifiers(moderator or [])),
        ),
        execution=Execution(batch_tokens, device, vllm, progress=True, precision=precision),
        out=out,
    )
    if processes.rank() > 0:  # launched with others: the first one reports
        return
    if json:
        typer.echo(json_format.dumps(results.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    from expunge.report import load_comparison, terminal_table

    Console().print(terminal_table(load_comparison([out])))
    typer.echo(f"Results: {out}")


def list_metrics() -> None:
    """List every metric: where it is reported, the good direction, its definition and source."""
    from rich.console import Console
    from rich.table import Table

    from expunge.metrics import METRICS

    table = Table(show_lines=True)
    table.add_column("metric", no_wrap=True)
    table.add_column("sets: better")
    table.add_column("definition (source)", min_width=26)  # there in a narrow terminal too
    for metric in METRICS:
        directions = (f"{kind}: {metric.better[kind].replace('_', ' ')}" for kind in metric.kinds)
        table.add_row(metric.name, "\n".join(directions), f"{metric.definition} ({metric.source})")
    Console().print(table)
