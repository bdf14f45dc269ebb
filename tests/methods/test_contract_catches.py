"""Each contract check catches the method that breaks what it checks: one cheat per check."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fl_bench.errors import ConfigError, Diverged, Unsupported
from fl_bench.federation.batches import Teaching
from fl_bench.federation.channel import Downloads
from fl_bench.federation.optimizers import Optimizer
from fl_bench.federation.payloads import Bundle, Labels, Parameters, Scores
from fl_bench.federation.phase import Step
from fl_bench.methods import contract
from fl_bench.methods.averaging import shares, weighted_mean
from fl_bench.methods.base import Facts, Method, Plan, Requires
from fl_bench.methods.contract import conditions
from fl_bench.methods.losses import cross_entropy, distillation
from fl_bench.methods.planning import PlannedPhase
from fl_bench.methods.registry import METHODS
from fl_bench.sealed import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fl_bench.federation.channel import Uploads
    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.deployed import Deployed
    from fl_bench.federation.rounds import Federation, Round
    from fl_bench.federation.settings import Training


@dataclass(frozen=True)
class NoConfig:
    pass


class Honest(Method[NoConfig]):
    """Local training; the cheats below change one thing."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Any:
        clients.fit(cross_entropy)


class Hasty(Honest):
    """Trains with a rate of its own."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=0.5)


class HastySaid(Hasty):
    """And says so."""

    def local_optimizers(self, training: Training) -> dict[str, Optimizer]:
        return {"lr": replace(training.local_optimizer, lr=0.5)}


class HastyOnTop(Hasty):
    """A second step of every batch has another rule, which goes unsaid."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit([Step(cross_entropy), Step(cross_entropy, optimizer=Optimizer("adam", 0.5))])


class HastyInWords(Honest):
    """Says that a rule of its own trains beside the run's."""

    def local_optimizers(self, training: Training) -> dict[str, Optimizer]:
        return {**super().local_optimizers(training), "head_lr": Optimizer("sgd", 0.5)}


class HastyDistilling(Honest):
    """Distils with a rate of its own, which is no local training."""

    requires = Requires(public_data=True)

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy)
        public = rnd.public.inputs()
        clients.fit(distillation, on=Teaching(public, clients.predict(public)), lr=0.5)


class Mislabelled(Honest):
    """Sends logits and does not say so."""

    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Scores:
        clients.fit(cross_entropy)
        return Scores(clients.predict(rnd.public.inputs(), as_="logits"))


class Labelled(Mislabelled):
    """Says so."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Scores:
        return replace(super().client_update(clients, received, rnd), form="logits")


class Unseeded(Honest):
    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.load({key: value + torch.randn(1) for key, value in clients.parameters.items()})


class Forgetful(Honest):
    """Counts its rounds without saving the count."""

    seen = 0

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        self.seen += 1
        clients.fit(cross_entropy, lr=0.01 * self.seen)


class Remembering(Forgetful):
    """The same, saved."""

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]


class Hoarding(Remembering):
    """Counts the rounds of every client, and saves the counts of those who took part last."""

    def setup(self, federation: Federation) -> None:
        self.counts = dict.fromkeys(range(6), 0)
        self.present: tuple[int, ...] = ()

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        self.present = tuple(clients.ids)
        for client in clients.ids:
            self.counts[client] += 1
        clients.fit(cross_entropy, lr=0.01 * sum(self.counts.values()))

    def state_dict(self) -> dict[str, Any]:
        return {"counts": {str(client): self.counts[client] for client in self.present}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts |= {int(client): seen for client, seen in state["counts"].items()}


class Communal(Honest):
    """Keeps its rounds where all runs of a process find them, and forgets them when one starts."""

    seen: ClassVar[list[int]] = []

    def setup(self, federation: Federation) -> None:
        self.seen.clear()

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        self.seen.append(rnd.index)
        clients.fit(cross_entropy, lr=0.01 * len(self.seen))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen.extend(state)


class Sorting(Honest):
    """Trains at a rate that depends on who shares the first client's true group, and tells nobody."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        assert self.federation.groups is not None
        groups = self.federation.groups.open_for_evaluation()
        clients.fit(cross_entropy, lr=0.01 * (1 + int((groups == groups[0]).argmin())))


class Peeking(Honest):
    """Trains at a rate that depends on the sealed labels, and tells nobody."""

    requires = Requires(public_data=True)

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        first = int(rnd.public.labels.open_for_evaluation()[0])
        clients.fit(cross_entropy, lr=0.01 * (1 + first))


