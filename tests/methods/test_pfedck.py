"""pFedCK: clusters and means by hand, three rounds in NumPy, its null settings, and who stayed away."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError, Diverged, Unsupported
from fl_bench.federation.channel import Uploads
from fl_bench.federation.payloads import Parameters
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.federation.trees import subtree
from fl_bench.methods.contract import client_facts
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.federation.payloads import Tree

CLIENTS = range(3)


def nets(run: Run, part: str) -> Tree:
    (tree,) = run.client_weights().values()
    return subtree(tree, part)


def uploads_of(rows: list[list[float]], ids: tuple[int, ...], statistic: list[float] | None = None) -> Uploads:
    """Updates with two weights, and a statistic that has no direction; client i has i + 1 samples."""
    tree = {"w": torch.tensor(rows), "mean": torch.tensor(statistic or [0.0] * len(rows))[:, None]}
    owners = ["net"] * 6
    return Uploads(
        [("net", ids, Parameters(tree, sizes=torch.tensor([1.0 + client for client in ids])))],
        owners=owners,
        dtype=torch.float32,
    )


def serve(run: Run, uploads: Uploads) -> tuple[dict[int, list[float]], list[int]]:
    """What each client gets, and the clusters of all."""
    run.method.trained = ["w"]
    (parcel,) = run.method.server_update(uploads, Round(0, 0, run.federation)).parcels
    return {client: parcel.payload.tree["w"][row].tolist() for client, row in parcel.address.items()}, [
        int(label) for label in run.method.clusters()
    ]


@pytest.fixture
def six(world):
    """Builds the method's run with six clients."""
    world.private, world.model = world.private * 2, "mlp-4"
    return lambda **settings: world.build("pfedck", **settings)


@pytest.mark.parametrize("clustering", ["kmeans", "complete-linkage"])
@pytest.mark.parametrize(
    ("weights", "first", "second"), [("uniform", [3.0, 0.0], [-4.0, 1.0]), ("size", [3.0, 0.0], [-3.0, 1.0])]
)
def test_opposite_updates_part_and_get_their_means(six, clustering, weights, first, second) -> None:
    # Clients 0 and 3 move along (1, 0), clients 2 and 5 against it, 1 and 4 stay away. The mean of (2, 0) and (4, 0)
    # is (3, 0); by sizes 1 and 4 it is (2 + 16) / 5 = 3.6. That of (-6, 1) and (-2, 1) is (-4, 1); by sizes 3 and 6
    # it is (-6 - 4) / 3 = -10/3. The statistic, which would pair 0 with 2, counts for nothing.
    run = six(clusters=2, clustering=clustering, weights=weights)
    if weights == "size":
        first, second = [3.6, 0.0], [-10 / 3, 1.0]
    updates = [[2.0, 0.0], [-6.0, 1.0], [4.0, 0.0], [-2.0, 1.0]]
    got, clusters = serve(run, uploads_of(updates, (0, 2, 3, 5), statistic=[99.0, 99.0, -99.0, -99.0]))
    assert got == {0: pytest.approx(first), 3: pytest.approx(first), 2: pytest.approx(second), 5: pytest.approx(second)}
    assert clusters == [0, -1, 1, 0, -1, 1]


