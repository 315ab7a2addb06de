"""`--launch`: the same command again in several processes."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from expunge.errors import InputError, Interrupted, NonFiniteLoss

# Set in the processes that were started here; holds the file that their first process writes its exit code to.
EXIT_FILE = "EXPUNGE_EXIT_FILE"


def launched() -> bool:
    """Whether this process is one of several that were started by `--launch`."""
    return EXIT_FILE in os.environ


def launch(how: str, arguments: Sequence[str]) -> None:
    """Run `expunge ARGUMENTS` in several processes and wait for them.

    Args:
        how: A number of processes on this machine, or an `accelerate` configuration file (several machines, FSDP2).
        arguments: The command's own, without `--launch`.

    Raises:
        InputError: `how` is neither; or the run ended with exit code 2, after its first process said why.
        Interrupted: The run was.
        NonFiniteLoss: The run was stopped by the guard.
    """
    with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
        note = Path(folder) / "exit"
        command = [sys.executable, "-m", *_launcher(how), "-m", "expunge", *arguments]
        environment = {**os.environ, EXIT_FILE: str(note)}
        with subprocess.Popen(command, env=environment) as process:
            try:
                process.wait()
            except BaseException:
                process.terminate()  # and with it all that it has started
                process.wait()
                raise
        code = int(note.read_text()) if note.is_file() else process.returncode
    if code == 2:
        raise InputError("")
    if code == 3:
        raise NonFiniteLoss("")
    if code == 130:
        raise Interrupted("")
    if code:
        raise SystemExit(code)


def note_exit(code: int) -> None:
    """Tell the launching process how the run ended; `torchrun` would make any failure a 1."""
    if os.environ.get("RANK", "0") == "0" and launched():
        Path(os.environ[EXIT_FILE]).write_text(str(code))


def leave() -> None:
    """Leave the group of processes, if this one is in any: its threads must end before the interpreter does."""
    distributed = sys.modules.get("torch.distributed")  # not imported just for this
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _launcher(how: str) -> list[str]:
    if how.endswith((".yaml", ".yml")):
        if not Path(how).is_file():
            raise InputError(f"--launch {how}: no such file.")
        return ["accelerate.commands.launch", "--config_file", how]
    if not how.isdigit() or int(how) < 1:
        raise InputError(f"--launch {how}: give a number of processes or an accelerate configuration file.")
    # Not accelerate's own launcher: without a configuration file it starts one process only where there is no GPU.
    return ["torch.distributed.run", "--standalone", "--nproc-per-node", how]
