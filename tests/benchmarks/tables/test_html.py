"""Tables for notebooks: order, numbers, and nothing that a record says becomes markup."""

from __future__ import annotations

import re
from typing import Any

from fl_bench.benchmarks.tables.html import SHOWN, board_html


def line(method: str, accuracy: float | None, **changes: Any) -> dict[str, Any]:
    usual = {
        "dataset": "digits",
        "setting": "a",
        "setting_name": "",
        "setting_brief": "5 clients",
        "category": "other",
        "method": method,
        "deployed": True,
        "acc_mean": accuracy,
        "acc_std": 1.5,
        "acc_worst_decile": 40.0,
        "bytes_total": 2000.0,
        "seconds": 3.0,
        "seeds": 2,
        "badges": "",
        "note": "",
    }
    return {**usual, **changes}


def rows(html: str) -> list[list[str]]:
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_the_best_comes_first_and_bounds_last() -> None:
    html = board_html(
        [
            line("local", 90.0, category="bound", bytes_total=0.0),
            line("fedmd", 50.0),
            line("cosmos", 70.126, badges="oracle: true groups"),
            line("cosmos", 99.0, deployed=False),
            line("failing", None, acc_std=None, note="2 failed"),
        ]
    )
    assert rows(html) == [
        ["method", "accuracy %", "worst 10%", "sent", "time", "seeds", "badges"],
        ["cosmos", "70.13 ± 1.50", "40.00", "2.0 kB", "3.0 s", "2", "oracle: true groups"],
        ["fedmd", "50.00 ± 1.50", "40.00", "2.0 kB", "3.0 s", "2", ""],
        ["failing", "2 failed", "", "", "", "2", ""],
        ["local (a bound)", "90.00 ± 1.50", "40.00", "0 B", "3.0 s", "2", ""],
    ]
    assert "<b>digits, 5 clients</b>" in html


def test_names_are_no_markup() -> None:
    html = board_html([line("<script>x</script>", 1.0, setting_name="<b>\x1b", badges="a & b")])
    assert rows(html)[1][0] == "&lt;script&gt;x&lt;/script&gt;"
    assert "digits, &lt;b&gt;\\x1b, 5 clients" in html
    assert "a &amp; b" in html


def test_many_settings_are_counted() -> None:
    html = board_html([line("fedmd", 1.0, setting=str(number)) for number in range(SHOWN + 2)])
    assert html.count("<table") == SHOWN
    assert "and 2 more tables: filter" in html
