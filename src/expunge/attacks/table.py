"""The terminal table of an attack: before, and what the strongest setting of each attack brought back."""

from collections.abc import Sequence
from typing import Any

from expunge.attacks.base import CHANGE, NONE, ROLES, AttackRow, NotMeasured


def terminal_table(rows: Sequence[AttackRow]) -> Any:
    """A rich table: target, unlearned and retain model side by side; all settings are in attack.json.

    Of an attack's settings the one is shown that raised the metric most on the unlearned model (or, where nothing is
    counted from before, has its largest value).
    """
    from rich.table import Table
    from rich.text import Text

    roles = [role for role in ROLES if any(row.model == role for row in rows)]
    table = Table(title="Does it come back? The strongest setting of each attack; all are in the file.")
    for column in ("attack", "metric", "setting"):
        table.add_column(column, overflow="fold")
    for role in roles:
        table.add_column(role, justify="right")
    table.add_column("came back", justify="right")
    by_key = {(row.attack, row.setting, row.model, row.metric): row for row in rows}
    attacks = list(dict.fromkeys(row.attack for row in rows))
    for attack in attacks:
        table.add_section()
        metrics = [m for m in dict.fromkeys(r.metric for r in rows if r.attack == attack) if not m.endswith(CHANGE)]
        for metric in metrics:
            for setting in _shown(rows, attack, metric, roles[-1] if "unlearned" not in roles else "unlearned"):
                values = [_number(by_key.get((attack, setting, role, metric))) for role in roles]
                back = _number(by_key.get((attack, setting, "unlearned", metric + CHANGE)), signed=True)
                table.add_row(*map(Text, (attack, metric, setting, *values, back)))
    return table


def reasons(not_measured: Sequence[NotMeasured]) -> list[str]:
    """A line for each thing that was not measured, with the models that it is said of."""
    lines = []
    for key in dict.fromkeys((one.attack, one.setting, one.reason) for one in not_measured):
        roles = [one.model for one in not_measured if (one.attack, one.setting, one.reason) == key]
        attack, setting, reason = key
        lines.append(f"not measured: {attack}{f', {setting}' if setting else ''} ({', '.join(roles)}): {reason}")
    return lines


def _shown(rows: Sequence[AttackRow], attack: str, metric: str, role: str) -> list[str]:
    """The setting before the attack, and the strongest."""
    mine = [row for row in rows if (row.attack, row.model) == (attack, role) and row.value is not None]
    before = [row.setting for row in mine if row.metric == metric and row.setting == NONE]
    after = [row for row in mine if row.metric == metric + CHANGE and row.setting != NONE]
    after = after or [row for row in mine if row.metric == metric and row.setting != NONE]
    strongest = max(after, key=lambda row: row.value or 0.0, default=None)
    return [*before, *([] if strongest is None else [strongest.setting])]


def _number(row: AttackRow | None, signed: bool = False) -> str:
    if row is None or row.value is None:
        return "-"
    form = "+.3f" if signed else ".3f"
    if row.ci95 is None:
        return f"{row.value:{form}}"
    low, high = row.ci95
    return f"{row.value:{form}} [{low:{form}}, {high:{form}}]"
