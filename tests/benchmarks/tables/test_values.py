"""Numbers as people read them."""

from __future__ import annotations

import pytest

from fl_bench.benchmarks.tables.values import show_bytes, show_seconds


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (999.6, "1.0 kB"), (1234, "1.2 kB"), (5e6, "5.0 MB"), (3e15, "3000.0 TB")],
)
def test_bytes(count: float | None, shown: str) -> None:
    assert show_bytes(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0.04, "0.0 s"), (9.96, "10.0 s"), (59, "59 s"), (180, "3 min"), (9000, "2.5 h")]
)
def test_seconds(seconds: float | None, shown: str) -> None:
    assert show_seconds(seconds) == shown
