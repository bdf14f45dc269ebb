"""Several updates on each batch, bounds and masks of what may change, against loops written with torch.optim."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from fl_bench.federation.batches import Batch, Teaching, positions, steps_of
from fl_bench.federation.optimizers import Optimizer
from fl_bench.federation.phase import Step
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

SEED, SIZE = 5, 4
"""Seed and batch size of every cohort here."""
SIZES = (5, 8, 3)
"""Private samples of the clients: 2, 2 and 1 batches for one pass."""


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.y is not None
    return F.cross_entropy(model(batch.x), batch.y)


def energy(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.x).square().mean()


def in_layer(layer: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(layer)


def private_batches(data: Any, client: int, *, epochs: int = 1, rnd: int = 0) -> list[Batch]:
    """What the plain private phase of a client shows it, in order."""
    rows = data.train.split()[client]
    order = positions(len(rows), steps_of(epochs, len(rows), SIZE), SIZE, numpy_stream(SEED, "local", client, rnd))
    return [Batch(data.inputs[rows[i]].double(), data.labels[rows[i]]) for i in torch.from_numpy(order)]


def assert_rows(tree: dict[str, Tensor], modules: list[nn.Module]) -> None:
    for name, tensor in tree.items():
        expected = torch.stack([module.state_dict()[name] for module in modules])
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-12)


def test_steps_are_taken_in_order_on_every_batch(make_data, make_cohort, nets) -> None:
    # Cross-entropy on the first layer with the run's SGD, then twice the energy on the last layer with Adam.
    data, modules = make_data(SIZES), nets(3)
    cohort = make_cohort(data, modules, momentum=0.9)
    log = cohort.fit(
        [
            Step(cross_entropy, in_layer("0.")),
            Step(energy, in_layer("2."), Optimizer("adam", 0.01), repeat=2),
        ]
    )
    losses = []
    for client, module in enumerate(modules):
        first = torch.optim.SGD(module.get_submodule("0").parameters(), lr=0.05, momentum=0.9)
        second = torch.optim.Adam(module.get_submodule("2").parameters(), lr=0.01)
        seen = []
        for batch in private_batches(data, client):
            for optimizer, objective in ((first, cross_entropy), (second, energy), (second, energy)):
                module.zero_grad()
                loss = objective(module, batch)
                loss.backward()
                optimizer.step()
                if optimizer is first:
                    seen.append(loss.item())
        losses.append(sum(seen) / len(seen))
    assert_rows(cohort.weights, modules)
    assert log.loss.tolist() == pytest.approx(losses, abs=1e-12)  # of the first step alone
    assert log.steps == (6, 6, 3)  # gradient evaluations: three on each of 2, 2 and 1 batches
    assert cohort.work.steps == {"local": 15}


def test_one_step_is_a_plain_phase(make_data, make_cohort, nets) -> None:
    data = make_data(SIZES)
    plain, stepped = make_cohort(data, nets(3)), make_cohort(data, nets(3))
    one = plain.fit(cross_entropy, lr=0.1, trainable=in_layer("2."), epochs=2)
    other = stepped.fit([Step(cross_entropy)], lr=0.1, trainable=in_layer("2."), epochs=2)  # the phase's are defaults
    assert one.steps == other.steps
    assert torch.equal(one.loss, other.loss)
    for name, tensor in plain.weights.items():
        assert torch.equal(tensor, stepped.weights[name])


def test_a_steps_own_rule_and_part_go_before_the_phases(make_data, make_cohort, nets) -> None:
    data = make_data(SIZES)
    plain, stepped = make_cohort(data, nets(3)), make_cohort(data, nets(3))
    plain.fit(cross_entropy, optimizer=Optimizer("adam", 0.02), trainable=in_layer("0."))
    stepped.fit(
        [Step(cross_entropy, in_layer("0."), Optimizer("adam", 0.02))], lr=0.7, trainable=lambda name: name == "2.bias"
    )
    for name, tensor in plain.weights.items():
        assert torch.equal(tensor, stepped.weights[name])


def test_repeats_train_on_the_same_batch_and_share_a_loss(make_data, make_cohort, nets) -> None:
    # L = sum of the last bias, shape (3,): its gradient is 1, so with lr 0.05 three repeats on each of two batches
    # lower every bias by 0.3. With S at the start, L is S, S - .15, S - .30 on batch 0 and S - .45, ... on batch 1:
    # the mean is S - (0 + .15 + .30 + .45 + .60 + .75) / 6 = S - .375.
    data, modules = make_data((8,)), nets(1)
    seen: list[Tensor] = []

    def fall(model: nn.Module, batch: Batch) -> Tensor:
        seen.append(batch.x)
        return model.get_parameter("2.bias").sum()

    cohort = make_cohort(data, modules)
    start = modules[0].get_parameter("2.bias").detach()
    log = cohort.fit([Step(fall, repeat=3)])
    assert torch.allclose(cohort.weights["2.bias"][0], start - 0.3, atol=1e-12)
    assert log.loss.item() == pytest.approx(start.sum().item() - 0.375, abs=1e-12)
    assert log.steps == (6,)
    assert [torch.equal(x, seen[0]) for x in seen] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("state", ["reset", "persist"])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_every_step_has_moments_of_its_own(make_data, make_cohort, nets, rule: str, state: str) -> None:
    # Both steps train the last layer; with shared moments the second would follow the first one's direction.
    data, modules = make_data(SIZES), nets(3)
    cohort = make_cohort(data, modules, optimizer_state=state, optimizer=rule, momentum=0.9 if rule == "sgd" else 0.0)
    for rnd in (0, 1):
        cohort.at(rnd).fit([Step(cross_entropy), Step(energy, in_layer("2."))])

    def fresh(module: nn.Module) -> list[torch.optim.Optimizer]:
        parts = (module.parameters(), module.get_submodule("2").parameters())
        if rule == "adam":
            return [torch.optim.Adam(part, lr=0.05) for part in parts]
        return [torch.optim.SGD(part, lr=0.05, momentum=0.9) for part in parts]

    for client, module in enumerate(modules):
        optimizers = fresh(module)
        for rnd in (0, 1):
            optimizers = fresh(module) if state == "reset" else optimizers
            for batch in private_batches(data, client, rnd=rnd):
                for optimizer, objective in zip(optimizers, (cross_entropy, energy), strict=True):
                    module.zero_grad()
                    objective(module, batch).backward()
                    optimizer.step()
    assert_rows(cohort.weights, modules)


def test_a_step_may_use_the_other_half_as_a_constant(make_data, make_cohort, nets) -> None:
    # Parameters of the other step have gradients switched on, but a step differentiates its own alone.
    data, modules = make_data((4,)), nets(1)
    cohort = make_cohort(data, modules)
    cohort.fit([Step(cross_entropy, in_layer("2.")), Step(energy, in_layer("0."))])
    module, (batch,) = modules[0], private_batches(data, 0)
    for layer, objective in (("2", cross_entropy), ("0", energy)):
        module.zero_grad()
        objective(module, batch).backward()
        with torch.no_grad():
            for parameter in module.get_submodule(layer).parameters():
                parameter -= 0.05 * parameter.grad
    assert_rows(cohort.weights, modules)


def test_clipping_is_a_steps_own(make_data, make_cohort, nets) -> None:
    # Steep losses on two layers, lr 1, clip 0.1: each layer moves by 0.1 in all, and not both together.
    data, modules = make_data((4,)), nets(1)
    cohort = make_cohort(data, modules, lr=1.0, clip=0.1)
    before = cohort.weights

    def steep(model: nn.Module, batch: Batch) -> Tensor:
        return 1e3 * model(batch.x).square().sum()

    cohort.fit([Step(steep, in_layer("0.")), Step(steep, in_layer("2."))])
    for layer in ("0.", "2."):
        moved = [(cohort.weights[name] - before[name]).flatten() for name in before if name.startswith(layer)]
        assert torch.cat(moved).norm().item() == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize(("clip", "most"), [("phase", 0.1), (0.3, 0.3), (None, None)])
def test_a_step_may_have_a_limit_of_its_own_or_none(make_data, make_cohort, nets, clip, most) -> None:
    cohort = make_cohort(make_data((4,)), nets(1), lr=1.0, clip=0.1)
    before = cohort.weights
    cohort.fit([Step(lambda model, batch: 1e3 * model(batch.x).square().sum(), clip=clip)])
    moved = torch.cat([(tensor - before[name]).flatten() for name, tensor in cohort.weights.items()]).norm().item()
    assert moved > 1 if most is None else moved == pytest.approx(most, rel=1e-5)


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        # From 0, the gradient -1 on all three lifts each number by lr = 0.05 a step; two batches make 0.1.
        ({}, [0.1, 0.1, 0.1]),
        ({"2.bias": (-1.0, 0.08)}, [0.08, 0.08, 0.08]),
        # Clamped after the first step already: 0.05 -> 0.2, then 0.25.
        ({"2.bias": (0.2, 1.0)}, [0.25, 0.25, 0.25]),
    ],
)
def test_bounds_hold_after_every_update(make_data, make_cohort, nets, within, expected) -> None:
    cohort = make_cohort(make_data((8,)), nets(1))
    cohort.load({"2.bias": torch.zeros(1, 3)})

    def rise(model: nn.Module, batch: Batch) -> Tensor:
        return -model.get_parameter("2.bias").sum()

    cohort.fit([Step(rise, within=within)])
    assert cohort.weights["2.bias"][0].tolist() == pytest.approx(expected, abs=1e-12)


def test_bounds_belong_to_their_step(make_data, make_cohort, nets) -> None:
    # The first step is bounded by 0.02 and the second lifts by another 0.05 without a bound.
    cohort = make_cohort(make_data((4,)), nets(1))
    cohort.load({"2.bias": torch.zeros(1, 3)})

    def rise(model: nn.Module, batch: Batch) -> Tensor:
        return -model.get_parameter("2.bias").sum()

    cohort.fit([Step(rise, within={"2.bias": (0.0, 0.02)}), Step(rise)])
    assert cohort.weights["2.bias"][0].tolist() == pytest.approx([0.07] * 3, abs=1e-12)


def test_a_step_of_the_first_batches(make_data, make_cohort, nets) -> None:
    # Members with 2, 1 and 3 batches of four: the second step lifts twice on each of the first two that there are.
    cohort = make_cohort(make_data((8, 4, 12)), nets(3))
    cohort.load({"2.bias": torch.zeros(1, 3), "0.bias": torch.zeros(1, 1)})

    def rise(model: nn.Module, batch: Batch) -> Tensor:
        return -sum(parameter.sum() for parameter in model.parameters())

    steps = [Step(rise, in_layer("0.")), Step(rise, lambda name: name == "2.bias", repeat=2, batches=2)]
    log = cohort.fit(steps, epochs=1)
    assert log.steps == (2 + 4, 1 + 2, 3 + 4)
    assert cohort.weights["2.bias"][:, 0].tolist() == pytest.approx([0.2, 0.1, 0.2], abs=1e-12)
    assert cohort.weights["0.bias"][:, 0].tolist() == pytest.approx([0.1, 0.05, 0.15], abs=1e-12)


def test_a_first_step_of_some_batches_is_refused(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data((8,)), nets(1))
    with pytest.raises(ValueError, match=r"the first step of a phase has batches=1, .*use fit\(batches=\.\.\.\)"):
        cohort.fit([Step(cross_entropy, batches=1), Step(cross_entropy)])


def masks(seed: int, tree: dict[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(tensor.shape, generator=generator) < 0.5 for name, tensor in tree.items()}


@pytest.mark.parametrize(
    ("training", "make_optimizer"),
    [
        (
            {"momentum": 0.9, "weight_decay": 0.1},
            lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
        ),
        ({"optimizer": "adam", "weight_decay": 0.1}, lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1)),
    ],
    ids=["sgd", "adam"],
)
def test_entries_mask_the_update_of_each_member(make_data, make_cohort, nets, training, make_optimizer) -> None:
    # The reference takes torch's whole step and puts back what may not change; members 2 and 0 act, in that order.
    data, modules = make_data(SIZES), nets(3)
    cohort = make_cohort(data, modules, local_epochs=2, **training)
    before, some = cohort.weights, cohort.only([2, 0])
    free = masks(1, some.parameters)
    some.fit(cross_entropy, entries=free)
    for row, client in enumerate((2, 0)):
        module = modules[client]
        optimizer = make_optimizer(module.parameters())
        for batch in private_batches(data, client, epochs=2):
            old = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
            module.zero_grad()
            cross_entropy(module, batch).backward()
            optimizer.step()
            with torch.no_grad():
                for name, parameter in module.named_parameters():
                    parameter.copy_(torch.where(free[name][row], parameter, old[name]))
    assert_rows(cohort.weights, modules)
    for name, tensor in some.weights.items():
        fixed = ~free[name]
        assert torch.equal(tensor[fixed], before[name][[2, 0]][fixed])
        assert not torch.equal(tensor, before[name][[2, 0]])


def test_entries_that_are_all_free_change_nothing(make_data, make_cohort, nets) -> None:
    data = make_data(SIZES)
    plain, masked = (make_cohort(data, nets(3), optimizer="adam", weight_decay=0.1) for _ in "ab")
    plain.fit(cross_entropy)
    masked.fit(
        cross_entropy, entries={name: torch.ones_like(t, dtype=torch.bool) for name, t in masked.weights.items()}
    )
    for name, tensor in plain.weights.items():
        assert torch.equal(tensor, masked.weights[name])


def test_entries_are_needed_for_what_is_trained_only(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data((4,)), nets(1))
    before = cohort.weights
    free = torch.tensor([[True, False, True]])
    cohort.fit(cross_entropy, trainable=lambda name: name == "2.bias", entries={"2.bias": free})
    changed = {name: tensor != before[name] for name, tensor in cohort.weights.items()}
    assert torch.equal(changed.pop("2.bias"), free)
    assert not any(entry.any() for entry in changed.values())


def test_a_mask_also_holds_back_bounds(make_data, make_cohort, nets) -> None:
    # Entry 1 is fixed at 0.5, outside the bounds; the others rise by 0.05 and are cut to 0.03.
    cohort = make_cohort(make_data((4,)), nets(1))
    cohort.load({"2.bias": torch.tensor([[0.0, 0.5, 0.0]])})

    def rise(model: nn.Module, batch: Batch) -> Tensor:
        return -model.get_parameter("2.bias").sum()

    cohort.fit(
        [Step(rise, lambda name: name == "2.bias", within={"2.bias": (0.0, 0.03)})],
        entries={"2.bias": torch.tensor([[True, False, True]])},
    )
    assert cohort.weights["2.bias"][0].tolist() == pytest.approx([0.03, 0.5, 0.03])


def test_a_cosine_schedule_runs_over_the_batches_of_a_phase(make_data, make_cohort, nets) -> None:
    # Gradient 1 for every number of the bias: each batch moves it by the learning rate of its place. Client 0 has two
    # batches in a pass over 5 samples (0.1 and 0.05), client 1 has four in two passes over 8, client 2 one over 3;
    # with two passes: 3 batches (10 / 4), 4 (16 / 4), 2 (6 / 4).
    data = make_data(SIZES)
    cohort = make_cohort(data, nets(3))
    before = cohort.weights["2.bias"]

    def fall(model: nn.Module, batch: Batch) -> Tensor:
        return model.get_parameter("2.bias").sum()

    falling = Optimizer("sgd", 0.1, schedule="cosine")
    cohort.fit([Step(fall, repeat=2)], optimizer=falling, epochs=2)
    for client, batches in enumerate((3, 4, 2)):
        rates = [0.05 * (1 + math.cos(math.pi * index / batches)) for index in range(batches)]
        moved = before[client] - cohort.weights["2.bias"][client]
        assert moved.tolist() == pytest.approx([2 * sum(rates)] * 3, abs=1e-12)  # both repeats at their batch's rate


def test_a_phase_of_public_samples_takes_steps_too(make_data, make_cohort, nets) -> None:
    data, modules = make_data((5,)), nets(1)
    cohort = make_cohort(data, modules)
    inputs = data.public.inputs()
    target = torch.zeros(1, 6, 3, dtype=torch.float64)
    log = cohort.fit([Step(energy, in_layer("0.")), Step(energy, in_layer("2."))], on=Teaching(inputs, target))
    assert log.steps == (4,)  # two steps on each of two batches of the six samples
    assert cohort.work.steps == {"distill": 4}
    for index in torch.from_numpy(positions(6, 2, SIZE, numpy_stream(SEED, "public", 0))):
        for layer in ("0", "2"):
            modules[0].zero_grad()
            energy(modules[0], Batch(inputs[index])).backward()
            with torch.no_grad():
                for parameter in modules[0].get_submodule(layer).parameters():
                    parameter -= 0.05 * parameter.grad
    assert_rows(cohort.weights, modules)
