"""What a leaderboard found: of each method's settings, and of all on the test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from expunge.bench.plan import Bench, Method, Setting
from expunge.sweep.table import Line


@dataclass(frozen=True)
class Choice:
    """What the search found of a method.

    Attributes:
        method: its name.
        scores: of each setting, by its name; None where it could not be measured.
        chosen: the setting with the best score; None where none was measured.
    """

    method: Method
    scores: Mapping[str, float | None]
    chosen: Setting | None


@dataclass(frozen=True)
class Found:
    """What a leaderboard found.

    Attributes:
        bench: its file.
        choices: the settings of each method.
        criterion: the two numbers that the score is the harmonic mean of, as in the sweeps' tables.
        searched: the sweep on the validation rows.
        table: target, retain model and methods on the test rows.
        out: where everything lies.
    """

    bench: Bench
    choices: Sequence[Choice]
    criterion: tuple[str, str]
    searched: Sequence[Line]
    table: Sequence[Line]
    out: Path
