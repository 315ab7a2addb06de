"""A process that has imported everything, and forks a child for each command: a kill costs no start of Python.

Reads requests from standard input, one a line: {"words": [...], "under": folder, "kill": n, "full": n, "seconds": s,
"signal": number, "limit": bytes, "said": file}. Answers with the child's exit status, a line each. A child is killed by
SIGKILL, or sent another signal, before its n-th change of a file below `under`, or killed after some seconds; or it
finds the disk full from its n-th change on (ENOSPC). Its changes are written to `said` + ".changes", its output to
`said`.

Run as a program, never imported by tests.
"""

import errno
import gc
import json
import os
import resource
import signal
import sys
import time

PRELOADED = (
    *("accelerate", "datasets", "nltk", "peft", "pyarrow.parquet", "rouge_score.rouge_scorer", "sacrebleu"),
    *("scipy.stats", "transformers.models.auto.modeling_auto", "transformers.trainer"),
    *("transformers.models.llama.modeling_llama", "expunge", "expunge.cli.main", "expunge.training.run"),
    *("expunge.training.finetune", "expunge.evaluation.measure", "expunge.report", "expunge.worlds.new"),
    *("torch.utils.checkpoint", "torch.distributed", "transformers.tokenization_utils_tokenizers"),
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link", "os.symlink")


class Changes:
    """Sees each change of a file before it is made, in this process, below a folder; and kills, or refuses it."""

    def __init__(self, report, request):
        self.report, self.under = report, request["under"]
        self.kill, self.full = request.get("kill"), request.get("full")
        self.removed = ""
        self.signal = request.get("signal", signal.SIGKILL)
        self.seen = 0

    def __call__(self, event, arguments):
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITES:
                return
        elif event in CHANGES:
            path = arguments[0]
        elif event == "shutil.rmtree":
            self.removed = os.fsdecode(arguments[0])  # names inside of it are relative
            return
        else:
            return
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        inside = event in ("os.remove", "os.rmdir") and len(arguments) > 1 and arguments[1] not in (None, -1)
        path = os.path.abspath(os.path.join(self.removed if inside else "", os.fsdecode(path)))
        if not path.startswith(self.under):
            return
        self.seen += 1
        os.write(self.report, f"{event} {path}\n".encode())
        if self.seen == self.kill:
            os.kill(os.getpid(), self.signal)
        takes_room = event in ("open", "os.mkdir", "os.rename", "os.link", "os.symlink")
        if self.full is not None and self.seen >= self.full and takes_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def child(request):
    """The command itself; never returns."""
    said, report = (os.open(request["said"] + end, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for end in ("", ".changes"))
    os.dup2(said, 1)
    os.dup2(said, 2)
    code = 1
    try:
        if request.get("limit"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], request["limit"]))
        sys.argv = ["expunge", *request["words"]]
        if request.get("under"):
            sys.addaudithook(Changes(report, request))
        from expunge.cli.main import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else bool(stop.code)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


def wait(pid, seconds):
    """The child's exit status; it is killed after some seconds, if any are given."""
    deadline = time.monotonic() + (seconds or 600)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.002)


def serve():
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(request)
        print(wait(pid, request.get("seconds")), flush=True)


if __name__ == "__main__":
    import importlib

    for name in PRELOADED:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping("llama")  # takes a while at first
    gc.collect()
    gc.freeze()  # what is there already is no child's garbage
    print("ready", flush=True)
    serve()
