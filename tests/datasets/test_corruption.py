"""Changes of public inputs against hand calculations; the same draws in every severity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fl_bench.datasets.corruption import corrupted
from fl_bench.datasets.public import IMAGE_CHANGES, TABLE_CHANGES


def images(*shape: int, stored: type = np.float32) -> np.ndarray:
    """Random images, in [0, 1] or in [0, 255]."""
    values = np.random.default_rng(5).random(shape)
    return (255 * values).astype(stored) if stored is np.uint8 else values.astype(stored)


def test_contrast_moves_pixels_towards_the_mean_of_their_image() -> None:
    # Means 0.4 and 0.1; 1 - 0.18 * 3 = 0.46 of the distance is left: 0.4 +- 0.184 and 0.1 +- 0.046.
    given = np.array([[[[0.0, 0.4, 0.8]]], [[[0.0, 0.1, 0.2]]]])
    found = corrupted(given, {"contrast": 3}, 0)
    assert found.ravel().tolist() == pytest.approx([0.216, 0.4, 0.584, 0.054, 0.1, 0.146])


@pytest.mark.parametrize("severity", [1, 2, 5])
def test_inverted_images_are_negatives_of_so_many_fifths(severity: int) -> None:
    given = images(7, 1, 2, 2)
    found = corrupted(given, {"invert": severity}, 0)
    changed = (found != given).any(axis=(1, 2, 3))
    assert changed.sum() == math.ceil(7 * severity / 5)
    assert np.allclose(found[changed], 1 - given[changed])
    weaker = (corrupted(given, {"invert": max(severity - 1, 1)}, 0) != given).any(axis=(1, 2, 3))
    assert not (weaker & ~changed).any()


@pytest.mark.parametrize(("severity", "down", "across"), [(1, 1, 1), (3, 2, 3), (5, 3, 5)])
def test_a_shift_moves_by_twentieths_of_the_side_and_leaves_0(severity: int, down: int, across: int) -> None:
    # s/20 of 10 and of 20 pixels, rounded up.
    given = images(40, 2, 10, 20) / 2 + 0.25
    found = corrupted(given, {"shift": severity}, 0)
    ways = set()
    for before, after in zip(given, found, strict=True):
        fits = []
        for up, left in ((False, False), (False, True), (True, False), (True, True)):
            moved = np.zeros_like(before)
            rows = (slice(None, -down), slice(down, None))
            columns = (slice(None, -across), slice(across, None))
            moved[:, rows[not up], columns[not left]] = before[:, rows[up], columns[left]]
            fits.append(bool((moved == after).all()))
        assert sum(fits) == 1
        ways.add(fits.index(True))
    assert ways == {0, 1, 2, 3}


def test_a_blur_spreads_a_point_as_a_gaussian_does() -> None:
    given = np.zeros((1, 1, 9, 9))
    given[0, 0, 4, 4] = 1.0
    found = corrupted(given, {"blur": 2}, 0)[0, 0]  # deviation 0.8, cut at ceil(2.4) = 3 pixels
    line = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 0.64))
    line /= line.sum()
    assert np.allclose(found[1:8, 1:8], np.outer(line, line))
    assert found.sum() == pytest.approx(1)
    assert (found[0] == 0).all()


def test_edges_of_a_blur_are_repeated() -> None:
    assert np.allclose(corrupted(np.full((1, 1, 4, 4), 0.3), {"blur": 5}, 0), 0.3)


def test_noise_grows_in_proportion_and_stays_in_range() -> None:
    grey = np.full((50, 1, 8, 8), 0.5)
    weak, strong = (corrupted(grey, {"noise": severity}, 0) - 0.5 for severity in (1, 2))
    inside = abs(strong) < 0.5
    assert np.allclose(strong[inside], 2 * weak[inside])
    assert weak.std() == pytest.approx(0.1, rel=0.05)
    assert abs(weak.mean()) < 0.01
    harsh = corrupted(grey, {"noise": 5}, 0)
    assert (harsh.min(), harsh.max()) == (0, 1)


def test_tables_are_scaled_and_offset_by_column() -> None:
    table = np.random.default_rng(3).normal(size=(30, 40))
    ratio = corrupted(table, {"scale": 2}, 0) / table  # (1 + 0.25 * 2)^+-1
    assert {round(value, 9) for value in ratio.ravel().tolist()} == {1.5, round(1 / 1.5, 9)}
    assert np.allclose(ratio, ratio[0])
    offset = corrupted(table, {"shift": 3}, 0) - table
    assert {round(value, 9) for value in offset.ravel().tolist()} == {0.75, -0.75}
    assert np.allclose(offset, offset[0])


def test_noise_of_tables_is_a_quarter_of_a_deviation_each() -> None:
    table = np.zeros((200, 20))
    assert corrupted(table, {"noise": 4}, 0).std() == pytest.approx(1.0, rel=0.05)
    assert np.allclose(corrupted(table, {"noise": 2}, 0), 2 * corrupted(table, {"noise": 1}, 0))


def test_bytes_are_rounded_to_the_nearest() -> None:
    # Mean 60, so 60 +- 0.82 * 59 and 60 +- 0.82 * 10: 11.62, 108.38, 51.8 and 68.2 are 12, 108, 52 and 68.
    given = np.array([[[[1, 119], [50, 70]]]], dtype=np.uint8)
    found = corrupted(given, {"contrast": 1}, 0)
    assert found.dtype == np.uint8
    assert found.ravel().tolist() == [12, 108, 52, 68]


@pytest.mark.parametrize("stored", [np.uint8, np.float32])
def test_changes_follow_the_seed_and_nothing_else(stored: type) -> None:
    given = images(6, 3, 8, 8, stored=stored)
    before = given.copy()
    severities = dict.fromkeys(IMAGE_CHANGES, 2)
    first, again, other = (corrupted(given, severities, seed) for seed in (0, 0, 1))
    assert first.dtype == given.dtype
    assert (first == again).all()
    assert (first != other).any()
    assert (given == before).all()


def test_changes_are_made_in_their_order() -> None:
    table = np.random.default_rng(3).normal(size=(5, 4))
    whole = corrupted(table, dict.fromkeys(reversed(TABLE_CHANGES), 3), 0)
    step = table
    for name in ("scale", "shift", "noise"):
        step = corrupted(step, {name: 3}, 0)
    assert np.allclose(whole, step)


@pytest.mark.parametrize("change", TABLE_CHANGES)
def test_sequences_change_as_tables_do_with_channels_for_columns(change: str) -> None:
    given = np.random.default_rng(5).normal(size=(6, 3, 8))
    found = corrupted(given, {change: 4}, 0)
    if change == "noise":
        assert 0.8 < (found - given).std() < 1.2  # 0.25 * 4
    else:
        table = corrupted(np.ones((1, 3)), {change: 4}, 0)[0]  # 2 or 1/2 of it; 1 more or less
        changed = found / given if change == "scale" else found - given + 1
        np.testing.assert_allclose(changed, np.broadcast_to(table[:, None], (6, 3, 8)), atol=1e-12)


def test_tokens_are_drawn_anew_and_stronger_doses_replace_more() -> None:
    given = np.full((50, 80), 200, dtype=np.uint8)
    weak, strong = (corrupted(given, {"noise": severity}, 3, vocabulary=256) for severity in (1, 4))
    assert strong.dtype == np.uint8
    assert np.mean(weak != 200) == pytest.approx(0.1, abs=0.02)
    assert np.mean(strong != 200) == pytest.approx(0.4, abs=0.03)
    assert (strong[weak != 200] == weak[weak != 200]).all()
    assert len(np.unique(strong)) > 250
    assert (corrupted(given % 7, {"noise": 5}, 3, vocabulary=7) < 7).all()
