"""APFL: every client deploys a mixture, in parameter space, of its own model and its copy of the server's.

Y. Deng, M. M. Kamani, M. Mahdavi, "Adaptive Personalized Federated Learning", 2020, arXiv:2003.13461, Algorithm 1.
One round, for sampled clients S that received w, with mix_i = alpha_i * v_i + (1 - alpha_i) * theta_i:

    for each batch of E_loc epochs over D_i:
      train    theta_i <- descend cross-entropy of theta_i                              LOCAL, as in FedAvg
      mix      v_i     <- descend cross-entropy of mix_i by v_i                         gradient alpha_i * g(mix_i)
      adapt    alpha_i <- clip[0,1](alpha_i - alpha_lr * (<v_i - theta_i, g(mix_i)> + alpha_decay * alpha_i))
                                                                                        on the first batch alone
    aggregate  w        = sum_{i in S} n_i/n_S * theta_i                                by size, or all the same

w never depends on v_i or alpha_i. v_i starts from the common initial weights.
Exchanged: all weights and BatchNorm buffers of theta, #theta * 4 bytes each way; v_i and alpha_i never leave.
Deployed: mix_i as the client left it (`personal`). Also reported: the same with the server's new w in place of theta_i
(`refreshed`), w (`global`), theta_i (`+local`), and the clients' mean alpha.
The step of alpha is that of the authors' code (FedTorch, `comms/trainings/federated/apfl.py` and `alpha_update` in
`comms/utils/flow_utils.py`): after theta_i and v_i have taken their step on a round's first batch, at the learning rate
of the run, with a pull of 0.02 * alpha towards 0, plain whatever the run's optimizer, clipped to [0, 1] and never by
norm. Alpha starts at 0.5 there. It is adapted only on request, which is the default here. Other codes move it on every
batch (`adapt: batch`) or leave it where it is (`adapt: never`).
What is mixed: parameters in the paper (`mix: parameters`), logits in the authors' code (`mix: logits`), which is one
and the same for a linear net. For the slope of alpha that code keeps <v_i - theta_i, .> with alpha_i and 1 - alpha_i
times the gradients that v_i's step left in both nets; here the slope is the derivative of the loss by alpha.
Departures: v_i and theta_i take turns on a batch, as in the authors' code; the paper steps both at once. So mix_i sees
the new theta_i. The slope of alpha is that at the new v_i, where the authors reuse the gradient from before its step.
BatchNorm statistics of the mixture are its own, measured in training; they are neither mixed nor sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError
from fl_bench.spaces import Linear, Log, space

from ..federation.optimizers import Optimizer
from ..federation.payloads import Parameters
from ..federation.phase import Step
from ..federation.trees import subtree, under
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, shared_cross_entropy
from .parts import refreshed
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from torch import nn

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Round


@dataclass(frozen=True)
class APFLConfig:
    """Settings of APFL beside the run's local training."""

    alpha: float = field(default=0.5, metadata=space(Linear(0.1, 0.9, least=0, most=1)))
    """Initial share of the client's own model in the mixture; 1 that stays is Local-only, 0 FedAvg's `+local`."""
    mix: Literal["parameters", "logits"] = "parameters"
    """What is mixed: the weights of the two models (the paper), or their logits (the authors' code)."""
    adapt: Literal["round", "batch", "never"] = "round"
    """When alpha takes a gradient step: on the first batch of a round, on every batch, or never."""
    alpha_lr: float | None = field(default=None, metadata=space(Log(1e-4, 1.0)))
    """Learning rate of alpha; the run's, `training.lr`, when null."""
    alpha_decay: float = 0.02
    """Pull of alpha towards 0, added to its gradient as alpha_decay * alpha."""
    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples or all the same."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"apfl.alpha must be in [0, 1], got {self.alpha}")
        positive("apfl", alpha_lr=1 if self.alpha_lr is None else self.alpha_lr)
        not_negative("apfl", alpha_decay=self.alpha_decay)


@method("apfl")
class APFL(Method[APFLConfig]):
    """Every client deploys a mixture of its own model and its copy of the server's.

    A client holds theta_i ("shared"), v_i ("personal") and "alpha".
    """

    protocol = 2  # alpha moves as in the authors' code: their rate, their decay, on a batch
    category = "personalized"
    paper = "Deng et al., 2020, arXiv:2003.13461"
    wire = "up #theta * b + b, down #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "personal"
    deploys = "the mixture that the client holds since it last took part; its initial net before that"

    def plan(self, facts: Facts) -> Plan:
        """One of the two nets each way; a step for each on every batch, and one for alpha where it is due."""
        epochs, passes = facts.local_epochs, 1 if self.config.mix == "parameters" else 4 / 3
        steps = {
            "round": (PlannedPhase("local", epochs, batches=1, passes=passes),),
            "batch": (PlannedPhase("local", epochs, passes=passes),),
            "never": (),
        }
        return Plan(
            up_bytes=facts.weights_bytes + size_bytes(facts, self.config.weights),
            down_bytes=facts.weights_bytes,
            work=(
                PlannedPhase("local", epochs),
                PlannedPhase("local", epochs, passes=passes),
                *steps[self.config.adapt],
            ),
        )

    def build_client(self, base: nn.Module) -> nn.Module:
        """The zoo's net twice, and how they are mixed."""
        from .two_models import Mixture, MixtureOfLogits

        mixture = Mixture if self.config.mix == "parameters" else MixtureOfLogits
        return mixture(base, self.config.alpha)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Train both models on the same batches, and adapt the mixing weight."""
        from .two_models import is_personal, is_shared

        if received is not None:
            clients.load(under("shared", received.tree))
        steps = [Step(shared_cross_entropy, is_shared), Step(cross_entropy, is_personal)]
        if self.config.adapt != "never":
            rate = clients.training.lr if self.config.alpha_lr is None else self.config.alpha_lr
            rule = Optimizer("sgd", rate, weight_decay=self.config.alpha_decay)
            first = 1 if self.config.adapt == "round" else None
            steps.append(Step(cross_entropy, is_alpha, rule, clip=None, within={"alpha": (0.0, 1.0)}, batches=first))
        clients.fit(steps)
        return Parameters(subtree(clients.weights, "shared"), sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the uploaded weights and send the average to all."""
        self.w = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        return uploads.to_all(Parameters(self.w))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The mixture, and for the record how much of it is personal."""
        clients.note("alpha", clients.parameters["alpha"])
        return super().deployed(clients, rnd)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The mixture with the server's model, that model, and what each client made of it in its local phase."""
        return {
            "refreshed": refreshed(clients, under("shared", self.w)),
            "global": clients.with_weights(self.w, part="shared"),
            "+local": clients.deployed(part="shared"),
        }


def is_alpha(name: str) -> bool:
    """Whether a parameter is the mixing weight."""
    return name == "alpha"
