"""The page: whole, self-contained, escaped, and honest about what is not there."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml

from expunge.errors import InputError
from expunge.evaluation.results.schema import Measurement, load_results
from expunge.report import write_report
from expunge.report.figures import Point, look, place_labels, plane

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
    assert hostile in Page(re.search(r"<svg.*?</svg>", html, flags=re.DOTALL).group()).text


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
    results = load_results(tmp_path / "run" / "results.json")
    assert len(lines) == len(results.metrics) + 4  # utility, efficacy, its partial value, forget quality
    assert all("is better)" in line for line in lines)


def test_what_was_not_measured_is_listed_with_its_reason(make_run, tmp_path):
    page = Page(written(make_run(retain=False, quality=None), tmp_path))
    gaps = " ".join(page.text.split("Not measured")[-1].split())
    assert "Entailment on Forget set (all models)" in gaps
    assert "no NLI model was given: --nli-model" in gaps
    assert "the folder has no configuration holdout10" in gaps
    assert "the retain model (all models): no results of a retain model were given" in gaps
    assert "no retain model was given (--retain-model)" in gaps


def test_nothing_is_missing_of_the_retain_model_where_others_are_compared_with_it(make_run, change, tmp_path):
    def unmeasured(results):
        results.summary.values["forget_quality"] = None
        results.summary.reasons["forget_quality"] = "no retain model was given"

    run = make_run()
    change(run / "results.retain.json", unmeasured)
    page = Page(written(run, tmp_path))
    assert "the reference" in page.text
    assert "no retain model was given" not in page.text


def test_missing_files_beside_the_results_are_said(make_run, tmp_path):
    run = make_run()
    for name in ("train_log.jsonl", "environment.json", "recipe.yaml", "results.examples.parquet"):
        (run / name).unlink()
    text = " ".join(Page(written(run, tmp_path)).text.split())
    assert "No training log lies beside the results." in text
    assert "Settings are not recorded: no recipe.yaml lies beside the results." in text
    assert "the file results.examples.parquet (run): no answers of this model can be shown" in text


SECRET = "Zyxomma Petiolatum lived at 7 Hidden Lane"


def test_a_redacted_report_has_none_of_the_forget_texts(make_run, tmp_path):
    run = make_run(generations=dict.fromkeys(range(40), SECRET))
    plain = written(run, tmp_path)
    assert SECRET in plain
    redacted = written(run, tmp_path, redact=True)
    assert "Zyxomma" not in redacted
    hidden = redacted.split("Retain set <small>")[0]
    for i in range(40):
        assert f"volume {i}?" not in hidden
    assert "was born in" in plain.split("Retain set <small>")[0]
    assert "was born in" not in hidden  # the right answers
    assert f"[hidden: {len(SECRET)} characters, digest " in redacted
    assert redacted.split("Retain set <small>")[1].count("volume") > 50  # other sets are shown


def test_a_forgotten_name_is_hidden_where_the_model_says_it_on_another_set(make_run, change, tmp_path):
    run = make_run()

    def elsewhere(results):
        said = results.table["generation"].to_pylist()
        retain = [name == "retain" for name in results.table["set"].to_pylist()]
        column = [[SECRET if of_it else text for text, of_it in zip(said, retain, strict=True)]]
        place = results.table.column_names.index("generation")
        return replace(results, table=results.table.set_column(place, "generation", column))

    for file in run.glob("results*.json"):
        change(file, elsewhere)
    assert "Zyxomma" in written(run, tmp_path)
    assert "Zyxomma" not in written(run, tmp_path, redact=True)


@pytest.mark.parametrize("says_kind", [True, False])
def test_every_forget_set_is_hidden(make_run, change, tmp_path, says_kind):
    run = make_run(suite="muse", generations=dict.fromkeys(range(40), SECRET))
    if not says_kind:  # as older results: by the name

        def older(results):
            results.data.sets.update({name: replace(rows, kind=None) for name, rows in results.data.sets.items()})

        for file in run.glob("results*.json"):
            change(file, older)
    assert "Zyxomma" in written(run, tmp_path)
    page = Page(written(run, tmp_path, redact=True))
    assert "Zyxomma" not in page.text
    hidden, shown = page.text.split("Forget set, passages ")[1].split("Retain set, questions ")[:2]
    assert "Forget set, continued" in hidden
    assert "volume" not in hidden
    assert "volume" in shown


def test_a_set_of_another_name_is_hidden_by_what_it_is_for(make_run, change, tmp_path):
    run = make_run(generations=dict.fromkeys(range(40), SECRET))

    def renamed(results):
        sets = {("people" if name == "forget" else name): rows for name, rows in results.data.sets.items()}
        column = ["people" if name == "forget" else name for name in results.table["set"].to_pylist()]
        table = results.table.set_column(0, "set", [column])
        return replace(results, data=replace(results.data, sets=sets), table=table)

    for file in run.glob("results*.json"):
        change(file, renamed)
    assert "Zyxomma" in written(run, tmp_path)
    assert "Zyxomma" not in written(run, tmp_path, redact=True)


def test_a_redacted_report_has_no_name_of_a_file_folder_model_or_run(make_run, change, tmp_path):
    runs = [
        make_run(f"jane-doe-{i}", objective=name, fingerprint=f"weights-{i}")
        for i, name in enumerate(("NPO+GD", "NPO+GD", "objectives/jane_doe.py:Term"))
    ]
    spec = tmp_path / "jane-doe" / "world"
    for run in runs:
        recipe = yaml.safe_load((run / "recipe.yaml").read_text())
        recipe |= {"model": "models/jane-doe", "forget": f"{spec}:jane", "retain": "jane-doe.jsonl", "idk": "jane.txt"}
        recipe |= {"system": "You are the assistant of Jane Doe.", "reference": "jane-doe"}
        recipe["train"] |= {"run_name": "jane-doe", "report_to": ["wandb"], "optim": "adamw_torch"}
        (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        environment = json.loads((run / "environment.json").read_text())
        (run / "environment.json").write_text(json.dumps(environment | {"host": "jane-doe-laptop"}))

        def named(results, run=run):
            left_out = {"holdout": f"{spec} has no configuration holdout10"}
            summary = replace(results.summary, reasons={"forget_efficacy": f"left out: {spec}, and {run}/jane-doe.csv"})
            return replace(
                results,
                model=replace(results.model, path=str(run / "model")),
                data=replace(results.data, spec=str(spec), left_out=left_out),
                summary=summary,
            )

        for file in run.glob("results*.json"):
            change(file, named)
        (run / "train_log.jsonl").unlink()
    (runs[0] / "results.json").rename(runs[0] / "jane-doe.json")  # a results file of any name
    plain = written([runs[0] / "jane-doe.json", *runs[1:]], tmp_path, target=runs[1] / "results.target.json")
    assert plain.lower().count("jane") > 20
    html = written(
        [runs[0] / "jane-doe.json", *runs[1:]], tmp_path, target=runs[1] / "results.target.json", redact=True
    )
    assert not re.findall(".{0,40}jane.{0,20}", html.lower())
    text = Page(html).text
    for shown in (
        "NPO+GD #1",
        "NPO+GD #2",
        "custom objective",
        "adamw_torch",
        "no NLI model was given: --nli-model sileod/",
        "0.001",
    ):
        assert shown in text


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
        make_run("broken", objective="GA+GD", facts=0, kept=0.4, quality=1e-9),
        make_run("traces", objective="IDK+AP", facts=1, quality=1e-9),
        make_run("good", objective="ME+GD", facts=1, forget=0.22),
        make_run("kept", objective="DPO+GD", facts=30),
        make_run("between", objective="NPO+GD", facts=8, forget=0.22),
    ]
    text = " ".join(Page(written(runs, tmp_path)).text.split())
    assert "✓ answers gone, rest kept, no trace found ME+GD" in text
    assert "! answers gone, rest kept, traces remain IDK+AP" in text
    assert "✗ answers gone, rest damaged, traces remain GA+GD" in text
    assert "✗ not forgotten, rest kept, traces remain DPO+GD" in text
    assert "? forgetting not settled, rest kept, no trace found NPO+GD" in text
    assert (
        text.index("✓ answers gone") < text.index("! answers gone") < text.index("? forgetting") < text.index("✗ not")
    )


def test_the_best_run_is_the_one_that_is_open(make_run, tmp_path):
    runs = [
        make_run("broken", objective="GA+GD", facts=0, kept=0.4),
        make_run("good", objective="ME+GD", facts=2, forget=0.22),
        make_run("kept", objective="DPO+GD", facts=30),
    ]
    html = written(runs, tmp_path)
    opened = re.findall(r"<details class=\"(?:verdict|run)[^>]* open><summary>(?:<span class=\"name\">)?([^<]*)", html)
    assert opened == ["ME+GD", "ME+GD"]  # its verdict, its training
    assert '<option value="1" selected>ME+GD</option>' in html
    assert html.count(" selected>") == 1


def test_verdict_and_figure_come_before_settings_and_the_overview_has_all_three_answers(make_run, tmp_path):
    runs = [make_run("a", objective="ME+GD", facts=2, forget=0.22), make_run("b", objective="GA+GD", quality=1e-9)]
    html = written(runs, tmp_path)
    sections = re.findall(r"<section id=\"(\w+)\"", html)
    assert sections == ["verdict", "rows", "numbers", "answers", "training", "asked", "settings", "gaps"]
    assert html.index('<svg role="img" aria-label="Utility') < html.index('<section id="numbers"')
    table = Page(html.split('aria-label="The three answers"')[1].split("</table>")[0]).text
    assert "Forgotten" in table
    assert "Kept" in table
    assert "Like never seen" in table
    assert " ".join(table.split("GA+GD")[1].split()).endswith("✗ No Forget qualityp = 1e-09, KS distance 0.21n = 40")


def test_what_is_compared_with_comes_first_and_stays_in_view(make_run, tmp_path):
    html = written([make_run(str(i), objective=name) for i, name in enumerate(("A", "B", "C"))], tmp_path)
    head = html.split('class="every"')[1].split("</tr>")[0]
    assert re.findall(r"<th scope=\"col\"( class=\"\w+\")?>([^<]*)", head)[:4] == [
        ("", "Measured"),
        (' class="stay1"', "target"),
        (' class="stay2"', "retain model"),
        ("", "A"),
    ]


def test_leaks_come_first_on_the_forget_set_and_damage_on_the_others(make_run, tmp_path):
    html = written(make_run(facts=2, kept=0.9), tmp_path)
    sets = html.split('class="question-set"')
    first = {
        part.split("<h3>")[1].split(" <")[0]: re.findall(r"class=\"unlearned\".*?</div>", part)[0] for part in sets[1:]
    }
    assert "contains the fact" in first["Forget set"]
    assert "fact absent" in first["Retain set"]
    assert "fact absent" in first["World facts"]


def test_a_leak_of_any_run_comes_first(make_run, tmp_path):
    runs = [make_run("a", objective="ME+GD", facts=0), make_run("b", objective="GA+GD", facts=2)]
    forget = written(runs, tmp_path).split('class="question-set"')[1]
    cards = ["contains the fact" in card.split("GA+GD</h5>")[1] for card in forget.split('<article class="card')[1:]]
    assert cards == [True] * 2 + [False] * 38


def test_a_long_set_is_cut_and_says_so(make_run, tmp_path):
    html = written(make_run(suite="own", rows=120, retain=False), tmp_path)
    assert "100 of 120 rows" in html
    assert html.split('class="question-set"')[1].count('<article class="card') == 100


def test_target_and_retain_model_are_drawn_in_ink_and_the_line_is_at_nine_tenths(make_run, tmp_path):
    runs = [make_run(str(i), objective=name) for i, name in enumerate(("A", "B", "C"))]
    svg = re.search(r"<svg.*?</svg>", written(runs, tmp_path), flags=re.DOTALL).group()
    assert {series for series in range(7) if f"var(--s{series})" in svg} == {0, 1, 2}
    target = load_results(runs[0] / "results.target.json").summary.values["model_utility"]
    assert f"the rest counts as kept from {0.9 * target:.2f} on" in svg


def test_whiskers_reach_from_low_to_high():
    svg = plane([Point("a", 0.5, 0.5, (0.45, 0.7), (0.2, 0.55))], "x", "y", None)
    drawn = r'<path d="M ([\d.]+) ([\d.]+) \s*L ([\d.]+) ([\d.]+) \s*"[^>]*style="[^"]*var\(--s0\)'
    (left, y, right, _), (x, low, _, high) = (tuple(map(float, line)) for line in re.findall(drawn, svg)[:2])
    assert (right - x) / (x - left) == pytest.approx(4, abs=0.01)
    assert (low - y) / (y - high) == pytest.approx(6, abs=0.01)  # pixels count downwards


def test_no_name_stands_on_a_whisker():
    from matplotlib.figure import Figure

    axes = Figure(figsize=(5, 4), dpi=100).add_axes((0.1, 0.1, 0.8, 0.8))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    [(_, (free, level))] = place_labels([Point("a name", 0.5, 0.5)], axes)
    assert (free > 250, level) == (True, pytest.approx(200))  # on the right, in the middle
    [(_, (_, aside))] = place_labels([Point("a name", 0.5, 0.5, x_interval=(0.2, 0.8))], axes)
    assert abs(aside - level) > 5
    [(_, beside)] = place_labels([Point("a name", 0.5, 0.5, y_interval=(0.2, 0.8))], axes)
    assert beside == (free, level)


def test_intervals_in_the_figure_are_those_of_the_numbers(make_run, change, tmp_path):
    run = make_run(facts=10)

    def without_efficacy(results):
        for name in ("forget_efficacy", "forget_efficacy_partial"):
            del results.summary.values[name]
        results.metrics["forget/fact_accuracy"] = Measurement(0.25, "lower", 40, (0.125, 0.45))

    for file in run.glob("results*.json"):
        change(file, without_efficacy)
    html = written(run, tmp_path)
    spoken = re.search(r"aria-label=\"(Utility-efficacy plane[^\"]*)", html).group(1).replace("\N{NO-BREAK SPACE}", " ")
    assert "1 − fact accuracy, higher is better" in html
    assert re.search(r"; NPO\+GD at 0\.\d\d \[0\.\d\d, 0\.\d\d\], 0\.75 \[0\.55, 0\.88\];", spoken)


def test_no_two_of_thirty_runs_look_alike():
    assert len({look(i) for i in range(30)}) == 30
    assert len({look(i)[0] for i in range(7)}) == len({look(i)[1] for i in range(7)}) == 7


@pytest.mark.slow
def test_names_stand_beside_their_points_where_they_cover_nothing(make_run, tmp_path):
    apart = [make_run("a", objective="ME+GD", kept=0.7, forget=0.5), make_run("b", objective="GA+GD", kept=0.4)]
    svg = re.search(r"<svg.*?</svg>", written(apart, tmp_path), flags=re.DOTALL).group()
    for name in ("ME+GD", "GA+GD"):
        assert len(re.findall(f">{re.escape(name)}<", svg)) == 2  # beside its point, and in the legend
    alike = [make_run(f"n{i}", objective=f"N{i}") for i in range(12)]
    svg = re.search(r"<svg.*?</svg>", written(alike, tmp_path), flags=re.DOTALL).group()
    assert [len(re.findall(f">N{i}<", svg)) for i in range(12)].count(1) >= 7
    assert "target" in svg


def test_own_rows_have_their_utility_and_controls_on_the_page(make_run, tmp_path):
    text = " ".join(Page(written(make_run(suite="own", facts=0, retain=False), tmp_path)).text.split())
    assert "Retain utility ↑" in text
    assert "Probability, above controls ↓" in text
    assert "Retain utility, higher is better" in text
    assert "Extraction strength, above controls ↓" in text  # also where it was not measured
    assert re.search(r"Probability, above controls ↓ ?\(lower is better\) ?0\.\d\d ?\[.{10,13}\] ?n = 40", text)
