"""A ledger's folder: making it, requests added to it, and where its files lie."""

import re
from pathlib import Path
from typing import Any

from expunge.data import Row
from expunge.errors import InputError
from expunge.files import whole_folder
from expunge.ledger.measure import identity, load
from expunge.ledger.rows import described, key, parsed, read_rows, records_text, write_rows
from expunge.ledger.store import Store
from expunge.ledger.timeline import Request, Timeline, replay
from expunge.models import salted_digest
from expunge.runs import HOLDOUT_ROWS, INPUTS, REQUESTS, RETAIN_ROWS, STATES
from expunge.training import Recipe

VERSION = 1
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
REFERENCES = ("first", "previous")


class Ledger:
    """A ledger's folder, as it stands.

    Attributes:
        folder: absolute.
        store: the records.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a ledger.

        Raises:
            InputError: There is none.
        """
        self.store = Store(folder)
        self.folder = Path(folder).resolve()

    def timeline(self) -> Timeline:
        """Where it stands now."""
        return replay(self.store.records())

    def rows_of(self, request: str) -> Path:
        """The file of a request's rows."""
        return self.requests / f"{request}.jsonl"

    def state(self, name: str) -> Path:
        """The run folder of a state."""
        return self.states / name

    def inputs(self, name: str) -> Path:
        """What a state is made from, while it is under way."""
        return self.folder / INPUTS / name

    @property
    def requests(self) -> Path:
        """Where the files of requests are."""
        return self.folder / REQUESTS

    @property
    def states(self) -> Path:
        """Where the run folders of states are."""
        return self.folder / STATES

    @property
    def retain(self) -> Path:
        """The rows to keep."""
        return self.folder / RETAIN_ROWS

    @property
    def holdout(self) -> Path:
        """The rows never trained on."""
        return self.folder / HOLDOUT_ROWS

    def read_request(self, request: Request) -> tuple[str, list[Row]]:
        """The text and the rows of a request."""
        return read_rows(self.rows_of(request.id), request.digest)


def init(folder: str | Path, recipe: Recipe, holdout: str | None = None, reference: str = "first") -> Ledger:
    """Make a ledger.

    Args:
        folder: to make.
        recipe: a `Recipe` with the first model, the retain SPEC, the objective and its settings; its forget set is not
            looked at.
        holdout: SPEC of rows never trained on, for more controls.
        reference: "first": objectives compare with the first model; "previous": with the one before each request.

    Raises:
        InputError: there is something at the folder, or the model or a set cannot be used.
    """
    folder = Path(folder)
    if reference not in REFERENCES:
        raise InputError(f"--reference {reference}: use first or previous.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} already exists. Choose another folder, or add requests with: expunge ledger add.")
    if recipe.retain is None:
        raise InputError("--retain is missing: the rows to keep.")
    model = _absolute(recipe.model)
    files = {RETAIN_ROWS: recipe.retain} | ({HOLDOUT_ROWS: holdout} if holdout else {})
    texts = {name: records_text(spec) for name, spec in files.items()}
    sets = {name: described(text, parsed(text, Path(name))) for name, text in texts.items()}
    body = {
        "version": VERSION,
        "salt": salted_digest(""),
        "model": {"path": model, **identity(*load(model, recipe))},
        "retain": sets[RETAIN_ROWS],
        "holdout": sets.get(HOLDOUT_ROWS),
        "reference": reference,
        "settings": settings_of(recipe),
    }
    with whole_folder(folder) as part:
        for name, text in texts.items():
            write_rows(part / name, text)
        for name in (REQUESTS, INPUTS, STATES):
            (part / name).mkdir()
        Store.create(part, body)
    return Ledger(folder)


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that does not change from request to request."""
    settings = recipe.model_dump(exclude={"model", "forget", "retain", "reference"})
    return settings | {name: _absolute(settings[name]) for name in ("idk", "anchor", "holdout") if settings[name]}


def _absolute(place: str) -> str:
    """A path, so that it can be found from anywhere; a Hub name or SPEC is left as it is."""
    return str(Path(place).resolve()) if Path(place).exists() else place


def add(folder: str | Path, forget: str | Path, request: str, note: str = "") -> bool:
    """Record a request.

    Args:
        folder: of the ledger.
        forget: SPEC of the rows to forget.
        request: a new id; it names files, and stays in the records for good.
        note: likewise.

    Returns:
        Whether it is new: the same id with the same rows changes nothing.

    Raises:
        InputError: the id is in use for other rows, or cannot be used; rows that cannot be.
    """
    ledger = Ledger(folder)
    if not ID.fullmatch(request):
        raise InputError(
            f"--id {request!r}: use up to 64 letters, digits, '.', '_' and '-', the first a letter or digit."
        )
    text = records_text(forget, asking=True)
    rows = parsed(text, Path(forget))
    body = {"id": request, "note": note, **described(text, rows), "keys": [key(row) for row in rows]}
    with ledger.store.writing() as writer:
        check_salt(replay(writer.records))
        known = replay(writer.records).requests
        alike = next((name for name in known if name.casefold() == request.casefold()), None)
        if alike == request and known[request].digest == body["digest"] and not known[request].undone:
            return False
        if alike is not None:
            was = "was undone" if known[alike].undone else "has other rows"
            raise InputError(f"--id {request}: there is a request {alike} already, and it {was}. Give another id.")
        write_rows(ledger.rows_of(request), text)
        writer.append("added", body)
    return True


def check_salt(timeline: Timeline) -> None:
    """Refuse a ledger whose digests this machine cannot compute.

    Raises:
        InputError: it was made with another salt.
    """
    if timeline.init["salt"] != salted_digest(""):
        raise InputError(
            "The ledger's digests of rows were made with another salt than this machine's. Copy the file `salt` from "
            "~/.cache/expunge (or $EXPUNGE_HOME) of the machine that made it."
        )
