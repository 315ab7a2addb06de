"""The page in a real browser: nothing overflows, nothing of a model's answer runs, the script works."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from expunge.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

PROBE = """
<script>
addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body *")].filter(e =>
    e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, svg, .hidden-words"));
  const shown = () => [...document.querySelectorAll(".card")].filter(e => e.offsetParent).length;
  const told = {
    width: innerWidth, scroll: document.documentElement.scrollWidth,
    wide: wide.map(e => e.tagName + "." + e.className).join(" "),
    ran: document.body.dataset.ran || "", cards: shown(),
  };
  document.querySelector("button.all").click();
  told.all = shown();
  const filter = document.getElementById("filter");
  filter.value = "volume 17?";
  filter.dispatchEvent(new Event("input"));
  told.found = shown();
  document.querySelectorAll("details").forEach(e => { e.open = true; });
  told.unfolded = document.documentElement.scrollWidth;
  told.background = getComputedStyle(document.body).backgroundColor;
  parent.postMessage(JSON.stringify(told), "*");
});
</script>
"""


def dump(page: Path, folder: Path, dark: bool = False) -> str:
    """The page's DOM after its scripts ran."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1400,2000", "--virtual-time-budget=8000"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def probe(report: Path, width: int, dark: bool = False) -> dict[str, str]:
    """Open the report in a frame of `width` pixels (no window is as narrow as a phone) and ask it about itself."""
    html = report.read_text(encoding="utf-8")
    html, removed = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    assert removed == 1
    inner, outer = report.with_name("inner.html"), report.with_name("outer.html")
    inner.write_text(html.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    outer.write_text(
        "<!doctype html><body><pre id=told></pre><script>addEventListener('message', e => "
        "{ document.getElementById('told').textContent = e.data; });</script>"
        f"<iframe src='inner.html' style='width:{width}px;height:1500px;border:0'></iframe></body>"
    )
    told = re.search(r'<pre id="told">\{(.*?)\}</pre>', dump(outer, report.parent, dark)).group(1)
    return {name: value.strip('"') for name, value in re.findall(r'"(\w+)":("[^"]*"|[^,]*)', told)}


@pytest.fixture
def report(make_run, tmp_path):
    answers = {
        0: '<img src=x onerror="document.body.dataset.ran=1"><script>document.body.dataset.ran=1</script>',
        1: "W" * 3000,
        2: "https://" + "a-very-long/" * 200,
    }
    runs = [
        make_run(name, objective=objective, facts=facts, generations=answers)
        for name, objective, facts in (("a", "ME+GD", 1), ("b", "GA+GD", 0), ("c", "An" + "unbroken" * 12, 30))
    ]
    return write_report(runs, tmp_path / "report.html")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_and_no_answer_runs(report, width):
    told = probe(report, width)
    assert int(told["width"]) == width
    assert int(told["scroll"]) <= width, told["wide"]
    assert int(told["unfolded"]) <= width
    assert told["wide"] == ""
    assert told["ran"] == ""
    assert int(told["cards"]) == 6 + 3 * 3
    assert int(told["all"]) == 40 + 3 * 3
    assert int(told["found"]) == 4  # row 17 of each set


def test_dark_mode_is_dark(report):
    assert probe(report, 1280, dark=False)["background"] == "rgb(255, 255, 255)"
    assert probe(report, 1280, dark=True)["background"] == "rgb(20, 23, 27)"


def test_the_script_runs_under_the_page_s_own_policy(report):
    assert re.search(r'<html lang="en" class="js">', dump(report, report.parent))
