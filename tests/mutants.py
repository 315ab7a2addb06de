"""Plant small faults in the source, one at a time, and see whether the tests of that room notice: `make mutants`.

    python tests/mutants.py ROOM --sample 60 --seed 0 | tee found
    python tests/mutants.py ROOM --again found

A fault is one operator, number, keyword, condition, return value or statement that is changed. The room's tests run
once without one, to learn which of them run which lines; a fault is then tried by those that run its statement. Python
and its libraries are started once and forked for each fault (the usual tools start them again, which takes longer than
the tests); the source is changed in a copy, never where it stands.
"""

import argparse
import ast
import compileall
import contextlib
import gc
import importlib
import json
import os
import py_compile
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest

HOME = Path(__file__).parents[1]
COMMANDS = ("bad_input", "custom_objectives", "custom_suite", "errors", "eval", "lists", "loss", "unlearn", "verify")
# What a room's faults should be noticed by.
TESTS = {
    "data": ["tests/data", "tests/faults/test_rows.py"],
    "metrics": ["tests/metrics"],
    "objectives": ["tests/objectives"],
    "models": ["tests/models", "tests/training/test_packing.py", "tests/cli/test_merge.py"],
    "training": ["tests/training", "tests/invariants"],
    "evaluation": ["tests/evaluation", "tests/faults/test_stale.py", "tests/faults/test_edited.py"],
    "attacks": ["tests/attacks"],
    "forget": ["tests/forget"],
    "report": [f"tests/report/test_{name}.py" for name in ("checks", "llmu", "load", "page", "terminal", "verdict")],
    "cli": [*(f"tests/cli/test_{name}.py" for name in COMMANDS), "tests/worlds/test_demo.py"],
    "worlds": ["tests/worlds"],
}
LIBRARIES = (
    *("hypothesis", "pytest", "accelerate", "datasets", "matplotlib.pyplot", "nltk", "peft", "sacrebleu"),
    *("pydantic.dataclasses", "pydantic.type_adapter", "pyarrow.parquet", "rich.console", "rouge_score.rouge_scorer"),
    *("scipy.stats", "transformers", "typer.testing", "transformers.trainer"),
    *("transformers.models.llama.modeling_llama", "transformers.models.bert.modeling_bert"),
)
COMPARISONS = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
OPERATORS = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div},
    **{ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr},
}
EVERYWHERE = ""  # the context of lines that run before any test, or in a fixture that tests share


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
    statement: int | None = None  # the line its statement begins at; None where it runs on import

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
        self._statement = 0
        self._functions = 0

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self._statement = node.lineno
        super().visit(node)

    def put(self, node: ast.AST, new: ast.AST | str, what: str = "") -> None:
        """A fault in a node's place; `what` it is, where the new text does not say it."""
        text = new if isinstance(new, str) else f"({ast.unparse(new)})"
        place = node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
        self.found.append(Fault(self.file, *place, text, what, self._statement if self._functions else None))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # annotations and defaults of options are no code
        self._functions += 1
        for statement in node.body:
            self.visit(statement)
        self._functions -= 1

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


class Watch:
    """A pytest plugin: which tests run which lines, how long each takes, and which start processes of their own."""

    def __init__(self, source: Path) -> None:
        self._coverage = coverage.Coverage(data_file=None, config_file=False, source=[str(source / "expunge")])
        self._source = source
        self._now = EVERYWHERE
        self.seconds: dict[str, float] = {}
        self.unseen: set[str] = set()
        self._coverage.start()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: Any) -> None:
        if event in ("subprocess.Popen", "os.fork"):
            self.unseen.add(self._now)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._now = item.nodeid
        self._coverage.switch_context(self._now)
        began = time.monotonic()
        done = yield
        self.seconds[item.nodeid] = time.monotonic() - began
        self._coverage.switch_context(EVERYWHERE)
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        self._coverage.switch_context(EVERYWHERE)
        try:
            return (yield)
        finally:
            self._coverage.switch_context(self._now)

    def learned(self) -> dict[str, Any]:
        self._coverage.stop()
        ran = self._coverage.get_data()
        lines = {os.path.relpath(file, self._source): ran.contexts_by_lineno(file) for file in ran.measured_files()}
        return {"seconds": self.seconds, "unseen": sorted(self.unseen), "lines": lines}