def test_directions_or_lengths(six) -> None:
    # (20, 0), (2, 0), (0, 2): by direction the first two belong together, by distance the last two.
    updates = [[20.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
    for directions, expected in ((True, [0, 0, 1]), (False, [0, 1, 1])):
        _, clusters = serve(six(clusters=2, directions=directions), uploads_of(updates, (0, 1, 2)))
        assert clusters[:3] == expected


@pytest.mark.parametrize("clustering", ["kmeans", "complete-linkage"])
def test_no_more_clusters_than_participants(six, clustering) -> None:
    got, clusters = serve(six(clusters=5, clustering=clustering), uploads_of([[1.0, 0.0], [0.0, 1.0]], (4, 5)))
    assert got == {4: [1.0, 0.0], 5: [0.0, 1.0]}
    assert clusters == [-1, -1, -1, -1, 0, 1]


def test_draws_follow_identities(world) -> None:
    # Ten updates in a circle have many k-means solutions. The same updates of the same clients under other numbers
    # give the same clusters.
    world.private, world.model = world.private * 2, "mlp-4"
    order = [3, 5, 0, 1, 4, 2]
    angles = torch.arange(6) / 6 * 2 * torch.pi
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = []
    for names in (range(6), order):
        method = METHODS["pfedck"](METHODS["pfedck"].config_type(clusters=3))
        settings = Training(precision="float64")
        run = Run(method, world.dataset, world.split, ModelMix(("mlp-4",)), settings, seed=1, identities=tuple(names))
        _, clusters = serve(run, uploads_of(circle[list(names)].tolist(), tuple(range(6))))
        found.append([clusters[list(names).index(name)] for name in range(6)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 3


def test_an_update_that_is_not_finite_is_no_update(six) -> None:
    with pytest.raises(Diverged, match="update of an interactive model is not finite"):
        serve(six(), uploads_of([[1.0, 0.0], [float("nan"), 1.0]], (0, 1)))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def taught_step(student: Any, teacher: Any, x: np.ndarray, y: np.ndarray, lr: float, a: float, b: float) -> None:
    """d CE/dlogits = (p - onehot) / n; d tau^2 KL(q' || p')/dlogits = tau (p' - q') / n; d MSE/dz = 2 (z - z') / 4n."""
    n, tau = len(x), 2.0
    own, other = student.logits(x), teacher.logits(x)
    slope = (softmax(own) - np.eye(3)[y] + a * tau * (softmax(own / tau) - softmax(other / tau))) / n
    z = student.features(x)
    through = (slope @ student.head + b * 2 * (z - teacher.features(x)) / (4 * n)) * (z > 0)
    student.head, student.head_bias = student.head - lr * slope.T @ z, student.head_bias - lr * slope.sum(axis=0)
    student.body, student.body_bias = student.body - lr * through.T @ x, student.body_bias - lr * through.sum(axis=0)


def best_clusters(points: np.ndarray) -> list[int]:
    """The best of all ways to put three points in two clusters, ids in the order of the first member."""

    def inertia(labels: tuple[int, ...]) -> float:
        groups = [points[[c for c in CLIENTS if labels[c] == k]] for k in set(labels)]
        return sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups)

    return list(min((labels for labels in product([0], [0, 1], [0, 1]) if 1 in labels), key=inertia))


def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client) -> None:
    deep_world.options = {"init": "per_client"}
    run = deep_world.build("pfedck", clusters=2, kl_weight=0.7, feature_weight=1.5)
    personal, shared = two_layers(nets(run, "personal")), two_layers(nets(run, "shared"))
    assert personal[0] != personal[1]
    assert shared[0] == shared[1]
    for _ in run.rounds():
        updates = []
        for client, (x, y) in enumerate(deep_world.private):
            omega = shared[client].copy()
            for _ in range(steps_of_client(client, deep_world.epochs)):
                taught_step(personal[client], omega, x, y, deep_world.lr, 0.7, 1.5)
                taught_step(omega, personal[client], x, y, deep_world.lr, 0.7, 1.5)  # sees what phi has learned
            before = vars(shared[client])
            updates.append({name: value - before[name] for name, value in vars(omega).items()})
        vectors = np.stack([np.concatenate([value.ravel() for value in update.values()]) for update in updates])
        labels = best_clusters(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        assert run.method.clusters().tolist() == labels
        assert two_layers(nets(run, "shared")) == shared
        for client in CLIENTS:
            mates = [updates[other] for other in CLIENTS if labels[other] == labels[client]]
            step = {name: np.mean([mate[name] for mate in mates], axis=0) for name in updates[0]}
            shared[client] = type(omega)(**{name: value + step[name] for name, value in vars(shared[client]).items()})
    assert two_layers(nets(run, "personal")) == personal


def test_without_teaching_phi_is_local_only_and_omega_fedavg(deep_world, same_bits) -> None:
    # omega waits where the last round began, so three rounds leave FedAvg's model of two. Not to the bit: the mean of
    # updates is added to omega, while FedAvg takes the mean of the models.
    run = deep_world.run("pfedck", kl_weight=0.0, feature_weight=0.0, clusters=1)
    assert same_bits(nets(run, "personal"), deep_world.run("local").client_weights()["mlp-4"])
    deep_world.rounds = 2
    fedavg = deep_world.run("fedavg", weights="uniform").method.w
    for name, tensor in nets(run, "shared").items():
        torch.testing.assert_close(tensor, fedavg[name].expand_as(tensor), rtol=0, atol=1e-12)
    for teaching in ({"kl_weight": 0.0}, {"feature_weight": 0.0}):
        lessons = deep_world.run("pfedck", **teaching)
        assert not same_bits(nets(lessons, "personal"), nets(run, "personal"))


def test_who_stays_away_keeps_omega_and_cluster(deep_world) -> None:
    deep_world.options, deep_world.rounds = {"participation": 0.34}, 4
    run = deep_world.build("pfedck")
    omega, labels = nets(run, "shared"), run.method.clusters().copy()
    seen: set[int] = set()
    for row in run.rounds():
        (drawn,) = run.participants(row.values["round"])
        for client in CLIENTS:
            same = all(torch.equal(tensor[client], omega[name][client]) for name, tensor in nets(run, "shared").items())
            # a client finds what it was sent at the end of the last round it was in, when it next takes part
            assert same == (client != drawn or drawn not in seen)
            assert run.method.clusters()[client] == (0 if client == drawn else labels[client])
        seen.add(drawn)
        omega, labels = nets(run, "shared"), run.method.clusters().copy()
    assert len(seen) > 1


def test_clusters_survive_a_restart(six) -> None:
    first, second = six(clusters=2), six(clusters=2)
    _, clusters = serve(first, uploads_of([[1.0, 0.0], [-1.0, 0.0]], (1, 4)))
    second.method.load_state_dict(first.method.state_dict())
    assert second.method.clusters().tolist() == clusters == [-1, 0, -1, -1, 1, -1]
    serve(second, uploads_of([[1.0, 0.0], [-1.0, 0.0]], (0, 1)))
    assert first.method.clusters().tolist() == clusters
    assert second.method.clusters().tolist() == [0, 1, -1, -1, 1, -1]


def mixed(world: Any, mix: ModelMix, **settings: Any) -> Run:
    method = METHODS["pfedck"]
    training = Training(rounds=2, batch_size=3, optimizer="sgd", lr=0.1, precision="float64")
    return Run(method(method.config_type(**settings)), world.dataset, world.split, mix, training, seed=0)


def test_features_must_be_comparable_where_they_are_compared(world) -> None:
    method = METHODS["pfedck"]
    compared, apart = method(method.config_type()).needs(), method(method.config_type(feature_weight=0.0)).needs()
    assert (compared.one_width, compared.server_width) == (True, True)
    assert (apart.one_width, apart.server_width) == (False, False)
    mix = ModelMix(("mlp-4",), server="mlp-3")
    with pytest.raises(Unsupported, match=r"pfedck needs nets of one feature width .* mlp-3 makes 3, mlp-4 makes 4"):
        mixed(world, mix)
    for run in (mixed(world, mix, feature_weight=0.0), mixed(world, ModelMix(("mlp-4", "linear"), width=2))):
        assert len(list(run.rounds())) == 2


def test_the_personal_model_is_deployed(deep_world, same_bits, moves_as_planned) -> None:
    run = deep_world.build("pfedck")
    assert moves_as_planned(run)
    assert (run.facts()["deployed"], run.facts()["views"]) == ("personal", ["personal"])
    rnd = Round(2, 0, run.federation)
    everyone = run.client_cohort("mlp-4", list(CLIENTS), rnd)
    assert same_bits(run.method.deployed(everyone, rnd).weights, nets(run, "personal"))
    assert run.method.plan(client_facts(run)).up_bytes == (4 * 2 + 4 + 3 * 4 + 3) * 8


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"clusters": 0}, "clusters must be above 0"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"kl_weight": -1.0}, "kl_weight must not be negative"),
        ({"feature_weight": -1.0}, "feature_weight must not be negative"),
        ({"directions": False, "clustering": "complete-linkage"}, "directions=false belongs to clustering=kmeans"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"pfedck.{says}"):
        METHODS["pfedck"].config_type(**settings)
