"""The page: whole, self-contained, escaped, and honest about what is not there."""

import re
from html.parser import HTMLParser

import pytest

from expunge.errors import InputError
from expunge.report import write_report

HOSTILE = {
    0: "<script>alert(1)</script>",
    1: '<img src=x onerror="document.body.dataset.ran=1">',
    2: "</p></article></main><h1>taken over",
    3: "{{ 7 * 7 }} {% raw %} &amp;",
    4: "W" * 5000,
    5: "",
    6: "null \x00, bell \x07, escape \x1b[31m",
}


class Page(HTMLParser):
    """Collects tags, ids, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_data(self, data):
        self.text += data


def written(run_or_runs, tmp_path, **options):
    runs = run_or_runs if isinstance(run_or_runs, list) else [run_or_runs]
    return write_report(runs, tmp_path / "report.html", **options).read_text(encoding="utf-8")


def test_text_from_models_is_text(make_run, tmp_path):
    html = written(make_run("<b>run</b>", objective="ME+GD", generations=HOSTILE), tmp_path)
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert page.tags.count("h1") == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in page.text
    assert "(an empty answer)" in page.text


def test_names_of_runs_are_text_also_in_figures(make_run, tmp_path):
    hostile = "<img src=x>&$x^2$"
    html = written([make_run("a", objective=hostile), make_run("b", objective="GA+GD")], tmp_path)
    page = Page(html)
    assert "img" not in page.tags
    assert page.text.count(hostile) > 3


def test_the_page_needs_nothing_from_elsewhere(make_run, tmp_path):
    html = written(make_run(), tmp_path)
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<>]*", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not [value for name, value in Page(html).attributes if name == "src"]
    assert "default-src 'none'" in html


def test_ids_are_unique_and_references_resolve(make_run, tmp_path):
    html = written([make_run("a"), make_run("b", objective="IDK+AP")], tmp_path)
    ids = Page(html).ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:href=\"|url\()#([\w.-]+)", html)) <= set(ids)


def test_figures_are_small_and_take_their_colours_from_the_page(make_run, tmp_path):
    html = written(make_run(), tmp_path)
    figures = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(figures) == 6  # the plane, two terms, total loss, gradient norm, learning rate
    for svg in figures:
        assert len(svg) < 25_000
        assert 'role="img"' in svg
        assert "aria-label=" in svg
        assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r"href=\"#[^\"]*\"|url\([^)]*\)|id=\"[^\"]*\"", "", svg))


def test_every_number_of_the_tables_has_its_interval_n_and_direction(make_run, tmp_path):
    html = written(make_run(), tmp_path)
    cells = re.findall(r"<td[^>]*>(?:<div>)?\s*<span class=\"value\">(.*?)</td>", html, flags=re.DOTALL)
    assert len(cells) > 50
    for cell in cells:
        assert re.search(r"\[[-\d.e]+,\s[-\d.e]+\]|KS \d", cell), cell
        assert re.search(r"n = \d+", cell), cell
    lines = re.findall(r"<tr><th scope=\"row\">(?!<code>)(.*?)</th>", html.split('id="answers"')[0], flags=re.DOTALL)
    assert len(lines) == 24
    assert all("is better)" in line for line in lines)


def test_what_was_not_measured_is_listed_with_its_reason(make_run, tmp_path):
    page = Page(written(make_run(retain=False, quality=None), tmp_path))
    gaps = " ".join(page.text.split("Not measured")[-1].split())
    assert "Entailment on Forget set (all models)" in gaps
    assert "no NLI model was given (--nli-model)" in gaps
    assert "the folder has no configuration holdout10" in gaps
    assert "the retain model (all models): no results of a retain model were given" in gaps
    assert "no retain model was given (--retain-model)" in gaps


def test_missing_files_beside_the_results_are_said(make_run, tmp_path):
    run = make_run()
    for name in ("train_log.jsonl", "environment.json", "recipe.yaml", "results.examples.parquet"):
        (run / name).unlink()
    text = " ".join(Page(written(run, tmp_path)).text.split())
    assert "No training log lies beside the results." in text
    assert "Settings are not recorded: no recipe.yaml lies beside the results." in text
    assert "the file results.examples.parquet (run): no answers of this model can be shown" in text


def test_a_redacted_report_has_none_of_the_forget_texts(make_run, tmp_path):
    secret = "Zyxomma Petiolatum lived at 7 Hidden Lane"
    run = make_run(generations=dict.fromkeys(range(40), secret))
    plain = written(run, tmp_path)
    assert secret in plain
    redacted = written(run, tmp_path, redact=True)
    assert "Zyxomma" not in redacted
    for i in range(40):
        assert f"volume {i}?" not in redacted.split("Retain set <small>")[0]
    assert f"[hidden: {len(secret)} characters, digest " in redacted
    assert redacted.split("Retain set <small>")[1].count("volume") > 50  # other sets are shown


def test_digests_of_two_redacted_reports_cannot_be_linked(make_run, tmp_path):
    run = make_run()
    first, second = (set(re.findall(r"digest (\w{10})", written(run, tmp_path, redact=True))) for _ in range(2))
    assert len(first) > 40
    assert not first & second


def test_a_broken_input_leaves_the_old_report_alone(make_run, tmp_path):
    run = make_run()
    before = written(run, tmp_path)
    (run / "results.json").write_text((run / "results.json").read_text()[:500])
    with pytest.raises(InputError):
        written(run, tmp_path)
    assert (tmp_path / "report.html").read_text() == before
    assert not list(tmp_path.glob(".report*"))


def test_several_runs_are_grouped_by_verdict(make_run, tmp_path):
    runs = [
        make_run("good", objective="ME+GD", facts=1),
        make_run("broken", objective="GA+GD", facts=0, kept=0.4),
        make_run("kept", objective="DPO+GD", facts=30),
        make_run("between", objective="NPO+GD", facts=8),
    ]
    text = " ".join(Page(written(runs, tmp_path)).text.split())
    assert "✓ forgot, and kept the rest ME+GD" in text
    assert "✗ forgot, but damaged the rest GA+GD" in text
    assert "✗ did not forget DPO+GD" in text
    assert "? not settled NPO+GD" in text
