"""The picture of the contraction study: every arm has a line, an interval or a word, and references their mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.contraction.predictions import Predictions
from fl_bench.benchmarks.contraction.reading import Arm, Block
from fl_bench.benchmarks.contraction.study import Study
from fl_bench.benchmarks.figures.contraction import draw
from fl_bench.benchmarks.figures.style import render
from fl_bench.benchmarks.grid.repetition import Repetition

if TYPE_CHECKING:
    from collections.abc import Mapping

SEEDS, CLIENTS, ROUNDS = 4, 3, 12


def study(courses: Mapping[str, Any]) -> Study:
    """A study of arms that all clients of all seeds go through alike, but for a little noise."""
    stream = np.random.default_rng(0)
    arms = {}
    for label, course in courses.items():
        risks = course + np.zeros((SEEDS, CLIENTS, ROUNDS)) + 0.001 * stream.normal(size=(SEEDS, CLIENTS, ROUNDS))
        arms[label] = Arm(label, "client", ("client",), {("client", "brier"): risks}, None, {}, ())
    seeds = tuple(map(Repetition, range(SEEDS)))
    block = Block("d", "s", "", {}, seeds, CLIENTS, ROUNDS, arms, ())
    return Study(block, Predictions("cosmos", ("local",), ("pooled",), ()), "brier", draws=20)


def test_what_is_drawn() -> None:
    t = np.arange(ROUNDS)
    arms = study(
        {
            "cosmos": 0.3 + 0.6**t,
            "local": 0.5 + 0.8**t,
            "flat": 0.6 + 0 * t,
            "pooled": 0.2 + 0.5 ** np.minimum(t, 20 - t - 2),
        }
    )
    figure = draw(arms, title="letter")
    curves, rates, floors = figure.axes
    assert [text.get_text() for text in rates.get_yticklabels()] == ["cosmos", "flat", "local"]
    assert curves.lines[0].get_ydata()[4] == pytest.approx(0.3 + 0.6**4, abs=0.002)
    (point,) = (line for line in rates.lines if line.get_marker() == "o")
    assert list(point.get_xdata()) == pytest.approx([0.6], abs=0.02)
    assert list(point.get_ydata()) == [0]
    (point,) = (line for line in floors.lines if line.get_marker() == "o")
    assert list(point.get_xdata()) == pytest.approx([0.3], abs=0.02)
    assert "not identified" in {text.get_text() for text in rates.texts}
    assert floors.lines[-1].get_xdata()[0] == pytest.approx(0.2 + 0.5**9, abs=0.002)  # its lowest; then it rises
    assert render(figure, "svg") == render(draw(arms, title="letter"), "svg")


def test_one_arm_alone_that_never_moves() -> None:
    figure = draw(study({"cosmos": 0.5 + 0.0 * np.arange(ROUNDS)}), title="letter")
    assert len(render(figure, "png")) > 1000