class Glancing(Honest):
    """Looks at the sealed labels for a number that it reports, which changes no weight."""

    requires = Requires(public_data=True)

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        return {"first": int(rnd.public.labels.open_for_evaluation()[0])}


class OpenlyPeeking(Honest):
    """The same, through the door that leaves a badge."""

    requires = Requires(public_data=True)

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        first = int(rnd.public.labels.open("openly peeking")[0])
        clients.fit(cross_entropy, lr=0.01 * (1 + first))


class TestTuned(Honest):
    __test__ = False

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=0.01 if clients.members.data.inputs.mean() < 1 else 0.02)


class Talkative(Honest):
    """Sends twice what its plan says."""

    requires = Requires(public_data=True)

    exchanges = frozenset({Scores})

    def plan(self, facts: Facts) -> Plan:
        return Plan(up_bytes=facts.scores_bytes)

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Scores:
        clients.fit(cross_entropy)
        values = clients.predict(rnd.public.inputs())
        return Scores(torch.cat([values, values], dim=1))


class Smuggling(Honest):
    """Declares scores, sends weights."""

    exchanges = frozenset({Scores})

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Parameters:
        return Parameters(clients.weights)


class Impatient(Honest):
    """Presumes that everybody takes part."""

    exchanges = frozenset({Parameters})

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Parameters:
        clients.fit(cross_entropy)
        return Parameters(clients.weights)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        return uploads.to_each(Parameters({key: value[:6] for key, value in uploads.parameters().items()}), range(6))


class Clubbable(Honest):
    """Needs company."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=0.01 / (len(clients) - 1))


class Dividing(Honest):
    """Divides by the number of a client's further samples."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy)
        share = clients.sizes / (clients.sizes - 1)
        clients.load(
            {key: value * share.view(-1, *[1] * (value.dim() - 1)) for key, value in clients.parameters.items()}
        )


