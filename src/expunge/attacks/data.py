"""The rows of an attack: a data folder's sets, or a SPEC for each."""

from expunge.attacks.base import AttackData
from expunge.data import configurations, load_rows
from expunge.errors import InputError
from expunge.evaluation.request import Questions
from expunge.evaluation.suites import find_suite
from expunge.evaluation.suites.sets import load_sets


def read_data(
    data: str | None, forget_split: str | None, forget: str | None, retain: str | None, holdout: str | None
) -> AttackData:
    """Read forget, retain and holdout rows.

    Args:
        data: a folder or Hub id with the configurations of suite tofu, or with forget, retain and holdout.
        forget_split: of that folder.
        forget: SPEC of the forget rows, in place of a folder.
        retain: SPEC of rows that must stay.
        holdout: SPEC of rows that no model was trained on.

    Raises:
        InputError: not one of the two ways, or rows that cannot be read.
    """
    if (data is None) == (forget is None):
        raise InputError("Give either --data FOLDER, with its forget set, or --forget SPEC.")
    if forget is not None:
        if forget_split is not None:
            raise InputError("--forget-split goes with --data; --forget names the rows themselves.")
        return AttackData(load_rows(forget), *([] if spec is None else load_rows(spec) for spec in (retain, holdout)))
    assert data is not None
    suite = "own" if "forget" in configurations(data) else "tofu"
    found = load_sets(Questions(suite, data, forget_split, holdout), find_suite(suite)).sets
    if "forget" not in found:
        raise InputError(f"{data}: there is no forget set in it. Name the rows with --forget SPEC.")
    kept = found.get("retain", ()) if retain is None else load_rows(retain)
    return AttackData(found["forget"], kept, found.get("holdout", ()))
