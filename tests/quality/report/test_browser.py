"""The page as Chromium lays it out: nothing overflows, nothing is fetched, nothing runs, everything can be read.

Screenshots of each page, width and colour scheme are kept in `.cache/reports/`, for people to look at.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from beam_pipelines.quality.report import make, write

SHOTS = Path(__file__).resolve().parents[3] / ".cache" / "reports"
WIDTHS = (360, 768, 1400)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
NAMES = ("rich", "hostile", "plain")

# Elements that stick out of the window and that no box of their own cuts or scrolls.
OVERFLOWING = """() => [...document.querySelectorAll('body *')].filter(e => {
  if (e.getBoundingClientRect().right <= document.documentElement.clientWidth + 1) return false;
  for (let up = e.parentElement; up; up = up.parentElement) if (getComputedStyle(up).overflowX !== 'visible') return false;
  return true;
}).map(e => e.outerHTML.slice(0, 200))"""

# Of each element with text of its own, how much it stands out from what is behind it (WCAG 2.2, 1.4.3), where that is too little.
FAINT = """() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const found = channels(getComputedStyle(e).backgroundColor); if (found.length < 4 || found[3] === 1) return found; } };
  const texts = [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('svg')
    && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  const told = texts.map(e => { const [a, b] = [light(channels(getComputedStyle(e).color)), light(behind(e))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 120)]; });
  return [told.length, told.filter(([ratio]) => ratio < 4.5)];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "the tests of the HTML report need Chromium: apt-get install --no-install-recommends chromium"
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(samples: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of three runs."""
    folder = tmp_path_factory.mktemp("pages")
    runs = {"rich": samples.rich(), "hostile": samples.hostile(), "plain": samples.run(samples.rule("name"))}
    for name, run in runs.items():
        write(folder / f"{name}.html", make(run, () if name == "plain" else samples.rich_history()))
    return folder


class Opened:
    """A page, and what it tried to do."""

    def __init__(self, browser: Browser, path: Path, width: int = 1400, scheme: Any = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        self.page: Page = self.context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.route("**/*", lambda route: self._answer(route, path.as_uri()))
        self.page.goto(path.as_uri())
        self.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")

    def _answer(self, route: Route, mine: str) -> None:
        if route.request.url == mine:
            route.continue_()
            return
        self.asked.append(route.request.url)
        route.abort()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_every_window_and_asks_for_nothing(browser: Browser, folder: Path, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    behind = set()
    with Opened(browser, folder / f"{name}.html") as opened:
        page = opened.page
        for width, scheme in itertools.product(WIDTHS, SCHEMES):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=SHOTS / f"{name}-{scheme}-{width}.png", full_page=name == "rich")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(OVERFLOWING) == []
            texts, faint = page.evaluate(FAINT)
            assert texts > 20
            assert faint == [], f"{scheme}, {width}"
            behind.add((scheme, page.evaluate("getComputedStyle(document.body).backgroundColor")))
        assert (opened.asked, opened.said) == ([], [])
    assert behind == {("light", "rgb(244, 245, 248)"), ("dark", "rgb(17, 20, 26)")}


def test_hostile_values_are_text_and_nothing_else(browser: Browser, folder: Path, samples: Any) -> None:
    with Opened(browser, folder / "hostile.html", 1400) as opened:
        page = opened.page
        assert page.evaluate("[window.ran, document.querySelectorAll('img, script, b, i, iframe, #made').length]") == [None, 0]
        assert page.evaluate("document.querySelectorAll('style').length") == 1
        assert page.evaluate("getComputedStyle(document.body).display") == "block"
        shown = page.evaluate("[...document.querySelectorAll('.offending')].map(e => e.textContent)")
        for name in ("script", "image", "attribute", "style", "comment", "entity", "braces", "cdata", "emoji", "arabic"):
            assert samples.HOSTILE[name] in shown
        assert "abcU+202Egnp.exeU+202CU+2066x" in shown
        assert "aU+0000bU+0007cU+001B[31m" in shown
        assert "xU+D800yU+DFFFz" in shown
        assert page.title().startswith("<script>window.ran = 1</script>")
        boxes = page.evaluate("[...document.querySelectorAll('.offending')].map(e => e.getBoundingClientRect().height)")
        assert max(boxes) < 200  # ten thousand letters without a space take no more room than that


def test_the_policy_refuses_what_would_slip_through(browser: Browser, folder: Path, tmp_path: Path) -> None:
    text = (folder / "plain.html").read_text(encoding="utf-8")
    slipped = "<script>window.ran = 1</script><style>body { display: none }</style><img src='https://example.org/x.png'>"
    (tmp_path / "slipped.html").write_text(text.replace("</main>", f"{slipped}</main>"), encoding="utf-8")
    with Opened(browser, tmp_path / "slipped.html", 768) as opened:
        assert opened.page.evaluate("[window.ran, getComputedStyle(document.body).display]") == [None, "block"]
        assert opened.asked == []
        assert len(opened.said) == 3
        assert all("Content Security Policy" in message for message in opened.said)


def test_a_reader_without_eyes_finds_headings_tables_and_names(browser: Browser, folder: Path) -> None:
    with Opened(browser, folder / "rich.html", 360) as opened:
        page = opened.page
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.title() == "Customer quality: Failed – data quality report"
        assert page.get_by_role("heading", level=1).all_inner_texts() == ["Customer quality"]
        assert len(page.get_by_role("heading", level=2).all()) == 4
        # The table of rules is laid out as cards here, and is a table all the same.
        rules = page.locator("table.rules")
        assert rules.get_by_role("rowheader").count() == 9
        assert rules.get_by_role("columnheader").count() == 5
        assert page.locator("svg[role=img]:not([aria-label])").count() == 0
        assert page.locator("svg:not([role=img]):not([aria-hidden])").count() == 0


def test_links_lead_to_examples_and_numbers_stand_below_each_other(browser: Browser, folder: Path) -> None:
    with Opened(browser, folder / "rich.html", 1400) as opened:
        page = opened.page
        for link in page.locator("a").all():
            assert page.locator(str(link.get_attribute("href"))).count() == 1
        assert page.locator("a").count() == 3
        styles = page.evaluate(
            "[...document.querySelectorAll('td.number')].map(e => getComputedStyle(e)).map(s => s.textAlign + s.fontVariantNumeric)"
        )
        assert set(styles) == {"righttabular-nums"}


def test_the_trend_rises_and_falls_as_the_rates_do(browser: Browser, folder: Path, samples: Any) -> None:
    with Opened(browser, folder / "rich.html", 1400) as opened:
        dots = opened.page.evaluate(
            "[...document.querySelectorAll('.chart .dot')].map(e => e.getBoundingClientRect()).map(r => [r.x, r.y])"
        )
    rates = [1 - one.failed / 1000 for one in reversed(samples.rich_history())] + [0.941]
    assert len(dots) == len(rates)
    assert all(before[0] < after[0] for before, after in itertools.pairwise(dots))
    falls = [after > before for (_, before), (_, after) in itertools.pairwise(dots)]
    assert falls == [after < before for before, after in itertools.pairwise(rates)]


def test_on_paper_examples_are_unfolded_and_on_white(browser: Browser, folder: Path) -> None:
    with Opened(browser, folder / "rich.html", 768, "dark") as opened:
        page = opened.page
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = false })")
        assert not page.locator(".offending").first.is_visible()
        page.emulate_media(media="print", color_scheme="light")
        assert page.locator(".offending").first.is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
        page.set_viewport_size({"width": 688, "height": 900})  # A4 less its margins
        assert page.evaluate("document.documentElement.scrollWidth") == 688
        assert page.evaluate("getComputedStyle(document.querySelector('.rules tr')).display") == "table-row"
