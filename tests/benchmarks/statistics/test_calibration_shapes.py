"""The tables of docs/statistics.md on shapes: they keep what is asked for, and smaller simulations agree with them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fl_bench.benchmarks.statistics import calibration_shapes as shapes

PAGE = Path(__file__).parents[3] / "docs" / "statistics.md"

ERRORS = 4.0
"""Standard errors of a difference of two simulations; there are eighty of them."""


@pytest.fixture(scope="module")
def printed() -> dict[str, list[str]]:
    """The rows between the marks, by the name of their test: the cells after it."""
    text = PAGE.read_text(encoding="utf-8").partition(shapes.PLACE[0])[2].partition(shapes.PLACE[1])[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def agree(one: float, simulations: int, other: float, others: int) -> bool:
    likely = np.clip((one * simulations + other * others) / (simulations + others), 1 / others, 1 - 1 / others)
    return bool(abs(one - other) <= ERRORS * np.sqrt(likely * (1 - likely) * (1 / simulations + 1 / others)))


def test_nothing_is_missing(printed: dict[str, list[str]]) -> None:
    assert len(printed) >= 20
    assert "mixed model, the same clients, 5 seeds, both differ" in printed


def test_what_is_printed_keeps_its_level_and_coverage(printed: dict[str, list[str]]) -> None:
    # (!) marks what misses 0.060 or 0.930. No claim rests on F: the sentence on whether methods differ is chi-square's.
    missed = [name for name, cells in printed.items() if any("(!)" in cell for cell in cells)]
    assert missed == ["Iman-Davenport F"]
    for name, (what, _, *cells) in printed.items():
        if len(cells) != len(shapes.SHAPES) or name in ("test or interval", *missed):
            continue
        rates = [float(cell) for cell in cells if cell != "none"]
        assert max(rates) <= 0.06 if what == shapes.LEVEL else min(rates) >= 0.93, name


def test_a_shape_is_what_it_says() -> None:
    stream = np.random.default_rng(0)
    control = shapes.SHAPES[-1]
    found = shapes.draw(control, 4000, stream).scores.mean(axis=2) - 70
    skew = (found**3).mean(axis=(0, 1)) / (found**2).mean(axis=(0, 1)) ** 1.5
    assert skew[0] > 1.2
    assert np.abs(skew[1:]).max() < 0.1
    assert np.abs(found.mean(axis=(0, 1))).max() < 0.05
    unequal = shapes.draw(shapes.SHAPES[2], 4000, stream)
    spread = unequal.scores.mean(axis=2).std(axis=(0, 1))
    assert spread[-1] > 2 * spread[0]
    assert unequal.next_scale.std() > 0.4


def test_a_line_misses_what_it_says() -> None:
    normal, skewed = shapes.SHAPES[0], shapes.SHAPES[-1]
    line = shapes.Line("a test", shapes.LEVEL, {normal.name: 0.06, skewed.name: 0.07})
    assert line.keeps(normal)
    assert not line.keeps(skewed)
    assert line.keeps(shapes.SHAPES[1])  # not computed there
    assert shapes.Line("an interval", shapes.COVERAGE, {normal.name: 0.931}).keeps(normal)
    assert re.search(r"0\.070 \(!\)", shapes.page([line], 10))


@pytest.mark.slow
def test_a_smaller_simulation_agrees_with_the_page(printed: dict[str, list[str]]) -> None:
    simulations = 150
    for line in shapes.calibrate_shapes(simulations):
        cells = dict(zip((shape.name for shape in shapes.SHAPES), printed[line.name][2:], strict=True))
        for shape, rate in line.rates.items():
            assert agree(rate, simulations, float(cells[shape].removesuffix(" (!)")), shapes.SIMULATIONS), (
                line.name,
                shape,
            )
        assert [name for name, cell in cells.items() if cell == "none"] == [
            shape.name for shape in shapes.SHAPES if shape.name not in line.rates
        ]
    for row in shapes.calibrate_mixed(simulations):
        assert agree(row.rate, simulations, float(printed[row.name][2]), shapes.SIMULATIONS), row.name