class Keeping(Honest):
    """Keeps what it got from dividing by the number of a client's further samples, and does not use it."""

    def setup(self, federation: Federation) -> None:
        self.shares = torch.zeros(6)

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy)
        self.shares = clients.sizes / (clients.sizes - 1)

    def state_dict(self) -> dict[str, Any]:
        return {"shares": self.shares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.shares = state["shares"]


class Frozen(Honest):
    """Never trains, so no learning rate makes it diverge."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        return None


class Favouring(Honest):
    """Weighs whoever trains first most."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        calls = count(1)
        clients.fit(lambda model, batch: cross_entropy(model, batch) / next(calls))


class Threaded(Honest):
    """Trains another loss where it is not on the main thread."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(lambda m, b: cross_entropy(m, b) * (1 if current_thread() is main_thread() else 3))


class Viewing(Honest):
    """Trains while it shows a view."""

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        clients.fit(cross_entropy, stream="view")
        return {"more": clients.deployed()}


class Counting(Honest):
    """Trains the faster the higher a client's number."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        weight = 1.0 + torch.tensor(clients.ids)
        clients.fit(lambda m, b: b.extra["weight"] * cross_entropy(m, b), per_client={"weight": weight})


class CountingClusters(Honest):
    """Low numbers make a cluster, high ones another."""

    def clusters(self) -> np.ndarray:
        return np.arange(self.federation.clients) // 3


class NamingClusters(Honest):
    """The same clusters of clients whatever their numbers, only named after them."""

    def clusters(self) -> np.ndarray:
        halves = np.array(self.federation.identities) // 3
        return halves if halves[0] == 0 else 1 - halves


class Deploying(Honest):
    """Everyone uses the model of the client with the lowest number."""

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        return clients.deployed(index=[0] * len(clients))


class Sharing(Honest):
    """Averages whole nets, whatever they are."""

    exchanges = frozenset({Parameters})

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Parameters:
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        return Parameters(clients.weights)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        return uploads.to_all(
            Parameters({key: value.mean(dim=0, keepdim=True) for key, value in uploads.parameters().items()})
        )


class SharingAmongEquals(Sharing):
    """The same, and says that it needs one architecture."""

    requires = Requires(one_architecture=True)


class SharingInOneWidth(Sharing):
    """The same, but thinks that one width would do."""

    requires = Requires(one_width=True)


class SharingHeads(Sharing):
    """Averages heads, which one width does make possible, and says so."""

    requires = Requires(one_width=True)

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Parameters:
        sent = super().client_update(clients, received, rnd)
        return Parameters({key: value for key, value in sent.tree.items() if key.startswith("head.")})


@dataclass(frozen=True)
class OwnRates:
    lr: float = 0.01
    head_lr: float = 0.01
    lr_decay: float = 0.5
    """Not a learning rate."""


class OwnRate(Method[OwnRates]):
    """Trains at a rate of its own."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        assert self.config.lr_decay == 0.5
        clients.fit(cross_entropy, lr=self.config.lr)


class OtherRate(OwnRate):
    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=self.config.head_lr)


class HiddenRate(OwnRate):
    """Its rate is no setting."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=0.01)


class Averaging(Honest):
    """Clients average among themselves, without a message."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy)
        clients.load({key: value.mean(dim=0, keepdim=True) for key, value in clients.weights.items()})


class Broadcasting(Sharing):
    """The server's model reaches the clients through `self`."""

    w: Any = None

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Parameters:
        if self.w is not None:
            clients.load(self.w)
        clients.fit(cross_entropy)
        return Parameters(clients.weights)

    def server_update(self, uploads: Uploads, rnd: Round) -> None:
        self.w = {key: value.mean(dim=0, keepdim=True) for key, value in uploads.parameters().items()}


class Depositing(Honest):
    """The clients' models reach the server through `self`, and it sends their mean."""

    exchanges = frozenset({Parameters})

    def setup(self, federation: Federation) -> None:
        self.trees: dict[int, Any] = {}

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        for row, client in enumerate(clients.ids):
            self.trees[client] = {key: value[row] for key, value in clients.weights.items()}

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        trees = [self.trees[client] for client in range(self.federation.clients)]
        means = {key: torch.stack([tree[key] for tree in trees]).mean(dim=0, keepdim=True) for key in trees[0]}
        return Downloads.to_all(self.federation.clients, Parameters(means))


class Scribbling(Honest):
    """Sends something that is no plain number."""

    requires = Requires(public_data=True)

    exchanges = frozenset({Labels})

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Labels:
        clients.fit(cross_entropy)
        return Labels(clients.predict(rnd.public.inputs()).argmax(dim=2), np.int64(self.federation.classes))


class Reaching(Honest):
    """Starts from the weights of the last client, where they are stored."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.load({key: value[-1:].clone() for key, value in clients.members.models.parameters.items()})
        clients.fit(cross_entropy)


class Overlooking(Honest):
    """Takes the zeros of a client that kept nothing yet for its model, because another client kept something."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        before = clients.kept("before")
        if before is not None:
            clients.load(before)
        clients.fit(cross_entropy)
        clients.keep("before", clients.parameters)


class Measuring(Honest):
    """Knows how many samples the others have."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        shares = clients.sizes / sum(clients.members.data.train.sizes)
        clients.fit(lambda m, b: b.extra["share"] * cross_entropy(m, b), per_client={"share": shares})


class Curious(Honest):
    """Knows all samples that are not public."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=0.01 * float(clients.members.data.inputs.abs().mean()))


class Labelling(Honest):
    """Counts all labels that are not sealed."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=1 / int((clients.members.data.labels >= 0).sum()))


class Pooling(Honest):
    """Trains a model at the server on everybody's samples, and is no bound."""

    def setup(self, federation: Federation) -> None:
        self.pool = federation.pooled([range(federation.clients)])

    def server_update(self, uploads: Uploads, rnd: Round) -> None:
        self.pool.at(rnd.index).fit(cross_entropy)

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        return self.pool.deployed([0] * len(clients))


class ServerReading(Honest):
    """Finds private samples and labels in the data of the server's own models."""

    def setup(self, federation: Federation) -> None:
        self.server = federation.server_models(1)

    def server_update(self, uploads: Uploads, rnd: Round) -> None:
        data = self.server.members.data
        rows = data.train.rows[:8]
        told = F.one_hot(data.labels[rows].clamp_min(0), 4).to(data.inputs)
        self.server.fit(
            lambda m, b: F.cross_entropy(m(b.x), b.target), on=Teaching(data.inputs_of(rows), told[None]), batches=3
        )

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        return self.server.deployed([0] * len(clients))


class PeekingAtTests(Honest):
    """Trains at a rate that depends on the test labels, which its data hold."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        truth = clients.members.data.sealed_labels.open_for_evaluation()
        clients.fit(cross_entropy, lr=0.01 * (1 + int(truth[-1])))


class Choosing(Honest):
    """Deploys nothing but what fits its test labels best."""

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        assert clients.members.data.sealed_labels.open_for_evaluation() is not None
        return clients.deployed()


class TrainingToShow(Honest):
    """Trains its clients once more when it is asked what they deploy."""

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        clients.fit(cross_entropy, stream="more")
        return clients.deployed()


class Restoring(Honest):
    """Trains while it shows a view, and puts the weights back."""

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        before = clients.weights
        clients.fit(cross_entropy, stream="view")
        shown = clients.copy().deployed()
        clients.load(before)
        return {"more": shown}


class KeepingToShow(Honest):
    """Keeps with its clients what it deployed last."""

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        clients.keep("shown", clients.parameters)
        return clients.deployed()


class Stashing(Honest):
    """Takes the clients' models from `deployed` to the server, without a message."""

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        self.stash = clients.weights
        return clients.deployed()


class Tallying(Remembering):
    """Counts what it is asked to show."""

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        self.seen += 1
        return {}


class Wavering(Honest):
    """Shows another model whenever it is asked."""

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        noisy = {key: value + torch.randn(value.shape).to(value) for key, value in clients.weights.items()}
        return {"noisy": clients.with_weights(noisy)}


class Tuning(Honest):
    """Deploys copies that were trained further, which is no change."""

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        tuned = clients.copy()
        tuned.fit(cross_entropy, stream="tune")
        return tuned.deployed()


class PlanningParameters(Sharing):
    """Forgets buffers in its plan."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(facts.net.trainable, facts.net.trainable)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        return uploads.to_all(Parameters(weighted_mean(uploads.parameters(), shares(uploads, "uniform"))))


class PlanningWeights(PlanningParameters):
    """The same, with buffers."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(facts.weights_bytes, facts.weights_bytes)


class Exercising(Honest):
    """Runs its net in training mode by itself."""

    requires = Requires(public_data=True)

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy)
        clients.module().train()(rnd.public.inputs())


