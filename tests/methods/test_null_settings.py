"""Two methods that must be one: section 5 of the specification, a row for every line that compares methods.

A row names what a method is set to and what it then is. Both run three rounds from one seed on six clients in two
groups; after every round, the logits that each client would deploy on the public pool are compared, to the bit where
the arithmetic is the same, else to the tolerance that the row gives a reason for.

The lines of section 5 about one method alone are kept elsewhere: planted groups, FedBABU's heads, SCAFFOLD's c and the
like by the tests of these methods; sealed labels, renumbering, test data and bytes by `fl_bench.methods.contract`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.federation.payloads import Bundle, Parameters
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.contract import MODEL, deal, made_up_data
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.datasets.split import Split
    from fl_bench.federation.cohort import Cohort
    from fl_bench.methods.base import Method

ROUNDS, LR = 3, 0.1
EXACT = 0.0
ROUNDING = 1e-10
"""Of float64 numbers that are the same sum, added in another order."""


@dataclass(frozen=True)
class Side:
    """A method with its settings, and the view of it that is compared."""

    method: str
    settings: tuple[tuple[str, Any], ...]
    view: str | None
    """The deployed one when None."""


def m(method: str, view: str | None = None, **settings: Any) -> Side:
    return Side(method, tuple(settings.items()), view)


@dataclass(frozen=True)
class Where:
    """What both sides of a row run on, where that is not six clients with two local epochs."""

    clients: int = 6
    epochs: int = 2
    balanced: bool = False
    """Every client has as many samples of each class."""


ONE_PASS = Where(epochs=1)
"""FedSelect shuffles and cuts every pass by itself; with one pass a round, that is what all do."""
BALANCED, ALONE = Where(balanced=True), Where(clients=1)

LOCAL = m("local")
FEDAVG, UNIFORM = m("fedavg"), m("fedavg", weights="uniform")
ON_CLIENTS, UNIFORM_ON_CLIENTS = m("fedavg", "+local"), m("fedavg", "+local", weights="uniform")
"""FedAvg's models after the local phase, which methods that deploy clients' models are compared with."""
KL = {"distill_epochs": 2, "distill_lr": LR, "clip": None}
DIGEST = {"score": "probabilities", "loss": "kl", "digest_epochs": 2, "digest_lr": LR}
FEDMD = m("fedmd", **DIGEST)
ONE_CLUSTER = {"clustering": "single", "temperature": 1.0, "consistency": 0.0, **KL}
SERVER = {"server_epochs": 2, "server_lr": LR}

ROWS: list[tuple[Side, Side, float, Where]] = []


def equal(one: Side, other: Side, within: float = EXACT, why: str = "", where: Where = Where()) -> None:
    """Add a row; `why` is for the reader."""
    assert (within == EXACT) == (why == "")
    ROWS.append((one, other, within, where))


# fmt: off

# must equal FedAvg, with the same aggregation weights
equal(m("fedprox", mu=0.0), FEDAVG)
equal(m("scaffold without controls", lr=LR), UNIFORM, ROUNDING, "w + mean(theta - w) for mean(theta)")
equal(m("feddf", server_epochs=0), UNIFORM)
equal(m("ifca", clusters=1), UNIFORM, ROUNDING, "a mean over a cluster is a sum divided by its weights")
equal(m("cfl", criterion="paper", epsilon1=0.0), UNIFORM, ROUNDING, "a mean over a cluster, as above")
equal(m("pfedgraph", alpha=float("inf"), regulariser_weight=0.0), FEDAVG, ROUNDING, "a projection adds to the shares")
equal(m("pfedgraph", alpha=float("inf"), regulariser="off"), FEDAVG, ROUNDING, "a projection, as above")
equal(m("fedper", personal="none"), FEDAVG)
equal(m("fedper", "+local", personal="none"), ON_CLIENTS)
equal(m("fedselect", p=0.0), UNIFORM_ON_CLIENTS, ROUNDING, "a sum divided by its sharers", ONE_PASS)
equal(m("lgfedavg", global_part="all"), FEDAVG)
equal(m("lgfedavg", "+local", global_part="all"), ON_CLIENTS)
equal(m("lgfedavg", warm_start=ROUNDS), FEDAVG)
equal(m("fedrod", "generic"), FEDAVG, where=BALANCED)
equal(m("fedrod", "generic", head="generated"), FEDAVG, where=BALANCED)
equal(m("pfedme", "global", inner_steps=1, lam=10.0, lr=0.1, personal_lr=LR, decay=0.0), FEDAVG, ROUNDING,
      "w - (w - theta) for theta")

# must equal Local-only
equal(m("ditto", lam=0.0), LOCAL)
equal(m("apfl", alpha=1.0, adapt="never"), LOCAL)
equal(m("fml", alpha=1.0), LOCAL)
equal(m("pfedck", kl_weight=0.0, feature_weight=0.0), LOCAL)
equal(m("fedper", personal="all"), LOCAL)
equal(m("lgfedavg", global_part="none"), LOCAL)
equal(m("fedselect with full masks"), LOCAL, where=ONE_PASS)
equal(m("fedproto", "head", prototype_weight=0.0), LOCAL)
equal(m("fedtgp", "head", prototype_weight=0.0), LOCAL)
equal(m("comet", transfer=0.0), LOCAL)
equal(m("comet", mode="sequential", distill_epochs=0), LOCAL)
equal(m("cosmos", distill_epochs=0), LOCAL)
equal(m("fedmd", digest_epochs=0), LOCAL)
equal(m("dsfl", distill_epochs=0), LOCAL)
equal(m("ktpfl", distill_epochs=0), LOCAL)
equal(m("cfd", client_init="persistent", distill_epochs=0), LOCAL)
equal(m("fedct", communication_every=ROUNDS + 1), LOCAL)
equal(FEDAVG, LOCAL, where=ALONE)

# COSMOS with K = 1, no server model, tau = 1 must equal FedMD (probabilities, KL, all of U)
equal(m("cosmos", feedback="no_model", **ONE_CLUSTER), FEDMD, ROUNDING, "COSMOS weighs the members of the mean")

# COSMOS with K = 1 and a server model must equal CFD 32/32 without delta, persistent clients
equal(m("cosmos", **SERVER, **ONE_CLUSTER),
      m("cfd", b_up=32, b_down=32, delta=False, client_init="persistent", **SERVER, **KL))

# COMET with K = 1, sequential, KL, uniform member weights must equal FedMD (probabilities, KL)
equal(m("comet", clusters=1, mode="sequential", loss="kl", member_weights="uniform", distill_epochs=2, distill_lr=LR),
      FEDMD, ROUNDING, "k-means divides a weighted sum")

# KT-pFL with c = 1/n must equal FedMD (probabilities at tau)
equal(m("ktpfl", coefficient_step=0.0, temperature=1.0, distill_epochs=2, distill_lr=LR), FEDMD, ROUNDING,
      "a mixture is a product with c")

# DS-FL with SA and no server model must equal FedMD (probabilities, KL) on the same index sets
equal(m("dsfl", aggregation="sa", server_model=False, public_samples=20, **KL), m("fedmd", public_samples=20, **DIGEST),
      ROUNDING, "soft cross-entropy has the gradient of KL")

# DS-FL with ERA in power form and exponent 1 must equal SA
equal(m("dsfl", aggregation="era", era_form="power", temperature=1.0, **KL), m("dsfl", aggregation="sa", **KL),
      ROUNDING, "rows are divided by their sums")

# further null settings, of the methods' cards
equal(m("ditto", "global"), FEDAVG)
equal(m("apfl", "global"), FEDAVG)
equal(m("apfl", alpha=0.0, adapt="never"), ON_CLIENTS)
equal(m("fml", "meme", beta=1.0), UNIFORM)
equal(m("fedopt", optimizer="sgdm", beta1=0.0, server_lr=1.0), FEDAVG, ROUNDING, "w + mean(theta - w), as above")
equal(m("fedkd", kl_weight=0.0, feature_weight=0.0), LOCAL)
equal(m("fedrod", "generic", gamma=0.0), FEDAVG)

# fmt: on


class ScaffoldWithoutControls(METHODS["scaffold"]):  # type: ignore[misc]
    """SCAFFOLD whose clients forget their control variates and send zeros."""

    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Bundle:
        sent = super().client_update(clients, received, rnd)
        nothing = {name: torch.zeros_like(tensor) for name, tensor in clients.parameters.items()}
        clients.keep("control", nothing)
        return Bundle({**sent.parts, "control": Parameters(nothing)})


class FedSelectWithFullMasks(METHODS["fedselect"]):  # type: ignore[misc]
    """FedSelect whose clients keep every entry for themselves from the start."""

    def personal(self, clients: Cohort) -> dict[str, torch.Tensor]:
        return {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in clients.parameters.items()}


FORCED: dict[str, type[Method[Any]]] = {
    "scaffold without controls": ScaffoldWithoutControls,
    "fedselect with full masks": FedSelectWithFullMasks,
}
"""Null settings that no option of a method reaches."""


def balanced(dealt: Split) -> Split:
    """The same training rows dealt anew, so that all clients have as many of each class."""
    labels = made_up_data().labels.numpy()
    rows = np.concatenate(dealt.train)
    by_class = [rows[labels[rows] == label] for label in range(4)]
    each = min(map(len, by_class)) // len(dealt.train)
    train = [
        np.concatenate([own[client * each : (client + 1) * each] for own in by_class])
        for client in range(len(dealt.train))
    ]
    return replace(dealt, train=tuple(train))


@cache
def history(side: Side, where: Where) -> torch.Tensor:
    """Logits of each client's model on the public pool after every round, shape (rounds, clients, samples, classes)."""
    cls = FORCED.get(side.method) or METHODS[side.method]
    dataset = made_up_data()
    dealt = deal(dataset, where.clients)
    run = Run(
        cls(cls.config_type(**dict(side.settings))),
        dataset,
        balanced(dealt) if where.balanced else dealt,
        ModelMix((MODEL,)),
        # One client after the other: stacked, the sums of two nets round in another order than those of one.
        Training(
            rounds=ROUNDS,
            local_epochs=where.epochs,
            batch_size=8,
            optimizer="sgd",
            lr=LR,
            precision="float64",
            engine="loop",
        ),
        seed=0,
    )
    inputs, found = run.data.public.inputs(), []
    for row in run.rounds():
        rnd = Round(row.values["round"], 0, run.federation)
        clients = run.client_cohort(MODEL, range(run.data.clients), rnd)
        own = side.view in (None, cls.deployed_view)
        view = run.method.deployed(clients, rnd) if own else run.method.views(clients, rnd)[side.view]
        with torch.no_grad():
            found.append(torch.stack([view.logits(model, inputs) for model in view.index]))
    return torch.stack(found)


