"""Each contract check catches the method that breaks what it checks: one cheat per check."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError, Diverged
from fl_bench.federation.payloads import Parameters, Scores
from fl_bench.methods import contract
from fl_bench.methods.base import Method, Plan, Requires
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import METHODS
from fl_bench.sealed import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fl_bench.federation.channel import Downloads, Uploads
    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.deployed import Deployed
    from fl_bench.federation.rounds import Federation, Round


@dataclass(frozen=True)
class NoConfig:
    pass


class Honest(Method[NoConfig]):
    """Local training; the cheats below change one thing."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Any:
        clients.fit(cross_entropy)


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

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        first = int(rnd.public.labels.open_for_evaluation()[0])
        clients.fit(cross_entropy, lr=0.01 * (1 + first))


class Glancing(Honest):
    """Looks at the sealed labels for a number that it reports, which changes no weight."""

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        return {"first": int(rnd.public.labels.open_for_evaluation()[0])}


class OpenlyPeeking(Honest):
    """The same, through the door that leaves a badge."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        first = int(rnd.public.labels.open("openly peeking")[0])
        clients.fit(cross_entropy, lr=0.01 * (1 + first))


class TestTuned(Honest):
    __test__ = False

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=0.01 if clients.members.data.inputs.mean() < 1 else 0.02)


class Talkative(Honest):
    """Sends twice what its plan says."""

    exchanges = frozenset({Scores})

    def plan(self, facts: contract.Facts) -> Plan:
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
        (Glancing, contract.sealed_labels_change_nothing, AssertionError, "opens public labels unrecorded"),
        (TestTuned, contract.test_data_change_nothing, AssertionError, "trains on test data"),
        (Talkative, contract.bytes_equal_the_closed_form, AssertionError, "the plan says"),
        (Sharing, contract.bytes_equal_the_closed_form, AssertionError, "has no `plan`"),
        (Smuggling, contract.bytes_equal_the_closed_form, ConfigError, "put Parameters on the wire"),
        (Impatient, contract.partial_participation_works, ValueError, "addressed row 2 of a message of 2 rows"),
        (Clubbable, contract.one_client_works, ZeroDivisionError, "division by zero"),
        (Dividing, contract.poor_clients_work, Diverged, "is not finite"),
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


@pytest.mark.parametrize("honest", [SharingAmongEquals, SharingHeads])
def test_mixed_architectures_are_refused_by_those_who_cannot(
    register: Any, honest: type[Method[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    contract.mixed_architectures_work_or_are_refused(register(honest))
    monkeypatch.setattr(contract, "unsupported", lambda *_, **__: None)
    with pytest.raises(AssertionError, match="None instead of 'needs one "):
        contract.mixed_architectures_work_or_are_refused(honest.name)


def test_nobody_is_refused_without_a_need(register: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = register(Honest)
    monkeypatch.setattr(contract, "unsupported", lambda *_, **__: "needs one architecture")
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