class Inheriting(Honest):
    """Clients start from the server's network, whatever it is."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.load({key: value.detach()[None] for key, value in self.federation.common_net().named_parameters()})
        clients.fit(cross_entropy)


class InheritingIfEqual(Inheriting):
    """The same, and says so."""

    def setup(self, federation: Federation) -> None:
        ours, theirs = (
            sum(p.numel() for p in net.values())
            for net in (dict(federation.common_net().named_parameters()), federation.start[federation.architectures[0]])
        )
        if ours != theirs:
            raise Unsupported("needs models.server to be the clients' network")


class InheritingHeads(Honest):
    """Clients start from the head of the server's network."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.load(
            {f"head.{key}": value.detach()[None] for key, value in self.federation.common_net().head.named_parameters()}
        )
        clients.fit(cross_entropy)


class InheritingHeadsOfOneWidth(InheritingHeads):
    """The same, and says what it needs."""

    requires = Requires(server_width=True)


class Standardising(Honest):
    """Divides a batch by its standard deviation."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(lambda m, b: F.cross_entropy(m(b.x / b.x.std(dim=0).clamp_min(0.1)), b.y))


class Squeezing(Honest):
    """Drops the axis of a batch with one sample."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(lambda m, b: F.nll_loss(m(b.x).squeeze().log_softmax(dim=1), b.y))


class Dispersing(Honest):
    """Reports a number that a client of one sample does not have."""

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        return {"spread": self.spread}

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy)
        self.spread = float((1 / (clients.sizes - 1)).mean())


class Deaf(Sharing):
    """Receives a model and trains on from its own."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Parameters:
        clients.fit(cross_entropy)
        return Parameters(clients.weights)


class HalfDeaf(Sharing):
    """Receives two models and reads one."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Parameters:
        return super().client_update(clients, None if received is None else received.parts["mean"], rnd)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        tree = uploads.parameters()
        mean, least = ({key: take(value) for key, value in tree.items()} for take in (mean_of_all, least_of_all))
        return uploads.to_all(Bundle({"mean": Parameters(mean), "least": Parameters(least)}))


def mean_of_all(values: torch.Tensor) -> torch.Tensor:
    return values.mean(dim=0, keepdim=True)


def least_of_all(values: torch.Tensor) -> torch.Tensor:
    return values.amin(dim=0, keepdim=True)


class Partial(Sharing):
    """Averages the first two."""

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        return uploads.to_all(Parameters({key: mean_of_all(value[:2]) for key, value in uploads.parameters().items()}))


