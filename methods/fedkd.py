"""FedKD: a large model stays with the client, a small one travels, as the strong directions of its updates.

C. Wu, F. Wu, L. Lyu, Y. Huang, X. Xie, "Communication-efficient federated learning via knowledge distillation", Nature
Communications 13, 2022, arXiv:2108.13323. One round t of T, for sampled clients S, with a teacher theta_i of any
architecture, a student s of one architecture for all (the run's `models.server`), features z and outputs p of each:

    mutual       on every batch of E_loc epochs, all from the outputs before the step; theta_i and s_i descend
                 L_teacher = CE_t + [KL(p_s || p_t) + MSE(z_t, W_i z_s)] / (CE_t + CE_s)       p_s, z_s constant
                 L_student = CE_s + [KL(p_t || p_s) + MSE(z_t, W_i z_s)] / (CE_t + CE_s)       p_t, z_t constant
                 and W_i, which stays with the client, descends L_student
    compress     D_i = C_e(s_i - s)                 e = e_0 + (t + 1)/T * (e_T - e_0)
    aggregate    D   = C_e(sum_{i in S} n_i/n_S * D_i)                  by size, or every client the same
    apply        s   = s + D                        from the student of the round's start, on every client

C_e keeps, of each matrix, the fewest singular values whose squares reach the share e of the sum (a convolution counts
as out x (in * height * width)); vectors travel as they are. r of them cost r * (p + q + 1) * b bytes for a p x q
matrix, also where that is more than p * q * b. Full rank is allowed: in the authors' code and in HtFLlib a matrix that
needs all its singular values is lost, and the authors multiply U, singular values and V with the second as a vector.
A client that stayed away gets all it has missed, as one matrix of at most the sum of the ranks (`last_heard`).
Deployed: theta_i (`teacher`). Also reported: s (`student`).
Left open: what the denominators do to gradients (they are constants here; `weight_gradient` lets them flow, as the
authors' code does), W_i (it starts as the identity, cut to p x q where features differ in number) and the weights of
the average (all the same in that code).
Departures: that code compares hidden states and attention maps of transformers, layer by layer and without W_i, and
its gradients reach what is imitated, too; here z are the features before the head, and what is imitated is constant.
Both losses vanish on data that are learned by heart, and the weights with them would have no bound: CE_t + CE_s counts
as `smallest_loss` at least. A step trains both models and counts as one; `training.clip` bounds the gradient of all
together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError, Diverged
from fl_bench.lazy import F, nn, torch
from fl_bench.spaces import Log, space

from ..federation.payloads import Parameters
from ..federation.trees import minus, plus, subtree, under
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, not_negative, positive
from .last_heard import NOTHING, LastHeard
from .losses import imitation
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedKDConfig:
    """Settings of FedKD beside the run's local training."""

    energy_start: float = 0.95
    """e_0, the share of a matrix's squared singular values that travels before the first round, in (0, 1]."""
    energy_end: float = 0.98
    """e_T, that of the last round; 1 for both sends whole updates."""
    kl_weight: float = field(default=1.0, metadata=space(Log(0.1, 10.0)))
    """Factor of the two KL terms."""
    feature_weight: float = field(default=1.0, metadata=space(Log(0.1, 10.0)))
    """Factor of the MSE between features."""
    weight_gradient: bool = False
    """Whether gradients flow through the adaptive weights 1 / (CE_t + CE_s)."""
    smallest_loss: float = 1e-3
    """What CE_t + CE_s counts at least where it divides."""
    weights: Literal["size", "uniform"] = "size"
    """In the average of updates clients count by their private samples or all the same."""

    def __post_init__(self) -> None:
        for name in ("energy_start", "energy_end"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"fedkd.{name} must be in (0, 1], got {getattr(self, name)}")
        not_negative("fedkd", kl_weight=self.kl_weight, feature_weight=self.feature_weight)
        positive("fedkd", smallest_loss=self.smallest_loss)


