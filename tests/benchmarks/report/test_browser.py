"""The page in a real browser: its controls, its charts, narrow and wide, printed, by keyboard, with contrast."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
"""Text that is hard to read on its ground."""

READERS = (Path(__file__).parent / "readers.js").read_text(encoding="utf-8")
"""What a screen reader would stumble over."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; in CI a missing one is a failure."""
    path = shutil.which("chromium")
    if path is None:
        reason = "needs a browser: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # CI runs as root
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page is, once a test has written it for all others."""
    return tmp_path_factory.mktemp("report")


@pytest.fixture
def visit(browser: Browser, filled: Path, written: Path) -> Iterator[Callable[..., Page]]:
    """Opens the report of `filled`; fails at the end when the page logged, threw or asked for anything."""
    if not (written / "index.html").exists():
        command = ["report", str(filled), "--out", str(written), "--on-missing", "complete-blocks"]
        assert run_command(command) == 0
    troubles: list[str] = []
    contexts = []

    def open_page(width: int = 1600, state: str = "", **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: troubles.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
        )
        page.goto((written / "index.html").as_uri() + state)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


def shown(page: Page) -> list[str]:
    """Method and data set of the lines of runs that can be seen, in order."""
    found: list[str] = page.eval_on_selector_all(
        "#board tbody tr:not([hidden])", "rows => rows.map(row => `${row.dataset.method} ${row.dataset.dataset}`)"
    )
    return found


def texts(page: Page, selector: str) -> list[str]:
    """What elements that can be seen say."""
    return [node.inner_text() for node in page.locator(f"{selector}:visible").all()]


def test_the_finding_comes_first_and_any_method_can_be_the_control(visit: Callable[..., Page]) -> None:
    page = visit()
    assert page.title() == "results · fl-bench"
    heading = page.locator("#finding-title").bounding_box()
    plot = page.locator(".forest:visible").first.bounding_box()
    assert heading is not None
    assert plot is not None
    assert plot["y"] < 900  # without scrolling
    assert texts(page, ".view dt")[0] == "Better than cosmos"
    assert texts(page, ".view tbody th") == ["fedmd", "fedavg", "local"]  # 5, 10 and 15 points behind
    page.get_by_role("combobox", name="Compare all methods with").select_option("fedmd")
    assert texts(page, ".view tbody th") == ["cosmos", "fedavg", "local"]
    assert texts(page, ".view tbody td.number")[0].startswith("+5.00")
    assert page.url.endswith("#control=fedmd")
    assert texts(page, "#by-dataset tr.control th") == ["fedmd"]


def test_a_link_shows_what_was_chosen(visit: Callable[..., Page]) -> None:
    page = visit(state="#control=local&measure=difference&sort-ranking=2%2C1&on=optdigits&dataset=optdigits")
    assert texts(page, ".view dt")[0] == "Better than local"
    assert page.locator("#by-dataset tbody tr[data-method=cosmos] td").first.inner_text() == "+15.00"
    assert page.locator("#ranking thead th").nth(2).get_attribute("aria-sort") == "ascending"
    assert texts(page, "#ranking tbody th")[0] == "local"
    assert page.get_by_role("combobox", name="Data set").first.input_value() == "optdigits"
    assert {line.split()[1] for line in shown(page)} == {"optdigits"}
    page.get_by_role("link", name="Costs").click()
    assert "control=local" in page.url  # a link within the page keeps it


def test_methods_by_data_sets_show_every_measure_and_open_runs(visit: Callable[..., Page]) -> None:
    page = visit()
    cosmos = page.locator("#by-dataset tr[data-method=cosmos] td")
    assert cosmos.all_inner_texts() == ["75.50", "80.50"]
    shade = "node => getComputedStyle(node).backgroundColor"
    assert cosmos.first.evaluate(shade) != page.locator("#by-dataset tr[data-method=fedavg] td").first.evaluate(shade)
    page.get_by_role("combobox", name="Show").select_option("bytes")
    assert cosmos.first.inner_text() == "2.6 kB"
    page.get_by_role("combobox", name="Show").select_option("difference to the control")
    assert page.locator("#by-dataset tr[data-method=local] td").first.inner_text() == "-15.00"
    page.get_by_role("button", name="optdigits").first.click()
    cosmos.first.get_by_role("button").click()
    assert page.get_by_role("dialog").get_by_role("heading").inner_text() == "cosmos on digits"


def test_charts_follow_the_data_set_and_the_methods_that_are_on(visit: Callable[..., Page]) -> None:
    page = visit()
    chart = page.locator("#curves-chart > svg")
    lines = chart.locator("path[class^=s]:has(title)")
    assert lines.count() == 4
    label = chart.get_attribute("aria-label")
    assert label is not None
    assert "digits: cosmos 75.50 %" in label
    page.get_by_role("button", name="fedavg", pressed=True).click()
    assert lines.count() == 3
    assert chart.locator("path.behind").count() == 1
    assert "lines=cosmos%7Cfedmd%7Clocal" in page.url
    page.locator("#clients-on").select_option("optdigits")
    assert page.locator("#curves-on").input_value() == "optdigits"  # one choice for all charts
    label = chart.get_attribute("aria-label")
    assert label is not None
    assert "optdigits: cosmos 80.50 %" in label
    assert page.locator("#costs-charts figure").count() == 2
    assert page.locator("#costs-charts circle").count() == 8
    assert texts(page, "#clients-table tbody th") == ["cosmos", "fedavg", "fedmd", "local"]


@pytest.mark.parametrize(
    ("form", "first", "last"),
    [
        ("CSV", "method,mean rank,mean %,bytes,time", "local,4.00,62.75,2.6 kB,1.0 s"),
        ("Markdown", "| method | mean rank | mean % | bytes | time |", "| local | 4.00 | 62.75 | 2.6 kB | 1.0 s |"),
        ("LaTeX", "% needs \\usepackage{booktabs}", "\\end{table}"),
    ],
)
def test_tables_are_copied_as_they_are_seen(visit: Callable[..., Page], form: str, first: str, last: str) -> None:
    page = visit()
    page.evaluate("navigator.clipboard.writeText = async (text) => { document.body.dataset.copied = text; }")
    page.locator(".pair summary", has_text="Copy").last.click()
    page.get_by_role("button", name=form).click()
    page.locator("#told", has_text=f"as {form}").wait_for(state="attached")
    copied = page.locator("body").get_attribute("data-copied")
    assert copied is not None
    assert copied.splitlines()[0] == first
    assert copied.splitlines()[-1] == last
    if form == "LaTeX":
        assert "method & mean rank & mean \\% & bytes & time \\\\" in copied


def test_sorting(visit: Callable[..., Page]) -> None:
    page = visit()
    head = page.locator("#board thead th")
    accuracy = page.get_by_role("button", name="accuracy %")
    accuracy.click()
    assert head.nth(2).get_attribute("aria-sort") == "descending"
    assert shown(page)[:3] == ["cosmos optdigits", "cosmos digits", "fedmd optdigits"]
    accuracy.click()
    assert head.nth(2).get_attribute("aria-sort") == "ascending"
    assert shown(page)[:3] == ["local digits", "fedavg digits", "local optdigits"]  # 60.5; 65.5 twice, as they stood
    page.get_by_role("combobox", name="View", exact=True).select_option("all")
    assert len(shown(page)) == 10
    place = page.locator("#board").get_by_role("button", name="place")
    for _ in range(2):  # what has no number stays at the end
        place.click()
        assert page.locator("#board tbody tr").last.get_attribute("data-view") == "server_oracle"


def test_filtering(visit: Callable[..., Page]) -> None:
    page = visit()
    assert page.inner_text("#count") == "8 of 10 lines"
    form = page.get_by_role("form", name="Filter the runs")
    form.get_by_role("combobox", name="Data set", exact=True).select_option("optdigits")
    assert {line.split()[1] for line in shown(page)} == {"optdigits"}
    form.get_by_role("combobox", name="Category", exact=True).select_option("clustered")
    assert shown(page) == ["cosmos optdigits"]
    form.get_by_role("combobox", name="View", exact=True).select_option("server_oracle")
    assert page.inner_text("#count") == "1 of 10 lines"
    page.get_by_role("button", name="Reset").click()
    page.locator("#count", has_text="8 of 10 lines").wait_for()  # not wait_for_function: the page forbids eval
    page.get_by_role("searchbox", name="Method", exact=True).fill("FEDM")
    assert shown(page) == ["fedmd digits", "fedmd optdigits"]
    page.get_by_role("searchbox", name="Method", exact=True).fill("nobody")
    assert page.inner_text("#count") == "0 of 10 lines"


def test_a_run_is_drawn_when_asked_for(visit: Callable[..., Page]) -> None:
    page = visit()
    page.locator("#board tr[data-method=cosmos][data-dataset=digits] button.open").first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading").inner_text() == "cosmos on digits"
    dialog.get_by_role("button", name="seed 1").click()
    cells = dialog.locator("tbody tr").last.locator("td").all_inner_texts()
    assert cells[:2] == ["76.00", "78.00"]
    assert cells[-3:] == ["400 B", "200 B", "0.25"]
    assert dialog.locator("svg.chart path").count() == 2
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.locator("#board tr[data-method=fedavg][data-dataset=optdigits] button.open").click()
    dialog.get_by_role("button", name="seed 1 (diverged)").click()
    assert "diverged: a weight of client <3> left the finite numbers" in dialog.inner_text()


@pytest.mark.parametrize("width", [400, 1600])
def test_no_part_of_the_page_is_wider_than_the_window(visit: Callable[..., Page], width: int) -> None:
    page = visit(width)
    page.evaluate("document.querySelectorAll('details').forEach(node => node.open = true)")
    measure = "[document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert page.evaluate(measure) == [width, width]
    page.locator("#board button.open").first.click()
    assert page.evaluate("document.getElementById('run').scrollWidth <= document.getElementById('run').clientWidth")
    assert page.evaluate(measure) == [width, width]


def test_printed_the_page_is_whole(visit: Callable[..., Page]) -> None:
    page = visit(1047)  # A4 across between its margins
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    folded = "[...document.querySelectorAll('main details:not(.menu)')]"
    assert page.evaluate(f"{folded}.every((node) => node.open)")
    wide = "[...document.querySelectorAll('main :is(table, svg, img)')].filter((node) => node.checkVisibility()"
    assert page.evaluate(f"{wide} && node.getBoundingClientRect().right > innerWidth).map((node) => node.id)") == []
    high = "[...document.querySelectorAll('.scroll')].filter((node) => node.scrollHeight > node.clientHeight + 1)"
    assert page.evaluate(f"{high}.map((node) => node.ariaLabel)") == []
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(f"{folded}.some((node) => !node.open)")


def test_everything_can_be_reached_and_used_by_keyboard_with_few_stops(visit: Callable[..., Page]) -> None:
    page = visit()
    wanted = page.evaluate(
        """() => {
        const all = document.querySelectorAll("a, button, select, input, summary, [tabindex='0']");
        const seen = [...all].filter((node) => node.checkVisibility() && node.tabIndex === 0);
        seen.forEach((node, place) => { node.dataset.stop = place; });
        return seen.length; }"""
    )
    assert wanted < 60
    reached, bare = [], []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        stop, outline = page.evaluate(
            "[document.activeElement.dataset.stop, getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.append(int(stop))
        bare += [stop] if outline == "none" else []
    assert reached == list(range(wanted))  # all of them, in the order in which they are read
    assert not bare  # and it can be seen where one is
    page.locator("#board thead button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")  # place
    assert page.locator("#board thead th").nth(1).get_attribute("aria-sort") == "ascending"
    page.locator("#by-dataset tr[data-method=cosmos] button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").get_by_role("heading").inner_text() == "fedmd on optdigits"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('tr').dataset.method") == "fedmd"  # back where one was


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_a_screen_reader_what_it_needs(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(node => node.open = true)")
    page.get_by_role("combobox", name="View", exact=True).select_option("all")
    page.get_by_role("button", name="accuracy %").click()
    page.locator("#board tbody tr").first.hover()
    assert page.evaluate(READERS) == []
    found = page.evaluate(CONTRAST)
    assert found["seen"] > 200
    assert found["poor"] == []
    page.get_by_role("combobox", name="Show").select_option("difference to the control")
    page.locator("#board button.open").first.click()
    assert page.evaluate(CONTRAST)["poor"] == []
    assert page.evaluate(READERS) == []


def test_without_a_script_the_tables_are_there(visit: Callable[..., Page]) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator("#board tbody tr").count() == 10
    assert page.locator("#by-dataset tbody tr").count() == 4
    assert page.locator(".forest:visible tbody tr").count() == 3
    assert page.locator("#comparison li").count() > 0
    assert page.locator("select:visible").count() == 0


def test_figures_are_pictures_that_can_be_shown(visit: Callable[..., Page]) -> None:
    page = visit()
    broken = page.eval_on_selector_all(
        "img",
        "async all => { for (const i of all) { i.loading = 'eager'; await i.decode(); }"
        " return all.filter(i => !i.naturalWidth).length }",
    )
    assert broken == 0
    assert page.locator("#figures img").count() >= 1