class Voting(Honest):
    """Clients learn what most of them say: one voice alone may decide nothing."""

    requires = Requires(public_data=True)

    exchanges = frozenset({Labels})

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Labels:
        public, classes = rnd.public.inputs(), self.federation.classes
        if received is not None:
            told = F.one_hot(received.values, classes).to(public)
            clients.fit(lambda m, b: F.cross_entropy(m(b.x), b.target), on=Teaching(public, told))
        clients.fit(cross_entropy)
        return Labels(clients.predict(public).argmax(dim=2), classes)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        votes = F.one_hot(uploads.labels(), self.federation.classes).sum(dim=0)
        return uploads.to_all(Labels(votes.argmax(dim=1)[None], self.federation.classes))


class ServerFavouring(Honest):
    """Has models at the server, which it shows and never keeps, and weighs the one that trains first most."""

    requires = Requires(public_data=True)

    def server_update(self, uploads: Uploads, rnd: Round) -> None:
        public, calls = rnd.public.inputs(), count(1)
        self.server = self.federation.server_models(2)
        told = torch.full((2, len(public), 4), 0.25, dtype=public.dtype)
        self.server.fit(
            lambda m, b: F.cross_entropy(m(b.x), b.target) / next(calls), on=Teaching(public, told), stream="server"
        )

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        return {"server": self.server.deployed([1] * len(clients))}


class Twice(Honest):
    """Trains on private data twice and plans it once."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy)
        clients.fit(cross_entropy)


class TwicePlanned(Twice):
    """The same, and plans it."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(work=(PlannedPhase("local", facts.local_epochs), PlannedPhase("local", facts.local_epochs)))


class TwiceAtMost(Twice):
    """Plans more than it does, as the most."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(client_local_epochs=3 * facts.local_epochs, steps="most")


class OnceAtMost(Twice):
    """Plans half of what it does, as the most."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(steps="most")


class TwiceExpected(Twice):
    """Does not know how often."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(steps="expected")


class PublicExpected(TwiceExpected):
    """Expects steps on public data, which it never takes."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(client_public_epochs=1, steps="expected")


class Single(Honest):
    """Makes one pass, whatever the local epochs are, and plans those."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, epochs=1)


class SinglePlanned(Single):
    """The same, and plans it."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(client_local_epochs=1)


class Welcoming(Honest):
    """A client trains longer when it is there for the first time, and plans to do so in the first round."""

    def plan(self, facts: Facts) -> Plan:
        first = PlannedPhase("local", 3 * facts.local_epochs, stop=1)
        return Plan(work=(first, PlannedPhase("local", facts.local_epochs)))

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        kept = clients.kept("known")
        known = [0.0] * len(clients) if kept is None else kept["known"].tolist()
        new = [member for member, before in enumerate(known) if not before]
        if new:
            clients.only(new).fit(cross_entropy, epochs=3 * clients.training.local_epochs, stream="welcome")
        clients.keep("known", {"known": clients.sizes.new_ones(len(clients))})
        clients.fit(cross_entropy)


class WelcomingPlanned(Welcoming):
    """The same, and plans it."""

    def plan(self, facts: Facts) -> Plan:
        first = PlannedPhase("local", 3 * facts.local_epochs, turn="first")
        return Plan(work=(first, PlannedPhase("local", facts.local_epochs)))


class TuningPlanned(Tuning):
    """Plans the copies that it trains."""

    def plan(self, facts: Facts) -> Plan:
        return Plan(
            work=(PlannedPhase("local", facts.local_epochs), PlannedPhase("aside", facts.local_epochs)),
        )


class Enumerating(Honest):
    """Looks newcomers up where it counts the clients of the federation."""

    def unseen(self, clients: Cohort, received: Any, rnd: Round) -> Deployed:
        sizes = torch.ones(self.federation.clients)
        return clients.with_weights(
            {key: value * sizes[list(clients.ids)].sum() for key, value in clients.weights.items()}
        )


class Unsteady(Honest):
    """Draws from nowhere for newcomers."""

    def unseen(self, clients: Cohort, received: Any, rnd: Round) -> Deployed:
        clients.load({key: value + torch.randn(1) for key, value in clients.parameters.items()})
        return clients.deployed()


class Foreseeing(Honest):
    """Knows what newcomers will be tested on."""

    def unseen(self, clients: Cohort, received: Any, rnd: Round) -> Deployed:
        data = clients.members.data
        clients.load({key: value + data.inputs[data.test.rows].mean() for key, value in clients.parameters.items()})
        return clients.deployed()


