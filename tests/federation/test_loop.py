"""Local training against loops written with torch.optim on the same batches, and what a phase must leave alone."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fl_bench.federation import loop
from fl_bench.federation.batches import (
    Batch,
    Pairs,
    PrivateData,
    Teaching,
    positions,
    steps_of,
)
from fl_bench.federation.evaluation import evaluate
from fl_bench.federation.optimizers import Optimizer
from fl_bench.federation.phase import is_cross_entropy
from fl_bench.federation.settings import Execution
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.data import FederatedData

SEED, SIZE = 5, 4
"""Seed and batch size of every cohort here."""


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.y is not None
    return F.cross_entropy(model(batch.x), batch.y)


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.target is not None
    error = (model(batch.x) - batch.target).square().sum(dim=1)
    return (error if batch.weight is None else batch.weight * error).mean()


def torch_loop(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    order: Any,
    loss_of: Callable[[nn.Module, Tensor], Tensor],
    clip: float | None = None,
) -> float:
    """Mean loss of one training phase in textbook PyTorch; `order` has a row of sample positions per step."""
    module.train()
    losses = []
    for index in torch.from_numpy(order):
        optimizer.zero_grad()
        loss = loss_of(module, index)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        if clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def private_order(samples: int, client: int, *, epochs: int, rnd: int = 0, stream: str = "local") -> Any:
    return positions(samples, steps_of(epochs, samples, SIZE), SIZE, numpy_stream(SEED, stream, client, rnd))


def private_loss(data: FederatedData, client: int) -> Callable[[nn.Module, Tensor], Tensor]:
    rows = data.train.split()[client]
    return lambda module, index: F.cross_entropy(module(data.inputs[rows[index]].double()), data.labels[rows[index]])


def assert_rows(cohort: Cohort, modules: list[nn.Module]) -> None:
    for name, tensor in cohort.weights.items():
        expected = torch.stack([module.state_dict()[name] for module in modules])
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-12)


OPTIMIZERS: list[tuple[dict[str, Any], Callable[[Any], torch.optim.Optimizer]]] = [
    ({"optimizer": "sgd"}, lambda p: torch.optim.SGD(p, lr=0.05)),
    (
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    ),
    ({"optimizer": "adam"}, lambda p: torch.optim.Adam(p, lr=0.05)),
    ({"optimizer": "adam", "weight_decay": 0.1}, lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1)),
]


@pytest.mark.parametrize(("training", "make_optimizer"), OPTIMIZERS, ids=["sgd", "sgd-all", "adam", "adam-decay"])
def test_fit_is_a_torch_loop_per_client(make_data, make_cohort, nets, training, make_optimizer) -> None:
    # Clients of 5, 8 and 3 samples: 3 epochs in batches of 4 are ceil(15/4) = 4, 6 and ceil(9/4) = 3 steps.
    data, modules = make_data((5, 8, 3)), nets(3)
    cohort = make_cohort(data, modules, round_index=2, local_epochs=3, **training)
    log = cohort.fit(cross_entropy)
    expected = [
        torch_loop(
            module,
            make_optimizer(module.parameters()),
            private_order(size, client, epochs=3, rnd=2),
            private_loss(data, client),
        )
        for client, (module, size) in enumerate(zip(modules, (5, 8, 3), strict=True))
    ]
    assert_rows(cohort, modules)
    assert log.steps == (4, 6, 3)
    assert log.loss.tolist() == pytest.approx(expected, abs=1e-12)
    assert cohort.work.steps == {"local": 13}
    assert cohort.work.mean_loss("local") == pytest.approx(sum(expected) / 3)


@pytest.mark.parametrize("weighted", [False, True])
def test_teaching_shows_every_member_its_own_targets_in_one_order(make_data, make_cohort, nets, weighted) -> None:
    data, modules = make_data(), nets(3)
    inputs = data.public.inputs()
    targets = torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = torch.rand(3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64) if weighted else None
    cohort = make_cohort(data, modules, round_index=1)
    log = cohort.fit(squared_error, on=Teaching(inputs, targets, weights), epochs=3, lr=0.02)
    # Six samples, three passes, batches of four: ceil(18/4) = 5 steps; the order is that of the round, not a client's.
    order = positions(6, 5, SIZE, numpy_stream(SEED, "public", 1))
    for client, module in enumerate(modules):

        def loss(module: nn.Module, index: Tensor, client: int = client) -> Tensor:
            error = (module(inputs[index]) - targets[client, index]).square().sum(dim=1)
            return (error if weights is None else weights[client, index] * error).mean()

        torch_loop(module, torch.optim.SGD(module.parameters(), lr=0.02), order, loss)
    assert_rows(cohort, modules)
    assert log.steps == (5, 5, 5)
    assert cohort.work.steps == {"distill": 15}


def test_batches_hold_what_the_phase_is_about(make_data, make_cohort, nets) -> None:
    data = make_data((5,))
    seen: list[Batch] = []

    def look(model: nn.Module, batch: Batch) -> Tensor:
        seen.append(batch)
        return model(batch.x).sum()

    cohort = make_cohort(data, nets(1))
    cohort.fit(look)
    private = seen.pop()
    assert private.y is not None
    assert (private.x.shape, private.y.shape) == ((SIZE, 4), (SIZE,))
    assert private.target is private.weight is private.noise is None
    assert private.extra == {}
    cohort.fit(look, on=Teaching(data.public.inputs(), torch.zeros(1, 6, dtype=torch.int64)))
    public = seen.pop()
    assert public.y is public.weight is None  # public labels are sealed
    assert public.target is not None
    assert public.target.shape == (SIZE,)


def test_every_batch_keeps_inputs_and_labels_together(make_data, make_cohort, nets) -> None:
    data = make_data((7, 9))
    seen: list[tuple[Tensor, Tensor]] = []

    def look(model: nn.Module, batch: Batch) -> Tensor:
        assert batch.y is not None
        seen.append((batch.x, batch.y))
        return model(batch.x).sum()

    make_cohort(data, nets(2)).fit(look, epochs=2)
    label_of = {tuple(x.tolist()): int(y) for x, y in zip(data.inputs, data.labels, strict=True)}
    for xs, ys in seen:
        assert [label_of[tuple(x.float().tolist())] for x in xs] == ys.tolist()


@pytest.mark.parametrize(
    "training", [{"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1}, {"optimizer": "adam", "weight_decay": 0.1}]
)
@pytest.mark.parametrize("state", ["reset", "persist"])
def test_what_is_not_trainable_stays_bit_for_bit(make_data, make_cohort, nets, training, state) -> None:
    data, modules = make_data(), nets(3)
    cohort = make_cohort(data, modules, optimizer_state=state, **training)
    cohort.fit(cross_entropy, epochs=2)  # leaves momentum for everything under `persist`
    before = {name: tensor.clone() for name, tensor in cohort.weights.items()}
    cohort.at(1).fit(cross_entropy, epochs=2, trainable=lambda name: name.startswith("2."))
    for name, tensor in cohort.weights.items():
        assert torch.equal(tensor, before[name]) == (not name.startswith("2."))


def test_a_trainable_part_trains_as_if_the_rest_were_constant(make_data, make_cohort, nets) -> None:
    data, modules = make_data((6,)), nets(1)
    cohort = make_cohort(data, modules)
    cohort.fit(cross_entropy, trainable=lambda name: name == "2.bias")
    head = modules[0].get_parameter("2.bias")
    torch_loop(modules[0], torch.optim.SGD([head], lr=0.05), private_order(6, 0, epochs=1), private_loss(data, 0))
    assert_rows(cohort, modules)


def test_the_objective_differentiates_what_is_trained_only(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data((4,)), nets(1))
    found: list[list[str]] = []

    def look(model: nn.Module, batch: Batch) -> Tensor:
        found.append([name for name, parameter in model.named_parameters() if parameter.requires_grad])
        return cross_entropy(model, batch)

    cohort.fit(look, trainable=lambda name: name.endswith("bias"))
    cohort.fit(look)  # and the next phase trains everything again
    assert found == [["0.bias", "2.bias"], ["0.weight", "0.bias", "2.weight", "2.bias"]]


def test_each_member_finds_its_own_row_of_what_the_method_gave(make_data, make_cohort, nets) -> None:
    # A proximal term towards an anchor per client, with a strength per client: mu/2 * |bias - anchor|^2.
    data, modules = make_data(), nets(3)
    anchors = torch.arange(9, dtype=torch.float64).reshape(3, 3)
    strengths = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)

    def proximal(model: nn.Module, batch: Batch) -> Tensor:
        distance = (model.get_parameter("2.bias") - batch.extra["anchor"]["bias"]).square().sum()
        return cross_entropy(model, batch) + batch.extra["mu"] / 2 * distance

    cohort = make_cohort(data, modules)
    cohort.fit(proximal, per_client={"anchor": {"bias": anchors}, "mu": strengths})
    for client, (module, size) in enumerate(zip(modules, (5, 8, 3), strict=True)):
        plain = private_loss(data, client)

        def loss(module: nn.Module, index: Tensor, client: int = client, plain: Any = plain) -> Tensor:
            distance = (module.get_parameter("2.bias") - anchors[client]).square().sum()
            return plain(module, index) + strengths[client] / 2 * distance  # type: ignore[no-any-return]

        torch_loop(module, torch.optim.SGD(module.parameters(), lr=0.05), private_order(size, client, epochs=1), loss)
    assert_rows(cohort, modules)


@pytest.mark.parametrize(
    ("training", "make_optimizer"), [OPTIMIZERS[1], OPTIMIZERS[2]], ids=["sgd with momentum", "adam"]
)
@pytest.mark.parametrize("state", ["reset", "persist"])
def test_optimizer_state_between_rounds(make_data, make_cohort, nets, training, make_optimizer, state) -> None:
    data, modules = make_data(), nets(3)
    cohort = make_cohort(data, modules, optimizer_state=state, **training)
    cohort.fit(cross_entropy)
    cohort.at(1).fit(cross_entropy)
    for client, (module, size) in enumerate(zip(modules, (5, 8, 3), strict=True)):
        optimizer = make_optimizer(module.parameters())
        for rnd in (0, 1):
            if state == "reset":
                optimizer = make_optimizer(module.parameters())
            torch_loop(module, optimizer, private_order(size, client, epochs=1, rnd=rnd), private_loss(data, client))
    assert_rows(cohort, modules)


def test_persistent_state_belongs_to_one_kind_of_phase_and_one_member(make_data, make_cohort, nets) -> None:
    # A distillation between two local phases, and another client's training, must not touch client 1's local momentum.
    data = make_data()
    settings = {"optimizer": "sgd", "momentum": 0.9, "optimizer_state": "persist"}
    disturbed, alone = make_cohort(data, nets(3), **settings), make_cohort(data, nets(3), **settings)
    told = Teaching(data.public.inputs(), torch.ones(3, 6, 3, dtype=torch.float64))
    disturbed.only([1]).fit(cross_entropy)
    alone.only([1]).fit(cross_entropy)
    kept = {name: tensor.clone() for name, tensor in disturbed.weights.items()}
    disturbed.fit(squared_error, on=told)
    disturbed.only([0, 2]).fit(cross_entropy)
    disturbed.load(kept)
    disturbed.at(1).only([1]).fit(cross_entropy)
    alone.at(1).only([1]).fit(cross_entropy)
    for name, tensor in disturbed.weights.items():
        assert torch.equal(tensor[1], alone.weights[name][1])


def test_a_gradient_is_clipped_member_by_member(make_data, make_cohort, nets) -> None:
    data, modules = make_data(), nets(3)
    cohort = make_cohort(data, modules, local_epochs=2, clip=0.1)
    cohort.fit(cross_entropy)
    for client, (module, size) in enumerate(zip(modules, (5, 8, 3), strict=True)):
        torch_loop(
            module,
            torch.optim.SGD(module.parameters(), lr=0.05),
            private_order(size, client, epochs=2),
            private_loss(data, client),
            clip=0.1,
        )
    assert_rows(cohort, modules)


@pytest.mark.parametrize(
    ("private", "asked", "effective"),
    [
        *((True, "run", 0.1), (True, 0.3, 0.3), (True, None, None)),
        *((False, "run", None), (False, 0.3, 0.3), (False, None, None)),
    ],
)
def test_the_runs_clip_is_for_private_data_only(make_data, make_cohort, nets, private, asked, effective) -> None:
    # With lr 1 and no momentum, the norm of one step is the norm of the clipped gradient.
    data, modules = make_data((4,)), nets(1)
    cohort = make_cohort(data, modules, clip=0.1, lr=1.0)
    before = {name: tensor.clone() for name, tensor in cohort.weights.items()}

    def steep(model: nn.Module, batch: Batch) -> Tensor:
        return 10 * model(batch.x).square().sum()

    on = {} if private else {"on": Teaching(data.public.inputs()[:4], torch.zeros(1, 4, 3, dtype=torch.float64))}
    cohort.fit(steep, clip=asked, **on)
    moved = torch.cat([(tensor - before[name]).flatten() for name, tensor in cohort.weights.items()]).norm().item()
    assert moved > 1 if effective is None else moved == pytest.approx(effective, rel=1e-5)


@is_cross_entropy
def plain(model: nn.Module, batch: Batch) -> Tensor:
    return cross_entropy(model, batch)


def test_the_local_loss_is_the_cross_entropy_of_the_first_pass(make_data, make_cohort, nets) -> None:
    # Clients of 5 and 8 samples, three passes of two batches. A loss with another term and a second phase do not count.
    data, modules = make_data((5, 8)), nets(2)
    cohort = make_cohort(data, modules, local_epochs=3)
    cohort.fit(lambda model, batch: 7 + cross_entropy(model, batch), lr=1e-9)
    assert cohort.work.mean_cross_entropy() is None
    cohort.fit(plain)
    expected = []
    for client, size in enumerate((5, 8)):
        order = private_order(size, client, epochs=3)
        optimizer = torch.optim.SGD(modules[client].parameters(), lr=0.05)
        expected.append(torch_loop(modules[client], optimizer, order[:2], private_loss(data, client)))
    assert cohort.work.mean_cross_entropy() == pytest.approx(sum(expected) / 2, abs=1e-6)
    cohort.fit(plain)
    assert cohort.work.mean_cross_entropy() == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_pairs_are_two_orders_of_the_same_samples(make_data, make_cohort, nets) -> None:
    # One client with 8 samples, two batches of 4 in a pass: each of the two orders is a pass by itself.
    seen: list[tuple[list[float], list[float]]] = []

    def look(model: nn.Module, batch: Batch) -> Tensor:
        assert batch.second is not None
        assert batch.second.y is not None
        seen.append((batch.x[:, 0].tolist(), batch.second.x[:, 0].tolist()))
        return cross_entropy(model, batch)

    data = make_data((8,))
    make_cohort(data, nets(1)).fit(look, on=Pairs(), epochs=1)
    inputs = data.inputs[data.train.split()[0]][:, 0].double()
    first, second = ([value for pair in seen for value in pair[which]] for which in (0, 1))
    assert first == inputs[private_order(8, 0, epochs=1).flatten()].tolist()
    assert sorted(first) == sorted(second) == sorted(inputs.tolist())
    assert first != second


def test_targets_of_private_samples_follow_them(make_data, make_cohort, nets) -> None:
    # The target of a sample is its first input number, which the objective compares; clients of 5 and 3 samples.
    data = make_data((5, 3))
    target = torch.zeros(2, 5, dtype=torch.float64)
    for client, rows in enumerate(data.train.split()):
        target[client, : len(rows)] = data.inputs[rows][:, 0].double()

    def compare(model: nn.Module, batch: Batch) -> Tensor:
        assert torch.equal(batch.target, batch.x[:, 0])
        return cross_entropy(model, batch)

    log = make_cohort(data, nets(2)).fit(compare, on=PrivateData(target), epochs=2)
    assert log.steps == (3, 2)


def test_predictions_on_private_samples_are_in_their_order(make_data, make_cohort, nets) -> None:
    data, modules = make_data((5, 3)), nets(2)
    found = make_cohort(data, modules).predict_private(as_="logits")
    assert found.shape == (2, 5, 3)
    for client, rows in enumerate(data.train.split()):
        expected = modules[client](data.inputs[rows].double())
        torch.testing.assert_close(found[client, : len(rows)], expected, rtol=0, atol=1e-12)
    assert not found[1, 3:].any()


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_predictions_with_a_graph_lead_back_to_the_inputs(make_data, make_cohort, nets, engine: str) -> None:
    data, modules = make_data((5, 3)), nets(2)
    cohort, inputs = make_cohort(data, modules, engine=engine), data.public.inputs()[:4].clone().requires_grad_()
    found = cohort.predict(inputs, as_="logits", graph=True)
    (slope,) = torch.autograd.grad(found.square().sum(), inputs)
    (expected,) = torch.autograd.grad(sum(module(inputs).square().sum() for module in modules), inputs)
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-9)
    again = cohort.predict(inputs.detach(), as_="logits")
    torch.testing.assert_close(found.detach(), again, rtol=0, atol=1e-12)


def test_optimizers_persist_by_phase_and_not_by_stream(make_data, make_cohort, nets) -> None:
    # Two phases with one stream of batches: one that trains the head keeps its moments apart, another objective does,
    # and so does one with a name of its own; the same phase again goes on; a fresh one leaves no trace.
    cohort = make_cohort(make_data((4,)), nets(1), optimizer="adam", optimizer_state="persist")
    kept = cohort.members.models.moments
    cohort.fit(cross_entropy)
    cohort.fit(cross_entropy)
    assert len(kept) == 1
    assert int(next(iter(kept.values()))["steps:2.bias"]) == 2
    cohort.fit(cross_entropy, trainable=lambda name: name.startswith("2."))
    cohort.fit(plain)
    cohort.fit(cross_entropy, name="personal")
    cohort.fit(cross_entropy, name="once", fresh=True)
    assert len(kept) == 4
    assert [int(tree["steps:2.bias"]) for tree in kept.values()] == [2, 1, 1, 1]


def test_settings_of_a_phase_go_before_the_runs(make_data, make_cohort, nets) -> None:
    data = make_data((4,))
    cohort = make_cohort(data, nets(1), lr=0.05, momentum=0.9)
    reference = make_cohort(data, nets(1), lr=0.01, optimizer="adam", local_epochs=5)
    assert cohort.fit(cross_entropy, epochs=5, optimizer=Optimizer("adam", 0.01)).steps == (5,)
    reference.fit(cross_entropy)
    for name, tensor in cohort.weights.items():
        assert torch.equal(tensor, reference.weights[name])


def test_a_learning_rate_of_zero_is_zero(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3))
    before = {name: tensor.clone() for name, tensor in cohort.weights.items()}
    cohort.fit(cross_entropy, lr=0.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in cohort.weights.items())


def test_a_number_of_batches_instead_of_epochs(make_data, make_cohort, nets) -> None:
    # Clients of 5, 8 and 3 samples take three batches of 4 each, where one epoch would be 2, 2 and 1.
    data, modules = make_data((5, 8, 3)), nets(3)
    cohort = make_cohort(data, modules)
    assert cohort.fit(cross_entropy, batches=3).steps == (3, 3, 3)
    for client, (module, size) in enumerate(zip(modules, (5, 8, 3), strict=True)):
        order = positions(size, 3, SIZE, numpy_stream(SEED, "local", client, 0))
        torch_loop(module, torch.optim.SGD(module.parameters(), lr=0.05), order, private_loss(data, client))
    assert_rows(cohort, modules)


def test_no_epochs_are_no_steps(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3), weight_decay=0.5)
    before = {name: tensor.clone() for name, tensor in cohort.weights.items()}
    log = cohort.fit(cross_entropy, epochs=0)
    assert log.steps == (0, 0, 0)
    assert log.loss.tolist() == [0.0, 0.0, 0.0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in cohort.weights.items())


def test_company_changes_nothing(make_data, make_cohort, nets) -> None:
    # Streams belong to (seed, client, round): who else takes part moves no number, and nobody else is written to.
    data = make_data()
    together, some = make_cohort(data, nets(3)), make_cohort(data, nets(3))
    start = {name: tensor.clone() for name, tensor in some.weights.items()}
    together.fit(cross_entropy)
    log = some.only([0, 2]).fit(cross_entropy)
    assert len(log.steps) == 2
    for name, tensor in some.weights.items():
        assert torch.equal(tensor[[0, 2]], together.weights[name][[0, 2]])
        assert torch.equal(tensor[1], start[name][1])


def test_rounds_streams_and_seeds_have_orders_of_their_own(make_data, make_cohort, nets) -> None:
    data = make_data((9,))
    seen: list[Tensor] = []

    def look(model: nn.Module, batch: Batch) -> Tensor:
        seen.append(batch.x)
        return model(batch.x).sum()

    def order(rnd: int = 0, seed: int = SEED, stream: str | None = None) -> Tensor:
        seen.clear()
        make_cohort(data, nets(1), seed=seed, round_index=rnd).fit(look, stream=stream)
        return torch.stack(seen)

    first = order()
    assert torch.equal(first, order())
    assert torch.equal(first, order(stream="local"))
    for other in (order(rnd=1), order(seed=6), order(stream="personal")):
        assert not torch.equal(first, other)


def test_noise_is_repeatable_and_fresh(make_data, make_cohort, nets) -> None:
    data = make_data((8, 8))
    seen: list[Tensor] = []

    def look(model: nn.Module, batch: Batch) -> Tensor:
        assert batch.noise is not None
        assert batch.noise.shape == batch.x.shape
        assert batch.noise.dtype == batch.x.dtype
        seen.append(batch.noise)
        return model(batch.x + batch.noise).sum()

    def noise(rnd: int = 0, side: str = "client", **where: Any) -> list[Tensor]:
        seen.clear()
        make_cohort(data, nets(2), round_index=rnd, side=side).fit(look, noise=True, **where)
        return list(seen)

    told = {"on": Teaching(data.public.inputs(), torch.zeros(2, 6, 3, dtype=torch.float64))}
    client, again = noise(), noise()
    assert all(torch.equal(one, other) for one, other in zip(client, again, strict=True))
    # Two steps of two members in this round and the next, and the same phase on the clients' and the server's side.
    every = [*client, *noise(rnd=1), *noise(**told), *noise(side="server", **told)]
    assert len(every) == 4 + 4 + 4 + 4
    assert len({tuple(tensor.flatten().tolist()) for tensor in every}) == len(every)
    drawn = torch.cat([tensor.flatten() for tensor in every])
    assert abs(drawn.mean()) < 0.3  # 256 standard normal numbers: the mean is within 5 deviations of 1/16
    assert 0.75 < drawn.std() < 1.25


def test_dropout_is_repeatable_and_leaves_the_global_generator(make_data, make_cohort, nets) -> None:
    data = make_data((8, 8))

    def trained(rnd: int = 0) -> dict[str, Tensor]:
        modules = nets(1, 4, 3, nn.Dropout(0.5)) * 2  # both clients start equal
        cohort = make_cohort(data, modules, round_index=rnd)
        told = Teaching(data.public.inputs(), torch.zeros(2, 6, 3, dtype=torch.float64))
        cohort.fit(squared_error, on=told)  # both see the same batches, so that only their dropout differs
        return cohort.weights

    torch.manual_seed(123)
    untouched = torch.get_rng_state()
    first = trained()
    assert torch.equal(torch.get_rng_state(), untouched)
    torch.manual_seed(321)
    second = trained()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
    weight = first["0.weight"]
    assert not torch.equal(weight[0], weight[1])


def test_batch_statistics_belong_to_each_client(make_data, make_cohort, nets) -> None:
    data, modules = make_data(), nets(3, 4, 3, nn.BatchNorm1d(5))
    cohort = make_cohort(data, modules, local_epochs=2)
    cohort.fit(cross_entropy)
    for client, (module, size) in enumerate(zip(modules, (5, 8, 3), strict=True)):
        torch_loop(
            module,
            torch.optim.SGD(module.parameters(), lr=0.05),
            private_order(size, client, epochs=2),
            private_loss(data, client),
        )
    assert_rows(cohort, modules)
    assert cohort.weights["1.num_batches_tracked"].tolist() == [3, 4, 2]  # ceil(10/4), ceil(16/4), ceil(6/4)
    inputs = data.public.inputs()
    with torch.no_grad():
        expected = torch.stack([module.eval()(inputs) for module in modules])
    torch.testing.assert_close(cohort.predict(inputs, as_="logits"), expected, rtol=0, atol=1e-12)
    assert cohort.weights["1.num_batches_tracked"].tolist() == [3, 4, 2]


def test_batch_statistics_of_a_frozen_part_stay_as_they_are(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3, 4, 3, nn.BatchNorm1d(5)))
    before = {name: tensor.clone() for name, tensor in cohort.weights.items()}
    last = next(reversed(cohort.parameters))
    cohort.fit(cross_entropy, trainable=lambda name: name == last)
    changed = [name for name, tensor in cohort.weights.items() if not torch.equal(tensor, before[name])]
    assert changed == [last]


def test_batch_statistics_without_weights_are_learned(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3, 4, 3, nn.BatchNorm1d(5, affine=False)))
    cohort.fit(cross_entropy)
    assert bool((cohort.weights["1.num_batches_tracked"] > 0).all())


def test_training_after_a_prediction_is_training(make_data, make_cohort, nets) -> None:
    data = make_data()
    cohort, reference = (make_cohort(data, nets(3, 4, 3, nn.BatchNorm1d(5), nn.Dropout(0.5))) for _ in "ab")
    cohort.predict(data.public.inputs())
    for trained in (cohort, reference):
        trained.fit(cross_entropy)
    for name, tensor in cohort.weights.items():
        assert torch.equal(tensor, reference.weights[name])


@pytest.mark.parametrize("chunk", [1, 4, 1024])
def test_predictions_are_the_modules_in_evaluation_mode(make_data, make_cohort, nets, monkeypatch, chunk) -> None:
    monkeypatch.setattr(loop, "CHUNK", chunk)
    data, modules = make_data(), nets(3, 4, 3, nn.Dropout(0.5))
    cohort = make_cohort(data, modules)
    cohort.fit(cross_entropy, epochs=0)  # leaves the shared template in training mode
    inputs = data.public.inputs()
    with torch.no_grad():
        logits = torch.stack([module.eval()(inputs) for module in modules])
    torch.testing.assert_close(cohort.predict(inputs, as_="logits"), logits, rtol=0, atol=1e-12)
    predicted = cohort.predict(inputs)
    torch.testing.assert_close(predicted, logits.softmax(dim=-1), rtol=0, atol=1e-12)
    assert not predicted.requires_grad
    some = cohort.only([2, 0]).predict(inputs, as_="logits")
    torch.testing.assert_close(some, logits[[2, 0]], rtol=0, atol=1e-12)


def test_weights_that_the_loss_does_not_use_get_no_gradient(make_data, make_cohort, nets) -> None:
    data, modules = make_data(), nets(3)
    cohort = make_cohort(data, modules, momentum=0.9)

    def first_layer_only(model: nn.Module, batch: Batch) -> Tensor:
        return model.get_submodule("0")(batch.x).square().sum()

    before = deepcopy(cohort.weights)
    cohort.fit(first_layer_only)
    for name, tensor in cohort.weights.items():
        assert torch.equal(tensor, before[name]) == name.startswith("2.")


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize(("training", "make_optimizer"), OPTIMIZERS, ids=["sgd", "sgd-all", "adam", "adam-decay"])
def test_gradients_need_not_be_dense_in_memory(make_data, make_cohort, nets, training, make_optimizer, clip) -> None:
    # The gradient of a sum is one number spread over the whole tensor, that of a transposed product is transposed.
    data, modules = make_data((5, 8, 3)), nets(3)
    x = torch.randn(5, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def spread(model: nn.Module) -> Tensor:
        turned = (model.get_parameter("2.weight").T * x).cos().sum()
        return turned + torch.stack([parameter.sum() for parameter in model.parameters()]).sum()

    cohort = make_cohort(data, modules, **training)
    cohort.fit(lambda model, batch: spread(model), clip=clip)
    for client, (module, size) in enumerate(zip(modules, (5, 8, 3), strict=True)):
        order = private_order(size, client, epochs=1)
        torch_loop(module, make_optimizer(module.parameters()), order, lambda module, _: spread(module), clip)
    assert_rows(cohort, modules)


@pytest.mark.parametrize("state", ["reset", "persist"])
def test_threads_change_no_bit(make_data, make_cohort, nets, state: str) -> None:
    data = make_data((5, 8, 3, 9, 1))
    modules = nets(5, 4, 3, nn.BatchNorm1d(5), nn.Dropout(0.5))
    cohorts = [
        make_cohort(data, modules, execution=Execution(threads=threads), optimizer_state=state, momentum=0.9)
        for threads in (1, 3)
    ]
    for index in (0, 1):
        logs = [cohort.at(index).fit(cross_entropy, epochs=3) for cohort in cohorts]
        assert logs[0].steps == logs[1].steps
        assert torch.equal(logs[0].loss, logs[1].loss)
    alone, beside = cohorts
    for name, tensor in alone.weights.items():
        assert torch.equal(beside.weights[name], tensor)
    for phase, tree in alone.members.models.moments.items():
        assert all(torch.equal(beside.members.models.moments[phase][name], tensor) for name, tensor in tree.items())
    public = data.public.inputs()
    assert torch.equal(alone.predict(public), beside.predict(public))
    rows = data.test.split()
    scores = [
        evaluate(cohort.deployed(), data, rows, threads=threads)
        for cohort, threads in zip(cohorts, (1, 3), strict=True)
    ]
    assert (scores[0].loss == scores[1].loss).all()


def test_modules_of_threads_that_were_first_evaluated_can_be_trained(make_data, make_cohort, nets) -> None:
    data, modules = make_data(), nets(3)
    alone, beside = (make_cohort(data, modules, execution=Execution(threads=threads)) for threads in (1, 2))
    for cohort, threads in ((alone, 1), (beside, 2)):
        evaluate(cohort.deployed(), data, data.test.split(), threads=threads)
        cohort.fit(cross_entropy)
    for name, tensor in alone.weights.items():
        assert torch.equal(beside.weights[name], tensor)


def test_a_failing_client_fails_the_phase_with_threads_too(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3), execution=Execution(threads=2))

    def fails(module: nn.Module, batch: Batch) -> torch.Tensor:
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        cohort.fit(fails)
