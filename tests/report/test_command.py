"""`expunge report` as a user meets it."""

import subprocess
import sys

ENTRY = [sys.executable, "-c", "from expunge.cli.main import main; main()", "report"]


def expunge_report(*words):
    return subprocess.run([*ENTRY, *map(str, words)], capture_output=True, text=True, timeout=120)


def test_it_writes_the_page_and_prints_the_table(make_run, tmp_path):
    done = expunge_report(make_run(facts=1, objective="ME+GD"), "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert "retain" in done.stdout
    assert f"Report: {tmp_path / 'page.html'}" in done.stdout
    assert "The forget set&#39;s answers are no longer produced." in (tmp_path / "page.html").read_text()


def test_a_truncated_file_is_named_without_a_traceback(make_run, tmp_path):
    run = make_run()
    (run / "results.json").write_text((run / "results.json").read_text()[:700])
    done = expunge_report(run, "--out", tmp_path / "page.html")
    assert done.returncode == 2
    assert f"expunge: {run / 'results.json'}: not whole JSON" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()
