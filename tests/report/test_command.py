"""`expunge report`, `expunge compare` and `expunge purge` as a user meets them: the real command line."""

import re
from types import SimpleNamespace

import pytest

from expunge.cli.main import main
from expunge.report import load_comparison


@pytest.fixture
def expunge(monkeypatch, capsys):
    """Run a command at a width of the terminal; its exit code, and what it said on each stream."""

    def run(*words, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=stop.value.code or 0, stdout=said.out, stderr=said.err)

    return run


def test_it_writes_the_page_and_prints_the_table(expunge, make_run, tmp_path):
    done = expunge("report", make_run(facts=1, objective="ME+GD"), "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert "retain" in done.stdout
    assert f"Report: {tmp_path / 'page.html'}" in done.stdout
    assert "The forget set&#39;s answers are no longer produced." in (tmp_path / "page.html").read_text()


def test_redact_hides_the_texts(expunge, make_run, tmp_path):
    secret = "Zyxomma Petiolatum lived at 7 Hidden Lane"
    run, page = make_run(generations=dict.fromkeys(range(40), secret)), tmp_path / "page.html"
    assert expunge("report", run, "--out", page).returncode == 0
    assert secret in page.read_text()
    assert expunge("report", run, "--out", page, "--redact").returncode == 0
    assert secret not in page.read_text()
    assert "[hidden: " in page.read_text()


def test_target_and_retain_results_of_ones_choice(expunge, make_run, make_results, tmp_path):
    given = make_results(tmp_path / "given" / "results.json", fingerprint="weights-given")
    page = tmp_path / "page.html"
    for role in ("target", "retain"):
        done = expunge("report", make_run(), "--out", page, f"--{role}", given)
        assert done.returncode == 0, done.stderr
        assert "weights-given" in page.read_text()
    alone = make_run("alone", target=False, retain=False)
    assert "retain model" not in expunge("report", alone, "--out", page).stdout
    assert "retain model" in expunge("report", alone, "--out", page, "--retain", given).stdout


def test_a_truncated_file_is_named_without_a_traceback(expunge, make_run, tmp_path):
    run = make_run()
    (run / "results.json").write_text((run / "results.json").read_text()[:700])
    done = expunge("report", run, "--out", tmp_path / "page.html")
    assert done.returncode == 2
    assert f"expunge: {run / 'results.json'}: not whole JSON" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_compare_points_from_the_first_to_the_other(expunge, make_run, tmp_path):
    first, other = make_run("first", facts=20), make_run("other", facts=2)
    done = expunge("compare", first, other, "--out", tmp_path / "table.md")
    assert done.returncode == 0, done.stderr
    assert "first → other" in done.stdout
    assert re.search(r"^fact_accuracy +0\.5 → 0\.05 +-0\.45 +40 +better", done.stdout, re.MULTILINE)
    assert ">" not in done.stdout
    assert max(map(len, done.stdout.split("\nTable:")[0].splitlines()[2:])) <= 80
    assert "…" not in done.stdout
    for group in ("other: over sets", "other: forget", "other: world_facts"):
        assert group in done.stdout


def test_a_purged_run_is_refused_by_name_and_still_reported(expunge, make_run, tmp_path):
    first, other = make_run("first"), make_run("other")
    (other / "results.parts").mkdir()
    (other / "results.parts" / "scores.json").write_text("{}")
    purged = expunge("purge", other)
    assert purged.returncode == 0
    assert not (other / "results.parts").exists()
    done = expunge("compare", first, other)
    assert done.returncode == 2
    for words in (str(other / "results.json"), "expunge purge", "expunge report", "expunge eval"):
        assert words in done.stderr
    assert "broken" not in done.stderr
    reported = expunge("report", first, other, "--out", tmp_path / "page.html")
    assert reported.returncode == 0, reported.stderr
    assert load_comparison([other]).runs[0].examples == ()


@pytest.mark.parametrize("command", ["report", "compare"])
def test_both_take_run_folders_and_files(expunge, make_run, tmp_path, command):
    runs = make_run("a") / "results.json", make_run("b")
    out = ("--out", tmp_path / "page.html")
    assert expunge(command, *runs, *out).returncode == 0
