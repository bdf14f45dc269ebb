"""Figures on the page: slim, drawn once for the same data, drawn anew for others, never broken by their cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.figures.gallery import Drawing
from fl_bench.benchmarks.figures.style import new_figure
from fl_bench.benchmarks.report.pictures import KEPT, slim, take_pictures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure


@pytest.fixture
def drawn() -> list[str]:
    """What was drawn, in order."""
    return []


@pytest.fixture
def drawing(drawn: list[str]) -> Callable[..., Drawing]:
    def make(data: object, title: str = "two inches") -> Drawing:
        def draw() -> Figure:
            drawn.append(title)
            return new_figure(2, 1)

        return Drawing("ranks", "ranks", title, draw, data)

    return make


def test_an_svg_gets_slimmer_and_stays_what_it_shows() -> None:
    svg = (
        '<svg>\n <!-- a\n comment -->\n <path d="M 1.23456 -7.5\nL 3 4.999\n"/>\n'
        ' <text x="1.23456">0.12345 is text</text>\n</svg>'
    )
    assert slim(svg) == '<svg><path d="M 1.23 -7.5 L 3 4.99"/><text x="1.23456">0.12345 is text</text></svg>'


def test_a_figure_is_drawn_once_for_the_same_data(
    drawing: Callable[..., Drawing], drawn: list[str], tmp_path: Path
) -> None:
    (first,) = take_pictures([drawing((1, 2.5))], tmp_path)
    (again,) = take_pictures([drawing((1, 2.5))], tmp_path)
    assert first == again
    assert first.width == 192  # 2 inches of 96 pixels
    assert drawn == ["two inches"]
    take_pictures([drawing((1, 2.6))], tmp_path)
    take_pictures([drawing((1, 2.5), "another title")], tmp_path)
    assert drawn == ["two inches", "two inches", "another title"]


def test_a_damaged_or_missing_cache_costs_time_and_nothing_else(
    drawing: Callable[..., Drawing], drawn: list[str], tmp_path: Path
) -> None:
    (whole,) = take_pictures([drawing(1)], tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text("<svg>half a fil")
    assert take_pictures([drawing(1)], tmp_path) == [whole]
    (tmp_path / "file").write_text("")
    assert take_pictures([drawing(1)], tmp_path / "file") == [whole]  # no folder can be made there
    assert len(drawn) == 3


def test_the_oldest_figures_go(drawing: Callable[..., Drawing], tmp_path: Path) -> None:
    for place in range(KEPT):
        (tmp_path / f"{place}.svg").write_text("")
    take_pictures([drawing(1)], tmp_path)
    assert len(list(tmp_path.iterdir())) == KEPT
