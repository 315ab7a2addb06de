"""`expunge unlearn` and `expunge finetune`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.errors import InputError

CUSTOM_HELP = 'A custom term: "my.py:Term+GD".'
SPEC_HELP = "A file, a folder, a Hub id, or folder-or-id:configuration[:split]."
# How conversations are written: the same three options wherever prompts are rendered.
Template = Annotated[
    str | None, typer.Option(help="Chat template: a file, its text, plain or llama-2-tofu; default: the model's own.")
]
System = Annotated[str | None, typer.Option(help="System prompt, put before conversations that have none.")]
Date = Annotated[str | None, typer.Option(help="The date that templates print, e.g. 2025-04-10; default: 2025-01-01.")]


def unlearn(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE] [SECTION.KEY=VALUE ...]",
            help="A recipe, file or name, and options over it: objective.beta=0.1 train.learning_rate=1e-5 lora.r=8.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Target model: a folder, an adapter folder or a Hub name.")] = None,
    forget: Annotated[str | None, typer.Option(help=f"Rows to forget. {SPEC_HELP}")] = None,
    retain: Annotated[str | None, typer.Option(help=f"Rows to keep. {SPEC_HELP}")] = None,
    objective: Annotated[
        str | None, typer.Option(help=f'Forget term + regularisation term, e.g. "NPO+GD". {CUSTOM_HELP}')
    ] = None,
    idk: Annotated[Path | None, typer.Option(help="Refusals, one a line; default: the hundred shipped ones.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Compare with this frozen model; default: the target before its first step.")
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(help="For RESET: move weights towards this model, or fresh; default: the one below an adapter."),
    ] = None,
    holdout: Annotated[
        str | None, typer.Option(help=f"Rows never trained on, for RESET's level and the choice of reset. {SPEC_HELP}")
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="For RESET without objective.reset: it is chosen by so many trials at most.")
    ] = 3,
    minutes: Annotated[float | None, typer.Option(help="And by no trial that would end after so many minutes.")] = None,
    out: Annotated[Path, typer.Option(help="The run directory to make.")] = Path("run"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the unfinished run in --out.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Allow code that comes with the model to run.")
    ] = False,
    dtype: Annotated[str | None, typer.Option(help="Of the weights: float32 (default) or bfloat16.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="What is computed in: float32, bfloat16 (autocast, as train.bf16=true; weights as they are), or auto: "
            "bfloat16 where it is the faster one."
        ),
    ] = None,
    quantization: Annotated[str | None, typer.Option(help="Of frozen weights below an adapter: nf4 or int8.")] = None,
    attention: Annotated[
        str | None, typer.Option(help="sdpa, eager, flash_attention_2 or flash_attention_3; default: the model's own.")
    ] = None,
    launch: Annotated[
        str | None, typer.Option(help="Run in so many processes, or as an accelerate.yaml says (several GPUs, FSDP2).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """Make a model forget: train it with an objective, and save it with everything the run depended on."""
    from expunge.training.recipe import read_recipe, split_words

    path, options = split_words(words or [])
    named: dict[str, Any] = {
        "model": model,
        "forget": forget,
        "retain": retain,
        "idk": idk and str(idk),
        "reference": reference,
        "anchor": anchor,
        "holdout": holdout,
        "objective": objective,
        "dtype": dtype,
        "quantization": quantization,
        "attention": attention,
        "trust_remote_code": trust_remote_code or None,
        "template": template,
        "system": system,
        "date": date,
    }
    overrides = {key: value for key, value in named.items() if value is not None} | options
    if precision is not None:
        overrides["train.bf16"] = _in_bfloat16(precision, bool(overrides.get("train.use_cpu")))
    from expunge.cli.launch import launch as start
    from expunge.cli.launch import launched
    from expunge.training.run import execute, places, resumable_recipe
    from expunge.training.run import unlearn as run

    recipe = resumable_recipe(out) if resume and not path and not overrides else read_recipe(path, overrides)
    if launched():
        execute(recipe, out, resume, quiet)
        return
    if launch is None:
        if "RESET" in recipe.objective_name:
            from expunge.forget import Budget, with_reset

            recipe = with_reset(recipe, out, resume, quiet, Budget(trials, minutes), typer.echo)
        run(recipe, out, resume=resume, quiet=quiet)
    else:
        with places(recipe, out, resume, hold=False):
            start(launch, _without_launch(sys.argv[1:]))
    typer.echo(f"Unlearned with {recipe.build_objective().name}: {out}/{'adapter' if recipe.lora else 'model'}")


def _in_bfloat16(precision: str, on_cpu: bool) -> bool:
    """Whether to train in bfloat16; what was chosen is said."""
    import torch

    from expunge.models import best_device
    from expunge.models.precision import choose_precision

    device = torch.device("cpu") if on_cpu else best_device()
    chosen = choose_precision(precision, device)
    if precision == "auto":
        print(f"expunge: computing in {chosen}, the fastest precision of this {device.type}.", file=sys.stderr)
    return chosen == "bfloat16"


def _without_launch(arguments: list[str]) -> list[str]:
    """The command line again, less `--launch VALUE` or `--launch=VALUE`."""
    kept, skip = [], False
    for word in arguments:
        if not skip and word != "--launch" and not word.startswith("--launch="):
            kept.append(word)
        skip = word == "--launch"
    return kept


def finetune(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[train.KEY=VALUE ...]", help="Training options.")
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help=f"Rows to learn; may be repeated. {SPEC_HELP}")] = None,
    out: Annotated[Path, typer.Option(help="The model folder to make.")] = Path("model"),
    model: Annotated[str | None, typer.Option(help="Start from this model.")] = None,
    init: Annotated[str | None, typer.Option(help='"tiny": start from a new Llama of about a million weights.')] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="With --init: take this model's tokenizer. A retain model must have its target's."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """Make a target or a retain model: fine-tune on completions, from a checkpoint or from nothing."""
    from expunge.training.recipe import check_train_options, parse_overrides

    if (model is None) == (init is None):
        raise InputError("Give either --model M, to start from a checkpoint, or --init tiny, to start from nothing.")
    if init not in (None, "tiny"):
        raise InputError(f"--init {init}: only 'tiny' is known.")
    if model is not None and tokenizer is not None:
        raise InputError("--tokenizer requires --init; a checkpoint has its own.")
    if not data:
        raise InputError("Give the rows to learn: --data SPEC, as often as needed.")
    overrides = parse_overrides(list(words or []))
    options = {key.removeprefix("train."): value for key, value in overrides.items()}
    if any("." in key for key in options):
        raise InputError("finetune takes options of the section train alone, e.g. train.num_train_epochs=3.")
    check_train_options(options)
    from expunge.data import PromptStyle, load_rows
    from expunge.models import kept_style
    from expunge.training.finetune import finetune as run

    before = model or tokenizer
    style = ((before and kept_style(before)) or PromptStyle()).updated(template, system, date)
    rows = [row for spec in data for row in load_rows(spec)]
    if model is not None:
        from expunge.models import load_model

        loaded, words_of = load_model(model)
    else:
        from expunge.worlds.new import TINY_TRAINING, new_tiny

        loaded, words_of = new_tiny(rows, tokenizer, seed=int(options.get("seed", 42)))
        options = {**TINY_TRAINING, **options}
    typer.echo(f"Saved {run(loaded, words_of, rows, out, options, quiet=quiet, style=style)}")
