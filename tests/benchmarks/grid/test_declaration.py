"""What a grid declares of its comparison: families that nobody names twice, and everything else refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.errors import ConfigError

MakeGrid = Callable[..., Grid]

METHODS = (
    "fedmd",
    {"name": "fedmd", "label": "fedmd-2", "settings": {"digest_epochs": 2}},
    "local",
    "fedavg",
    "centralized",
)


def declared(small_grid: MakeGrid, overrides: Overrides | None = None, **comparison: Any) -> Grid:
    return small_grid(overrides, methods=METHODS, seeds="0-2", comparison={"control": "fedmd", **comparison})


def test_what_is_not_said_follows_from_the_grid(small_grid: MakeGrid) -> None:
    found = declared(small_grid, ablations=["fedmd-2"]).declaration
    assert found is not None
    assert found.families() == (
        ("methods", ("local", "fedavg")),
        ("ablations", ("fedmd-2",)),
        ("bounds", ("centralized",)),
    )
    assert (found.rope, found.level, found.select) == (1.0, 0.05, "last")
    assert (found.datasets, found.seeds) == (("digits",), (0, 1, 2))
    assert small_grid().declaration is None


def test_what_is_said_counts(small_grid: MakeGrid) -> None:
    found = declared(small_grid, methods=["local"], bounds=["fedavg"], rope=0.5, level=0.01, select="val").declaration
    assert found is not None
    assert found.families() == (("methods", ("local",)), ("bounds", ("fedavg",)))
    assert (found.rope, found.level, found.select) == (0.5, 0.01, "val")


def test_the_command_line_leaves_out_runs_and_no_declaration(small_grid: MakeGrid) -> None:
    fewer = declared(small_grid, Overrides(methods="local,fedmd", seeds="0"))
    assert {cell.label for cell in fewer.cells} == {"local", "fedmd"}
    assert fewer.declaration == declared(small_grid).declaration


def test_a_declaration_is_in_no_key(small_grid: MakeGrid) -> None:
    plain = small_grid(methods=METHODS, seeds="0-2")
    assert [cell.key for cell in declared(small_grid).cells] == [cell.key for cell in plain.cells]


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        (
            {"control": "fedmdd"},
            "no method of this grid, as comparison has it, is named 'fedmdd'; did you mean 'fedmd'",
        ),
        ({"ablations": ["fedmd-3"]}, "named 'fedmd-3'; did you mean 'fedmd-2'"),
        ({"methods": ["local"], "bounds": ["local"]}, "comparison names 'local' twice"),
        ({"methods": ["fedmd"]}, "comparison names 'fedmd' twice"),
        ({"methods": [], "bounds": []}, "comparison needs a method beside its control 'fedmd'"),
        ({"level": 0.7}, "comparison.level must lie between 0 and 0.5, got 0.7"),
        ({"rope": -1}, "comparison.rope must be at least 0 points, got -1"),
        ({"select": "best"}, "comparison.select"),
        ({"margin": 1}, "margin"),
    ],
)
def test_what_cannot_be_declared_is_refused(small_grid: MakeGrid, comparison: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        declared(small_grid, **comparison)
    assert message in str(error.value)
    assert "small.yaml" in str(error.value)


def test_a_question_is_one_sentence_and_part_of_no_key(small_grid: MakeGrid) -> None:
    asked = small_grid(question="Does it work?")
    assert asked.question == "Does it work?"
    assert [cell.key for cell in asked.cells] == [cell.key for cell in small_grid().cells]
    for wrong in ("It works.", "Does it?\nReally?", "x" * 200 + "?"):
        with pytest.raises(ConfigError, match="question must be one sentence that ends in a question mark"):
            small_grid(question=wrong)