def words(side: Side) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in side.settings)
    return f"{side.method}({settings})" + (f".{side.view}" if side.view else "")


@pytest.mark.parametrize(
    ("one", "other", "within", "where"), ROWS, ids=[f"{words(one)} is {words(other)}" for one, other, _, _ in ROWS]
)
def test_null_setting(one: Side, other: Side, within: float, where: Where) -> None:
    found, expected = history(one, where), history(other, where)
    torch.testing.assert_close(found, expected, rtol=0, atol=within)


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        # section 5: ERA with T = 1 is *not* SA, as it takes the softmax of probabilities
        (m("dsfl", aggregation="era", temperature=1.0, **KL), m("dsfl", aggregation="sa", **KL), Where()),
        # and rows above that would hold of anything say nothing
        (FEDAVG, UNIFORM, Where()),
        (FEDAVG, ON_CLIENTS, Where()),
        (FEDAVG, LOCAL, Where()),
        (FEDMD, LOCAL, Where()),
        (m("fedrod", "generic"), FEDAVG, Where()),
        (m("scaffold", lr=LR), UNIFORM, Where()),
        (m("fedselect", every=1), UNIFORM_ON_CLIENTS, ONE_PASS),
    ],
    ids=lambda value: words(value) if isinstance(value, Side) else "",
)
def test_other_settings_differ(one: Side, other: Side, where: Where) -> None:
    assert (history(one, where)[-1] - history(other, where)[-1]).abs().max() > 1e-4
