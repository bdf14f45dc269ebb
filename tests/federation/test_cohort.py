"""Cohorts: stacked storage, subsets of it, what methods load and keep, and what is deployed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fl_bench.errors import Diverged
from fl_bench.federation import checkpoint, private
from fl_bench.federation.batches import Batch, Beside, Teaching
from fl_bench.federation.storage import Models
from fl_bench.federation.work import WorkLog


def pull(model: nn.Module, batch: Batch) -> torch.Tensor:
    return model(batch.x).square().sum()


def test_storage_has_a_row_per_member_in_order(make_data, make_cohort, nets) -> None:
    modules = nets(3, 4, 3, nn.BatchNorm1d(5))
    cohort = make_cohort(make_data(), modules)
    assert len(cohort) == len(cohort.members.models) == 3
    assert cohort.ids == (0, 1, 2)
    assert cohort.architecture == "nets"
    for name, tensor in cohort.weights.items():
        assert torch.equal(tensor, torch.stack([module.state_dict()[name] for module in modules]))
    assert set(cohort.weights) - set(cohort.parameters) == {
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    }
    assert cohort.weights["1.num_batches_tracked"].dtype == torch.int64  # counters stay whole numbers


def test_a_run_has_one_number_format() -> None:
    models = Models.stacked(
        "net", [nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))], torch.device("cpu"), torch.float64
    )
    dtypes = {name: tensor.dtype for name, tensor in {**models.parameters, **models.buffers}.items()}
    assert dtypes.pop("1.num_batches_tracked") == torch.int64
    assert set(dtypes.values()) == {torch.float64}


def test_what_clients_know_of_their_data(make_data, make_cohort, nets) -> None:
    data = make_data((5, 8, 3))
    cohort = make_cohort(data, nets(3))
    assert cohort.sizes.tolist() == [5.0, 8.0, 3.0]
    assert cohort.label_counts.sum(dim=1).tolist() == [5, 8, 3]
    some = cohort.at(4).only([2, 0])
    assert some.ids == (2, 0)
    assert some.round_index == 4
    assert some.sizes.tolist() == [3.0, 5.0]
    assert torch.equal(some.label_counts, data.label_counts[[2, 0]])
    assert cohort.round_index == 0
    turned = cohort.only([2, 0, 1])
    assert torch.equal(turned.weights["2.bias"], cohort.weights["2.bias"][[2, 0, 1]])
    again = some.only([1])
    assert again.ids == (0,)
    assert torch.equal(again.weights["2.bias"][0], cohort.weights["2.bias"][0])


def test_server_models_hold_no_private_data(make_data, make_cohort, nets) -> None:
    data = make_data()
    server = make_cohort(data, nets(2), side="server")
    with pytest.raises(TypeError, match="no private data"):
        _ = server.label_counts
    told = Teaching(data.public.inputs(), torch.zeros(1, 6, 3, dtype=torch.float64))
    server.only([1]).fit(pull, on=told, epochs=2)
    assert server.work.steps == {"server": 3}  # ceil(2 * 6 / 4)


def test_loading_writes_to_the_members_only(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3, 4, 3, nn.BatchNorm1d(5)))
    before = {name: tensor.clone() for name, tensor in cohort.weights.items()}
    cohort.only([2, 0]).load({"3.bias": torch.tensor([[1.0] * 3, [2.0] * 3]).double()})
    assert cohort.weights["3.bias"].tolist() == [[2.0] * 3, before["3.bias"][1].tolist(), [1.0] * 3]
    # One row serves all; buffers are loaded too, and counters take whole numbers of any type.
    cohort.load({"3.bias": torch.full((1, 3), 7.0), "1.num_batches_tracked": torch.tensor([4.0])})
    assert cohort.weights["3.bias"].tolist() == [[7.0] * 3] * 3
    assert cohort.weights["1.num_batches_tracked"].tolist() == [4, 4, 4]
    cohort.only([1]).load({"1.num_batches_tracked": torch.tensor([9.0]), "1.running_mean": torch.ones(1, 5)})
    assert cohort.weights["1.num_batches_tracked"].tolist() == [4, 9, 4]
    assert cohort.weights["1.running_mean"].tolist() == [[0.0] * 5, [1.0] * 5, [0.0] * 5]
    assert torch.equal(cohort.weights["0.weight"], before["0.weight"])
    with pytest.raises(KeyError):
        cohort.load({"nobody.weight": torch.ones(3, 1)})


def test_private_gradient_is_that_of_the_mean_loss_over_all_samples(make_data, make_cohort, nets, monkeypatch) -> None:
    # Samples go through in pieces of three, so a mean of the pieces' means would be wrong; statistics stay as they are.
    monkeypatch.setattr(private, "CHUNK", 3)
    data, modules = make_data((5, 8, 3)), nets(3, 4, 3, nn.BatchNorm1d(5))
    for module in modules:
        module.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    cohort = make_cohort(data, modules)
    before = cohort.weights
    found = cohort.only([2, 1]).private_gradient()
    for row, client in enumerate((2, 1)):
        rows, module = data.train.split()[client], modules[client].eval()
        nn.functional.cross_entropy(module(data.inputs[rows].double()), data.labels[rows]).backward()
        for name, parameter in module.named_parameters():
            expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(found[name][row], expected, rtol=0, atol=1e-14)
    assert all(torch.equal(tensor, cohort.weights[name]) for name, tensor in before.items())
    assert cohort.work.steps["local"] == 1 + 2  # batches of four hold 3 samples in one and 8 in two


def test_what_a_method_keeps_belongs_to_its_members(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3))
    assert cohort.kept("control") is None
    cohort.only([1]).keep("control", {"c": torch.tensor([[5.0, 6.0]])})
    # Zeros for members that nothing was stored for.
    assert cohort.kept("control")["c"].tolist() == [[0.0, 0.0], [5.0, 6.0], [0.0, 0.0]]
    cohort.keep("control", {"c": torch.tensor([[1.0, 1.0]] * 3), "step": torch.tensor([1, 2, 3])})
    assert cohort.only([2, 0]).kept("control")["step"].tolist() == [3, 1]
    assert cohort.kept("other") is None


def test_kept_trees_are_copies(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3))
    own = torch.ones(3, 2, requires_grad=True)
    cohort.keep("personal", {"p": own * 1.0})
    with torch.no_grad():
        own.zero_()
    assert cohort.kept("personal")["p"].tolist() == [[1.0, 1.0]] * 3
    assert not cohort.kept("personal")["p"].requires_grad


def test_models_survive_a_checkpoint(make_data, make_cohort, nets, tmp_path) -> None:
    data = make_data()
    settings = {"optimizer": "adam", "optimizer_state": "persist"}
    first, second = (make_cohort(data, nets(3, 4, 3, nn.BatchNorm1d(5)), **settings) for _ in "ab")
    first.fit(pull)
    first.keep("personal", {"p": torch.tensor([1.0, 2.0, 3.0])})
    checkpoint.save(tmp_path / "c.pt", {"models": first.members.models.state_dict()})
    state = checkpoint.load(tmp_path / "c.pt", torch.device("cpu"))
    assert state is not None
    second.members.models.load_state_dict(state["models"])
    for cohort in (first, second):
        cohort.at(1).fit(pull)
    for name, tensor in first.weights.items():
        assert torch.equal(tensor, second.weights[name])
    assert second.kept("personal")["p"].tolist() == [1.0, 2.0, 3.0]


def test_models_take_over_from_others(make_data, make_cohort, nets) -> None:
    # Model 0 goes on as model 2 was, moments included; models 1 and 2 copy model 0 and start afresh.
    data = make_data()
    settings = {"momentum": 0.9, "optimizer_state": "persist"}
    parents = make_cohort(data, nets(3, 4, 3, nn.BatchNorm1d(5)), **settings)
    parents.fit(pull, stream="same for all", name="pulled")
    before = {name: tensor.clone() for name, tensor in parents.weights.items()}
    children = make_cohort(data, nets(3, 4, 3, nn.BatchNorm1d(5)), **settings)
    children.take_over(parents, torch.tensor([2, 0, 0]), torch.tensor([True, False, False]))
    for name, tensor in children.weights.items():
        assert torch.equal(tensor, before[name][[2, 0, 0]])
    for name, tensor in children.members.models.moments["pulled"].items():
        assert torch.equal(tensor[0], parents.members.models.moments["pulled"][name][2])
        assert not tensor[1:].any()
    children.fit(pull, stream="same for all", name="pulled")
    for name, tensor in parents.weights.items():  # no storage is shared
        assert torch.equal(tensor, before[name])


def test_deployed_models(make_data, make_cohort, nets) -> None:
    data, modules = make_data(), nets(3)
    cohort = make_cohort(data, modules)
    inputs = data.public.inputs()

    def logits(model: int) -> torch.Tensor:
        return modules[model].eval()(inputs).detach()

    own, served = cohort.deployed(), cohort.deployed([2, 2, 0])
    assert own.index == (0, 1, 2)
    assert served.index == (2, 2, 0)
    with torch.no_grad():
        assert torch.equal(own.logits(1, inputs), logits(1))
    some = cohort.only([2])
    with torch.no_grad():
        assert torch.equal(some.deployed().logits(0, inputs), logits(2))
    assert cohort.best_of().index is None
    row = {name: tensor[1:2] for name, tensor in cohort.weights.items()}
    common = cohort.with_weights(row)
    assert (len(common), common.index) == (1, (0, 0, 0))
    with torch.no_grad():
        assert torch.equal(common.logits(0, inputs), logits(1))
    assert cohort.with_weights(cohort.weights).index == (0, 1, 2)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_found(make_data, make_cohort, nets, wrong) -> None:
    cohort = make_cohort(make_data(), nets(3))
    cohort.check_finite()
    cohort.only([1]).load({"2.bias": torch.tensor([[0.0, wrong, 0.0]])})
    cohort.only([0, 2]).check_finite()
    with pytest.raises(Diverged, match="a weight of client models nets is not finite"):
        cohort.check_finite()


def test_the_work_of_a_round_is_a_mean_over_members_and_phases() -> None:
    work = WorkLog()
    assert work.mean_loss("local") is None
    work.steps["local"] += 3
    work.losses["local"] += [torch.tensor([1.0, 2.0]), torch.tensor([6.0])]
    assert work.mean_loss("local") == 3.0
    assert work.mean_loss("distill") is None
    work.clear()
    assert work.mean_loss("local") is None
    assert work.steps == {}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("members", [[0, 1, 2], [2, 0]])
def test_what_was_read_stays(make_data, make_cohort, nets, members: list[int]) -> None:
    cohort = make_cohort(make_data(), nets(3, 4, 3, nn.BatchNorm1d(5)))
    taken = [cohort.weights, cohort.parameters, cohort.only(members).weights]
    before = [{name: tensor.clone() for name, tensor in tree.items()} for tree in taken]
    cohort.keep("sum", {"w": torch.ones(3, 2)})
    remembered = cohort.kept("sum")
    cohort.fit(pull)
    cohort.keep("sum", {"w": torch.zeros(3, 2)})
    assert all(equal(tree, old) for tree, old in zip(taken, before, strict=True))
    assert remembered["w"].sum() == 6
    assert not equal(taken[0], cohort.weights)


@pytest.mark.parametrize("members", [[0, 1, 2], [2, 0]])
def test_a_copy_trains_on_the_side(make_data, make_cohort, nets, members: list[int]) -> None:
    # The copy sees the batches, the labels and the streams of its original, so training both comes to the same.
    data = make_data((5, 8, 3))
    whole = make_cohort(data, nets(3, 4, 3, nn.BatchNorm1d(5), nn.Dropout(0.5)), optimizer="adam", round_index=3)
    cohort = whole.only(members)
    before, everyone = cohort.weights, whole.weights
    copied = cohort.copy()
    log = copied.fit(pull, epochs=2, noise=True)
    assert equal(whole.weights, everyone)
    assert whole.work.steps == {"aside": sum(log.steps)}  # for the record, and no local ones
    assert whole.work.mean_loss("local") is None
    assert not equal(copied.weights, before)
    original = cohort.fit(pull, epochs=2, noise=True)
    assert equal(copied.weights, cohort.weights)
    assert log.steps == original.steps
    assert torch.equal(log.loss, original.loss)
    assert copied.ids == cohort.ids
    assert torch.equal(copied.sizes, cohort.sizes)
    assert torch.equal(copied.label_counts, cohort.label_counts)
    assert copied.round_index == 3
    cohort.fit(pull)
    assert not equal(copied.weights, cohort.weights)  # nothing is shared the other way round either


def test_a_copy_starts_with_fresh_moments(make_data, make_cohort, nets) -> None:
    data, settings = make_data(), {"momentum": 0.9, "optimizer_state": "persist"}
    cohort = make_cohort(data, nets(3), **settings)
    cohort.fit(pull)
    copied, fresh = cohort.at(1).copy(), make_cohort(data, nets(3), round_index=1, **settings)
    fresh.load(cohort.weights)
    copied.fit(pull)
    fresh.fit(pull)
    assert equal(copied.weights, fresh.weights)
    cohort.at(1).fit(pull)
    assert not equal(cohort.weights, fresh.weights)


def test_a_copy_on_the_servers_side(make_data, make_cohort, nets) -> None:
    data = make_data()
    server = make_cohort(data, nets(2), side="server")
    told = Teaching(data.public.inputs(), torch.zeros(2, 6, 3, dtype=torch.float64))
    copied = server.copy()
    copied.fit(pull, on=told, noise=True)
    server.fit(pull, on=told, noise=True)
    assert equal(copied.weights, server.weights)
    assert server.work.steps == {"aside": 4, "server": 4}


def test_models_hold_other_weights(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3, 4, 3, nn.BatchNorm1d(5)))
    two = {name: tensor[[2, 0]].clone() for name, tensor in cohort.weights.items()}
    held = cohort.members.models.holding({**two, "a stranger": torch.ones(2)})
    assert len(held) == 2
    assert held.name == cohort.architecture
    assert equal({**held.parameters, **held.buffers}, two)
    assert held.parameters["3.weight"] is two["3.weight"]  # they take the tensors over
    assert held.moments == held.kept == {}
    with pytest.raises(KeyError):
        cohort.members.models.holding({"3.weight": two["3.weight"]})


def test_the_first_model_is_copied(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3, 4, 3, nn.BatchNorm1d(5)))
    first = cohort.members.models.first()
    assert equal(first, {name: tensor[:1] for name, tensor in cohort.weights.items()})
    before = {name: tensor.clone() for name, tensor in first.items()}
    cohort.fit(pull)
    assert equal(first, before)


class Halves(nn.Module):
    """A body of one ReLU layer and a head, in float64; `train()` would drop every feature."""

    def __init__(self, key: int) -> None:
        super().__init__()
        stream = np.random.default_rng(key)
        self.body = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Dropout(1.0))
        self.head = nn.Linear(2, 3)
        for parameter in self.parameters():
            parameter.data = torch.from_numpy(stream.normal(size=tuple(parameter.shape)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(x))
        return logits


def features(module: Halves, x: np.ndarray) -> np.ndarray:
    linear = module.body[0]
    return np.maximum(x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy(), 0)


def own_samples(data, client: int) -> tuple[np.ndarray, np.ndarray]:
    rows = data.train.split()[client]
    return data.inputs[rows].double().numpy(), data.labels[rows].numpy()


@pytest.mark.parametrize("members", [[0, 1, 2], [2, 0]])
def test_prototypes_are_class_means_of_features(make_data, make_cohort, monkeypatch, members: list[int]) -> None:
    # Samples go through in pieces of two, so classes are spread over pieces; a client of three samples lacks a class.
    monkeypatch.setattr(private, "CHUNK", 2)
    data, modules = make_data((5, 8, 3), classes=4), [Halves(key) for key in range(3)]
    cohort = make_cohort(data, modules)
    cohort.fit(lambda model, batch: 0 * model(batch.x).sum(), lr=0.0)  # leaves the template in training mode
    found = cohort.only(members).prototypes()
    assert found.values.shape == (len(members), 4, 2)
    absent = 0
    for row, client in enumerate(members):
        x, y = own_samples(data, client)
        for label in range(4):
            mine = features(modules[client], x[y == label])
            assert bool(found.present[row, label]) == (len(mine) > 0)
            expected = mine.mean(axis=0) if len(mine) else np.zeros(2)
            np.testing.assert_allclose(found.values[row, label].numpy(), expected, rtol=0, atol=1e-12)
            absent += not len(mine)
    assert absent > 0
    assert not found.values.requires_grad


@pytest.mark.parametrize("chunk", [2, 100])
def test_private_losses_of_given_models(make_data, make_cohort, monkeypatch, chunk: int) -> None:
    monkeypatch.setattr(private, "CHUNK", chunk)
    data, modules = make_data((5, 8, 3)), [Halves(key) for key in range(5)]
    cohort = make_cohort(data, modules[:3])
    before = cohort.weights
    tree = make_cohort(data, modules[3:]).weights
    found = cohort.only([2, 0]).private_loss(tree)
    assert found.shape == (2, 2)
    for row, client in enumerate((2, 0)):
        x, y = own_samples(data, client)
        for column, module in enumerate(modules[3:]):
            z = features(module, x) @ module.head.weight.detach().numpy().T + module.head.bias.detach().numpy()
            expected = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])  # -log softmax(z)_y
            assert found[row, column].item() == pytest.approx(expected, abs=1e-12)
    assert equal(cohort.weights, before)
    assert cohort.work.steps == {}


def test_validation_accuracy_by_hand(make_data, make_cohort, monkeypatch) -> None:
    monkeypatch.setattr(private, "CHUNK", 2)  # samples go through in pieces of two
    data, modules = make_data(validation=5), [Halves(key) for key in range(3)]
    cohort = make_cohort(data, modules)
    cohort.fit(lambda model, batch: 0 * model(batch.x).sum(), lr=0.0)  # leaves the template in training mode
    found = cohort.only([2, 0]).validation_accuracy()
    shares = []
    for client in (2, 0):
        rows, head = data.validation.split()[client], modules[client].head
        z = features(modules[client], data.inputs[rows].double().numpy()) @ head.weight.detach().numpy().T
        says = (z + head.bias.detach().numpy()).argmax(axis=1)
        shares.append((says == data.labels[rows].numpy()).mean())
    assert found.tolist() == pytest.approx(shares)
    assert shares[0] != shares[1]
    assert make_cohort(make_data(validation=0), modules).validation_accuracy().isnan().all()
    with pytest.raises(TypeError, match="no private data"):
        make_cohort(data, modules, side="server").validation_accuracy()


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_what_was_predicted_and_measured_may_be_trained_with(make_data, make_cohort, engine: str) -> None:
    data, modules = make_data(validation=5), [Halves(key) for key in range(3)]
    cohort, fresh = (make_cohort(data, modules, engine=engine) for _ in range(2))
    seen = [
        cohort.predict(data.inputs[:4].double(), as_="logits"),
        cohort.prototypes().values,
        cohort.private_loss(cohort.weights),
        cohort.validation_accuracy(),
    ]
    assert not any(tensor.is_inference() for tensor in seen)
    for each in (cohort, fresh):
        each.fit(pull)
    assert equal(cohort.weights, fresh.weights)


def test_a_part_is_deployed_instead_of_the_whole(make_data, make_cohort) -> None:
    # Clients hold two nets, `personal` and `shared`; what counts may be either, and either with other weights.
    data, clients = make_data((5, 8, 3)), []
    for key in range(3):
        both = nn.Module()
        both.personal, both.shared = Halves(key), Halves(key + 10)
        clients.append(both)
    cohort = make_cohort(data, clients)
    inputs = data.public.inputs()

    def logits(net: nn.Module) -> torch.Tensor:
        return net.eval()(inputs).detach()

    with torch.no_grad():
        shared = cohort.deployed(part="shared")
        assert shared.index == (0, 1, 2)
        assert all(torch.equal(shared.logits(row, inputs), logits(clients[row].shared)) for row in range(3))
        some = cohort.only([2, 1]).deployed([1, 0, 0], part="personal")
        assert some.index == (1, 0, 0)
        assert torch.equal(some.logits(0, inputs), logits(clients[2].personal))
        tree = {name: tensor[None] for name, tensor in Halves(99).state_dict().items()}
        one = cohort.with_weights(tree, part="shared")
        assert (len(one), one.index) == (1, (0, 0, 0))
        assert torch.equal(one.logits(0, inputs), logits(Halves(99)))


def test_notes_are_means_or_sums_over_clients(make_data, make_cohort, nets) -> None:
    cohort = make_cohort(make_data(), nets(3))
    cohort.only([0, 2]).note("alpha", [0.25, 0.5])
    cohort.only([1]).note("alpha", torch.tensor([0.75]))
    cohort.only([0, 2]).note("steps_inner", [3, 4], "sum")
    assert cohort.work.noted() == {"alpha": 0.5, "steps_inner": 7}
    cohort.work.clear()
    assert cohort.work.noted() == {}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"per_client": {"mu": torch.ones(1)}},
            r"per_client\['mu'\] has a tensor of shape \(1,\), .* each of 3 members",
        ),
        ({"per_client": {"w": {"a": torch.ones(3), "b": torch.ones(2, 4)}}}, r"per_client\['w'\] .* shape \(2, 4\)"),
        ({"on": lambda x: Teaching(x, torch.ones(1, 6, 3))}, r"has shape \(1, 6, 3\); 3 members and 6 samples need"),
        ({"on": lambda x: Beside(Teaching(x, torch.ones(3, 5, 3)))}, r"has shape \(3, 5, 3\); 3 members and 6 samples"),
    ],
)
def test_what_has_no_row_for_each_member_is_refused(make_data, make_cohort, nets, settings, says: str) -> None:
    data = make_data()
    given = {name: value(data.public.inputs()) if callable(value) else value for name, value in settings.items()}
    with pytest.raises(ValueError, match=says):
        make_cohort(data, nets(3)).fit(pull, **given)