class Recruiting(Honest):
    """Goes on with what newcomers learnt."""

    def setup(self, federation: Federation) -> None:
        self.learnt = torch.zeros(1)

    def unseen(self, clients: Cohort, received: Any, rnd: Round) -> Deployed:
        clients.fit(cross_entropy)
        self.learnt = clients.weights["head.bias"].sum()[None]
        return clients.deployed()

    def state_dict(self) -> dict[str, Any]:
        return {"learnt": self.learnt}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learnt = state["learnt"]


class Expecting(Honest):
    """Divides what arrives by how many were asked, and says that it tolerates absence."""

    exchanges = frozenset({Parameters})
    tolerates_absence = True

    def turns(self, participants: tuple[int, ...], rnd: Round) -> Any:
        self.asked = len(participants)
        return super().turns(participants, rnd)

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Parameters:
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        return Parameters(clients.weights)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        share = uploads.ones() / self.asked
        return uploads.to_all(Parameters(weighted_mean(uploads.parameters(), share)))


class ExpectingAll(Expecting):
    """Fails where not everybody answers."""

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        assert len(uploads.ids) == self.asked
        return super().server_update(uploads, rnd)


@pytest.fixture
def register() -> Callable[[type[Method[Any]]], str]:
    """Register a class for one test."""

    def add(cls: type[Method[Any]]) -> str:
        name = f"cheat {cls.__name__}"
        METHODS.register(name)(cls)
        cls.name = name
        return name

    return add


