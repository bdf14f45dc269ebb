"""FedOpt: the server treats the average movement of the clients as a gradient, and an adaptive optimizer steps on it.

S. J. Reddi, Z. Charles, M. Zaheer, Z. Garrett, K. Rush, J. Konečný, S. Kumar, H. B. McMahan, "Adaptive Federated
Optimization", ICLR 2021, arXiv:2003.00295, Algorithms 1 and 2. One round, for sampled clients S:

    train      theta_i = LOCAL(w; D_i)                                   E_loc epochs from the server's w
    average    delta   = sum_{i in S} n_i/n_S * (theta_i - w)            or every client the same (`weights: uniform`)
    momentum   m      <- beta1 * m + (1 - beta1) * delta
    scale      v      <- v + delta^2                                     adagrad (FedAdagrad)
               v      <- beta2 * v + (1 - beta2) * delta^2               adam    (FedAdam)
               v      <- v - (1 - beta2) * delta^2 * sign(v - delta^2)   yogi    (FedYogi)
    step       w      <- w + server_lr * m / (sqrt(v) + tau)

`sgdm` (FedAvgM; Hsu et al. 2019, arXiv:1909.06335) has m <- beta1 * m + delta and w <- w + server_lr * m; with beta1 0
and server_lr 1 it is FedAvg. m starts at 0 and v at tau^2; there is no bias correction, as in the paper.
Exchanged: all weights and BatchNorm buffers, #theta * 4 bytes each way. Buffers are averaged, not optimized.
Two accuracies, as in FedAvg: `global` is w, the model FedOpt deploys; `+local` is theta_i.
Left open by the paper: server_lr, which it tunes over decades together with the clients' rate. Weights move by about
server_lr a round, so that the best one depends on the number of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import torch
from fl_bench.spaces import Log, space

from ..federation.payloads import Parameters
from ..federation.trees import chosen, minus
from .averaging import ServerModel, shares, told_sizes, weighted_mean
from .base import positive
from .losses import cross_entropy
from .registry import method
from .server_steps import start_of, trained_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedOptConfig:
    """Settings of FedOpt beside the run's local training."""

    optimizer: Literal["adam", "yogi", "adagrad", "sgdm"] = "adam"
    """The server's optimizer."""
    server_lr: float = field(default=0.03, metadata=space(Log(1e-3, 1.0)))
    """Learning rate of the server; about 1 for `sgdm`, whose steps are as long as the clients'."""
    beta1: float = 0.9
    """Decay of the momentum m."""
    beta2: float = 0.99
    """Decay of the scale v of `adam` and `yogi`."""
    tau: float = field(default=1e-3, metadata=space(Log(1e-5, 1e-1)))
    """Added to the scale: the larger, the less adaptive."""
    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples or all the same."""

    def __post_init__(self) -> None:
        positive("fedopt", server_lr=self.server_lr, tau=self.tau)
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"fedopt.{name} must be in [0, 1), got {getattr(self, name)}")


@method("fedopt")
class FedOpt(ServerModel[FedOptConfig]):
    """The server steps on the clients' average movement with an adaptive optimizer.

    The server keeps w and, for its parameters, the momentum m and the scale v.
    """

    paper = "Reddi et al., ICLR 2021, arXiv:2003.00295"
    tolerates_absence = True

    def setup(self, federation: Federation) -> None:
        """Nothing yet: w is the common start until the first uploads, m is 0 and v is tau^2."""
        self.trained = trained_names(federation)
        self.w: Tree = {}
        self.m: Tree = {}
        self.v: Tree = {}

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Train from the server's model."""
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        return Parameters(clients.weights, sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Step on the mean movement and send the new model to all."""
        mean = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        w = self.w or start_of(self.federation)
        delta = chosen(minus(mean, w), self.trained.__contains__)
        step = self.step(delta)
        self.w = {name: w[name] + step[name] if name in step else value for name, value in mean.items()}
        return uploads.to_all(Parameters(self.w))

    def state_dict(self) -> dict[str, Any]:
        """The server's model, momentum and scale."""
        return {"w": self.w, "m": self.m, "v": self.v}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.w, self.m, self.v = dict(state["w"]), dict(state["m"]), dict(state["v"])

    def step(self, delta: Tree) -> Tree:
        """What is added to w, given the mean movement; moves m and v on."""
        settings = self.config
        m = self.m or {name: torch.zeros_like(tensor) for name, tensor in delta.items()}
        if settings.optimizer == "sgdm":
            self.m = {name: settings.beta1 * m[name] + moved for name, moved in delta.items()}
            return {name: settings.server_lr * tensor for name, tensor in self.m.items()}
        v = self.v or {name: torch.full_like(tensor, settings.tau**2) for name, tensor in delta.items()}
        self.m = {name: settings.beta1 * m[name] + (1 - settings.beta1) * moved for name, moved in delta.items()}
        self.v = {name: self.scale(v[name], moved.square()) for name, moved in delta.items()}
        return {
            name: settings.server_lr * tensor / (self.v[name].sqrt() + settings.tau) for name, tensor in self.m.items()
        }

    def scale(self, v: Tensor, square: Tensor) -> Tensor:
        """The next v, given delta^2."""
        beta2 = self.config.beta2
        if self.config.optimizer == "adagrad":
            return v + square
        if self.config.optimizer == "adam":
            return beta2 * v + (1 - beta2) * square
        return v - (1 - beta2) * square * torch.sign(v - square)
