"""The page in a real browser: sorts, filters, opens runs, narrow and wide, by keyboard, with contrast, no errors."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(node).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const poor = [];
  let seen = 0;
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    const box = node.getBoundingClientRect();
    if (!own || !box.width || ["SCRIPT", "STYLE"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = node.closest("svg") ? style.fill : style.color;
    const [one, two] = [light(numbers(ink)), light(ground(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    seen += 1;
    if (ratio < (large ? 3 : 4.5)) poor.push([node.tagName, node.textContent.trim().slice(0, 30), ratio]);
  }
  return { seen, poor };
}"""
"""WCAG 2.1, 1.4.3: 4.5 to 1, or 3 to 1 for large text, of every element that has text of its own."""


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


@pytest.fixture
def visit(browser: Browser, filled: Path, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the report of `filled`; fails at the end when the page logged, threw or asked for anything."""
    report = tmp_path / "report"
    assert run_command(["report", str(filled), "-o", str(report), "--on-missing", "skillings-mack"]) == 0
    troubles: list[str] = []
    contexts = []

    def open_page(width: int = 1600, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: troubles.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
        )
        page.goto((report / "index.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


def shown(page: Page) -> list[str]:
    """Method and data set of the lines that can be seen, in order."""
    found: list[str] = page.eval_on_selector_all(
        "#board tbody tr:not([hidden])", "rows => rows.map(row => `${row.dataset.method} ${row.dataset.dataset}`)"
    )
    return found


def test_loads_and_shows_each_methods_own_number(visit: Callable[..., Page]) -> None:
    page = visit()
    assert page.title() == "fl-bench report"
    assert shown(page) == [
        *(f"{method} digits" for method in ("cosmos", "fedmd", "fedavg", "local")),
        *(f"{method} optdigits" for method in ("cosmos", "fedmd", "fedavg", "local")),
    ]
    assert page.inner_text("#count") == "8 of 10 lines"
    broken = page.eval_on_selector_all(
        "img",
        "async all => { for (const i of all) { i.loading = 'eager'; await i.decode(); }"
        " return all.filter(i => !i.naturalWidth).length }",
    )
    assert broken == 0
    assert page.locator("#figures img").count() >= 8


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
    page.get_by_role("button", name="method", exact=True).click()
    assert head.nth(2).get_attribute("aria-sort") is None
    assert head.nth(0).get_attribute("aria-sort") == "ascending"
    assert [line.split()[0] for line in shown(page)] == sorted(line.split()[0] for line in shown(page))


def test_lines_without_a_number_stay_at_the_end(visit: Callable[..., Page]) -> None:
    page = visit()
    page.get_by_role("combobox", name="View", exact=True).select_option("all")
    place = page.get_by_role("button", name="place")
    for _ in range(2):
        place.click()
        last = page.locator("#board tbody tr").last
        assert last.get_attribute("data-view") == "server_oracle"


def test_filtering(visit: Callable[..., Page]) -> None:
    page = visit()
    page.get_by_role("combobox", name="Data set", exact=True).select_option("optdigits")
    assert {line.split()[1] for line in shown(page)} == {"optdigits"}
    page.get_by_role("combobox", name="Category", exact=True).select_option("clustered")
    assert shown(page) == ["cosmos optdigits"]
    page.get_by_role("combobox", name="View", exact=True).select_option("server_oracle")
    assert page.inner_text("#count") == "1 of 10 lines"
    page.get_by_role("button", name="Reset").click()
    page.locator("#count", has_text="8 of 10 lines").wait_for()  # not wait_for_function: the page forbids eval
    page.get_by_role("searchbox", name="Method", exact=True).fill("FEDM")
    assert shown(page) == ["fedmd digits", "fedmd optdigits"]
    page.get_by_role("searchbox", name="Method", exact=True).fill("nobody")
    assert page.inner_text("#count") == "0 of 10 lines"


def test_a_run_is_drawn_when_asked_for(visit: Callable[..., Page]) -> None:
    page = visit()
    page.locator("tr[data-method=cosmos][data-dataset=digits] button.open").first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading").inner_text() == "cosmos on digits"
    dialog.get_by_role("button", name="seed 1").click()
    cells = dialog.locator("tbody tr").last.locator("td").all_inner_texts()
    assert cells[:2] == ["76.00", "78.00"]
    assert cells[-3:] == ["400 B", "200 B", "0.25"]
    assert dialog.locator("svg.chart path").count() == 2
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.locator("tr[data-method=fedavg][data-dataset=optdigits] button.open").click()
    dialog.get_by_role("button", name="seed 1 (diverged)").click()
    assert "diverged: a weight of client <3> left the finite numbers" in dialog.inner_text()


@pytest.mark.parametrize("width", [400, 1600])
def test_no_part_of_the_page_is_wider_than_the_window(visit: Callable[..., Page], width: int) -> None:
    page = visit(width)
    page.evaluate("document.querySelectorAll('details').forEach(node => node.open = true)")
    measure = "[document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert page.evaluate(measure) == [width, width]
    page.locator("button.open").first.click()
    assert page.evaluate("document.getElementById('run').scrollWidth <= document.getElementById('run').clientWidth")
    assert page.evaluate(measure) == [width, width]


def test_everything_can_be_reached_and_used_by_keyboard(visit: Callable[..., Page]) -> None:
    page = visit()
    wanted = page.evaluate(
        """() => {
        const all = document.querySelectorAll("a, button, select, input, summary, [tabindex='0']");
        const seen = [...all].filter((node) => node.checkVisibility());
        seen.forEach((node, place) => { node.dataset.stop = place; });
        return seen.length; }"""
    )
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
    page.get_by_role("button", name="vs local").focus()
    page.keyboard.press("Enter")
    heading = page.locator("#board thead th").filter(has_text="vs local")
    assert heading.get_attribute("aria-sort") == "descending"
    page.locator("button.open:visible").first.focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "open"  # back where one was


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(node => node.open = true)")
    page.get_by_role("combobox", name="View", exact=True).select_option("all")
    page.get_by_role("button", name="accuracy %").click()
    page.locator("#board tbody tr").first.hover()
    found = page.evaluate(CONTRAST)
    assert found["seen"] > 200
    assert found["poor"] == []
    page.locator("button.open").first.click()
    assert page.evaluate(CONTRAST)["poor"] == []


def test_without_a_script_the_tables_are_there(visit: Callable[..., Page]) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator("#board tbody tr").count() == 10
    assert page.locator("#comparison li").count() > 0
