"""The medforget-images scenario, all of it."""

import pytest

from expunge.scenarios.medforget_images import METHODS
from scenarios.layouts import read_table


@pytest.mark.slow
def test_a_patients_pictures_are_forgotten_and_reading_stays(expunge, tmp_path):
    expunge("scenario", "medforget-images", "--small", "--quiet", "--out", tmp_path)
    table = read_table(tmp_path, "medforget-images")
    value = {key: row["value"] for key, row in table.items()}
    assert value["target model", "forget/score"] > 0.9
    assert value["retain model", "retain/score"] > 0.9
    assert value["target model", "leak/independent/choice"] > 0.3
    assert value["retain model", "leak/independent/choice"] == 0
    for method in METHODS:
        assert value[method, "leak/independent/said"] < value["target model", "leak/independent/said"]
    assert all(method in (tmp_path / "report.html").read_text() for method in METHODS)
