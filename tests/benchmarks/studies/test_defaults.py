"""What docs/defaults.md says: every method is measured as it is now, and those that do the same say so."""

from __future__ import annotations

import numpy as np
import pytest

from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.studies.defaults import page
from fl_bench.benchmarks.studies.defaults.alike import alike, apart, losses
from fl_bench.methods.registry import METHODS


@pytest.fixture(scope="module")
def records():
    return Store(page.RECORDS).records()


def test_every_method_is_measured_as_it_is_now(records) -> None:
    assert page.outdated(records) == [], (
        "raised or new since: `fl-bench run defaults --out results/defaults`, then pack"
    )


def test_methods_that_cannot_be_told_apart_say_so(records) -> None:
    measured = {frozenset(pair) for pair in alike(losses(records), METHODS.names())}
    said = {frozenset({name, other}) for name in METHODS.names() for other, _ in METHODS[name].near}
    assert said == measured


def test_the_page_is_what_the_records_say(tmp_path) -> None:
    assert page.write(tmp_path / "defaults.md").read_text() == page.PAGE.read_text(), "`make defaults` writes it again"


def test_a_method_is_apart_by_its_distance_in_units_of_the_smaller_noise() -> None:
    # Other batches move the client's loss by 0.2 under the first method, by 0.4 under the second. They differ by 0.1
    # with the first seed and by 0.3 with the other: 0.2 on average, as much as the smaller noise.
    one = {
        (0, False): np.array([1.0]),
        (0, True): np.array([1.2]),
        (1, False): np.array([2.0]),
        (1, True): np.array([2.2]),
    }
    other = {
        (0, False): np.array([1.1]),
        (0, True): np.array([1.5]),
        (1, False): np.array([2.3]),
        (1, True): np.array([1.9]),
    }
    assert apart(one, other) == pytest.approx(1.0)


def test_the_detector_sees_a_copy_and_no_more() -> None:
    rng = np.random.default_rng(0)

    def runs(shift: float):
        base = np.linspace(1, 2, 8) + shift
        return {
            (seed, varied): base + 0.1 * rng.normal(size=8) * varied for seed in range(3) for varied in (False, True)
        }

    methods = {"local": runs(0.0), "copy": runs(0.01), "other": runs(1.0)}
    found = alike({"groups": methods, "skewed": methods}, list(methods))
    assert list(found) == [("local", "copy")]


def test_settings_in_which_two_methods_differ_tell_them_apart() -> None:
    still = {(0, False): np.array([1.0]), (0, True): np.array([1.5])}
    moved = {(0, False): np.array([3.0]), (0, True): np.array([3.5])}
    found = {"groups": {"local": still, "mine": still}, "sampled": {"local": still, "mine": moved}}
    assert alike(found, ["local", "mine"]) == {}
