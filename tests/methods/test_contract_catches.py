"""Each contract check catches the method that breaks what it checks: one cheat per check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fl_bench.errors import ConfigError, Diverged
from fl_bench.federation.payloads import Parameters, Scores
from fl_bench.methods import contract
from fl_bench.methods.base import Method, Plan
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fl_bench.federation.channel import Downloads, Uploads
    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.rounds import Round


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


class Peeking(Honest):
    """Trains at a rate that depends on the sealed labels, and tells nobody."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        first = int(rnd.public.labels.open_for_evaluation()[0])
        clients.fit(cross_entropy, lr=0.01 * (1 + first))


class OpenlyPeeking(Honest):
    """The same, through the door that leaves a badge."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        first = int(rnd.public.labels.open("openly peeking")[0])
        clients.fit(cross_entropy, lr=0.01 * (1 + first))


class TestTuned(Honest):
    __test__ = False

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        clients.fit(cross_entropy, lr=0.01 if clients.data.inputs.mean() < 1 else 0.02)


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


class Frozen(Honest):
    """Never trains, so no learning rate makes it diverge."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> None:
        return None


@pytest.fixture
def register() -> Iterator[Any]:
    """Register a class for one test."""
    added: list[str] = []

    def add(cls: type[Method[Any]]) -> str:
        name = f"cheat {cls.__name__}"
        METHODS.register(name)(cls)
        cls.name = name
        added.append(name)
        return name

    yield add
    for name in added:
        METHODS._entries.pop(name)


@pytest.mark.parametrize(
    ("cheat", "check", "error", "words"),
    [
        (Unseeded, contract.same_seed_same_bits, AssertionError, "ran twice with one seed"),
        (Frozen, contract.divergence_is_not_an_accuracy, AssertionError, "reports an accuracy"),
        (Forgetful, contract.stopping_and_resuming_changes_nothing, AssertionError, "was stopped after round 1"),
        (Peeking, contract.sealed_labels_change_nothing, AssertionError, "uses sealed labels"),
        (TestTuned, contract.test_data_change_nothing, AssertionError, "trains on test data"),
        (Talkative, contract.bytes_equal_the_closed_form, AssertionError, "the plan says"),
        (Smuggling, contract.bytes_equal_the_closed_form, ConfigError, "put Parameters on the wire"),
        (Impatient, contract.partial_participation_works, IndexError, "out of bounds"),
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
