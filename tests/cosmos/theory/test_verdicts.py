"""Verdicts: never for what does not contract, each step of the rule on its own, and yes where the truth is yes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fl_bench.cosmos.theory import worlds
from fl_bench.cosmos.theory.verdicts import Judgement, falls, judge
from fl_bench.cosmos.theory.worlds import Design, Planted
from fl_bench.streams import numpy_stream

STREAM = ("theory", "verdicts")


def verdict(planted: Planted, seed: int = 0, **settings: object) -> Judgement:
    return judge(
        planted.clients,
        server=planted.server,
        clusters=planted.clusters,
        stream=numpy_stream(seed, *STREAM, "bootstrap"),
        start=0,
        draws=20,
        **settings,  # type: ignore[arg-type]
    )


def verdicts(plant: object, simulations: int, design: Design | None = None) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in range(simulations):
        found[verdict(plant(numpy_stream(seed, *STREAM), design), seed).verdict] += 1  # type: ignore[operator]
    return found


@pytest.mark.parametrize("name", sorted(worlds.WITHOUT))
def test_a_world_without_contraction_is_not_supported(name: str) -> None:
    assert verdicts(worlds.WITHOUT[name], 8)["not supported"] >= 7


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(worlds.WITHOUT))
def test_a_world_without_contraction_is_not_supported_in_95_of_100_seeds(name: str) -> None:
    found = verdicts(worlds.WITHOUT[name], 100)
    assert found["not supported"] >= 95
    assert found["supported"] <= 5


def test_contraction_through_the_server_is_supported() -> None:
    assert verdicts(worlds.taught, 5) == {"supported": 5}


@pytest.mark.slow
def test_contraction_through_the_server_is_supported_in_95_of_100_seeds() -> None:
    assert verdicts(worlds.taught, 100)["supported"] >= 95


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(worlds.WITHOUT))
def test_with_much_noise_nothing_false_is_supported(name: str) -> None:
    loud = Design(clients=10, rounds=20, noise=0.1, shocks=0.03, clusters=2)
    assert verdicts(worlds.WITHOUT[name], 100, loud)["supported"] <= 5


def test_what_does_not_fall_is_not_supported() -> None:
    found = verdict(worlds.worsening(numpy_stream(0, *STREAM)))
    assert (found.verdict, found.reason[:14]) == ("not supported", "the risk rises")
    assert found.fall[1] < 0


def test_a_better_rival_is_named() -> None:
    for name, rival in (("1/t", "power"), ("line", "line")):
        found = verdict(worlds.WITHOUT[name](numpy_stream(1, *STREAM)))
        assert found.verdict == "not supported"
        assert found.reason.startswith(f"a {rival} explains the curve better")
        assert found.fit.best == rival


def test_a_falling_curve_without_controls_is_not_identified() -> None:
    # The best exponential there is, and nothing that tells where it comes from.
    clients = worlds.taught(numpy_stream(2, *STREAM)).clients
    found = judge(clients, stream=numpy_stream(0, *STREAM), start=0, draws=20)
    assert found.verdict == "not identified"
    assert "controls would" in found.reason
    assert found.chain is None
    assert found.rho == pytest.approx(0.85, abs=0.02)


def test_controls_decide() -> None:
    stream = numpy_stream(3, *STREAM)
    clients = worlds.taught(stream).clients
    flat, slower, faster = worlds.constant(stream), worlds.own_data(stream, rho=0.93), worlds.own_data(stream, rho=0.5)
    for control, expected in ((flat, "supported"), (slower, "supported"), (faster, "not supported")):
        found = judge(clients, stream=numpy_stream(0, *STREAM), controls={"local": control.clients}, start=0, draws=20)
        assert found.verdict == expected
        assert bool(found.controls) == (control is not flat)  # a control that does not fall has no rho to compare
    assert found.reason.startswith("local falls as fast")


def test_clients_on_their_own_course_are_not_supported() -> None:
    found = verdict(worlds.own_data(numpy_stream(4, *STREAM)))
    assert (found.verdict, found.reason[:38]) == ("not supported", "clients follow their own course alone:")
    assert found.fit.best == "exponential"
    assert found.step.rho.below(1)


def test_controls_overrule_the_regression() -> None:
    # The same curves beside a control that intervened and found that nothing falls without the server.
    stream = numpy_stream(4, *STREAM)
    planted, flat = worlds.own_data(stream), worlds.constant(stream).clients
    assert verdict(planted).verdict == "not supported"
    assert verdict(planted, controls={"self": flat}).verdict == "supported"


def test_floor_and_rate_that_cannot_be_told_apart_have_no_number() -> None:
    # Eight rounds of a fall that has not levelled off, three seeds: a line and a curve with many a floor fit as well.
    stream = numpy_stream(5, *STREAM)
    dim = Design(rounds=8, seeds=3, clients=4, clusters=2, start=0.5, spread=0.0, noise=0.05, levels=0.0)
    found = [verdict(worlds.taught(stream, dim, kept=0.45, a=1.0, b=0.4, heterogeneity=0.0)) for _ in range(10)]
    assert Counter(each.verdict for each in found).most_common(1)[0][0] == "not identified"
    assert not [each for each in found if each.verdict == "supported"]
    assert [each for each in found if each.verdict == "not identified" and each.floor is None]


def test_the_fall_by_hand() -> None:
    # Six rounds, thirds of two: (9 + 8) / 2 - (5 + 4) / 2 = 4 in one seed and 2 less, 2, in the other: 3 +- t(1) * 1.
    one = np.array([9.0, 8.0, 7.0, 6.0, 5.0, 4.0])
    risks = np.stack([one, np.array([9.0, 8.0, 7.0, 6.0, 7.0, 6.0])])[:, None]
    assert falls(risks, start=0) == pytest.approx((3 - 12.7062, 3 + 12.7062), abs=1e-3)
