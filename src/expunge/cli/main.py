"""The `expunge` command: errors without tracebacks.

Exit codes: 0 done, 1 no space or no access on a disk, 2 bad input, 3 stopped by the guard (or by a ledger's
regression), 4 a sweep with runs that are not done, 130 interrupted.
"""

import atexit
import errno
import gc
import os
import signal
import sys
import warnings
from typing import Annotated, Any

import typer

import expunge
from expunge.cli.attack import attack
from expunge.cli.bench import bench
from expunge.cli.compare import compare
from expunge.cli.demo import demo
from expunge.cli.eval import evaluate_model, list_metrics
from expunge.cli.forget import forget, tune
from expunge.cli.inspect import loss, methods, validate
from expunge.cli.launch import launched, leave, note_exit
from expunge.cli.ledger import ledger
from expunge.cli.lists import recipes, suites
from expunge.cli.merge import merge
from expunge.cli.purge import purge
from expunge.cli.report import report
from expunge.cli.scenario import scenario, scenarios
from expunge.cli.sweep import sweep
from expunge.cli.train import finetune, unlearn
from expunge.cli.verify import verify
from expunge.cli.view import view
from expunge.errors import InputError, Interrupted, NonFiniteLoss, Regression

# What torch says of a file that it could not write to its end.
STREAM_ERRORS = ("PytorchStreamWriter failed", "unexpected pos", "iostream error")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
# torch and transformers make hundreds of thousands of objects that stay. Looking among them for garbage as often as
# Python does by itself (700, 10, 10) is a fifth of the time that importing them takes.
COLLECTING = (10_000, 10, 10)

app = typer.Typer(
    name="expunge",
    help="Make a language model forget, keep the rest, and show the evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo,
    forget,
    tune,
    unlearn,
    finetune,
    loss,
    sweep,
    bench,
    attack,
    verify,
    merge,
    report,
    view,
    compare,
    methods,
    suites,
    recipes,
    validate,
    purge,
    scenario,
    scenarios,
):
    app.command()(command)
app.command("eval")(evaluate_model)
app.command("metrics")(list_metrics)
app.add_typer(ledger)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"expunge {expunge.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Make a language model forget, keep the rest, and show the evidence."""


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    _quieten()
    gc.set_threshold(*COLLECTING)
    atexit.register(leave)
    # Raised where the program stands, so that temporary files are removed.
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        app()
    except InputError as error:
        _stop(str(error), 2)
    except (NonFiniteLoss, Regression) as error:
        _stop(str(error), 3)
    except Interrupted as error:
        _stop("" if launched() else str(error), 130)  # the launching process says it
    except Exception as error:
        if trouble := _disk_trouble(error):
            _stop(f"{trouble} What was whole before is kept; an unfinished run continues with --resume.", 1)
        if isinstance(error, OSError):
            _stop(f"{error.filename or 'input or output'}: {error.strerror or error}.", 2)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: Any) -> None:
    raise Interrupted("interrupted.")


def _disk_trouble(error: BaseException | None) -> str | None:
    """What a disk refused, if that is why; libraries wrap it in other errors."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, OSError) and error.errno in (*DISK_ERRORS, errno.EACCES, errno.EPERM):
            return f"{error.filename or 'input or output'}: {os.strerror(error.errno)}."
        for number in DISK_ERRORS:  # safetensors and torch put it into the message
            if f"(os error {number})" in str(error) or os.strerror(number) in str(error):
                return f"{os.strerror(number)}."
        if any(words in str(error) for words in STREAM_ERRORS):
            return "A file could not be written to its end; the disk may be full."
        error = error.__cause__ or error.__context__
    return None


def _stop(message: str, code: int) -> None:
    note_exit(code)
    if message and os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        print(f"expunge: {message}", file=sys.stderr)
    sys.exit(code)


def _quieten() -> None:
    """Keep the libraries' own chatter out of ours; EXPUNGE_DEBUG=1 lets it through."""
    import logging

    if not os.environ.get("EXPUNGE_DEBUG"):
        warnings.filterwarnings("ignore", module=r"(torch|transformers|peft|accelerate|torchao)(\..*)?")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        for chatty in ("torchao", "torch.utils._pytree", "bitsandbytes"):
            logging.getLogger(chatty).setLevel(logging.ERROR)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"expunge: note: {message}", file=sys.stderr)
