"""FedKD: the compression by hand, three rounds in NumPy, bytes, those who stayed away, and its null settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fl_bench.errors import ConfigError, Diverged
from fl_bench.federation.batches import Batch
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.federation.trees import subtree
from fl_bench.methods.contract import client_facts
from fl_bench.methods.fedkd import Compressed, compress
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.federation.channel import Downloads, Uploads
    from fl_bench.federation.payloads import Tree

MATRICES = ("body", "head")
CLIENTS = range(3)


def make_run(
    world: Any,
    rounds: int = 3,
    participation: float = 1.0,
    checkpoint: Path | None = None,
    student: str = "mlp-3",
    **settings: Any,
) -> Run:
    """Teachers mlp-4 with starts of their own, students mlp-3 where nothing else is said: W is 4 x 3."""
    training = Training(
        rounds=rounds,
        local_epochs=world.epochs,
        batch_size=3,
        optimizer="sgd",
        lr=world.lr,
        init="per_client",
        participation=participation,
        precision="float64",
    )
    method = METHODS["fedkd"]
    mix = ModelMix(("mlp-4",), server=student)
    configured = method(method.config_type(**settings))
    return Run(configured, world.dataset, world.split, mix, training, seed=0, checkpoint=checkpoint)


def nets(run: Run, part: str) -> Tree:
    (tree,) = run.client_weights().values()
    return subtree(tree, part)


def test_the_fewest_singular_values_that_reach_the_energy() -> None:
    # Singular values 4 and 3: squares 16 and 9 of 25. 0.64 of the energy is reached by the first alone, 0.65 is not.
    # The first direction of [[0, -3], [4, 0]] is 4 at (1, 0). A matrix of zeros needs no rank at all.
    matrix = torch.tensor([[[0.0, -3.0], [4.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    bias = torch.tensor([[1.0, -1.0], [0.0, 2.0]], dtype=torch.float64)
    for energy, rank, expected in ((0.64, 1, [[0.0, 0.0], [4.0, 0.0]]), (0.65, 2, [[0.0, -3.0], [4.0, 0.0]])):
        update = compress({"w": matrix, "b": bias}, energy)
        arrived = update.tree
        assert update.ranks["w"].tolist() == [rank, 0]
        assert list(update.ranks) == ["w"]
        torch.testing.assert_close(arrived["w"][0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)
        assert torch.equal(arrived["w"][1], matrix[1])
        assert torch.equal(arrived["b"], bias)
        # r * (2 + 2 + 1) numbers of the matrix and 2 of the vector, 8 bytes each.
        assert update.nbytes().tolist() == [(5 * rank + 2) * 8, 2 * 8]


def test_all_energy_is_the_whole_update() -> None:
    stream = torch.Generator().manual_seed(1)
    update = torch.randn(2, 5, 3, generator=stream, dtype=torch.float64)
    compressed = compress({"w": update}, 1.0)
    torch.testing.assert_close(compressed.tree["w"], update, rtol=0, atol=1e-14)
    assert compressed.ranks["w"].tolist() == [3, 3]


def test_a_convolution_is_a_matrix_and_counters_travel_as_they_are() -> None:
    # A kernel of 2 x 3 x 1 x 1 numbers that is the outer product of (1, -2) and (3, 0, 4): rank 1, 1 * (2 + 3 + 1)
    # numbers. Beside it a float32 vector of one number and an int64 counter.
    kernel = torch.outer(torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.0, 4.0])).view(1, 2, 3, 1, 1)
    tree = {"conv": kernel, "bias": torch.ones(1, 1), "seen": torch.tensor([7])}
    update = compress(tree, 0.95)
    assert update.ranks["conv"].tolist() == [1]
    torch.testing.assert_close(update.tree["conv"], kernel)
    assert update.tree["seen"].tolist() == [7]
    assert update.nbytes().tolist() == [6 * 4 + 4 + 8]


def test_two_updates_as_one() -> None:
    # Ranks 1 and 1 of a 2 x 3 matrix make 2, and 2 and 1 no more than 2; vectors add up, a counter is the newest.
    w = torch.tensor([[[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]])

    def update(sign: float, rank: int, seen: int) -> Compressed:
        tree = {"w": sign * w, "b": torch.tensor([[sign]]), "seen": torch.tensor([seen])}
        return Compressed(tree, {"w": torch.tensor([rank])})

    assert update(1.0, 1, 4).after(None).ranks == {"w": 1}
    for rank, sizes in ((1, 2), (2, 2)):
        both = update(-3.0, 1, 9).after(update(1.0, rank, 4))
        assert torch.equal(both.tree["w"], -2 * w)
        assert both.tree["b"].tolist() == [[-2.0]]
        assert both.tree["seen"].tolist() == [9]
        assert both.ranks["w"].tolist() == [sizes]


def test_an_update_that_is_not_finite_is_no_update() -> None:
    with pytest.raises(Diverged, match="update of the students' w is not finite"):
        compress({"w": torch.tensor([[[1.0, float("inf")]]])}, 0.9)


def strongest(matrix: np.ndarray, energy: float) -> tuple[np.ndarray, int]:
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    rank = next(r for r in range(1, len(s) + 1) if (s[:r] ** 2).sum() >= energy * (s**2).sum())
    return (u[:, :rank] * s[:rank]) @ v[:rank], rank


def moved(net: Any, update: dict[str, np.ndarray]) -> Any:
    """The net with an update added."""
    return type(net)(**{name: getattr(net, name) + value for name, value in update.items()})


def compressed(update: dict[str, np.ndarray], energy: float) -> tuple[dict[str, np.ndarray], int]:
    """The update that arrives, and its bytes in float64."""
    arrived, size = {}, 0
    for name, value in update.items():
        if name in MATRICES:
            arrived[name], rank = strongest(value, energy)
            size += 8 * rank * (sum(value.shape) + 1)
        else:
            arrived[name], size = value, size + 8 * value.size
    return arrived, size


def descend(net: Any, x: np.ndarray, slope: np.ndarray, feature_slope: np.ndarray, lr: float) -> None:
    """One step of a net, given dL/dlogits and what else reaches its features."""
    z = net.features(x)
    through = (slope @ net.head + feature_slope) * (z > 0)
    net.head, net.head_bias = net.head - lr * slope.T @ z, net.head_bias - lr * slope.sum(axis=0)
    net.body, net.body_bias = net.body - lr * through.T @ x, net.body_bias - lr * through.sum(axis=0)


def mutual_step(teacher: Any, student: Any, match: np.ndarray, x: np.ndarray, y: np.ndarray, **at: float) -> np.ndarray:
    """One batch of both nets; returns W after it.

    d CE/dlogits = (p - onehot) / n, d KL(q || p)/dlogits = (p - q) / n, and with e = z_t - W z_s over n x 4 numbers
    d MSE/dz_t = 2 e / 4n, d MSE/dz_s = -2 e W / 4n, d MSE/dW = -2 e' z_s / 4n.
    """
    logits = [net.logits(x) for net in (teacher, student)]
    p, q = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in logits)
    n, truth = len(x), np.eye(3)[y]
    hardness = max(at["smallest"], -np.log(p[truth == 1]).mean() - np.log(q[truth == 1]).mean())
    kl, mse = at["kl"] / hardness, at["mse"] / hardness
    z_s = student.features(x)
    gap = 2 * (teacher.features(x) - z_s @ match.T) / (4 * n)
    descend(teacher, x, (p - truth + kl * (p - q)) / n, mse * gap, at["lr"])
    descend(student, x, (q - truth + kl * (q - p)) / n, -mse * gap @ match, at["lr"])
    return match + at["lr"] * mse * gap.T @ z_s


@pytest.mark.parametrize(("smallest", "weights", "shares"), [(1e-3, "size", [3, 2, 1]), (5.0, "uniform", [1, 1, 1])])
def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client, smallest, weights, shares) -> None:
    run = make_run(
        deep_world,
        energy_start=0.6,
        energy_end=0.9,
        kl_weight=0.7,
        feature_weight=1.3,
        smallest_loss=smallest,
        weights=weights,
    )
    teachers, student = two_layers(nets(run, "personal")), two_layers(nets(run, "shared"))[0]
    assert teachers[0] != teachers[1]
    match = [np.eye(4, 3) for _ in CLIENTS]
    received = 0
    for t, row in enumerate(run.rounds()):
        energy = [0.7, 0.8, 0.9][t]  # 0.6 + (t + 1) / 3 * 0.3
        assert row.values["energy"] == pytest.approx(energy, abs=1e-12)
        updates = []
        for client, (x, y) in enumerate(deep_world.private):
            mine = student.copy()
            for _ in range(steps_of_client(client, deep_world.epochs)):
                match[client] = mutual_step(
                    teachers[client], mine, match[client], x, y, lr=0.5, kl=0.7, mse=1.3, smallest=smallest
                )
            update, size = compressed(
                {name: getattr(mine, name) - start for name, start in vars(student).items()}, energy
            )
            updates.append(update)
            assert row.clients[client]["bytes_up"] == size + (8 if weights == "size" else 0)
            assert row.clients[client]["bytes_down"] == received
        mean = {name: np.average([update[name] for update in updates], axis=0, weights=shares) for name in updates[0]}
        update, received = compressed(mean, energy)
        start, student = student, moved(student, update)
        assert two_layers(run.method.student) == [student]
        assert two_layers(nets(run, "shared")) == [start] * 3  # it waits where the round began
    assert two_layers(nets(run, "personal")) == teachers
    for found, expected in zip(run.client_weights()["mlp-4"]["match"], match, strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_without_teaching_teachers_are_local_only_and_students_fedavg(deep_world, same_bits) -> None:
    alone = deep_world.run("local").client_weights()["mlp-4"]
    fedavg = deep_world.run("fedavg").method.w
    silent = deep_world.run("fedkd", kl_weight=0.0, feature_weight=0.0, energy_start=1.0, energy_end=1.0)
    assert same_bits(nets(silent, "personal"), alone)
    for name, tensor in silent.method.student.items():  # not to the bit: updates go through their decomposition
        torch.testing.assert_close(tensor, fedavg[name], rtol=0, atol=1e-12)
    for teaching in ({"kl_weight": 0.0}, {"feature_weight": 0.0}):
        assert not same_bits(nets(deep_world.run("fedkd", **teaching), "personal"), alone)


@pytest.mark.parametrize(("participation", "most_groups"), [(0.67, 2), (0.34, 3)])
def test_who_stayed_away_gets_what_was_missed(deep_world, participation: float, most_groups: int) -> None:
    # Clients hold students of different rounds. What waits for each of them is the way to the server's student, its
    # rank is the sum of what was missed, and never more than full: 2 for a body of 5 x 2, 3 for a head of 3 x 5. Those
    # who have missed the same share a row.
    run = make_run(deep_world, rounds=6, participation=participation, student="mlp-5", energy_start=0.5, energy_end=0.9)
    full, sent = {"body.1.weight": 2, "head.weight": 3}, watched(run)
    missed = {name: [0] * 3 for name in full}
    groups, most = [], 0
    for row in run.rounds():
        here, (parcel,) = run.participants(row.values["round"]), sent[-1].parcels
        where = [parcel.address[client] for client in CLIENTS]
        groups.append(len(parcel.payload))
        assert groups[-1] == len(set(where))
        for name in full:
            found = torch.linalg.matrix_rank(parcel.payload.tree[name]).tolist()
            new = found[where[here[0]]]
            most = max(most, *(missed[name][c] + new - full[name] for c in CLIENTS if c not in here))
            missed[name] = [new if c in here else min(full[name], missed[name][c] + new) for c in CLIENTS]
            assert all(found[place] <= missed[name][client] for client, place in enumerate(where))
        ranks = [{name: missed[name][client] for name in full} for client in CLIENTS]
        assert [parcel.payload.nbytes()[place] for place in where] == [
            8 * (own["body.1.weight"] * (5 + 2 + 1) + own["head.weight"] * (3 + 5 + 1) + 5 + 3) for own in ranks
        ]
        for name, tensor in nets(run, "shared").items():
            reached = tensor + parcel.payload.tree[name][where]
            torch.testing.assert_close(reached, run.method.student[name].expand_as(reached), rtol=0, atol=1e-12)
    assert max(groups) == most_groups
    assert most > 0  # the bound was needed


def watched(run: Run) -> list[Downloads]:
    """What the server sends, round by round."""
    sent, update = [], run.method.server_update

    def server_update(uploads: Uploads, rnd: Round) -> Downloads:
        sent.append(update(uploads, rnd))
        return sent[-1]

    run.method.server_update = server_update
    return sent


def test_counters_of_the_last_round_are_all_that_is_missed(normed_world) -> None:
    # BatchNorm counts its batches in whole numbers, which updates replace instead of adding to: two batches a round.
    normed_world.options = {"participation": 0.34}
    run = normed_world.build("fedkd")
    sent = watched(run)
    for _ in run.rounds():
        pass
    (parcel,) = sent[-1].parcels
    missed, student = (tree["body.1.num_batches_tracked"] for tree in (parcel.payload.tree, run.method.student))
    assert missed.dtype == student.dtype == torch.int64
    assert missed.tolist() == student.tolist() * len(missed)
    assert len(missed) > 1


def test_what_was_missed_survives_a_restart(deep_world, same_bits, tmp_path) -> None:
    def run(checkpoint: Path | None = None) -> Run:
        return make_run(deep_world, rounds=6, participation=0.34, checkpoint=checkpoint)

    whole = run()
    expected = [row.clients for row in whole.rounds()]
    stopped = run(tmp_path / "checkpoint.pt").rounds()
    for _ in range(3):
        next(stopped)
    resumed = run(tmp_path / "checkpoint.pt")
    assert [row.clients for row in resumed.rounds()] == expected
    assert same_bits(resumed.method.student, whole.method.student)
    assert resumed.facts()["bytes_undelivered"] == whole.facts()["bytes_undelivered"]


@pytest.mark.parametrize("flows", [False, True])
def test_gradients_through_the_adaptive_weights(deep_world, flows: bool) -> None:
    # Each loss with the other's net frozen, written down a second time and differentiated by autograd.
    run = make_run(deep_world, weight_gradient=flows)
    model = run.client_models("mlp-4").template
    x, y = (torch.from_numpy(part) for part in deep_world.private[0])
    found = torch.autograd.grad(run.method.mutual_loss(model, Batch(x, y)), list(model.parameters()))
    z_t, z_s = model.personal.body(x), model.shared.body(x)
    f_t, f_s = model.personal.head(z_t), model.shared.head(z_s)
    own_losses = []
    for frozen in ("student", "teacher"):
        t, s, z, w = (f_t, f_s.detach(), z_t, (z_s @ model.match.T).detach())
        if frozen == "teacher":
            t, s, z, w = (f_t.detach(), f_s, z_t.detach(), z_s @ model.match.T)
        ce_t, ce_s = F.cross_entropy(t, y), F.cross_entropy(s, y)
        p, q = (t, s) if frozen == "student" else (s, t)
        kl = (q.softmax(1) * (q.log_softmax(1) - p.log_softmax(1))).sum(dim=1).mean()
        hardness = ce_t + ce_s
        own = (ce_t if frozen == "student" else ce_s) + (kl + (z - w).square().mean()) / (
            hardness if flows else hardness.detach()
        )
        own_losses.append(own)
    expected = torch.autograd.grad(sum(own_losses), list(model.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_teachers_are_deployed_and_the_student_reported(deep_world, same_bits) -> None:
    run = make_run(deep_world)
    rows = list(run.rounds())
    assert run.facts()["deployed"] == "teacher"
    assert run.facts()["views"] == ["student", "teacher"]
    rnd = Round(2, 0, run.federation)
    everyone = run.client_cohort("mlp-4", list(CLIENTS), rnd)
    assert same_bits(run.method.deployed(everyone, rnd).weights, nets(run, "personal"))
    assert same_bits(run.method.views(everyone, rnd)["student"].weights, run.method.student)
    assert torch.equal(
        everyone.predict(torch.ones(1, 2, dtype=torch.float64), as_="logits")[2],
        run.method.deployed(everyone, rnd).logits(2, torch.ones(1, 2, dtype=torch.float64)).detach(),
    )
    # mlp-3 on 2 features and 3 classes: 3 x 2 has factors of 2 * 6 numbers, 3 x 3 of 3 * 7, and 6 biases.
    plan = run.method.plan(client_facts(run))
    assert (plan.up_bytes, plan.down_bytes, plan.bound) == ((39 + 1) * 8, 39 * 8, True)
    assert all(client["bytes_up"] <= (39 + 1) * 8 for row in rows for client in row.clients)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"energy_start": 0.0}, r"energy_start must be in \(0, 1\]"),
        ({"energy_end": 1.01}, r"energy_end must be in \(0, 1\]"),
        ({"kl_weight": -1.0}, "kl_weight must not be negative"),
        ({"feature_weight": -1.0}, "feature_weight must not be negative"),
        ({"smallest_loss": 0.0}, "smallest_loss must be above 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=f"fedkd.{says}"):
        METHODS["fedkd"].config_type(**settings)
