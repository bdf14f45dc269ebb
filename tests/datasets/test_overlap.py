"""Rows that data sets share: found whatever the scale of either, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from fl_bench.datasets.catalogue import available, family_of, load_dataset
from fl_bench.datasets.dataset import Dataset, build_dataset
from fl_bench.datasets.overlap import known_overlaps, known_text, overlap

SAME_WIDTH = [("digits", "optdigits"), ("letter", "penbased"), ("marketing", "vowel")]
"""Pairs of ours that could share rows at all."""


def made(inputs: np.ndarray, name: str = "made") -> Dataset:
    return build_dataset(name, inputs, np.arange(len(inputs)) % 4, source="made by a test", classes=4)


def tables(rows: int, columns: int = 12, seed: int = 0) -> np.ndarray:
    """Rows as measurements are: columns that depend on each other, and a coarse grid of values."""
    generator = np.random.default_rng(seed)
    return np.round(generator.normal(size=(rows, 4)) @ generator.normal(size=(4, columns)) * 20)


def pictures(rows: int, seed: int = 0) -> np.ndarray:
    """Rows that `build_dataset` does not standardise."""
    return np.random.default_rng(seed).uniform(0, 1, (rows, 1, 4, 4)).round(2)


@pytest.mark.parametrize(("one", "other"), SAME_WIDTH)
def test_what_is_known_of_our_data_sets_is_what_is_found(one: str, other: str) -> None:
    for name in (one, other):
        if not available(name)[0]:
            pytest.skip(f"needs real data: {name}")
    found = overlap(load_dataset(one), load_dataset(other))
    assert known_overlaps([one, other]) == ([] if found is None else [found])
    assert found is None or family_of(one) == family_of(other)


def test_every_row_of_digits_is_a_row_of_optdigits() -> None:
    (found,) = known_overlaps(["optdigits", "letter", "digits"])
    assert str(found) == "all 1797 rows of digits are rows of optdigits"
    assert known_overlaps(["digits", "letter"]) == []


def test_any_shift_and_scale_of_the_columns_is_seen_through() -> None:
    rows = tables(600)
    generator = np.random.default_rng(1)
    other = rows[generator.permutation(600)[:200]] * generator.uniform(0.1, 30, 12) + generator.normal(0, 100, 12)
    found = overlap(made(rows, "all"), made(other, "some"))
    assert found is not None
    assert (found.rows, found.found, found.other_rows, found.other_found) == (600, 200, 200, 200)
    assert str(found) == "all 200 rows of some are rows of all"
    turned = overlap(made(other, "some"), made(rows, "all"))
    assert turned is not None
    assert (turned.found, turned.other_found) == (found.other_found, found.found)


def test_pictures_are_the_same_as_bytes_and_as_shares() -> None:
    generator = np.random.default_rng(2)
    grey = generator.integers(0, 256, (300, 1, 6, 6)).astype(np.uint8)
    found = overlap(made(grey), made((grey[:100] / 255).astype(np.float32)))
    assert found is not None
    assert (found.found, found.other_found) == (100, 100)


@pytest.mark.parametrize(("shared", "scale"), [(300, 3.0), (60, 1.0)])
def test_a_part_of_the_rows_is_found_and_counted(shared: int, scale: float) -> None:
    rows, others = pictures(1500), pictures(600, seed=3)
    found = overlap(made(np.concatenate([rows[:shared], others[shared:]]) / scale, "new"), made(rows, "old"))
    assert found is not None
    assert str(found) == f"{shared} of 600 rows of new are rows of old"


def test_unrelated_tables_share_nothing() -> None:
    assert overlap(made(tables(500)), made(tables(700, seed=4))) is None
    assert overlap(made(tables(500)), made(tables(500, columns=11))) is None  # nothing to compare column by column
    assert overlap(made(tables(10)), made(tables(10))) is None  # too few to fit anything to


def test_what_chance_would_give_is_no_overlap() -> None:
    generator = np.random.default_rng(5)
    answers = [generator.integers(0, 2, (rows, 5)).astype(float) for rows in (400, 500)]  # 32 possible rows
    assert overlap(made(answers[0]), made(answers[1])) is None


def test_constant_rows_count_for_nothing() -> None:
    rows = np.random.default_rng(6).integers(0, 256, (200, 1, 4, 4)).astype(np.uint8)
    blank = np.zeros((50, 1, 4, 4), np.uint8)
    found = overlap(made(np.concatenate([rows, blank])), made(np.concatenate([blank, rows[:40]])))
    assert found is not None
    assert (found.rows, found.found, found.other_rows, found.other_found) == (200, 40, 40, 40)


def test_the_text_of_the_known_ones_reads_back() -> None:
    found = known_overlaps(["digits", "optdigits"])
    assert known_text(found).splitlines() == [
        "first,second,rows,found,other_rows,other_found",
        "digits,optdigits,1797,1797,5620,1797",
    ]
