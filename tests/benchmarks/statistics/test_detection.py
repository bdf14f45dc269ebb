"""The chance to detect a difference, against closed forms and against the very comparison on simulated tables."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from fl_bench.benchmarks.statistics import detection
from fl_bench.benchmarks.statistics.chances import chances
from fl_bench.benchmarks.statistics.detection import Spread, power_of, spread_of
from fl_bench.benchmarks.statistics.multiple import holm
from fl_bench.benchmarks.statistics.plan import whole_table
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.benchmarks.statistics.signed_rank import signed_rank
from fl_bench.benchmarks.statistics.study import Study
from fl_bench.benchmarks.statistics.table import Table
from fl_bench.benchmarks.tables.power import print_power
from fl_bench.errors import DataError

MakeTable = Callable[..., Table]

ERROR = 4 * (0.25 / detection.SIMULATIONS) ** 0.5
"""Four standard errors of a simulated chance."""


def numbers(datasets: int, seeds: int, methods: int, between: float = 2.0, within: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(1)
    hard = generator.uniform(50, 90, (datasets, 1, 1)) + generator.normal(0, between, (datasets, 1, methods))
    return hard + generator.normal(0, within, (datasets, seeds, methods))


def spread_like(residuals: list[list[float]], within: list[float] | None = None, seeds: float = 1.0) -> Spread:
    rows = np.array(residuals, dtype=float)
    names = tuple(f"m{place}" for place in range(rows.shape[1]))
    return Spread("ours", names, rows - rows.mean(axis=0), None if within is None else np.array(within), seeds)


def test_p_values_are_those_of_the_test_that_is_used() -> None:
    drawn = np.random.default_rng(0).normal(0.5, 1, (50, 9, 3))
    found = spread_like([[0.0] * 3, [1.0] * 3]).p(drawn)
    expected = [[signed_rank(drawn[at, :, place]).p for place in range(3)] for at in range(50)]
    assert found == pytest.approx(np.array(expected))


@pytest.mark.parametrize(("shift", "chance"), [(0.5, 0.110), (1.0, 0.355), (2.0, 0.871)])
def test_six_blocks_have_the_power_of_all_signs_alike(shift: float, chance: float) -> None:
    # over six blocks only 6 : 0 rejects: Phi(shift / spread)^6 + Phi(-shift / spread)^6
    assert stats.norm.cdf(shift) ** 6 + stats.norm.cdf(-shift) ** 6 == pytest.approx(chance, abs=0.001)
    spread = spread_like([[-1.0], [0.0], [1.0]])  # standard deviation 1
    scaled = Spread("ours", ("m0",), spread.residuals / shift, None, 1.0)  # so that 1 point is `shift` of them
    power = power_of(scaled, family="methods", tests=1, blocks=6, seeds=1, alpha=0.05, needs=False)
    assert power.rows[0].chances[0] == pytest.approx(chance, abs=ERROR)
    assert power.rows[0].spread == pytest.approx(1 / shift)


def test_one_data_set_has_the_power_of_students_t() -> None:
    rows = np.array([[-1.0], [0.0], [1.0]])
    spread = Spread("ours", ("m0",), rows, None, 3.0, one_block=True)
    power = power_of(spread, family="methods", tests=1, blocks=1, seeds=8, alpha=0.05, needs=True)
    critical = stats.t.ppf(0.975, 7)
    for effect, chance in zip(detection.EFFECTS, power.rows[0].chances, strict=True):
        centre = effect * 8**0.5
        assert chance == pytest.approx(stats.nct.sf(critical, 7, centre), abs=ERROR)
    # n seeds: 10 are the least with a chance of .8 for one standard deviation, and 5 for two
    (need,) = power.needs
    assert need.needed[0] in (9, 10, 11)
    assert need.needed[1] in (4, 5)


def test_variance_is_split_into_data_sets_and_seeds(table_of: MakeTable) -> None:
    # differences by seed 1 and 3, and 5 and 9: variances 2 and 8 within, so means of two have 1 and 4, 2.5 on the
    # whole; block means 2 and 7 have 12.5, of which 2.5 is a fifth
    values = np.full((2, 2, 2), 50.0)
    values[:, :, 0] += [[1, 3], [5, 9]]
    table = table_of(values, methods=["ours", "theirs"])
    spread = spread_of(Study(table, Options("ours"), "ours"), ["theirs"])
    assert spread.variances.tolist() == [12.5]
    assert spread.within is not None
    assert spread.within.tolist() == [5.0]
    assert spread.scales(2) == pytest.approx([1.0])
    assert spread.scales(1) == pytest.approx([((10 + 5) / 12.5) ** 0.5])  # between 10, within 5
    assert spread.scales(None) == pytest.approx([1.0])
    power = power_of(spread, family="methods", tests=1, blocks=9, seeds=2, alpha=0.05, needs=False)
    assert power.rows[0].from_seeds == pytest.approx(0.2)


def test_below_the_floor_there_is_no_chance_and_needs_begin_at_it(table_of: MakeTable) -> None:
    table = table_of(numbers(5, 3, 4, between=0.05, within=0.05))
    (power,) = chances(table, Options("m00"), whole_table(table.methods, "m00"))
    assert power.floor == 7
    assert {chance for row in power.rows for chance in row.chances} == {0.0}
    assert all(count == 7 for need in power.needs for count in need.needed)
    (enough,) = chances(table, Options("m00"), whole_table(table.methods, "m00"), blocks=7)
    assert {chance for row in enough.rows for chance in row.chances} == {1.0}


def test_more_data_sets_more_seeds_and_fewer_tests_help(table_of: MakeTable) -> None:
    table = table_of(numbers(8, 3, 3, between=1.0, within=3.0))
    further = [f"x{place}" for place in range(12)]
    asked = Options("m00"), whole_table([*table.methods, *further], "m00")

    def middle(**design: object) -> float:
        (power,) = chances(table, *asked, needs=False, **design)  # type: ignore[arg-type]
        return power.rows[0].chances[1]

    assert middle(blocks=16) > middle(blocks=8) + 0.1
    assert middle(seeds=20) > middle(seeds=1) + 0.1
    assert middle(blocks=12) > middle(blocks=12, methods=further) + 0.05
    (power,) = chances(table, *asked)
    assert [need.seeds for need in power.needs] == [1, 3, 5, 10, 20]
    assert all(need.needed[0] is None or need.needed[0] >= (need.needed[2] or 0) for need in power.needs)
    assert (power.needs[-1].needed[2] or 0) <= (power.needs[0].needed[2] or 100)


def test_what_shows_no_spread_is_refused(table_of: MakeTable) -> None:
    table = table_of(np.array([[[51.0, 50.0]]]), methods=["ours", "theirs"])
    with pytest.raises(DataError, match="with one seed shows no spread"):
        chances(table, Options("ours"), whole_table(table.methods, "ours"))
    constant = np.full((1, 4, 2), 50.0)
    constant[0, :, 0] += 3
    with pytest.raises(DataError, match="every difference from ours that was seen is the same"):
        chances(
            table_of(constant, methods=["ours", "theirs"]), Options("ours"), whole_table(["ours", "theirs"], "ours")
        )
    two = table_of(numbers(2, 1, 2), methods=["ours", "theirs"])
    with pytest.raises(DataError, match="name it with --control"):
        chances(two, Options(), whole_table(two.methods, None))


def test_a_method_without_spread_has_no_chance_instead_of_none_at_all(table_of: MakeTable) -> None:
    values = numbers(1, 5, 3)
    values[..., 2] = values[..., 0] - 2  # two points behind ours with every seed
    table = table_of(values, methods=["ours", "varied", "constant"])
    (power,) = chances(table, Options("ours"), whole_table(table.methods, "ours"))
    varied, constant = sorted(power.rows, key=lambda row: row.method, reverse=True)
    assert (constant.method, constant.chances) == ("constant", None)
    assert varied.chances is not None
    assert power.typical == "varied"
    console = Console(file=io.StringIO(), width=200)
    print_power(console, [power])
    said = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert said.count("no spread") == 4
    assert "no spread: all observed differences are equal" in said


def test_one_data_set_tells_nothing_of_several_and_several_nothing_of_one(table_of: MakeTable) -> None:
    one, several = (table_of(numbers(count, 3, 2), methods=["ours", "theirs"]) for count in (1, 4))
    plan = whole_table(["ours", "theirs"], "ours")
    with pytest.raises(DataError, match="power over 14 data sets was asked, and the numbers are of one"):
        chances(one, Options("ours"), plan, blocks=14)
    with pytest.raises(DataError, match="power on one data set was asked, and the numbers are of 4"):
        chances(several, Options("ours"), plan, blocks=1)


@pytest.mark.slow
def test_the_chance_is_the_share_of_tables_in_which_the_difference_is_found(table_of: MakeTable) -> None:
    # 300 tables of 9 data sets with 3 others, drawn with the covariances of one that was seen
    seen = table_of(numbers(200, 1, 4, between=1.5, within=0.0))
    (power,) = chances(seen, Options("m00"), whole_table(seen.methods, "m00"), blocks=9, needs=False)
    generator, found = np.random.default_rng(5), []
    for _ in range(1000):
        scores = generator.normal(0, 1.5, (9, 4))
        p = [signed_rank(scores[:, 0] - scores[:, other] + (2.0 if other == 1 else 0.0)).p for other in (1, 2, 3)]
        found.append(holm(p)[0] <= 0.05)
    assert power.rows[0].chances[1] == pytest.approx(np.mean(found), abs=0.08)  # the spread seen is itself drawn
