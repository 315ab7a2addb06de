"""Can the numbers of two results be compared? The same suite, and the same rows of every set they share."""

from pathlib import Path

import pyarrow as pa

from expunge.errors import InputError
from expunge.evaluation.results.schema import Results


def check_comparable(path: str | Path, first: Results, other_path: str | Path, other: Results) -> list[str]:
    """The sets that both have, in the order of the first.

    Raises:
        InputError: the results are of different suites or rows, or have no set in common.
    """
    if first.suite != other.suite:
        raise InputError(
            f"{path} was measured with suite {first.suite!r}, {other_path} with {other.suite!r}: their numbers mean "
            "different things."
        )
    definitions = {found.recipe.get("suite_fingerprint") for found in (first, other)}
    if len(definitions - {None}) > 1:
        raise InputError(
            f"{path} and {other_path} were measured with two definitions of suite {first.suite!r}: its sets, limits or "
            "metrics differ. Measure again with `expunge eval`."
        )
    shared = [name for name in first.data.sets if name in other.data.sets]
    for name in shared:
        ours, theirs = first.data.sets[name], other.data.sets[name]
        if not same_rows(first, other, name):
            raise InputError(
                f"{path} and {other_path} were measured on different rows of the set {name!r} (fingerprints "
                f"{ours.fingerprint} and {theirs.fingerprint}). Evaluate both on the same --data; plain text is cut to "
                "each model's context, which must be the same too."
            )
    if not shared:
        raise InputError(f"{path} and {other_path} have no set in common.")
    return shared


def same_rows(first: Results, other: Results, name: str) -> bool:
    """Whether both were measured on the same rows of a set: by fingerprint, which covers every column, and by texts.

    Fingerprints of rows are salted by each machine: of results from two machines, texts alone are compared. Plain text
    is cut to each model's context, so that one fingerprint can stand for other rows.
    """
    ours, theirs = first.data.sets[name], other.data.sets[name]
    one_machine = first.data.salt == other.data.salt
    if one_machine and (ours.rows, ours.fingerprint) != (theirs.rows, theirs.fingerprint):
        return False
    if first.table is None or other.table is None:
        return one_machine
    asked, asked_there = (_texts(table, name) for table in (first.table, other.table))
    return asked == asked_there


def _texts(table: pa.Table, name: str) -> list[dict[str, str]]:
    columns = table.select(["set", "question", "answer"]).to_pylist()
    return [row for row in columns if row["set"] == name]
