"""The planted world: its Bayes risk against other routes, its geometry, its rows; names that cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from fl_bench.datasets.catalogue import check_dataset_name, load_dataset
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.planted import World, bayes_risk
from fl_bench.datasets.split import SplitSettings, split
from fl_bench.errors import ConfigError

NAME = "planted:clients=6&groups=2&train=50&test=40&features=5&separation=3&heterogeneity=0.5&cosine=-0.5"


@pytest.mark.parametrize("separation", [0.0, 0.5, 2.0, 5.0])
def test_the_bayes_risk_by_quadrature(separation: float) -> None:
    # Along the line between the means x ~ N(+-D/2, 1), and the posterior of class 1 is logistic in D x.
    def expected(loss) -> float:
        def integrand(x: float) -> float:
            return loss(1 / (1 + math.exp(-separation * x))) * stats.norm.pdf(x, separation / 2)

        return integrate.quad(integrand, -12, 12, epsabs=1e-12, points=[0.0])[0]

    risk = bayes_risk(separation)
    assert risk.error == pytest.approx(stats.norm.cdf(-separation / 2), abs=1e-12)
    assert risk.cross_entropy == pytest.approx(expected(lambda p: -math.log(p)), abs=1e-9)
    assert risk.brier == pytest.approx(expected(lambda p: 2 * (1 - p) ** 2), abs=1e-9)


def test_no_separation_is_guessing() -> None:
    risk = bayes_risk(0.0)
    assert (risk.error, risk.cross_entropy, risk.brier) == pytest.approx((0.5, math.log(2), 0.5))


def test_directions_have_the_planted_angles() -> None:
    world = World(clients=9, groups=3, features=6, heterogeneity=0.75, cosine=-0.4, seed=3)
    own = world.directions()
    assert np.linalg.norm(own, axis=1) == pytest.approx(np.ones(9))
    groups = World(clients=9, groups=3, features=6, heterogeneity=0.0, cosine=-0.4, seed=3).directions()
    # 1 / sqrt(1 + 0.75^2) = 0.8 between a client and its group, -0.4 between groups, 1 inside one.
    assert (own * groups).sum(axis=1) == pytest.approx(np.full(9, 0.8))
    same = world.members[:, None] == world.members
    assert groups @ groups.T == pytest.approx(np.where(same, 1.0, -0.4))
    assert world.members.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_best_classifiers_reach_the_known_risks() -> None:
    # A large sample of one client under its own rule and under its group's: known to Monte Carlo error.
    world = World(clients=2, groups=1, train=200_000, test=2, features=4, separation=2.5, heterogeneity=1.0, seed=1)
    name = "planted:clients=2&groups=1&train=200000&test=2&features=4&separation=2.5&heterogeneity=1&seed=1"
    data = load_dataset(name)
    raw = data.inputs[:200_000].double().numpy()
    labels = data.labels[:200_000].numpy()
    centred = raw - raw.mean(axis=0)  # standardised by column: means in this scale are those of the classes
    means = np.stack([centred[labels == label].mean(axis=0) for label in (0, 1)])
    within = centred - means[labels]
    rule = np.linalg.solve(within.T @ within / len(within), means[1] - means[0])  # the best linear rule in any scale
    logits = np.where(labels == 1, 1, -1) * (centred @ rule)
    assert np.logaddexp(0, -logits).mean() == pytest.approx(world.bayes.cross_entropy, abs=0.005)
    assert (logits < 0).mean() == pytest.approx(world.bayes.error, abs=0.003)
    assert world.shared == bayes_risk(2.5 / math.sqrt(2))
    assert world.shared.cross_entropy > world.bayes.cross_entropy + 0.1


def test_rows_are_dealt_to_who_they_were_made_for() -> None:
    data = load_dataset(NAME)
    assert (data.train_size, len(data.labels), data.about.shape) == (300, 540, (5,))
    assert data.natural is not None
    assert np.bincount(data.natural[:300]).tolist() == [50] * 6
    parts = split(data, PARTITIONS["planted"](groups=2), SplitSettings(clients=6, public=0.2, min_test=1), 0)
    for client, rows in enumerate(parts.train):
        assert set(data.natural[rows]) == {client}
        assert set(data.natural[parts.test[client]]) == {client}
    assert parts.groups is not None
    assert parts.groups.open_for_evaluation().tolist() == [0, 0, 0, 1, 1, 1]
    assert len(set(data.natural[parts.public])) == 6


def test_a_seed_is_another_world_of_the_same_kind() -> None:
    first, again, other = (load_dataset(f"{NAME}&seed={seed}").about.fingerprint for seed in (0, 0, 1))
    assert first == again == load_dataset(NAME).about.fingerprint
    assert first != other


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("planted", "needs an argument"),
        ("planted:group=2", "setting of planted: is named 'group'; did you mean 'groups'"),
        ("planted:groups=2&groups=3", "gives groups twice"),
        ("planted:groups=2.5", "groups must be a number, got '2.5'"),
        ("planted:groups", "settings are name=value"),
        ("planted:clients=0", "clients must be at least 1"),
        ("planted:groups=13", "13 groups need as many clients"),
        ("planted:groups=2&features=2", "and more features"),
        ("planted:cosine=-0.6", r"cosine must be in \[-0.5, 1\] for 3 groups"),
        ("planted:separation=-1", "separation must be finite and not negative"),
        ("planted:heterogeneity=inf", "heterogeneity must be finite"),
    ],
)
def test_worlds_that_cannot_be_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_dataset_name(name)


def test_the_scheme_refuses_other_clients() -> None:
    data = load_dataset(NAME)
    with pytest.raises(ConfigError, match="has 6 clients, 5 were asked for"):
        split(data, PARTITIONS["planted"](groups=2), SplitSettings(clients=5), 0)
    with pytest.raises(ConfigError, match="4 groups need at least as many clients, got 3"):
        PARTITIONS["planted"](groups=4).check(3, None, None)
    with pytest.raises(ConfigError, match="groups must be at least 1"):
        PARTITIONS["planted"](groups=0)
