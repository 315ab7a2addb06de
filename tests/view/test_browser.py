"""The view in a real browser."""

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from attacks.small import PEOPLE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
WAIT = 120_000  # milliseconds; other tests may run beside


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open an address; anything that the page's console complains of, or that is asked of elsewhere, fails the test."""
    pages, complaints = [], []

    def open_page(served, width=1280):
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        here = f"http://127.0.0.1:{served.port}/"
        page.on("request", lambda asked: complaints.append(asked.url) if not _is_here(asked.url, here) else None)
        page.goto(served.address)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.title() != "ran"
        page.close()
    assert not complaints


def _is_here(url, here):
    return url.startswith((here, "data:"))


def open_tab(page, name):
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_is_shown_whole_and_nothing_is_wider_than_the_page(run, serve, visit, width):
    page = visit(serve(run), width)
    report = page.frame_locator("iframe")
    expect(report.get_by_role("heading", name="Verdict")).to_be_visible(timeout=WAIT)
    expect(page.get_by_role("tab", name="Report")).to_be_in_viewport()
    frame = "document.querySelector('iframe')"
    page.wait_for_function(f"{frame}.clientHeight >= {frame}.contentDocument.body.scrollHeight")
    for tab, shown in (
        ("Rows", "#cards .card"),
        ("Trade-off", "#figure svg"),
        ("Chat", "#prompt"),
        ("Report", "iframe"),
    ):
        open_tab(page, tab)
        expect(page.locator(shown).first).to_be_visible(timeout=WAIT)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_rows_are_found_as_one_types_and_hostile_text_stays_text(run, serve, visit):
    page = visit(serve(run))
    rows = open_tab(page, "Rows")
    expect(rows.locator(".card")).to_have_count(25, timeout=WAIT)
    rows.get_by_role("button", name="More rows").click()
    expect(rows.locator(".card")).to_have_count(26)
    rows.get_by_label("Find").fill("onerror")
    expect(rows.locator(".card")).to_have_count(1)
    expect(rows.get_by_role("status")).to_have_text("1 of 26 rows.")
    expect(rows.locator(".asked")).to_contain_text("<img src=x onerror=")
    expect(rows.locator(".right")).to_contain_text("</p><script>")
    assert rows.locator("img, script").count() == 0
    rows.get_by_label("Find").fill("born")
    rows.get_by_label("Set").select_option("holdout")
    expect(rows.get_by_role("status")).to_have_text("6 of 26 rows.")
    page.wait_for_timeout(300)
    assert page.frame_locator("iframe").locator("img").count() == 0
    assert page.title() != "ran"


def test_a_prompt_streams_two_answers_side_by_side(run, serve, visit):
    page = visit(serve(run))
    said = serve(run).chat(PEOPLE[0].prompt)[0]
    chat = open_tab(page, "Chat")
    chat.get_by_label("Prompt").fill(PEOPLE[0].prompt)
    page.keyboard.press("Enter")
    expect(chat.get_by_role("status")).to_have_text("Done.", timeout=WAIT)
    for model in ("target", "unlearned"):
        expect(chat.locator(f"[data-model={model}] .said")).to_have_text(said[model])
    before, after = (chat.locator(f"[data-model={model}]").bounding_box() for model in ("target", "unlearned"))
    assert before["y"] == after["y"]
    assert before["x"] + before["width"] <= after["x"]
    prompt = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
    chat.get_by_label("Prompt").fill(prompt)
    chat.get_by_role("button", name="Ask both").click()
    expect(chat.locator(".card")).to_have_count(2)
    expect(chat.get_by_role("status")).to_have_text("Done.", timeout=WAIT)
    expect(chat.locator(".asked").nth(1)).to_have_text(prompt)
    assert chat.locator("img, script").count() == 0
    chat.get_by_role("button", name="Clear").click()
    expect(chat.locator(".card")).to_have_count(0)


def test_where_the_target_is_gone_the_page_says_so(run, serve, visit):
    recipe = (run / "recipe.yaml").read_text().splitlines()
    (run / "recipe.yaml").write_text(
        "\n".join("model: ./nowhere" if line.startswith("model:") else line for line in recipe)
    )
    page = visit(serve(run))
    chat = open_tab(page, "Chat")
    chat.get_by_label("Prompt").fill(PEOPLE[0].prompt)
    page.keyboard.press("Enter")
    expect(chat.get_by_role("status")).to_have_text("Done.", timeout=WAIT)
    expect(chat.locator("[data-model=target] .said")).to_contain_text("cannot answer")
    expect(chat.locator("[data-model=unlearned] .said")).not_to_be_empty()


def test_tabs_answer_to_the_arrow_keys(run, serve, visit):
    page = visit(serve(run))
    page.get_by_role("tab", name="Report").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Chat")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Chat")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tabpanel", name="Report")).to_be_visible()


def test_a_redacted_view_has_no_chat(run, serve, visit):
    page = visit(serve(run, hidden=True))
    chat = open_tab(page, "Chat")
    expect(chat).to_contain_text("There is no chat while texts are hidden")
    assert page.locator("#prompt").count() == 0
    expect(open_tab(page, "Rows").locator(".asked").first).to_contain_text("[hidden:", timeout=WAIT)
