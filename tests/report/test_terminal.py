"""The terminal table answers the three questions for each run, fits 80 columns, and no name can drive the terminal."""

import io

import pytest
from rich.console import Console

from expunge.evaluation.results.schema import Measurement
from expunge.report import load_comparison, terminal_table


def printed(runs, width=80):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(terminal_table(load_comparison(runs)))
    return console.file.getvalue().replace("\N{NO-BREAK SPACE}", " ")


def row_of(text, name):
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{name} "))
    return lines[first], lines[first + 1]


@pytest.fixture
def runs(make_run):
    return [
        make_run("a", objective="ME+GD", facts=1, forget=0.22, member=0.0),
        make_run("b", objective="GA+GD", facts=30, kept=0.4, forget=0.6, quality=1e-9, member=4.0),
        make_run("c", objective="DPO+GD", facts=8, forget=0.22, quality=None, member=-4.0),
    ]


def test_three_answers_numbers_and_the_strongest_trace(runs):
    text = printed(runs)
    assert row_of(text, "ME+GD")[0].split()[1:4] == ["✓", "✓", "✓"]
    assert row_of(text, "GA+GD")[0].split()[1:4] == ["✗", "✗", "✗"]
    assert row_of(text, "DPO+GD")[0].split()[1:4] == ["?", "✓", "✗"]
    value, interval = row_of(text, "GA+GD")
    assert "75 %" in value
    assert "[60, 87.5]" in interval
    assert "Membership: loss" in value
    assert "AUC 1.00, retain 0." in interval
    assert row_of(text, "target")[0].split()[1:4] == ["–", "–", "–"]
    for words in ("gone", "kept", "unseen", "accuracy ↓", "utility ↑", "n = 40", "n = 160", "✗ no", "95 % interval"):
        assert words in text


@pytest.mark.parametrize("with_facts", [True, False])
def test_80_columns_are_enough_for_two_lines_a_model(make_run, with_facts):
    runs = [
        make_run(str(i), objective=name, with_facts=with_facts, facts=i, member=1.0)
        for i, name in enumerate(("NPO+GD", "IDK+AP", "RMU+EMBED"))
    ]
    lines = printed(runs).split("─\n")[1].split("✓ yes")[0].splitlines()
    assert max(map(len, lines)) <= 80
    if with_facts:
        assert len([line for line in lines if line.strip()]) == 2 * 5
    else:  # two leading metrics leave less room for the name of a trace
        assert len([line for line in lines if line.strip()]) <= 4 * 5
    assert not any("…" in line for line in lines)


def test_n_is_beside_the_number_where_it_differs(make_run, change):
    run = make_run(facts=1)

    def fewer(results):
        results.metrics["forget/fact_accuracy"] = Measurement(0.05, "lower", 37, (0.0, 0.1))

    change(run / "results.json", fewer)
    text = printed([run])
    assert text.count("n = 37") == 1
    assert text.count("n = 40") == 2  # target and retain model
    assert text.count("n = 160") == 1  # in the heading of the utility


def test_one_run_is_said_in_sentences_too(make_run):
    text = " ".join(printed([make_run(facts=20)]).split())
    assert "The forget set is not forgotten: fact accuracy is 50 %" in text
    assert "The rest is kept." in text


def test_what_is_not_measured_says_so(make_run):
    alone = make_run("b", objective="GA+GD", retain=False, target=False, suite="own", without=("retain",))
    text = printed([alone])
    assert row_of(text, "GA+GD")[0].split()[1:4] == ["?", "?", "?"]
    partial = make_run("c", objective="GA+GD", target_scores={"without": ("real_authors", "retain", "world_facts")})
    assert "not" in row_of(printed([partial]), "target")[0]


def test_a_suite_without_leading_numbers_shows_what_it_has(make_run):
    text = printed([make_run(suite="muse", target=False, retain=False)])
    assert "ROUGE-L F1 ↓" in " ".join(text.split())


def test_names_cannot_drive_the_terminal(make_run):
    text = printed([make_run(objective="\x1b[2J[red]x[/red]")])
    assert "\x1b" not in text
    assert "[red]x[/" in text
