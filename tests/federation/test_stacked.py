"""Both engines come to the same: every kind of net, data, batch and update, in float64 to the rounding of sums."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._C._functorch import is_batchedtensor

from fl_bench.errors import ConfigError
from fl_bench.federation.batches import PRIVATE, Batch, Beside, Pairs, PrivateData, Teaching, Together
from fl_bench.federation.models import build_net
from fl_bench.federation.models.dropout import masks_from, with_counted_dropout
from fl_bench.federation.optimizers import Optimizer, clip_rows
from fl_bench.federation.phase import Step, is_cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from fl_bench.federation.cohort import Cohort, FitLog

SIZES = (5, 9, 3, 9)
"""Samples of the four clients; in batches of four and two passes 3, 5, 2 and 5 batches."""


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.y is not None
    return F.cross_entropy(model(batch.x), batch.y)


def taught(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.target is not None
    error = F.cross_entropy(model(batch.x), batch.target, reduction="none")
    return (error if batch.weight is None else batch.weight * error).mean()


def beside(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.public is not None
    return cross_entropy(model, batch) + 0.5 * taught(model, batch.public)


@pytest.fixture
def pair(make_data, make_cohort, nets) -> Callable[..., list[Cohort]]:
    """Makes the same cohort twice, to be looped and to be stacked."""

    def make(
        modules: Sequence[nn.Module] | None = None, data: Any = None, side: str = "client", **training: Any
    ) -> Any:
        data = make_data(SIZES) if data is None else data
        modules = nets(len(SIZES)) if modules is None else modules
        defaults = {"local_epochs": 2, "momentum": 0.9, "weight_decay": 0.01}
        if training.get("optimizer") == "adam":
            del defaults["momentum"]
        return [
            make_cohort(data, modules, side=side, engine=engine, **{**defaults, **training})
            for engine in ("loop", "stacked")
        ]

    return make


def told(cohort: Cohort, *, weighted: bool = False) -> Teaching:
    """Soft labels of the public pool, different ones for each member."""
    inputs = cohort.members.data.public.inputs()
    generator = torch.Generator().manual_seed(3)
    shape = (len(cohort), len(inputs), cohort.members.data.about.classes)
    target = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(dim=2)
    return Teaching(
        inputs, target, torch.rand(shape[:2], generator=generator, dtype=torch.float64) if weighted else None
    )


def assert_alike(looped: Cohort, stacked: Cohort, before: dict[str, Tensor] | None = None) -> None:
    """Same weights and moments; and something was learned."""
    for name, tensor in looped.weights.items():
        torch.testing.assert_close(
            stacked.weights[name], tensor, rtol=0, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}"
        )
    assert looped.members.models.moments.keys() == stacked.members.models.moments.keys()
    for phase, tree in looped.members.models.moments.items():
        assert tree.keys() == stacked.members.models.moments[phase].keys()
        for name, tensor in tree.items():
            torch.testing.assert_close(stacked.members.models.moments[phase][name], tensor, rtol=0, atol=1e-9)
    if before is not None:
        assert any(not torch.equal(tensor, before[name]) for name, tensor in looped.weights.items())


def fit_both(cohorts: Sequence[Cohort], *args: Any, **options: Any) -> list[FitLog]:
    """Train both in the same way; same weights, steps and losses."""
    before = cohorts[0].weights
    looped, stacked = (cohort.fit(*args, **options) for cohort in cohorts)
    assert_alike(*cohorts, before)
    assert stacked.steps == looped.steps
    torch.testing.assert_close(stacked.loss, looped.loss, rtol=0, atol=1e-9)
    return [looped, stacked]


def zoo(name: str, shape: tuple[int, ...], **options: Any) -> list[nn.Module]:
    return [build_net(name, shape, 3, key=key, **options) for key in range(len(SIZES))]


def test_uneven_clients_stop_when_they_are_done(pair) -> None:
    log, _ = fit_both(pair(), cross_entropy)
    assert log.steps == (3, 5, 2, 5)


NETS = ["linear", "mlp-5x2", "lenet5", "cnn-small", "resnet8", "resnet8-bn"]


@pytest.mark.parametrize("name", NETS)
def test_nets_of_the_zoo_learn_from_augmented_images(pair, make_data, name: str) -> None:
    side = 16 if name == "lenet5" else 8
    generator = torch.Generator().manual_seed(1)
    rows = sum(SIZES) + 2 * len(SIZES) + 6 + 4 * len(SIZES) + 3
    inputs = torch.randint(0, 256, (rows, 2, side, side), generator=generator, dtype=torch.uint8)
    data = make_data(SIZES, shape=(2, side, side), inputs=inputs, augment="crop-flip")
    looped, stacked = pair(zoo(name, (2, side, side)), data, lr=0.01)
    fit_both([looped, stacked], cross_entropy)
    public = data.public.inputs()
    torch.testing.assert_close(stacked.predict(public), looped.predict(public), rtol=0, atol=1e-9)


SEQUENCES: dict[str, Any] = {"shape": (2, 9)}
TEXTS: dict[str, Any] = {"shape": (7,), "vocabulary": 5}


@pytest.mark.parametrize(
    ("name", "samples"),
    [("cnn1d", SEQUENCES), ("gru-6", SEQUENCES), ("cnn1d", TEXTS), ("gru-6", TEXTS), ("char-transformer", TEXTS)],
)
def test_nets_of_the_zoo_learn_from_sequences_and_texts(pair, make_data, name: str, samples: dict[str, Any]) -> None:
    data = make_data(SIZES, **samples)
    looped, stacked = pair(zoo(name, **samples), data, lr=0.01)
    fit_both([looped, stacked], cross_entropy)
    fit_both([looped, stacked], taught, on=Together(told(looped, weighted=True)))
    public = data.public.inputs()
    torch.testing.assert_close(stacked.predict(public), looped.predict(public), rtol=0, atol=1e-9)


class ThreeHeads(nn.Module):
    """A body with three heads, logits (batch, heads, classes)."""

    def __init__(self, key: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(key)
            self.body = nn.Linear(4, 5)
            self.heads = nn.ModuleList(nn.Linear(5, 3) for _ in range(3))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x).tanh()
        return torch.stack([head(features) for head in self.heads], dim=1)


@pytest.mark.parametrize("side", ["client", "server"])
def test_nets_with_several_heads_learn_and_predict(pair, side: str) -> None:
    looped, stacked = pair([ThreeHeads(key) for key in range(len(SIZES))], side=side)
    inputs = looped.members.data.public.inputs()
    generator = torch.Generator().manual_seed(3)
    target = torch.randn(len(SIZES), len(inputs), 3, 3, generator=generator, dtype=torch.float64).softmax(dim=3)
    fit_both([looped, stacked], all_heads, on=Teaching(inputs, target))
    found = stacked.predict(inputs)
    assert found.shape == target.shape  # (members, samples, heads, classes)
    torch.testing.assert_close(found, looped.predict(inputs), rtol=0, atol=1e-9)


def all_heads(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.target is not None
    return F.cross_entropy(model(batch.x).flatten(0, 1), batch.target.flatten(0, 1))


def test_nets_of_one_width_learn(pair) -> None:
    fit_both(pair(zoo("mlp-5", (4,), width=3)), cross_entropy)


@pytest.mark.parametrize("how", ["none", "frozen", "online"])
@pytest.mark.parametrize("source", [lambda teaching: PRIVATE, Beside, Together], ids=["private", "beside", "together"])
def test_images_are_augmented_alike(pair, make_data, how: str, source: Any) -> None:
    data = make_data(SIZES, shape=(1, 6, 6), augment="crop-flip")
    cohorts = pair(zoo("mlp-5", (1, 6, 6)), data, augment=how)
    on = source(told(cohorts[0]))
    fit_both(
        cohorts, taught if isinstance(on, Together) else beside if isinstance(on, Beside) else cross_entropy, on=on
    )


def grouped(middle: Callable[[], nn.Module]) -> list[nn.Module]:
    """Nets with a convolution for each channel alone, as MobileNet has, and some layer after it."""
    made = []
    for key in range(len(SIZES)):
        with torch.random.fork_rng():
            torch.manual_seed(key)
            made.append(
                nn.Sequential(
                    nn.Conv2d(1, 4, 3),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(4, 4, 3, groups=4, bias=False),
                    middle(),
                    nn.ReLU6(inplace=True),
                    nn.AdaptiveAvgPool2d(1),
                    nn.Flatten(),
                    nn.Linear(4, 3),
                )
            )
    return made


@pytest.mark.parametrize(
    "middle",
    [
        nn.Identity,
        lambda: nn.GroupNorm(2, 4),
        lambda: nn.BatchNorm2d(4),
        lambda: nn.BatchNorm2d(4, affine=False),
        lambda: nn.InstanceNorm2d(4, affine=True),
    ],
    ids=["none", "group", "batch", "batch without weights", "instance"],
)
def test_depthwise_convolutions_with_every_norm(pair, make_data, middle: Any) -> None:
    looped, stacked = pair(grouped(middle), make_data(SIZES, shape=(1, 6, 6)))
    for rnd in range(2):
        fit_both([looped.at(rnd), stacked.at(rnd)], cross_entropy)
    public = looped.members.data.public.inputs()
    torch.testing.assert_close(stacked.predict(public), looped.predict(public), rtol=0, atol=1e-9)


def test_batch_statistics_of_a_frozen_part_stay_as_they_are(pair, nets) -> None:
    looped, stacked = pair(nets(4, 4, 3, nn.BatchNorm1d(5)))
    fit_both([looped, stacked], cross_entropy)  # statistics that are not those of any batch
    before = stacked.weights
    last = next(reversed(stacked.parameters))
    fit_both([looped, stacked], cross_entropy, trainable=lambda name: name == last)
    assert [name for name, tensor in stacked.weights.items() if not torch.equal(tensor, before[name])] == [last]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("source", "objective"), [(lambda teaching: teaching, taught), (Beside, beside), (Together, taught)]
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_source_of_batches(pair, optimizer: str, source: Any, objective: Any, weighted: bool) -> None:
    cohorts = pair(optimizer=optimizer)
    fit_both(cohorts, objective, on=source(told(cohorts[0], weighted=weighted)))


@pytest.mark.parametrize("augment", ["none", "crop"])
def test_a_client_without_data_learns_from_public_ones_only(pair, make_data, augment: str) -> None:
    cohorts = pair(zoo("mlp-5", (1, 4, 4)), make_data(SIZES, shape=(1, 4, 4), augment=augment))
    for cohort in cohorts:
        rows = tuple(rows[: 5 * member] for member, rows in enumerate(cohort.members.private_rows))
        cohort.members = replace(cohort.members, private_rows=rows)
    log, _ = fit_both(cohorts, cross_entropy)
    assert log.steps == (0, 3, 2, 5)
    for how in ("online", "frozen"):
        for cohort in cohorts:
            cohort.members = replace(cohort.members, training=replace(cohort.training, augment=how))
        log, _ = fit_both(cohorts, taught, on=Together(told(cohorts[0])))
        assert log.steps == (3, 6, 5, 8)  # six public samples more, for the first client these alone


def two_batches(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.second is not None
    return cross_entropy(model, batch) + 0.3 * cross_entropy(model, batch.second).square()


@pytest.mark.parametrize("augment", ["none", "crop"])
def test_pairs_of_private_batches(pair, make_data, augment: str) -> None:
    cohorts = pair(zoo("mlp-5", (1, 4, 4)), make_data(SIZES, shape=(1, 4, 4), augment=augment))
    log, _ = fit_both(cohorts, two_batches, on=Pairs())
    assert log.steps == (3, 5, 2, 5)


def test_what_clients_were_told_about_their_own_samples(pair) -> None:
    cohorts = pair()
    told = cohorts[0].predict_private().flip(-1)
    fit_both(cohorts, lambda model, batch: cross_entropy(model, batch) + taught(model, batch), on=PrivateData(told))


def shaken(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.noise is not None
    assert batch.noise.shape == (4, 2, 3)
    return cross_entropy(model, batch) + (batch.noise.sum(dim=1) * model(batch.x)).mean()


def test_noise_of_a_shape_of_its_own(pair) -> None:
    fit_both(pair(), shaken, noise=(2, 3))


def test_a_step_without_a_limit_beside_one_that_is_clipped(pair) -> None:
    steps = [Step(cross_entropy, clip=None), Step(cross_entropy), Step(cross_entropy, clip=0.01)]
    fit_both(pair(clip=0.05), steps)


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_first_pass_is_measured_by_both(pair, epochs: int) -> None:
    @is_cross_entropy
    def plain(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy(model, batch)

    cohorts = pair()
    fit_both(cohorts, plain, epochs=epochs)
    looped, stacked = (cohort.work.mean_cross_entropy() for cohort in cohorts)
    assert looped == pytest.approx(stacked, abs=1e-12)


def test_together_before_there_is_anything_to_teach(pair) -> None:
    cohorts = pair()
    public = told(cohorts[0])
    fit_both(cohorts, taught, on=Together(Teaching(public.inputs[:0], public.target[:, :0])))


def test_the_servers_models_learn(pair) -> None:
    cohorts = pair(side="server")
    fit_both(cohorts, taught, on=told(cohorts[0]))


@pytest.mark.parametrize(
    ("kind", "objective"), [(lambda teaching: PRIVATE, cross_entropy), (lambda teaching: teaching, taught)]
)
def test_noise_is_each_members_own(pair, kind: Any, objective: Any) -> None:
    def noisy(model: nn.Module, batch: Batch) -> Tensor:
        assert batch.noise is not None
        return objective(model, batch) + (model(batch.x) - model(batch.x + batch.noise)).square().mean()

    cohorts = pair()
    fit_both(cohorts, noisy, on=kind(told(cohorts[0])), noise=True)


def test_each_member_finds_its_own_row_of_what_the_method_gave(pair) -> None:
    def proximal(model: nn.Module, batch: Batch) -> Tensor:
        named = dict(model.named_parameters())
        pull = torch.stack([(named[name] - value).square().sum() for name, value in batch.extra["anchor"].items()])
        return cross_entropy(model, batch) + batch.extra["mu"] / 2 * pull.sum()

    looped, stacked = pair()
    given = {"anchor": {name: tensor + 1 for name, tensor in looped.weights.items()}, "mu": torch.arange(4.0)}
    fit_both([looped, stacked], proximal, per_client=given)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_moments_that_persist_count_for_each_member(pair, optimizer: str) -> None:
    # Member 1 has trained before and member 3 has not: counters of members with equally many batches differ.
    cohorts = pair(optimizer=optimizer, optimizer_state="persist")
    fit_both([cohort.only([1, 0]) for cohort in cohorts], cross_entropy)
    for rnd in (1, 2):
        fit_both([cohort.at(rnd) for cohort in cohorts], cross_entropy)
    last = next(reversed(cohorts[0].parameters))
    fit_both([cohort.at(3) for cohort in cohorts], cross_entropy, trainable=lambda name: name == last)
    fit_both([cohort.at(4) for cohort in cohorts], cross_entropy)


def test_moments_of_several_steps_persist_apart(pair) -> None:
    first, last = "0.weight", "2.bias"
    steps = [
        Step(cross_entropy, lambda name: name != last),
        Step(cross_entropy, lambda name: name in (first, last), Optimizer("adam", 0.02), repeat=2),
    ]
    cohorts = pair(optimizer="adam", optimizer_state="persist")
    for rnd in range(2):
        fit_both([cohort.at(rnd) for cohort in cohorts], steps, name="both")
    assert cohorts[1].members.models.moments.keys() == {"both", "both, step 1"}


@pytest.mark.parametrize("clip", [0.05, 0.5, 50.0])
def test_gradients_are_clipped_member_by_member(pair, clip: float) -> None:
    fit_both(pair(), cross_entropy, clip=clip)


def test_clipping_by_hand() -> None:
    # Client 0: (3, 0, 4) has norm 5 and becomes a fifth of it; client 1: (0.3, 0, 0.4) has norm 0.5 and stays.
    weight, bias = torch.tensor([[[3.0, 0.0]], [[0.3, 0.0]]]), torch.tensor([[4.0], [0.4]])
    clip_rows([weight, bias], 1.0)
    torch.testing.assert_close(weight, torch.tensor([[[0.6, 0.0]], [[0.3, 0.0]]]))
    torch.testing.assert_close(bias, torch.tensor([[0.8], [0.4]]))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_schedule_runs_over_each_members_own_batches(pair, optimizer: str) -> None:
    fit_both(pair(), cross_entropy, optimizer=Optimizer(optimizer, 0.05, schedule="cosine"))


def test_masked_entries_stay(pair) -> None:
    looped, stacked = pair()
    generator = torch.Generator().manual_seed(2)
    free = {name: torch.rand(tensor.shape, generator=generator) < 0.5 for name, tensor in looped.parameters.items()}
    before = stacked.weights
    fit_both([looped, stacked], cross_entropy, entries=free)
    for name, tensor in stacked.parameters.items():
        assert torch.equal(tensor[~free[name]], before[name][~free[name]])
    fit_both([looped, stacked], [Step(cross_entropy, within={"2.bias": (-0.1, 0.1)})], entries=free)


def test_steps_of_first_batches_are_not_recorded(pair, monkeypatch) -> None:
    # As on a GPU, where the device counts: what is recorded once is taken on every later batch.
    stretches = []

    class Recorder:
        def repeat(self, work, first: int, stop: int) -> None:
            stretches.append((first, stop))
            for step in range(first, stop):
                work(torch.tensor([step]))

    monkeypatch.setattr("fl_bench.federation.stacked.Recorder.of", lambda *_: Recorder())
    fit_both(pair(), [Step(cross_entropy), Step(cross_entropy, optimizer=Optimizer("adam", 0.01), batches=2)])
    assert min(first for first, _ in stretches) == 2


def test_several_steps_with_bounds_and_repeats(pair) -> None:
    steps = [
        Step(cross_entropy, lambda name: name.startswith("0."), repeat=3),
        Step(
            lambda model, batch: -cross_entropy(model, batch),
            lambda name: name == "2.bias",
            within={"2.bias": (-0.1, 0.2)},
        ),
        Step(cross_entropy, optimizer=Optimizer("adam", 0.03)),
    ]
    log, _ = fit_both(pair(), steps)
    assert log.steps == (15, 25, 10, 25)  # five updates on each of 3, 5, 2 and 5 batches
    once, _ = fit_both(
        pair(), [*steps[1:], Step(cross_entropy, optimizer=Optimizer("adam", 0.01), repeat=3, batches=3)]
    )
    assert once.steps == (6 + 9, 10 + 9, 4 + 6, 10 + 9)
    bounded = pair()
    fit_both(bounded, steps[:2])
    assert bounded[1].parameters["2.bias"].min() >= -0.1
    assert bounded[1].parameters["2.bias"].max() <= 0.2


def test_weights_that_the_loss_does_not_use_get_no_gradient(pair) -> None:
    def first_layer_only(model: nn.Module, batch: Batch) -> Tensor:
        return model.get_submodule("0")(batch.x).square().sum()

    fit_both(pair(weight_decay=0.0), first_layer_only, lr=0.001)


def test_gradients_need_not_be_dense_in_memory(pair) -> None:
    def spread(model: nn.Module, batch: Batch) -> Tensor:
        named = dict(model.named_parameters())
        return named["2.weight"].T.cos().sum() + torch.stack([tensor.sum() for tensor in named.values()]).sum()

    for clip in (None, 0.1):
        fit_both(pair(), spread, clip=clip)


def test_an_objective_may_use_other_weights_and_detach(pair) -> None:
    def contrast(model: nn.Module, batch: Batch) -> Tensor:
        other = torch.func.functional_call(model, batch.extra["other"], (batch.x,))
        own = model(batch.x)
        return (own - other.detach()).square().mean() + F.mse_loss(own.detach(), model(2 * batch.x))

    cohorts = pair()
    other = {name: tensor.flip(0) for name, tensor in cohorts[0].weights.items()}
    fit_both(cohorts, contrast, per_client={"other": other})


def test_public_inputs_are_there_once(pair) -> None:
    # An objective that sees a batched tensor has one per member; shared inputs are a plain tensor.
    seen: list[tuple[bool, bool]] = []

    def look(model: nn.Module, batch: Batch) -> Tensor:
        public = batch if batch.public is None else batch.public
        assert public.target is not None
        seen.append((is_batchedtensor(public.x), is_batchedtensor(public.target)))
        return model(public.x).sum()

    _, stacked = pair()
    for source in (told(stacked), Beside(told(stacked))):
        stacked.fit(look, on=source)
    assert set(seen) == {(False, True)}


def test_company_changes_nothing_and_others_are_not_touched(pair) -> None:
    looped, stacked = pair()
    before = stacked.weights
    fit_both([looped.only([3, 0]), stacked.only([3, 0])], cross_entropy)
    for name, tensor in stacked.weights.items():
        assert torch.equal(tensor[[1, 2]], before[name][[1, 2]])
    public = looped.members.data.public.inputs()
    found, expected = (cohort.only([2, 0]).predict(public, as_="logits") for cohort in (stacked, looped))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert not found.requires_grad


def test_what_is_not_trainable_stays_bit_for_bit(pair) -> None:
    _, stacked = pair()
    before = stacked.weights
    stacked.fit(cross_entropy, trainable=lambda name: name.startswith("2."))
    for name, tensor in stacked.weights.items():
        assert torch.equal(tensor, before[name]) == (not name.startswith("2."))


def test_no_epochs_are_no_steps(pair) -> None:
    _, stacked = pair()
    before = stacked.weights
    log = stacked.fit(cross_entropy, epochs=0)
    assert log.steps == (0, 0, 0, 0)
    assert log.loss.tolist() == [0.0] * 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in stacked.weights.items())


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout(0.0), nn.Dropout(1.0)])
def test_clients_drop_what_they_would_drop_alone(pair, nets, layer: nn.Module) -> None:
    looped, stacked = pair(nets(4, 4, 3, nn.BatchNorm1d(5), layer, nn.Dropout(0.3)))
    fit_both([looped, stacked], cross_entropy)
    # The private and the public batch, and the updates of several steps on one batch, have masks of their own.
    fit_both([looped, stacked], beside, on=Beside(told(looped)))
    steps = [Step(cross_entropy, lambda name: name.startswith("0.")), Step(cross_entropy, repeat=2)]
    fit_both([looped, stacked], steps)
    public = looped.members.data.public.inputs()
    torch.testing.assert_close(stacked.predict(public), looped.predict(public), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [nn.Dropout1d, nn.Dropout2d, nn.Dropout3d])
def test_whole_channels_are_dropped(kind: Callable[[float], nn.Module]) -> None:
    axes = {nn.Dropout1d: 1, nn.Dropout2d: 2, nn.Dropout3d: 3}[kind]
    net = with_counted_dropout(nn.Sequential(nn.Sequential(kind(0.25))))
    x = torch.ones(200, 10, *[3] * axes)
    with masks_from(torch.tensor(7)):
        dropped = net(x).flatten(2)
    assert ((dropped == 0).all(dim=2) | (dropped == 1 / 0.75).all(dim=2)).all()
    assert (dropped[:, :, 0] == 0).double().mean().item() == pytest.approx(0.25, abs=0.03)  # 2000 channels: 3 sd
    assert torch.equal(net.eval()(x), x)


def test_an_objective_that_looks_at_its_numbers_is_told_of_the_other_engine(pair) -> None:
    def tempered(model: Any, batch: Batch) -> Tensor:
        loss = cross_entropy(model, batch)
        return 2 * loss if loss > 1 else loss

    looped, stacked = pair()
    looped.fit(tempered)
    before = stacked.weights
    with pytest.raises(ConfigError, match=r"torch\.where, or run it with -o training\.engine=loop"):
        stacked.fit(tempered)
    assert all(torch.equal(tensor, before[name]) for name, tensor in stacked.weights.items())


def test_dropout_that_cannot_be_seeded_is_refused() -> None:
    with pytest.raises(ConfigError, match="AlphaDropout, whose masks cannot be seeded per client"):
        with_counted_dropout(nn.Sequential(nn.Linear(2, 2), nn.AlphaDropout()))
