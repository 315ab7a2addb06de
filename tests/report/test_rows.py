"""The verdict row by row on the page: what verdict.json says, and nothing that was edited."""

import json

import pytest

from expunge.errors import InputError
from expunge.evaluation.results.seal import sealed
from expunge.report import write_report
from expunge.report.rows import losses


def share(value, low, high):
    return {"value": value, "n": 40, "chance": 0.05, "above_chance": [low, high]}


VERDICT = {
    "overall": "partly",
    "utility_loss": 0.012,
    "rows": [
        {"row": 0, "known_before": True, "status": "forgotten", "margin_before": 9.0, "margin_after": -1.25},
        {"row": 1, "known_before": True, "status": "weaker", "brought_back_by": "relearned: steps=5 rate=0.001"},
        {"row": 2, "known_before": False, "status": "not_known"},
    ],
    "reasons": ["suppressed, not removed: 60% of what was known comes back (relearned: steps=5 rate=0.001)"],
    "evidence": {
        "known_under": {"as it is": share(0.1, -0.02, 0.16), "relearned: steps=5 rate=0.001": share(0.6, 0.38, 0.7)},
        "utility_loss": {"value": 0.012, "ci95": [0.004, 0.021]},
        "lost_on_others": {"neighbours": {"value": 0.3, "ci95": [0.2, 0.4]}},
        "not_measured": {"quantized: int8": "bitsandbytes is not installed"},
        "settings": {"nats": 3.0, "margin": 0.25},
        "target": {"path": "/home/ada-ray/model"},
    },
}


def page(make_run, tmp_path, verdict=VERDICT, **options):
    run = make_run("run", objective="NPO+GD")
    (run / "verdict.json").write_text(json.dumps(verdict if "digest" in verdict else sealed(verdict)))
    return write_report([run], tmp_path / "page.html", **options).read_text()


def test_the_row_verdict_heads_the_page_with_its_numbers_below(make_run, tmp_path):
    html = page(make_run, tmp_path)
    head, rest = html.split('<section id="verdict"')
    assert "Partly" in head
    assert "1 forgotten, 1 weaker, 1 not known" in head
    rows = rest.split('<section id="rows"')[1].split("</section>")[0]
    for text in ("60%", "38% to 70%", "Utility lost on neighbours: 30.0%", "1.2% (95 % interval 0.4% to 2.1%)"):
        assert text in rows, text
    assert "bitsandbytes is not installed" in rows
    assert "more than 3 nats" in rows
    assert "at most 25%" in rows
    assert "-1.2" in rows or "-1.3" in rows


def test_an_edited_verdict_is_not_shown(make_run, tmp_path):
    edited = {**sealed(VERDICT), "overall": "forgotten"}
    with pytest.raises(InputError, match=r"verdict\.json: was edited.*overall"):
        page(make_run, tmp_path, edited)


def test_without_a_verdict_the_page_says_how_to_get_one(make_run, tmp_path):
    html = write_report([make_run("run")], tmp_path / "page.html").read_text()
    assert "expunge verify" in html.split('<section id="rows"')[1].split("</section>")[0]


def test_a_redacted_page_has_no_path_of_it(make_run, tmp_path):
    assert "ada-ray" not in page(make_run, tmp_path, redact=True)


def test_a_loss_that_rounds_to_nothing_has_no_sign():
    (line,) = losses({"utility_loss": {"value": -1e-5, "ci95": [-2e-5, 1e-5]}})
    assert "0.0%" in line
    assert "-" not in line
