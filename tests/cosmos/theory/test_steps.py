"""One-step regressions: exact without noise, unmoved by noise and levels, with intervals that hold their level."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fl_bench.cosmos.theory import worlds
from fl_bench.cosmos.theory.steps import chain, cluster_means, difference, one_step, t_interval
from fl_bench.cosmos.theory.worlds import Design
from fl_bench.errors import ConfigError
from fl_bench.streams import numpy_stream

QUIET = Design(noise=0.0, shocks=0.0, rounds=20)
STREAM = ("theory", "steps")


def holds(interval: tuple[float, float] | None, truth: float | None) -> bool:
    assert truth is not None
    return interval is None or interval[0] <= truth <= interval[1]


def test_without_noise_the_recursion_is_found_whatever_the_clients_floors_are() -> None:
    # e(t+1) = 0.7 e(t) + 0.3 F_i with floors 1 and 3: slope 0.7, mean intercept 0.3 * 2, mean floor 2.
    floors, start = np.array([1.0, 3.0]), np.array([[5.0, 4.0], [6.0, 9.0]])
    t = np.arange(15)
    risks = floors[:, None] + (start - floors)[:, :, None] * 0.7**t
    found = one_step(risks, start=0)
    assert found.rho.estimate == pytest.approx(0.7)
    assert found.intercept.estimate == pytest.approx(0.6)
    assert found.floor.estimate == pytest.approx(2.0)
    assert found.rho.interval == pytest.approx((0.7, 0.7))
    assert found.clusters == 2
    assert one_step(risks, start=0, by="client").clusters == 4


def test_noise_pulls_the_plain_slope_and_not_ours() -> None:
    # rho = 0.8; noise as large as the spread of the excess over rounds halves the plain slope.
    loud = Design(noise=0.2, levels=0.0, start=0.4, spread=0.05, seeds=40, rounds=15)
    found = one_step(worlds.own_data(numpy_stream(0, *STREAM), loud, rho=0.8).clients, start=0)
    assert found.plain < 0.55
    assert found.rho.estimate == pytest.approx(0.8, abs=0.05)
    assert holds(found.rho.interval, 0.8)


def test_levels_pull_the_plain_slope_up_and_not_ours() -> None:
    apart = Design(levels=2.0, seeds=10)
    found = one_step(worlds.own_data(numpy_stream(1, *STREAM), apart, rho=0.5).clients, start=0)
    assert found.plain > 0.95
    assert found.rho.estimate == pytest.approx(0.5, abs=0.05)


def test_who_only_fluctuates_has_no_slope() -> None:
    # The false evidence: of independent fluctuations around one level nothing is left a round later, so the plain
    # slope is 0. Ours is not told: the interval holds 1 or is unbounded.
    flat = Design(levels=0.0, spread=0.0, seeds=5)
    found = [one_step(worlds.fluctuating(numpy_stream(seed, *STREAM), flat).clients, start=0) for seed in range(40)]
    assert max(abs(each.plain) for each in found) < 0.1
    assert np.mean([each.rho.below(1) for each in found]) <= 0.1


def test_what_does_not_move_has_no_slope() -> None:
    still = 0.1 + np.zeros((3, 4, 10))
    for risks in (still, still * (1 + 1e-15 * np.arange(10))):  # as rounding leaves it
        found = one_step(risks, start=0)
        assert (found.rho.interval, found.intercept.interval, found.floor.interval) == (None, None, None)
    moving = worlds.own_data(numpy_stream(8, *STREAM), Design(seeds=3, clients=4, rounds=10)).clients
    apart = still + np.array([0.0, 0.1, 0.3])[:, None, None]  # another level in every seed, and still no movement
    assert chain(moving, apart, np.zeros((3, 4), dtype=np.int64), start=0).b.interval is None


def test_fieller_s_interval_is_the_t_test_turned_round() -> None:
    # The slopes that a t-test over seeds does not reject, found one by one.
    risks = worlds.taught(numpy_stream(2, *STREAM), Design(seeds=4, noise=0.1)).clients
    found = one_step(risks, start=0)
    now, later, before = risks[:, :, 1:-1], risks[:, :, 2:], risks[:, :, :-2]
    level = risks[:, :, -7:].mean()

    def forward(values: np.ndarray) -> np.ndarray:
        pairs = values.shape[2]
        return np.stack(
            [
                np.sqrt((pairs - t - 1) / (pairs - t)) * (values[:, :, t] - values[:, :, t + 1 :].mean(axis=2))
                for t in range(pairs - 1)
            ],
            axis=2,
        )

    instrument = (before.mean(axis=1, keepdims=True) - before[:, :, -7:].mean())[:, :, :-1]
    assert level == pytest.approx(before[:, :, -7:].mean(), abs=0.05)
    instrument /= (instrument**2).sum(axis=2, keepdims=True)
    effect, cause = ((instrument * forward(part)).sum(axis=(1, 2)) for part in (later, now))
    assert found.rho.estimate == pytest.approx(effect.sum() / cause.sum())
    assert found.rho.interval is not None
    for edge in found.rho.interval:
        assert stats.ttest_1samp(effect - edge * cause, 0).pvalue == pytest.approx(0.05, rel=1e-6)
    assert stats.ttest_1samp(effect - (found.rho.interval[0] + 1e-4) * cause, 0).pvalue > 0.05


def test_without_noise_the_chain_is_found() -> None:
    # kept 0.4, a 0.9, b 0.5, so rho = 0.85; alone, a client's next risk follows the server's with rho / a.
    world = worlds.taught(numpy_stream(3, *STREAM), QUIET)
    found = chain(world.clients, world.server, world.clusters, start=0)
    assert found.a.estimate == pytest.approx(0.9)
    assert found.b.estimate == pytest.approx(0.85 / 0.9, abs=1e-3)
    assert found.kept.estimate == pytest.approx(0.4)
    assert found.through_server.estimate == pytest.approx(0.5)
    assert found.gap.estimate == pytest.approx(0.0, abs=1e-3)


def test_nothing_comes_through_a_server_that_follows() -> None:
    world = worlds.own_data(numpy_stream(4, *STREAM))
    found = chain(world.clients, world.server, world.clusters, start=0)
    assert holds(found.through_server.interval, 0.0)
    assert found.through_server.below(0.1)
    assert found.b.estimate > 0.5  # alone it looks as if clients followed the server


def test_cluster_means_by_hand() -> None:
    risks = np.array([[[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]]])
    assert cluster_means(risks, np.array([[0, 0, 5]])).tolist() == [[[2.0, 3.0], [2.0, 3.0], [10.0, 20.0]]]
    moving = np.array([[[0, 0], [0, 1], [1, 1]]])
    assert cluster_means(risks, moving).tolist() == [[[2.0, 2.0], [2.0, 12.0], [10.0, 12.0]]]


def test_a_difference_is_paired() -> None:
    fast = worlds.own_data(numpy_stream(5, *STREAM), rho=0.5).clients
    slow = worlds.own_data(numpy_stream(5, *STREAM), rho=0.8).clients
    assert difference(fast, slow, start=0).below(-0.2)
    assert difference(slow, fast, start=0).above(0.2)
    for of in ("rho", "intercept", "floor"):
        assert difference(fast, fast, of=of, start=0).interval == pytest.approx((0.0, 0.0))
    found = difference(fast + 0.25, fast, of="floor", start=0)
    assert (found.estimate, found.interval) == (pytest.approx(0.25), pytest.approx((0.25, 0.25)))
    halves = [one_step(values, start=0).intercept.estimate for values in (fast, slow)]
    assert difference(fast, slow, of="intercept", start=0).estimate == pytest.approx(halves[0] - halves[1])
    per_client = difference(fast, slow, of="intercept", start=0, by="client").estimate
    assert per_client == pytest.approx(halves[0] - halves[1])


def test_the_jackknife_of_a_mean_is_student_s_interval() -> None:
    # The same exact recursion, seed s moved up by d_s: rho stays, and intercepts differ by (1 - rho) d_s.
    moved = np.array([0.1, 0.4, 0.2])
    risks = np.stack([1 + (2 + seed) * 0.7 ** np.arange(12.0) for seed in range(3)])[:, None]
    found = difference(risks + moved[:, None, None], risks, of="intercept", start=0)
    assert found.interval == pytest.approx(t_interval(0.3 * moved))


def test_t_interval_against_scipy() -> None:
    values = np.array([0.1, 0.5, 0.3, 0.9])
    assert t_interval(values) == pytest.approx(stats.t.interval(0.95, 3, values.mean(), stats.sem(values)))


def test_one_seed_needs_clients() -> None:
    risks = worlds.taught(numpy_stream(6, *STREAM)).clients[:1]
    with pytest.raises(ConfigError, match="one seed has no interval"):
        one_step(risks)
    assert one_step(risks, by="client").rho.below(1)


def test_shapes_that_do_not_agree_are_refused() -> None:
    world = worlds.taught(numpy_stream(7, *STREAM))
    with pytest.raises(ConfigError, match="must agree"):
        chain(world.clients, world.server[:, :-1], world.clusters)
    with pytest.raises(ConfigError, match="same seeds, clients and rounds"):
        difference(world.clients, world.clients[:-1])


def coverage(simulations: int, world: str, design: Design) -> dict[str, float]:
    """Share of intervals that hold the truth, and of false claims that clients learn through the server."""
    found = []
    for seed in range(simulations):
        stream = numpy_stream(seed, *STREAM, world)
        planted = worlds.own_data(stream, design) if world == "own data" else worlds.taught(stream, design)
        step = one_step(planted.clients, start=0)
        through = chain(planted.clients, planted.server, planted.clusters, start=0).through_server
        truth = 0.5 if planted.through_server else 0.0
        intervals = step.rho.interval, step.floor.interval, through.interval
        found.append(tuple(map(holds, intervals, (planted.rho, planted.floor, truth))))
    return dict(zip(("rho", "floor", "through_server"), np.mean(found, axis=0).tolist(), strict=True))


@pytest.mark.parametrize("world", ["own data", "taught"])
def test_intervals_cover(world: str) -> None:
    assert min(coverage(60, world, Design()).values()) >= 0.86  # three standard errors below 0.95


@pytest.mark.slow
@pytest.mark.parametrize("design", [Design(), Design(seeds=10, clients=10, rounds=20, noise=0.05)])
@pytest.mark.parametrize("world", ["own data", "taught"])
def test_intervals_cover_at_their_level(world: str, design: Design) -> None:
    assert coverage(600, world, design) == pytest.approx(
        dict.fromkeys(("rho", "floor", "through_server"), 0.95), abs=0.03
    )