class Room:
    """The tests of a room, and what they run."""

    def __init__(self, tests: list[str], copy: Path) -> None:
        """Run them without a fault.

        Raises:
            SystemExit: One fails: nothing could be learned from them.
        """
        found = copy.parent / "learned.json"
        if _forked(lambda: _watch(tests, copy, found)):
            sys.exit(f"Tests fail without a fault: {' '.join(tests)}")
        learned = json.loads(found.read_text())
        self.seconds: dict[str, float] = learned["seconds"]
        self._unseen = set(learned["unseen"])
        self._lines = learned["lines"]
        self._copy = copy

    def tests_of(self, fault: Fault) -> list[str]:
        """The tests that run a fault's statement, or may: first those that run its file, and what is quick.

        The tests of one file stay together, for what they share.
        """
        lines = self._lines.get(fault.file, {})
        places = {fault.statement, *range(fault.line, fault.end_line + 1)}
        running = {test for line in places for test in lines.get(str(line), ())}
        if fault.statement is None or EVERYWHERE in running:
            running = set(self.seconds)
        near = {test for tests in lines.values() for test in tests}
        tests = (running | self._unseen) & set(self.seconds)
        files: dict[str, float] = defaultdict(float)
        for test in tests:
            files[_file(test)] += self.seconds[test]
        return sorted(tests, key=lambda test: (test not in near, files[_file(test)], _file(test), self.seconds[test]))

    def notices(self, fault: Fault) -> bool:
        """Whether a test fails with a fault; one that hangs has noticed, too."""
        tests = self.tests_of(fault)
        limit = 60 + 5 * sum(self.seconds[test] for test in tests)
        with planted(fault, self._copy):
            return bool(tests) and _forked(lambda: _test(tests, self._copy), limit) != 0


def _file(test: str) -> str:
    return test.partition("::")[0]


class Chosen:
    """A pytest plugin: these tests alone, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self._place), key=lambda i: self._place[i.nodeid])


def _forked(work: Any, limit: float = float("inf")) -> int:
    """The exit code of work in a process of its own, which is killed after so many seconds."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os._exit(work())
    deadline = time.monotonic() + limit
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.05)


def _test(tests: list[str], copy: Path) -> int:
    """In a child: run chosen tests on the copy."""
    return _pytest(["-x", *dict.fromkeys(map(_file, tests))], copy, Chosen(tests))


def _watch(tests: list[str], copy: Path, found: Path) -> int:
    """In a child: run tests on the copy and write down what they run."""
    watch = Watch(copy)
    code = _pytest(["-m", "not slow", *tests], copy, watch)
    found.write_text(json.dumps(watch.learned()))
    return code


def _pytest(arguments: list[str], copy: Path, plugin: object) -> int:
    os.chdir(HOME)
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    options = ["-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return int(pytest.main([*options, *arguments], plugins=[plugin]))


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
    parser.add_argument("--again", type=Path, help="what an earlier run printed: only the faults that survived it")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its threads would not be forked
    sys.dont_write_bytecode = True
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # what is there already need not be looked through in every child
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(shutil.copytree(HOME / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__")))
        compileall.compile_dir(copy, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        for name in options.rooms:
            faults = faults_of(copy / "expunge" / name, copy)
            if options.again:
                earlier = options.again.read_text().splitlines()
                drawn = [fault for fault in faults if f"survived: {fault.in_words(copy)}" in earlier]
            else:
                drawn = random.Random(options.seed).sample(faults, min(options.sample, len(faults)))
            room = Room(TESTS[name], copy)
            survived = 0
            for fault in sorted(drawn, key=lambda fault: (fault.file, fault.line)):
                if not room.notices(fault):
                    survived += 1
                    print(f"survived: {fault.in_words(copy)}", flush=True)
                    if not room.tests_of(fault):
                        print("  which no test runs", flush=True)
            print(f"| {name} | {len(faults)} | {len(drawn)} | {len(drawn) - survived} | {survived} |", flush=True)


if __name__ == "__main__":
    main()
