"""Plain data of figures: accuracies of the deployed view, costs added up, nothing left out in silence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.figures.blocks import category_place, read_blocks
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store


def test_a_course_has_the_deployed_accuracies_of_all_seeds(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    for seed, courses in ((1, [50.0, 70.0]), (0, [40.0, 60.0])):
        views = {"client": courses, "global": [1.0, 2.0]}
        store.write(cell_of("fedmd", seed=seed), outcome(views, facts={"category": "distillation"}))
    (block,) = read_blocks(store.records())
    (course,) = block.courses
    assert (block.dataset, course.label, course.category) == ("digits", "fedmd", "distillation")
    assert [seed.shown for seed in course.seeds] == [0, 1]
    assert course.accuracy == ((40.0, 60.0), (50.0, 70.0))
    assert (course.mean, course.lowest, course.highest) == ([45.0, 65.0], [40.0, 60.0], [50.0, 70.0])
    # 400 bytes up in each round, 200 down from the second on; a quarter of a second of training.
    assert course.cost("bytes") == [400.0, 1000.0]
    assert course.cost("seconds") == [0.25, 0.5]


def test_a_step_is_a_batch_of_samples(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    cell = cell_of("local", training={"rounds": 2, "batch_size": 8})
    told = outcome({"client": [1.0, 2.0]})
    for row, local, distill in zip(told.rounds, (3, 3), (None, 2), strict=True):
        row |= {"steps_local": local, "steps_distill": distill, "steps_server": 100}  # type: ignore[operator]
    store.write(cell, told)
    (course,) = read_blocks(store.records())[0].courses
    assert course.cost("samples") == [24.0, 64.0]  # 3 * 8, then (3 + 2) * 8 more; the server's steps are no client's


def test_runs_without_an_accuracy_are_named(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    store.write(cell_of("local"), outcome({"client": [1.0]}))
    store.write(cell_of("fedmd"), outcome(status="diverged", reason="loss is nan"))
    (block,) = read_blocks(store.records())
    assert [course.label for course in block.courses] == ["local"]
    assert block.left_out == ("fedmd seed 0 (diverged)",)


def test_a_bound_on_pooled_data_is_a_reference(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    store.write(cell_of("local"), outcome({"client": [1.0]}, facts={"category": "bound"}))
    pooled = outcome({"pooled": [1.0]}, deployed="pooled", facts={"category": "bound"})
    store.write(cell_of("centralized"), pooled)
    (block,) = read_blocks(store.records())
    assert {course.label: course.is_reference for course in block.courses} == {"local": False, "centralized": True}


def test_a_missing_accuracy_is_refused(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    folder = store.write(cell_of("local"), outcome({"client": [1.0, 2.0]}))
    path = folder / "rounds.csv"
    path.write_text(path.read_text().replace("2.0", ""))
    with pytest.raises(DataError, match=re.escape("lacks client.acc_mean")):
        read_blocks(store.records())


def test_unknown_categories_follow_the_known_ones() -> None:
    assert sorted(["zeta", "distillation", "bound", "alpha"], key=category_place) == [
        "bound",
        "distillation",
        "alpha",
        "zeta",
    ]
