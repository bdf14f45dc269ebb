"""SCAFFOLD: control variates take the clients' drift out of every local step.

S. P. Karimireddy, S. Kale, M. Mohri, S. J. Reddi, S. U. Stich, A. T. Suresh, "SCAFFOLD: Stochastic Controlled Averaging
for Federated Learning", ICML 2020, arXiv:1910.06378, Algorithm 1. One round, for sampled clients S of n, from the
server's w and c, with c_i = 0 and c = 0 at the start:

    train      theta  <- theta - lr * (g_i(theta) - c_i + c)       K_i steps of plain SGD from w
    control    c_i^+   = c_i - c + (w - theta) / (K_i * lr)        option II: the mean gradient along the way
               c_i^+   = grad of the loss on all of D_i, at w      option I: one more pass over D_i
    aggregate  w      <- w + server_lr * mean_{i in S} (theta_i - w)
               c      <- c + |S|/n * mean_{i in S} (c_i^+ - c_i)

With full participation c is the mean of all c_i. Every client counts the same, as in the paper.
Exchanged: theta_i - w and c_i^+ - c_i up, w and c down: 2 * #theta * 4 bytes each way. Control variates exist for
trainable parameters only; BatchNorm buffers travel with the weights and are averaged.
Two accuracies, as in FedAvg: `global` is w, the model SCAFFOLD deploys; `+local` is theta_i.
Local steps are plain SGD with a rate of the method's own, whatever the run's optimizer: after Adam or momentum
(w - theta) / (K_i * lr) is no mean gradient, and option II would be wrong. If the run clips gradients, it clips
g_i - c_i + c. Clients keep c_i between rounds; it grows stale when few of them take part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.lazy import torch
from fl_bench.spaces import Log, space

from ..federation.optimizers import Optimizer
from ..federation.payloads import Bundle, Parameters
from ..federation.trees import minus, plus
from .averaging import ServerModel, shares, weighted_mean
from .base import Facts, Plan, positive
from .losses import cross_entropy, inner_product
from .planning import PlannedPhase
from .registry import method
from .server_steps import start_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round
    from ..federation.settings import Training


@dataclass(frozen=True)
class ScaffoldConfig:
    """Settings of SCAFFOLD beside the run's local epochs and batch size."""

    option: Literal["I", "II"] = "II"
    """How clients renew c_i: `I` from the gradient of all their data at w, `II` from the steps they took."""
    lr: float = field(default=0.1, metadata=space(Log(1e-3, 1.0)))
    """Learning rate of the local SGD steps."""
    server_lr: float = field(default=1.0, metadata=space(Log(0.1, 1.0, most=2.0)))
    """Step of the server towards the average of the clients."""

    def __post_init__(self) -> None:
        positive("scaffold", lr=self.lr, server_lr=self.server_lr)


@method("scaffold")
class Scaffold(ServerModel[ScaffoldConfig]):
    """Control variates take the clients' drift out of every local step.

    The server keeps w and c; every client keeps its c_i as "control".
    """

    tolerates_absence = False  # c is the mean of all c_i only if every change of one arrives
    paper = "Karimireddy et al., ICML 2020, arXiv:1910.06378"
    wire = "up 2 * #theta * b, down 2 * #theta * b"

    def plan(self, facts: Facts) -> Plan:
        """The whole net and a number for each of its trainable parameters, each way; a gradient of all data for `I`."""
        size = facts.net.weights + facts.net.trainable
        return Plan(
            up_bytes=size,
            down_bytes=size,
            work=(
                PlannedPhase("local", facts.local_epochs),
                PlannedPhase("local", 1 if self.config.option == "I" else 0),
            ),
        )

    def local_optimizers(self, training: Training) -> dict[str, Optimizer]:
        """Plain SGD, whatever the run's optimizer."""
        return {"lr": Optimizer("sgd", self.config.lr)}

    def setup(self, federation: Federation) -> None:
        """Nothing yet: w is the common start and c is 0 until the first uploads."""
        self.w: Tree = {}
        self.c: Tree = {}

    def client_update(self, clients: Cohort, received: Bundle | None, rnd: Round) -> Bundle:
        """Train from w with corrected gradients, then renew the control variate."""

        c = {name: torch.zeros_like(tensor) for name, tensor in clients.parameters.items()}
        c_i = clients.kept("control") or c
        if received is not None:
            clients.load(tree_of(received, "model"))
            c = tree_of(received, "control")
        w, correction = clients.weights, minus(c, c_i)
        renewed = clients.private_gradient() if self.config.option == "I" else None
        (sgd,) = self.local_optimizers(clients.training).values()
        log = clients.fit(corrected_loss, optimizer=sgd, per_client={"correction": correction})
        moved = minus(clients.weights, w)
        if renewed is None:
            steps = clients.sizes.new_tensor(log.steps)
            renewed = {
                name: -moved[name] / (self.config.lr * steps.view(-1, *[1] * (value.dim() - 1))) - value
                for name, value in correction.items()
            }
        change = minus(renewed, c_i)  # before `keep`, which writes where c_i may still be
        clients.keep("control", renewed)
        return Bundle({"model": Parameters(moved, relative=True), "control": Parameters(change, relative=True)})

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Step w by the mean movement and c by the mean change, scaled by how many clients took part."""
        evenly = shares(uploads, "uniform")
        moved, change = (weighted_mean(uploads.part(part).parameters(), evenly) for part in ("model", "control"))
        w = self.w or start_of(self.federation)
        stepped = plus(w, moved, self.config.server_lr)
        self.w = {name: stepped[name] if name in change else value for name, value in plus(w, moved).items()}
        c = self.c or {name: torch.zeros_like(tensor) for name, tensor in change.items()}
        self.c = plus(c, change, len(uploads.ids) / self.federation.clients)
        return uploads.to_all(Bundle({"model": Parameters(self.w), "control": Parameters(self.c)}))

    def state_dict(self) -> dict[str, Any]:
        """The server's model and control variate."""
        return {"w": self.w, "c": self.c}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.w, self.c = dict(state["w"]), dict(state["c"])


def corrected_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy + <theta, c - c_i>, whose gradient is g_i(theta) - c_i + c."""
    return cross_entropy(model, batch) + inner_product(model, batch.extra["correction"])


def tree_of(message: Bundle, part: str) -> Tree:
    """The weights in one part of a message."""
    payload = message.parts[part]
    assert isinstance(payload, Parameters)
    return payload.tree
