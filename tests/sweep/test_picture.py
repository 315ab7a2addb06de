"""The picture: every method has a look of its own, and its bars are the spread."""

import re

import pytest

from expunge.sweep.picture import MARKERS, look, write_picture
from expunge.sweep.table import Line, Spread, spread


def line(name, role="unlearned", **numbers):
    return Line(name, role, numbers={key: Spread(*value) for key, value in numbers.items()})


def test_twelve_methods_have_twelve_shapes_and_eighty_four_differ():
    assert len({look(i)[0] for i in range(12)}) == 12 == len(MARKERS)
    assert len({look(i) for i in range(84)}) == 84


def test_every_method_is_drawn_and_named_and_hostile_names_stay_text(tmp_path):
    names = [f"method {i}" for i in range(11)] + ["<img onerror=alert(1)> $x^2$"]
    table = [line("target", "target", model_utility=(0.6, None, 1), forget_efficacy=(0.1, None, 1))]
    for i, name in enumerate(names):
        table.append(line(name, model_utility=(0.1 + i / 20, 0.01, 3), forget_efficacy=(0.9 - i / 20, 0.02, 3)))
    table.append(line("not there"))
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        svg = write_picture(tmp_path, table).read_text()
    assert all(name in svg for name in names[:-1])
    assert "<img" not in svg
    assert "not there (not measured)" in svg
    assert "Forget efficacy" in svg
    assert len(re.findall(r'id="LineCollection_\d+"', svg)) == 12 * 4  # a bar each way, here and in the legend


def test_forget_quality_has_a_panel_where_it_was_measured(tmp_path):
    values = {"model_utility": (0.6, 0.1, 2), "forget_efficacy": (0.1, 0.1, 2)}
    plain = write_picture(tmp_path, [line("a", **values)]).read_text()
    both = write_picture(tmp_path, [line("a", **values, forget_quality=(0.0, 0.0, 2))]).read_text()
    assert (plain.count('id="axes_'), both.count('id="axes_')) == (1, 2)


def test_nothing_is_drawn_where_nothing_was_measured(tmp_path):
    assert write_picture(tmp_path, [line("a")]) is None


@pytest.mark.parametrize(("values", "expected"), [([None, None], None), ([2.0, None], Spread(2.0, None, 1))])
def test_the_spread_is_over_the_seeds_that_have_a_value(values, expected):
    assert spread(values) == expected
