"""The rows of a suite's sets: found in a data folder or Hub data set by the names of its configurations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expunge.data import Row, Turn, configurations, load_rows, split_spec
from expunge.errors import InputError, unknown
from expunge.evaluation.request import Questions
from expunge.evaluation.suites.columns import text_of
from expunge.evaluation.suites.suite import SetSpec, Suite


@dataclass(frozen=True)
class EvaluationData:
    """Rows per set; sets that are not there, with the reason."""

    spec: str
    forget_split: str | None
    sets: Mapping[str, Sequence[Row]]
    left_out: Mapping[str, str]


def load_sets(questions: Questions, suite: Suite) -> EvaluationData:
    """Find every set of the suite. All rows are taken: released code stops at 300 of 400 without saying so.

    Args:
        questions: says where the rows are.
        suite: says which sets there are.

    Raises:
        InputError: no set of the suite is there, it is not clear which forget split is meant, or a row has no answer.
    """
    found = _find_sets(questions, suite)
    for spec in suite.sets:
        for index, row in enumerate(found.sets.get(spec.name, ())):
            if text_of(row, spec.answer) is None:
                raise InputError(
                    f"{found.spec}: row {index} of the set {spec.name!r} has no text in the column {spec.answer!r}, "
                    f"the answer that suite {suite.name!r} scores and compares with."
                )
    return found


def _find_sets(questions: Questions, suite: Suite) -> EvaluationData:
    data, forget_split, holdout = questions.data, questions.forget_split, questions.holdout
    if data is None:
        raise InputError(f"Suite {suite.name!r} needs --data: a folder or Hub id with its sets.")
    if holdout is not None and all(spec.name != "holdout" for spec in suite.sets):
        raise InputError(f"Suite {suite.name!r} has no metric that needs a holdout set. Leave --holdout out.")
    if isinstance(data, Mapping):
        return _given_sets(data if holdout is None else {**data, "holdout": holdout}, suite, forget_split)
    if _is_rows(data) and any(spec.configuration == "forget" for spec in suite.sets):
        given = {"forget": data} if holdout is None else {"forget": data, "holdout": holdout}
        return _given_sets(given, suite, forget_split)
    known = configurations(data)
    if forget_split is None:
        forget_split = _only_forget_split(data, known, suite)
    elif (wanted := f"{forget_split}_perturbed") not in known and _has_forget(suite):
        raise unknown(f"forget split of {data} (its configuration {wanted!r})", forget_split, _forget_splits(known))
    sets: dict[str, list[Row]] = {}
    left_out: dict[str, str] = {}
    for spec in suite.sets:
        if spec.name == "holdout" and holdout is not None:
            sets[spec.name] = load_rows(holdout)
            continue
        if "split}" in spec.configuration and forget_split is None:
            left_out[spec.name] = f"{data} has no configuration forget*_perturbed"
            continue
        configuration = configuration_of(spec, forget_split)
        if configuration.split(":")[0] in known:
            sets[spec.name] = _rows_of(spec, str(data), configuration)
        else:
            left_out[spec.name] = f"{data} has no configuration {configuration}"
    if not sets:
        wanted = ", ".join(configuration_of(spec, forget_split or "forget*") for spec in suite.sets)
        raise InputError(f"{data} has none of the sets of suite {suite.name!r} ({wanted}). Found: {', '.join(known)}.")
    return EvaluationData(str(data), forget_split, sets, left_out)


def _rows_of(spec: SetSpec, data: str, configuration: str) -> list[Row]:
    """The rows of a set, with the examples before each question where the suite has them."""
    rows = load_rows(f"{data}:{configuration}", spec.columns)
    if spec.shots is None:
        return rows
    shots = "".join(f"Question: {r.prompt}\nAnswer: {r.completion}\n\n" for r in load_rows(f"{data}:{spec.shots}"))
    return [replace(row, turns=(Turn("user", f"{shots}Question: {row.prompt}\nAnswer: "),)) for row in rows]


def configuration_of(spec: SetSpec, forget_split: str | None) -> str:
    """The configuration a set is read from; `holdout10` is that of `forget10`."""
    holdout_split = (forget_split or "").replace("forget", "holdout", 1)
    return spec.configuration.format(forget_split=forget_split, holdout_split=holdout_split)


def _is_rows(data: str | Path) -> bool:
    """Whether this is the SPEC of rows: a file, or a source with its configuration."""
    return Path(data).is_file() or split_spec(data)[1] is not None


def _given_sets(
    data: Mapping[str, Sequence[Row] | str | Path], suite: Suite, forget_split: str | None
) -> EvaluationData:
    names = [spec.name for spec in suite.sets]
    for name in data:
        if name not in names:
            raise unknown(f"set of suite {suite.name!r}", name, names)
    sets = {n: load_rows(rows) if isinstance(rows, str | Path) else list(rows) for n, rows in data.items()}
    if empty := [name for name, rows in sets.items() if not rows]:
        raise InputError(f"The set {empty[0]!r} has no rows. Leave it out, or give it rows.")
    if not sets:
        raise InputError(f"No set was given. Suite {suite.name!r} knows: {', '.join(names)}.")
    specs = ", ".join(f"{n}={rows}" for n, rows in data.items() if isinstance(rows, str | Path))
    left_out = {name: "not given" for name in names if name not in sets}
    return EvaluationData(specs or "rows given in memory", forget_split, sets, left_out)


def _has_forget(suite: Suite) -> bool:
    return any("{forget_split}" in spec.configuration for spec in suite.sets)


def _forget_splits(known: Sequence[str]) -> list[str]:
    ending = "_perturbed"
    return [name.removesuffix(ending) for name in known if name.startswith("forget") and name.endswith(ending)]


def _only_forget_split(data: str | Path, known: Sequence[str], suite: Suite) -> str | None:
    splits = _forget_splits(known) if _has_forget(suite) else []
    if len(splits) > 1:
        raise InputError(
            f"{data} has several forget splits: {', '.join(splits)}. Choose the one the model was told to forget with "
            f"--forget-split {splits[0]}."
        )
    return splits[0] if splits else None
