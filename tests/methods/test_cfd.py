"""CFD: equal to COSMOS without compression, with it against softmax regression in NumPy, bytes by hand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.errors import ConfigError, Diverged
from fl_bench.federation.models import net_bytes
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.base import Facts
from fl_bench.methods.cfd import CFD, CFDConfig
from fl_bench.methods.contract import MODEL, deal, finish, made_up_data, make_run
from fl_bench.methods.label_streams import write_labels
from fl_bench.methods.quantisers import label_bits
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.federation.channel import Downloads

PLAIN = {"distill_lr": 0.2, "distill_epochs": 2, "server_lr": 0.4, "server_epochs": 3}
WHOLE = {"b_up": 32, "b_down": 32}


def server_of(run: Run, kind: type):
    weights = run.method.server.weights
    return kind(weights["head.weight"][0].numpy(), weights["head.bias"][0].numpy())


def rounded(p: np.ndarray, bits: int) -> np.ndarray:
    """Q_b, row by row: round down, then one unit each to the largest remainders."""
    whole, rows = 2**bits - 1, []
    for row in p:
        down = np.floor(row * whole)
        for c in sorted(range(len(row)), key=lambda c: down[c] - row[c] * whole)[: int(whole - down.sum())]:
            down[c] += 1
        rows.append(down / whole)
    return np.array(rows)


# --- what it equals


@pytest.mark.parametrize("choice", [{}, {"clip": 0.05}, {"delta": False}], ids=str)
def test_without_compression_it_is_cosmos_with_one_cluster_bit_for_bit(world, choice: dict) -> None:
    # Batches of two out of three public samples: both draw the same streams in the same phases.
    found = []
    training = Training(rounds=4, local_epochs=2, batch_size=2, optimizer="sgd", lr=0.5, precision="float64")
    for name, settings in (
        ("cfd", WHOLE | choice),
        ("cosmos", {"clustering": "single", "clusters": 1, "consistency": 0, "clip": choice.get("clip")}),
    ):
        method = METHODS[name](METHODS[name].config_type(**PLAIN, **settings))
        run = Run(method, world.dataset, world.split, ModelMix(("linear",)), training, seed=0)
        world.set_start(run)
        rows = [row.values for row in run.rounds()]
        models = method.server if name == "cfd" else method.servers.cohort
        found.append((run.client_weights()["linear"], models.weights, rows))
    (ours, our_server, our_rows), (cosmos, cosmos_server, cosmos_rows) = found
    for key in ours:
        assert torch.equal(ours[key], cosmos[key])
        assert torch.equal(our_server[key], cosmos_server[key])
    for mine, theirs in zip(our_rows, cosmos_rows, strict=True):
        assert (mine["bytes_up"], mine["bytes_down"]) == (theirs["bytes_up"], theirs["bytes_down"])
        assert mine["server.loss_mean"] == theirs["server_assigned.loss_mean"]


@pytest.mark.parametrize("choice", [{}, WHOLE], ids=["one bit", "32 bits"])
def test_without_distillation_it_is_local_only_bit_for_bit(world, weights_of, choice: dict) -> None:
    for found, alone in zip(
        weights_of(world.run("cfd", distill_epochs=0, **choice)), weights_of(world.run("local")), strict=True
    ):
        assert (found.w == alone.w).all()
        assert (found.b == alone.b).all()


# --- rounds


@pytest.mark.parametrize("client_init", ["persistent", "random"])
@pytest.mark.parametrize(("b_up", "b_down"), [(1, 1), (3, 32), (32, 2)])
def test_three_rounds_against_numpy(world, weights_of, assert_equal, b_up: int, b_down: int, client_init: str) -> None:
    kind = type(world.start[0])
    server = server_of(world.build("cfd"), kind).copy()
    run = world.run("cfd", b_up=b_up, b_down=b_down, client_init=client_init, **PLAIN)
    first, told = world.start[0].copy(), None
    for t in range(world.rounds):
        sent = []
        for client, (x, y) in enumerate(world.private):
            if client_init == "random":
                world.start[client] = first.copy()
            model = world.start[client]
            if t:
                model.distil(world.public, told, 0.2, steps=2)
            model.train(x, y, world.lr, steps=world.epochs)
            p = model.probabilities(world.public)
            sent.append(p if b_up == 32 else rounded(p, b_up))
        server.distil(world.public, np.mean(sent, axis=0), 0.4, steps=3)
        told = server.probabilities(world.public)
        told = told if b_down == 32 else rounded(told, b_down)
    assert_equal(weights_of(run), world.start)
    assert_equal([server_of(run, kind)], [server])


@pytest.mark.parametrize("bits", [1, 4])
def test_delta_coding_changes_bytes_only(world, weights_of, bits: int) -> None:
    # Also where clients come and go, and each is told what changed since it was last there.
    world.rounds, world.options = 6, {"participation": 0.67}
    settings = {"b_up": bits, "b_down": bits} | PLAIN
    with_it, without = world.run("cfd", **settings), world.run("cfd", delta=False, **settings)
    for one, other in zip(weights_of(with_it), weights_of(without), strict=True):
        assert (one.w == other.w).all()
        assert (one.b == other.b).all()


# --- bytes


class Wire:
    """Counts by hand: what everyone knows is compared with what everyone is told."""

    def __init__(self, run: Run, bits: int, *, delta: bool, coder: str) -> None:
        self.bits, self.delta, self.coder, self.known = bits, delta, coder, {}
        classes = run.data.about.classes
        self.label, self.entry = label_bits(classes, bits), label_bits(classes, bits, unchanged=True)

    def tell(self, receiver: object, labels: np.ndarray) -> int:
        """Bytes of telling `labels` to someone, who knows them from then on."""
        rows = [tuple(row) for row in labels.tolist()]
        before = self.known.get(receiver, [None] * len(rows)) if self.delta else [None] * len(rows)
        self.known[receiver] = rows
        if self.coder == "range":
            nothing = (0.0,) * labels.shape[1]
            both = torch.tensor([rows, [old or nothing for old in before]], dtype=torch.float64)
            levels, known = (both * (2**self.bits - 1)).round().int()
            return len(write_labels(levels[None], known[None], self.bits)[0])
        symbols = Counter(None if row == old else row for row, old in zip(rows, before, strict=True))
        n = len(rows)
        entropy = -sum(count * np.log2(count / n) for count in symbols.values())
        table = len(symbols) * (int(np.ceil(np.log2(n))) + self.entry)
        return min(int(np.ceil((entropy + table) / 8 - 1e-9)), int(np.ceil(n * self.label / 8)))


@pytest.mark.parametrize("coder", ["ideal", "range"])
@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("bits", [1, 2])
def test_bytes_are_those_of_what_changed_since_a_client_was_last_there(bits: int, delta: bool, coder: str) -> None:
    # The contract's federation of six, half of them a round; 160 public samples are enough for tables to pay.
    dataset = made_up_data(per_class=250)
    settings = {"b_up": bits, "b_down": bits, "delta": delta, "coder": coder, "distill_epochs": 1, "server_epochs": 1}
    training = Training(rounds=7, batch_size=16, lr=0.01, participation=0.5)
    run = Run(CFD(CFDConfig(**settings)), dataset, deal(dataset), ModelMix((MODEL,)), training, seed=1)
    up, down, told = *(Wire(run, bits, delta=delta, coder=coder) for _ in range(2)), []
    sent: dict[int, list[np.ndarray]] = {}
    update = run.method.server_update

    def server_update(uploads, rnd) -> Downloads:
        sent[rnd.index] = list(zip(uploads.ids, uploads.scores().numpy(), strict=True))
        downloads = update(uploads, rnd)
        told.append(downloads.parcels[0].payload.values[0].numpy())
        for parcel in downloads.parcels:  # everyone is told the same labels, in whatever number of messages
            assert all((values.numpy() == told[-1]).all() for values in parcel.payload.values)
        return downloads

    run.method.server_update = server_update
    saved = 0
    for t, row in enumerate(run.rounds()):
        for client, labels in sent[t]:
            assert row.clients[client]["bytes_up"] == up.tell(client, labels)
            expected = down.tell(client, told[t - 1]) if t else 0
            assert row.clients[client]["bytes_down"] == expected
            saved += 0 < expected < int(np.ceil(160 * down.label / 8))
    assert len(run.data.public) == 160
    assert saved > 5
    drawn = [set(run.participants(t)) for t in range(7)]
    assert any(client in drawn[t - 2] - drawn[t - 1] for t in range(2, 7) for client in drawn[t])  # away for a round


@pytest.mark.parametrize("bits", [1, 4])
def test_a_coder_changes_bytes_only(world, weights_of, bits: int) -> None:
    # Also where clients come and go.
    world.rounds, world.options = 6, {"participation": 0.67}
    settings = {"b_up": bits, "b_down": bits} | PLAIN
    ideal, real = world.run("cfd", **settings), world.run("cfd", coder="range", **settings)
    for one, other in zip(weights_of(ideal), weights_of(real), strict=True):
        assert (one.w == other.w).all()
        assert (one.b == other.b).all()


def test_the_default_coder_is_no_part_of_a_cells_key() -> None:
    assert "coder" not in plain(CFDConfig())
    assert plain(CFDConfig(coder="range"))["coder"] == "range"


def test_labels_of_few_samples_go_one_by_one(world) -> None:
    # 3 public samples of 3 classes are 3 labels of 2 bits, a byte for each of 3 clients; a table would take more.
    rows = [row.values for row in world.build("cfd", **PLAIN).rounds()]
    assert [(row["bytes_up"], row["bytes_down"]) for row in rows] == [(3, 0), (3, 3), (3, 3)]


@pytest.mark.parametrize(
    ("b_up", "b_down", "up", "down", "bound"),
    [
        (1, 1, 50, 50, True),  # 100 labels of ceil(log2 10) = 4 bits
        (1, 32, 50, 4000, True),
        (32, 1, 4000, 50, True),
        (2, 1, 100, 50, True),  # 220 ways to write 3 as a sum of 10: 8 bits
        (32, 32, 4000, 4000, False),
    ],
)
def test_plan_is_an_upper_bound(b_up: int, b_down: int, up: int, down: int, bound: bool) -> None:
    facts = Facts(public=100, classes=10, net=net_bytes("linear", (2,), 10, None, 4))
    plan = CFD(CFDConfig(b_up=b_up, b_down=b_down, distill_epochs=2, server_epochs=3)).plan(facts)
    assert (plan.up_bytes, plan.down_bytes, plan.bound) == (up, down, bound)
    assert (plan.client_public_epochs, plan.server_public_epochs) == (2, 3)


def test_labels_that_nobody_heard_last_are_forgotten(world) -> None:
    world.rounds = 5
    run = world.build("cfd")
    for t, _ in enumerate(run.rounds()):
        assert set(run.method.labels) == {t - 1, t}
    assert "sent" not in world.run("cfd", delta=False).client_models("linear").kept


# --- the rest


def test_view_is_the_server_model_for_every_client(world) -> None:
    run = world.run("cfd")
    rnd = Round(2, 0, run.federation)
    view = run.method.views(run.client_cohort("linear", [0, 1, 2], rnd), rnd)["server"]
    assert view.index == (0, 0, 0)
    assert torch.equal(view.weights["head.weight"], run.method.server.weights["head.weight"])
    assert (run.facts()["deployed"], run.facts()["views"]) == ("client", ["client", "server"])


def test_a_server_model_that_overflows_has_diverged(world) -> None:
    # The gradient of samples this large is beyond 2, and a step of 1e308 times that is infinite. The loss is not: it
    # is taken before the step.
    world.public = 100 * world.public
    with pytest.raises(Diverged, match="a weight of server models linear is not finite"):
        world.run("cfd", server_epochs=1, server_lr=1e308)


def test_a_diverged_run_is_found_out_before_its_labels_are_coded() -> None:
    dataset = made_up_data()
    training = Training(rounds=3, batch_size=8, optimizer="sgd", lr=1e6, local_epochs=5)
    with pytest.raises(Diverged, match="quantised and coded are not finite"):
        finish(make_run("cfd", dataset, deal(dataset), training, config=CFDConfig(coder="range")))


@pytest.mark.parametrize(
    "wrong",
    [
        {"b_up": 0},
        {"b_down": 17},
        {"b_up": 33},
        {"distill_lr": 0.0},
        {"server_lr": 0.0},
        {"clip": 0.0},
        {"distill_epochs": -1},
        {"server_epochs": -1},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"cfd.{next(iter(wrong))}"):
        CFDConfig(**wrong)
    assert CFDConfig(b_up=16).b_up == 16
