"""By which a setting is chosen: utility and forgetting, the worse of the two counting most."""

from collections.abc import Sequence

from expunge.errors import InputError
from expunge.metrics.summaries import harmonic_mean
from expunge.sweep.table import Line, better, leading


def criterion(searched: Sequence[Line]) -> tuple[str, str]:
    """The numbers for utility and forgetting that every measured setting has.

    Raises:
        InputError: there are none.
    """
    utility, forgetting = leading(searched)
    if utility is None or forgetting is None:
        reasons = [line.reason for line in searched if line.reason]
        raise InputError(f"No setting could be measured. {reasons[0] if reasons else ''}".strip())
    return utility, forgetting


def score(line: Line, names: tuple[str, str]) -> float | None:
    """Harmonic mean of utility and forgetting, 0 to 1; None where one was not measured."""
    utility, forgetting = (line.numbers.get(name) for name in names)
    if utility is None or forgetting is None:
        return None
    gone = forgetting.mean if better(names[1]) == "higher" else 1 - forgetting.mean
    return harmonic_mean([utility.mean, gone])