@method("fedkd")
class FedKD(Method[FedKDConfig]):
    """A large model stays with the client, a small one travels, as the strong directions of its updates.

    A client holds theta_i ("personal"), the student of the last round that it knows ("shared") and W_i ("match"). The
    server keeps the newest student, of which round each client has the update as its newest (`heard`), and for each
    of these rounds the sum of all updates since (`missed`).
    """

    tolerates_absence = False  # updates are added to those that a client has received
    category = "personalized"
    paper = "Wu et al., Nature Communications 2022, arXiv:2108.13323"
    wire = "up sum of r * (p + q + 1) * b over matrices p x q of omega, + b, down the same without"
    exchanges = frozenset({Parameters})
    deployed_view = "teacher"

    def plan(self, facts: Facts) -> Plan:
        """At most the factors of full rank each way; every step runs both nets."""
        most = (facts.server or facts.net).factors
        return Plan(
            up_bytes=most + size_bytes(facts, self.config.weights),
            down_bytes=most,
            bound=True,
            work=(PlannedPhase("local", facts.local_epochs, passes=2),),
        )

    def build_client(self, base: Any) -> nn.Module:
        """The client's own net, a student, and W."""
        from .two_models import TwoModels

        student = self.federation.common_net()
        nets = TwoModels(base, student)
        nets.match = nn.Parameter(torch.eye(base.features, student.features))
        return nets

    def setup(self, federation: Federation) -> None:
        """Start with the common student, and no update yet."""
        self.student = subtree(next(iter(federation.start.values())), "shared")
        self.heard = LastHeard([NOTHING] * federation.clients)
        self.missed: dict[int, Compressed] = {}

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Bring the student up to date, train both models, send the student's update; the student goes back."""
        start = subtree(clients.weights, "shared")
        if received is not None:
            start = plus(start, received.tree)
            clients.load(under("shared", start))
        clients.fit(self.mutual_loss)
        update = compress(minus(subtree(clients.weights, "shared"), start), self.energy(rnd))
        clients.load(under("shared", start))
        told = told_sizes(clients, self.config.weights)
        return Parameters(update.tree, update.nbytes(), relative=True, sizes=told)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the updates, compress the average, and send each client all that it has missed."""
        mean = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        update = compress(mean, self.energy(rnd))
        self.student = plus(self.student, update.tree)
        self.heard.took_part(uploads.ids, rnd)
        self.missed = {heard: update.after(self.missed.get(heard)) for heard in self.heard.rounds}
        return self.heard.answer(
            uploads, lambda heard: Parameters(self.missed[heard].tree, self.missed[heard].nbytes())
        )

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """Each client's teacher."""
        return clients.deployed(part="personal")

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains its own net and the newest student on each other."""
        clients.load(under("shared", self.student))
        clients.fit(self.mutual_loss)
        return clients.deployed()

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The student."""
        return {"student": clients.with_weights(self.student, part="shared")}

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """The share of energy that travelled in this round."""
        return {"energy": self.energy(rnd)}

    def state_dict(self) -> dict[str, Any]:
        """The student, and what was missed by whom."""
        missed = {heard: [update.tree, update.ranks] for heard, update in self.missed.items()}
        return {"student": self.student, "heard": torch.tensor(self.heard.of_client), "missed": missed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `state_dict`."""
        self.student, self.heard = dict(state["student"]), LastHeard(state["heard"].tolist())
        self.missed = {heard: Compressed(*parts) for heard, parts in state["missed"].items()}

    def energy(self, rnd: Round) -> float:
        """e of a round."""
        start, end = self.config.energy_start, self.config.energy_end
        return start + (rnd.index + 1) / self.federation.training.rounds * (end - start)

    def mutual_loss(self, model: Any, batch: Batch) -> Tensor:
        """The losses of both models on one batch; neither reaches the other's weights, so their sum trains both."""
        assert batch.y is not None
        z_t, z_s = model.personal.body(batch.x), model.shared.body(batch.x)
        teacher, student = model.personal.head(z_t), model.shared.head(z_s)
        z_s = F.linear(z_s, model.match)
        ce_t, ce_s = F.cross_entropy(teacher, batch.y), F.cross_entropy(student, batch.y)
        kl_t, kl_s = imitation(teacher, student), imitation(student, teacher)
        mse_t, mse_s = F.mse_loss(z_t, z_s.detach()), F.mse_loss(z_s, z_t.detach())
        return (
            ce_t
            + (self.config.kl_weight * kl_t + self.config.feature_weight * mse_t) / self.hardness(ce_t, ce_s.detach())
            + ce_s
            + (self.config.kl_weight * kl_s + self.config.feature_weight * mse_s) / self.hardness(ce_s, ce_t.detach())
        )

    def hardness(self, own: Tensor, other: Tensor) -> Tensor:
        """CE_t + CE_s as one of the two losses is divided by it."""
        own = own if self.config.weight_gradient else own.detach()
        return (own + other).clamp_min(self.config.smallest_loss)


@dataclass(frozen=True)
class Compressed:
    """Updates whose matrices have few singular values, as the receiver puts them together again."""

    tree: Tree
    """Name to (rows, ...), a row for each update."""
    ranks: Tree
    """How many singular values each matrix has, name to (rows,); vectors have none and are not named."""

    def nbytes(self) -> Tensor:
        """Bytes of each update, shape (rows,): r * (p + q + 1) numbers of a matrix, all numbers of a vector."""
        sizes = []
        for name, tensor in self.tree.items():
            if name in self.ranks:
                numbers = self.ranks[name] * (sum(as_matrix(tensor).shape[1:]) + 1)
            else:
                numbers = torch.full((len(tensor),), tensor[0].numel(), device=tensor.device)
            sizes.append(numbers * tensor.element_size())
        return torch.stack(sizes).sum(dim=0)

    def after(self, earlier: Compressed | None) -> Compressed:
        """This update and an earlier one as one: of at most the sum of their ranks, and never more than full rank."""
        if earlier is None:
            return self
        ranks = {
            name: (rank + earlier.ranks[name]).clamp(max=min(as_matrix(self.tree[name]).shape[1:]))
            for name, rank in self.ranks.items()
        }
        return Compressed(plus(earlier.tree, self.tree), ranks)


def compress(tree: Tree, energy: float) -> Compressed:
    """C_e, the strongest part of every matrix: its fewest singular values whose squares reach a share of their sum.

    Args:
        tree: updates, name to (rows, ...).
        energy: the share e, in (0, 1].

    Returns:
        What arrives, in the shape of `tree`. A matrix of zeros has rank 0.

    Raises:
        Diverged: a number is not finite.
    """
    arrived, ranks = dict(tree), {}
    for name, tensor in tree.items():
        if tensor.dim() < 3:
            continue  # a vector or a number of each row
        if not bool(tensor.isfinite().all()):
            raise Diverged(f"an update of the students' {name} is not finite")
        u, singular, v = torch.linalg.svd(as_matrix(tensor), full_matrices=False)
        reached = singular.double().square().cumsum(dim=1)
        total = reached[:, -1:]
        rank = ((reached < energy * total).sum(dim=1) + 1) * (total[:, 0] > 0)
        kept = singular * (torch.arange(singular.shape[1], device=rank.device) < rank[:, None])
        arrived[name], ranks[name] = ((u * kept[:, None]) @ v).view_as(tensor), rank
    return Compressed(arrived, ranks)


def as_matrix(tensor: Tensor) -> Tensor:
    """Matrices p x q, shape (rows, p, q); a convolution is out x (in * height * width)."""
    return tensor.flatten(2)