@pytest.mark.parametrize(
    ("cheat", "check", "error", "words"),
    [
        (Unseeded, contract.same_seed_same_bits, AssertionError, "ran twice with one seed"),
        (Favouring, contract.order_of_clients_changes_nothing, AssertionError, "from the last to the first"),
        (Counting, contract.renumbering_clients_renumbers_results, AssertionError, "depends on the clients' numbers"),
        (Deploying, contract.renumbering_clients_renumbers_results, AssertionError, r"differs in .*client\.loss"),
        (CountingClusters, contract.renumbering_clients_renumbers_results, AssertionError, "share clusters"),
        (Frozen, contract.divergence_is_not_an_accuracy, AssertionError, "reports an accuracy"),
        (HiddenRate, contract.divergence_is_not_an_accuracy, AssertionError, "reports an accuracy"),
        (Sharing, contract.mixed_architectures_work_or_are_refused, TypeError, "different architectures"),
        (SharingInOneWidth, contract.mixed_architectures_work_or_are_refused, TypeError, "different architectures"),
        (Forgetful, contract.stopping_and_resuming_changes_nothing, AssertionError, "was stopped after every round"),
        (Hoarding, contract.stopping_and_resuming_changes_nothing, AssertionError, "with participation 0.4"),
        (Communal, contract.other_runs_change_nothing, AssertionError, "took turns"),
        (Threaded, contract.threads_change_nothing, AssertionError, "on two threads"),
        (Viewing, contract.views_change_nothing, AssertionError, "scored its deployed view alone"),
        (Sorting, contract.sealed_labels_change_nothing, AssertionError, "uses sealed labels or groups"),
        (Keeping, contract.poor_clients_work, AssertionError, "method/shares is not finite"),
        (Peeking, contract.sealed_labels_change_nothing, AssertionError, "uses sealed labels"),
        (Mislabelled, contract.scores_are_what_they_say, AssertionError, "say form=.logits., or take a softmax"),
        (Glancing, contract.sealed_labels_change_nothing, AssertionError, "opens public labels unrecorded"),
        (TestTuned, contract.test_data_change_nothing, AssertionError, "trains on test data"),
        (Talkative, contract.bytes_equal_the_closed_form, AssertionError, "the plan says"),
        (Sharing, contract.bytes_equal_the_closed_form, AssertionError, "has no `plan`"),
        (Smuggling, contract.bytes_equal_the_closed_form, ConfigError, "put Parameters on the wire"),
        (Impatient, contract.partial_participation_works, ValueError, "addressed row 2 of a message of 2 rows"),
        (Clubbable, contract.one_client_works, ZeroDivisionError, "division by zero"),
        (Dividing, contract.poor_clients_work, Diverged, "is not finite"),
        (Dispersing, contract.poor_clients_work, AssertionError, "has spread that is no number"),
        (PeekingAtTests, contract.sealed_labels_change_nothing, AssertionError, "uses sealed labels"),
        (Choosing, contract.sealed_labels_change_nothing, AssertionError, "opens test labels unrecorded"),
        (Averaging, contract.only_messages_pass, AssertionError, "with cohorts of their own .*over the first axis"),
        (Clubbable, contract.only_messages_pass, AssertionError, r"cohorts of their own fail.*`len\(clients\)`"),
        (Broadcasting, contract.only_messages_pass, AssertionError, "cohorts, objects of their own .*through `self`"),
        (Depositing, contract.only_messages_pass, AssertionError, "cohorts, objects of their own fail.*through `self`"),
        (Scribbling, contract.only_messages_pass, AssertionError, "objects, bytes of their own .*beside tensors"),
        (Reaching, contract.only_messages_pass, AssertionError, "storage of their own .*`clients.members.models`"),
        (Overlooking, contract.only_messages_pass, AssertionError, "participation 0.4.*cohorts of .*zeros"),
        (Measuring, contract.only_messages_pass, AssertionError, "data of their own .*labels or sizes of other"),
        (Curious, contract.only_messages_pass, AssertionError, "data of their own .*labels or sizes of other"),
        (Labelling, contract.only_messages_pass, AssertionError, "data of their own .*labels or sizes of other"),
        (Pooling, contract.only_messages_pass, AssertionError, "data of their own fail: .*`federation.pooled`"),
        (ServerReading, contract.only_messages_pass, AssertionError, "data of their own .*the server reads any"),
        (TrainingToShow, contract.scoring_changes_nothing, AssertionError, "`deployed` changes clients' mlp-8/body"),
        (Viewing, contract.scoring_changes_nothing, AssertionError, "`views` changes clients' mlp-8/body"),
        (Restoring, contract.scoring_changes_nothing, AssertionError, "`views` changes clients' optimizer mlp-8"),
        (KeepingToShow, contract.scoring_changes_nothing, AssertionError, "`deployed` changes clients' kept mlp-8"),
        (Stashing, contract.scoring_changes_nothing, AssertionError, "`deployed` changes self.stash"),
        (Tallying, contract.scoring_changes_nothing, AssertionError, "`views` changes self.seen"),
        (Wavering, contract.scoring_changes_nothing, AssertionError, "`views`, called twice, shows other models"),
        (Sharing, contract.normalised_nets_work, AssertionError, "BatchNorm.*mean.*integers among them"),
        (PlanningParameters, contract.normalised_nets_work, AssertionError, "the plan says.*`facts.weights_bytes`"),
        (Exercising, contract.normalised_nets_work, AssertionError, "dropout is in training mode"),
        (
            Inheriting,
            contract.other_server_architectures_work_or_are_refused,
            AssertionError,
            "`federation.common_net`",
        ),
        (InheritingHeads, contract.other_server_architectures_work_or_are_refused, AssertionError, "mlp-12"),
        (InheritingHeads, contract.mixed_architectures_work_or_are_refused, RuntimeError, "must match"),
        (Standardising, contract.single_samples_work, Exception, "batch_size 1"),
        (Squeezing, contract.single_samples_work, AssertionError, r"batch_size 1: .*look for `squeeze\(\)`"),
        (Deaf, contract.received_messages_matter, AssertionError, "another message come to the same weights"),
        (HalfDeaf, contract.received_messages_matter, AssertionError, "another part 'least' of their message"),
        (Partial, contract.each_upload_matters, AssertionError, "of clients 2, 3, 4, 5 change nothing"),
        (Favouring, contract.loop_equals_stacked, AssertionError, "the stacked engine comes to other weights"),
        (ServerFavouring, contract.loop_equals_stacked, AssertionError, r"round 0: .*server\.loss"),
        (Twice, contract.steps_equal_the_plan, AssertionError, r"'local' in 3 rounds, the plan says .*client_local_ep"),
        (OnceAtMost, contract.steps_equal_the_plan, AssertionError, "'local' in 3 rounds, the plan says at most"),
        (PublicExpected, contract.steps_equal_the_plan, AssertionError, "0 steps of kind 'distill' .*the plan expects"),
        (Single, contract.steps_equal_the_plan, AssertionError, "with 3 local epochs and participation 1.0"),
        (Welcoming, contract.steps_equal_the_plan, AssertionError, "with 3 local epochs and participation 0.67"),
        (Tuning, contract.steps_equal_the_plan, AssertionError, "kind 'aside'"),
        (ServerFavouring, contract.steps_equal_the_plan, AssertionError, "kind 'server'.*server_public_epochs"),
        (Voting, contract.steps_equal_the_plan, AssertionError, "kind 'distill'.*client_public_epochs"),
        (Expecting, contract.absent_clients_change_nothing, AssertionError, "the download changes .*`uploads.ids`"),
        (ExpectingAll, contract.absent_clients_change_nothing, AssertionError, "where a drawn client goes absent"),
        (Hasty, contract.local_optimizers_are_as_declared, AssertionError, "with sgd 0.5, momentum.*does not name"),
        (HastyOnTop, contract.local_optimizers_are_as_declared, AssertionError, "data with adam 0.5, which"),
        (HastyInWords, contract.local_optimizers_are_as_declared, AssertionError, "trains with sgd 0.5, and no step"),
        (Enumerating, contract.unseen_clients_work, AssertionError, "kept out of training: .*`clients.ids`"),
        (Unsteady, contract.unseen_clients_work, AssertionError, "no named stream"),
        (Foreseeing, contract.unseen_clients_work, AssertionError, "`unseen` uses test data"),
        (Recruiting, contract.unseen_clients_work, AssertionError, "not the newcomers': .*learnt"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_check_catches_the_cheat(
    register: Any, cheat: type[Method[Any]], check: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        check(register(cheat))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_honest_method_passes(register: Any, check: Any) -> None:
    check(register(Honest))


def test_what_is_saved_and_what_is_opened_openly_pass(register: Any) -> None:
    contract.stopping_and_resuming_changes_nothing(register(Remembering))
    contract.sealed_labels_change_nothing(register(OpenlyPeeking))


@pytest.mark.parametrize(
    ("honest", "check"),
    [
        (HastySaid, contract.local_optimizers_are_as_declared),
        (HastyDistilling, contract.local_optimizers_are_as_declared),
        (Tuning, contract.scoring_changes_nothing),
        (TwicePlanned, contract.steps_equal_the_plan),
        (TwiceAtMost, contract.steps_equal_the_plan),
        (TwiceExpected, contract.steps_equal_the_plan),
        (SinglePlanned, contract.steps_equal_the_plan),
        (WelcomingPlanned, contract.steps_equal_the_plan),
        (TuningPlanned, contract.steps_equal_the_plan),
        (PlanningWeights, contract.normalised_nets_work),
        (PlanningWeights, contract.only_messages_pass),
        (InheritingIfEqual, contract.other_server_architectures_work_or_are_refused),
        (InheritingHeadsOfOneWidth, contract.other_server_architectures_work_or_are_refused),
        (InheritingHeadsOfOneWidth, contract.mixed_architectures_work_or_are_refused),
        (Sharing, contract.received_messages_matter),
        (Sharing, contract.each_upload_matters),
        (Labelled, contract.scores_are_what_they_say),
        (Voting, contract.received_messages_matter),
        (Voting, contract.each_upload_matters),
        (Voting, contract.only_messages_pass),
    ],
    ids=lambda value: value.__name__,
)
def test_honest_relatives_pass(register: Any, honest: type[Method[Any]], check: Any) -> None:
    check(register(honest))


@pytest.mark.parametrize("honest", [SharingAmongEquals, SharingHeads])
def test_mixed_architectures_are_refused_by_those_who_cannot(
    register: Any, honest: type[Method[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    contract.mixed_architectures_work_or_are_refused(register(honest))
    monkeypatch.setattr(conditions, "unsupported", lambda *_, **__: None)
    with pytest.raises(AssertionError, match="None instead of 'needs one "):
        contract.mixed_architectures_work_or_are_refused(honest.name)


def test_nobody_is_refused_without_a_need(register: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = register(Honest)
    monkeypatch.setattr(conditions, "unsupported", lambda *_, **__: "needs one architecture")
    with pytest.raises(AssertionError, match="instead of None"):
        contract.mixed_architectures_work_or_are_refused(name)


@pytest.mark.parametrize("honest", [OwnRate, OtherRate])
def test_rates_of_a_methods_own_diverge_too(register: Any, honest: type[Method[Any]]) -> None:
    contract.divergence_is_not_an_accuracy(register(honest))


def test_names_of_clusters_do_not_matter(register: Any) -> None:
    contract.renumbering_clients_renumbers_results(register(NamingClusters))


def test_nobody_watches_after_the_check(register: Any) -> None:
    usual = Sealed.open_for_evaluation
    with pytest.raises(AssertionError):
        contract.sealed_labels_change_nothing(register(Peeking))
    assert Sealed.open_for_evaluation is usual


def test_clients_train_in_their_order_again_after_the_check(register: Any) -> None:
    from fl_bench.federation.engine import ENGINES

    usual = ENGINES["loop"]
    with pytest.raises(AssertionError):
        contract.order_of_clients_changes_nothing(register(Favouring))
    assert ENGINES["loop"] is usual
