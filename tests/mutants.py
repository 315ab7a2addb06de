"""Plant small faults in the source, one at a time, and see whether the tests of that room notice: `make mutants`.

    python tests/mutants.py ROOM --sample 60 --seed 0

A fault is one operator, number, keyword, condition, return value or statement that is changed. Python and its libraries
are started once and forked for each fault (the usual tools start them again, which takes longer than the tests); the
source is changed in a copy, never where it stands.
"""

import argparse
import ast
import contextlib
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parents[1]
# What a room's faults should be noticed by.
TESTS = {
    "data": ["tests/data", "tests/faults/test_rows.py"],
    "metrics": ["tests/metrics"],
    "objectives": ["tests/objectives"],
    "models": ["tests/models"],
    "training": ["tests/training", "tests/invariants"],
    "evaluation": ["tests/evaluation", "tests/faults/test_stale.py", "tests/faults/test_edited.py"],
    "attacks": ["tests/attacks"],
    "forget": ["tests/forget"],
    "report": ["tests/report"],
    "cli": ["tests/cli"],
    "worlds": ["tests/worlds"],
}
LIBRARIES = (
    *("hypothesis", "pytest", "accelerate", "datasets", "matplotlib.pyplot", "nltk", "peft", "pydantic", "sacrebleu"),
    *("pyarrow.parquet", "rich.console", "rouge_score.rouge_scorer", "scipy.stats", "transformers", "typer.testing"),
    *("transformers.models.llama.modeling_llama", "transformers.trainer", "transformers.models.bert.modeling_bert"),
)
COMPARISONS = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
OPERATORS = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div},
    **{ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr},
}
LIMIT = 300  # seconds for the tests of one fault


@dataclass(frozen=True)
class Fault:
    """Text that takes the place of other text, from one byte of a line to one of another."""

    file: str
    line: int
    start: int
    end_line: int
    end: int
    text: str
    what: str = ""

    def plant(self, source: Path) -> None:
        """Change the file in a copy of the source."""
        path = source / self.file
        lines = path.read_bytes().splitlines(keepends=True)
        first, last = lines[self.line - 1], lines[self.end_line - 1]
        lines[self.line - 1 : self.end_line] = [first[: self.start] + self.text.encode() + last[self.end :]]
        path.write_bytes(b"".join(lines))

    def in_words(self, source: Path) -> str:
        """Where it is, what stood there, and what stands there now."""
        lines = (source / self.file).read_bytes().splitlines()[self.line - 1 : self.end_line]
        lines[-1] = lines[-1][: self.end]
        before = " ".join(b" ".join([lines[0][self.start :], *lines[1:]]).decode().split())
        return f"{self.file}:{self.line}: `{before[:70]}` -> {self.what or f'`{self.text[:70]}`'}"


class Faults(ast.NodeVisitor):
    """All faults of a file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Fault] = []

    def put(self, node: ast.AST, new: ast.AST | str, what: str = "") -> None:
        """A fault in a node's place; `what` it is, where the new text does not say it."""
        text = new if isinstance(new, str) else f"({ast.unparse(new)})"
        place = node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
        self.found.append(Fault(self.file, *place, text, what))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # annotations and defaults of options are no code
        for statement in node.body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # nor are decorators
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Raise(self, node: ast.Raise) -> None:  # messages
        self.put(node, "pass")

    def visit_Compare(self, node: ast.Compare) -> None:
        if type(node.ops[0]) in COMPARISONS:
            ops = [COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
            self.put(node, ast.Compare(node.left, ops, node.comparators))
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in OPERATORS:
            self.put(node, ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.put(node, ast.BoolOp(other, node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, (ast.Not, ast.USub)):
            self.put(node, node.operand)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.put(node.test, f"not ({ast.unparse(node.test)})")
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.put(node, repr(not node.value))
        elif isinstance(node.value, (int, float)):
            self.put(node, repr(node.value + 1))

    def visit_Call(self, node: ast.Call) -> None:
        for i, keyword in enumerate(node.keywords):
            if keyword.arg not in (None, "stacklevel", "strict") and not _is_text(keyword.value):
                left = [*node.keywords[:i], *node.keywords[i + 1 :]]
                self.put(node, ast.Call(node.func, node.args, left), f"without `{keyword.arg}`")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.put(node, "return None")
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.put(node, "pass")
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.put(node, "pass")
        self.visit(node.value)


def _is_text(node: ast.AST) -> bool:
    """Whether a value is what people read."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def faults_of(room: Path, source: Path) -> list[Fault]:
    """Every fault of a room's files."""
    found: list[Fault] = []
    for file in sorted(room.rglob("*.py")):
        visitor = Faults(str(file.relative_to(source)))
        visitor.visit(ast.parse(file.read_text(encoding="utf-8")))
        found += visitor.found
    return found


def noticed(tests: list[str], copy: Path) -> bool:
    """Whether tests fail on the source in a copy; one that hangs has noticed, too."""
    pid = os.fork()
    if pid == 0:
        _test(tests, copy)
    deadline = time.monotonic() + LIMIT
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return True
        time.sleep(0.05)


def _test(tests: list[str], copy: Path) -> None:
    """In the child: run the tests on the copy and leave."""
    import pytest

    os.setpgid(0, 0)
    os.chdir(HOME)
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    code = pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])
    os._exit(int(code))


def _nearest(fault: Fault) -> list[str]:
    """The tests of the very file, which are likely to notice first."""
    file = Path(fault.file)
    near = Path("tests", *file.parts[1:-1], f"test_{file.name}")
    return [str(near)] if (HOME / near).is_file() else []


@contextlib.contextmanager
def planted(fault: Fault, copy: Path) -> Iterator[None]:
    """The copy with a fault in it, for a while."""
    path = copy / fault.file
    before = path.read_bytes()
    fault.plant(copy)
    try:
        yield
    finally:
        path.write_bytes(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="+", choices=list(TESTS), metavar="ROOM")
    parser.add_argument("--sample", type=int, default=40, help="faults of each room")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its threads would not be forked
    sys.dont_write_bytecode = True
    for name in LIBRARIES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(shutil.copytree(HOME / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__")))
        for room in options.rooms:
            faults = faults_of(copy / "expunge" / room, copy)
            drawn = random.Random(options.seed).sample(faults, min(options.sample, len(faults)))
            if noticed(TESTS[room], copy):  # else nothing would be learned
                sys.exit(f"{room}: its tests fail without a fault.")
            survivors = []
            for fault in sorted(drawn, key=lambda fault: (fault.file, fault.line)):
                with planted(fault, copy):
                    if not noticed([*_nearest(fault), *TESTS[room]], copy):
                        survivors.append(fault.in_words(HOME / "src"))
                        print(f"survived: {survivors[-1]}", flush=True)
            killed = len(drawn) - len(survivors)
            print(f"| {room} | {len(faults)} | {len(drawn)} | {killed} | {len(survivors)} |", flush=True)


if __name__ == "__main__":
    main()
