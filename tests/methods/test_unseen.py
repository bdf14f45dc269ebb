"""How methods admit clients that were kept out of training, where it is not by a round like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from fl_bench.federation.batches import Teaching
from fl_bench.federation.payloads import Parameters
from fl_bench.federation.trees import subtree
from fl_bench.methods.contract import TRAINING, deal, made_up_data, make_run
from fl_bench.methods.losses import cross_entropy, distillation
from fl_bench.methods.parts import is_body, is_head
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.deployed import Deployed
    from fl_bench.federation.run import Run

EPOCHS = 3


class Admission:
    """A finished run of a method, and its newcomers before (`start`) and after they are admitted."""

    def __init__(self, name: str, participation: float = 1.0, **settings: Any) -> None:
        dataset = made_up_data()
        training = replace(
            TRAINING, precision="float64", engine="loop", admission_epochs=EPOCHS, participation=participation
        )
        config = METHODS[name].config_type(**settings)
        self.run: Run = make_run(name, dataset, deal(dataset, clients=8, unseen=0.25), training, config=config)
        self.method: Any = self.run.method
        self.clients: Cohort
        self.start: Cohort
        self.view: Deployed
        usual = self.method.unseen

        def watched(clients: Cohort, received: Any, rnd: Any) -> Deployed:
            self.clients, self.start, self.received, self.rnd = clients, clients.copy(), received, rnd
            self.view = usual(clients, received, rnd)
            return self.view

        self.method.unseen = watched
        self.rows = [row.values for row in self.run.rounds()]

    def is_deployed(self, expected: Cohort) -> bool:
        """Whether the newcomers deploy these models, to the bit."""
        weights = expected.weights
        return all(torch.equal(self.view.weights[name], weights[name]) for name in self.view.weights)


def test_every_method_says_how_it_admits() -> None:
    for name in METHODS.names():
        text = METHODS[name].unseen.__doc__ or ""
        assert text.partition("\n")[0].endswith("."), name


@pytest.mark.parametrize("name", ["ditto", "pfedme", "apfl", "fedrod", "fml"])
def test_two_models_in_a_client_deploy_the_personal_one(name: str) -> None:
    seen = Admission(name)
    x = made_up_data().inputs[:3].double()
    clients, whole = seen.clients, seen.view.logits(0, x)
    if name in ("ditto", "pfedme", "fml"):
        assert torch.equal(whole, clients.deployed(part="personal").logits(0, x))
    common = "shared" if name != "fedrod" else "generic"
    assert not torch.equal(whole, clients.deployed(part=common).logits(0, x))


def test_fedrep_fits_the_head_to_the_newest_body() -> None:
    seen = Admission("fedrep", head_epochs=1, body_epochs=1)  # of a round, and not of an admission
    expected = seen.start
    expected.load(seen.method.common)
    expected.fit(cross_entropy, epochs=EPOCHS, trainable=is_head, stream="head")
    assert seen.is_deployed(expected)
    for name, value in seen.method.common.items():
        assert is_body(name)
        assert torch.equal(seen.view.weights[name], value.expand_as(seen.view.weights[name]))


@pytest.mark.parametrize("part", ["full", "head"])
def test_fedbabu_fine_tunes_for_as_long_as_newcomers_may(part: str) -> None:
    seen = Admission("fedbabu", part=part, finetune_epochs=1)
    expected = seen.start
    expected.load(seen.method.common)
    trainable = is_head if part == "head" else None
    expected.fit(cross_entropy, epochs=EPOCHS, trainable=trainable, stream="finetune")
    assert seen.is_deployed(expected)


@pytest.mark.parametrize(
    ("name", "settings"), [("ifca", {}), ("ifca", {"starts": 2}), ("cfl", {"start_round": -1, "ratio": 1.0})]
)
def test_clustered_averaging_takes_the_model_with_the_smallest_loss(name: str, settings: dict[str, Any]) -> None:
    seen = Admission(name, **settings)
    models = seen.method.models_of(seen.method.serving) if name == "ifca" else seen.method.w
    losses = seen.start.private_loss(models)
    assert losses.shape[1] > 1  # there is a choice
    choice = losses.argmin(dim=1)
    expected = seen.start
    expected.load({key: tensor[choice] for key, tensor in models.items()})
    serving = getattr(seen.method, "serving", 0)
    expected.fit(cross_entropy, stream=f"local, start {serving}" if serving else None)
    assert seen.is_deployed(expected)


@pytest.mark.parametrize("feedback", ["own_cluster", "no_model"])
def test_cosmos_joins_the_nearest_cluster_after_half_of_its_epochs(feedback: str) -> None:
    seen = Admission("cosmos", clusters=2, feedback=feedback, consistency=0.0, temperature=1.0, clip=None)
    method, public = seen.method, seen.run.data.public.inputs()
    expected = seen.start
    expected.fit(cross_entropy, epochs=2, stream="before", name="before")  # of three
    own = expected.predict(public)
    means = torch.stack([method.predictions[method.assignment == k].mean(dim=0) for k in range(2)])
    nearest = torch.stack([(own - mean).square().sum(dim=(1, 2)) for mean in means]).argmin(dim=0)
    told = (means if feedback == "no_model" else method.servers.predict(public))[nearest]
    objective = method.objective(method.config.client_weight)
    settings = {"epochs": method.config.distill_epochs, "lr": method.config.distill_lr, "clip": None}
    expected.fit(objective, on=Teaching(public, told), **settings)
    expected.fit(cross_entropy, epochs=1)
    for name, value in expected.weights.items():
        torch.testing.assert_close(seen.view.weights[name], value, rtol=0, atol=1e-7)


def test_cosmos_has_clusters_for_newcomers_where_few_take_part() -> None:
    seen = Admission("cosmos", participation=0.34)
    assert not seen.method.reported.all()
    assert seen.rows[-1]["unseen.clients"] == 2


def test_comet_chooses_after_half_of_its_epochs() -> None:
    seen = Admission("comet", clusters=2)
    method, public = seen.method, seen.run.data.public.inputs()
    expected = seen.start
    expected.fit(cross_entropy, epochs=1, stream="before", name="before")
    own = expected.predict(public)
    squared = torch.stack([(own - centroid).square().sum(dim=(1, 2)) for centroid in method.centroids])
    method.train(expected, Teaching(public, method.centroids[squared.argmin(dim=0)]), 2)
    assert seen.is_deployed(expected)
    size = TRAINING.batch_size
    sizes = [int(count) for count in expected.sizes]
    assert seen.rows[-1]["steps_unseen"] == sum(-(-count // size) + -(-2 * count // size) for count in sizes)


def test_fedmd_digests_the_last_consensus_and_ktpfl_the_mean_of_what_was_sent() -> None:
    fedmd, ktpfl = Admission("fedmd"), Admission("ktpfl")
    assert (fedmd.received is None, ktpfl.received is None) == (False, True)  # a mixture for each, and none for all
    expected = ktpfl.start
    public = ktpfl.run.data.public.inputs(ktpfl.method.even.rows)
    told = ktpfl.method.even.values.expand(2, -1, -1)
    settings = {"epochs": ktpfl.method.config.distill_epochs, "lr": ktpfl.method.config.distill_lr}
    expected.fit(ktpfl.method.distillation, on=Teaching(public, told), **settings)
    expected.fit(cross_entropy)
    assert ktpfl.is_deployed(expected)
    assert told.sum(dim=-1).allclose(torch.ones(1, dtype=told.dtype))


@pytest.mark.parametrize("b_down", [32, 1])
def test_cfd_tells_newcomers_all_labels_where_others_hear_of_changes(b_down: int) -> None:
    seen = Admission("cfd", participation=0.5, b_down=b_down)
    assert (seen.received is None) == (b_down == 1)  # then those who were away wait for other changes
    public, config = seen.run.data.public.inputs(), seen.method.config
    labels = seen.method.server.predict(public)
    if b_down == 1:
        labels = F.one_hot(labels.argmax(dim=-1), labels.shape[-1]).to(labels)
    expected = seen.start
    settings = {"epochs": config.distill_epochs, "lr": config.distill_lr, "clip": config.clip}
    expected.fit(distillation, on=Teaching(public, labels.expand(2, -1, -1)), **settings)
    expected.fit(cross_entropy)
    assert seen.is_deployed(expected)


def test_fedkd_and_feddf_start_from_what_the_server_has() -> None:
    for name, settings, common in (("fedkd", {}, "student"), ("feddf", {}, "students")):
        seen = Admission(name, participation=0.5, **settings)
        expected = seen.start
        if name == "fedkd":
            expected.load({f"shared.{key}": value for key, value in seen.method.student.items()})
            expected.fit(seen.method.mutual_loss)
        else:
            expected.load(getattr(seen.method, common)[expected.architecture])
            expected.fit(cross_entropy)
        assert seen.is_deployed(expected)


def test_fedselect_and_a_warm_start_hand_out_all_that_is_shared() -> None:
    fedselect, warm = Admission("fedselect", participation=0.5), Admission("lgfedavg", warm_start=2)
    expected = warm.start
    expected.load({**warm.method.warm, **warm.method.average})
    expected.fit(cross_entropy)
    assert warm.is_deployed(expected)
    newcomers = fedselect.start
    newcomers.load(fedselect.method.w)
    newcomers.fit(cross_entropy)
    assert fedselect.is_deployed(newcomers)


def test_pfedck_starts_both_models_anew_and_pfedhn_from_the_mean_embedding() -> None:
    pfedck, pfedhn = Admission("pfedck", clusters=1), Admission("pfedhn")
    assert pfedck.received is not None  # a change of others, which is no model
    again = pfedck.start
    pfedck.method.client_update(again, None, pfedck.rnd)
    assert pfedck.is_deployed(again)
    embeddings = pfedhn.method.hypernetwork.embeddings.weight.data
    usual = embeddings.clone()
    embeddings[:] = usual.mean(dim=0)  # so that every client is the mean one
    made = pfedhn.method.generated([0], pfedhn.clients.architecture)
    embeddings[:] = usual
    expected = pfedhn.start
    start = {name: value.expand(2, *value.shape[1:]) for name, value in made.items()}
    pfedhn.method.client_update(expected, Parameters(start), pfedhn.rnd)
    assert pfedhn.is_deployed(expected)


@pytest.mark.parametrize("name", ["fedproto", "fedtgp"])
def test_prototypes_are_deployed_to_newcomers_too(name: str) -> None:
    seen = Admission(name)
    usual = seen.method.deployed(seen.clients, seen.rnd)
    x = made_up_data().inputs[:4].double()
    assert torch.equal(seen.view.logits(1, x), usual.logits(1, x))
    assert not torch.equal(seen.view.logits(1, x), seen.clients.deployed().logits(1, x))


def test_bounds() -> None:
    pooled = Admission("centralized")
    assert pooled.view.index == (0, 0)
    assert pooled.rows[-1]["steps_unseen"] == 0
    grouped = make_run("centralized-group", made_up_data(), deal(made_up_data(), clients=8, unseen=0.25))
    assert not any("unseen" in name for row in grouped.rounds() for name in row.values)  # whose group, nobody knows
    local = Admission("local")
    assert local.received is None
    expected = local.start
    expected.fit(cross_entropy)
    assert local.is_deployed(expected)
    assert subtree(expected.weights, "head")
