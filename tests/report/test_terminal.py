"""The terminal table has one row per model, and nothing in a name can drive the terminal."""

from rich.console import Console

from expunge.report import load_comparison, terminal_table


def printed(runs, width=160):
    console = Console(width=width, record=True, force_terminal=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_table(load_comparison(runs)))
    return console.export_text().replace("\N{NO-BREAK SPACE}", " ")


def test_one_row_per_model_with_interval_n_and_direction(make_run):
    text = printed([make_run("a", objective="ME+GD", facts=1), make_run("b", objective="GA+GD", facts=30, kept=0.4)])
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert [row for row in rows if row] == ["target", "ME+GD", "GA+GD", "retain model"]
    assert "Fact accuracy ↓" in text
    assert "Model utility ↑" in text
    assert "[100, 100]" in text
    assert "n = 40" in text
    line = next(line for line in text.splitlines() if "ME+GD" in line)
    assert line.count("✓ yes") == 2
    line = next(line for line in text.splitlines() if "GA+GD" in line)
    assert line.count("✗ no") == 2


def test_what_is_not_measured_says_so(make_run):
    text = printed([make_run(retain=False, quality=None), make_run("b", objective="GA+GD", target=False, retain=False)])
    assert "not measured" in text
    assert "? not settled" in text


def test_names_cannot_drive_the_terminal(make_run):
    text = printed([make_run(objective="\x1b[2J[red]x[/red]")])
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
