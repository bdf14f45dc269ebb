"""FedDF: the server fuses models by distilling from all of them at once on unlabelled data.

T. Lin, L. Kong, S. U. Stich, M. Jaggi, "Ensemble Distillation for Robust Model Fusion in Federated Learning",
NeurIPS 2020, arXiv:2006.07242, Algorithms 1 (one architecture) and 3 (several). Round t, for sampled clients S, and
for every architecture p with its clients S_p:

    train      theta_i = LOCAL(w_p; D_i)                  E_loc epochs from the server's w_p, for i in S_p
    average    w_p     = 1/|S_p| sum_{i in S_p} theta_i   where the student starts
    ensemble   q_u     = softmax(1/|S| sum_{i in S} f_i(u) / tau)    *all* uploaded models teach, whatever their p
    distil     w_p    <- descend KL(q_u || softmax(f_p(u) / tau)) on U    Adam, cosine to 0, `server_epochs` passes

Exchanged: all weights and BatchNorm buffers of the client's own architecture, #theta * 4 bytes each way. The public
data stay with the server, which must know every architecture.
Two accuracies: `global` is w_p on each client's test data, the model FedDF deploys; `+local` is theta_i.
Options: teachers are averaged as `avg_logits` (the paper), as `avg_probs`, or the student's losses towards each of
them are (`avg_losses`; it is another number with the gradient of `avg_probs`, since the sum over teachers moves
inside the KL). With `drop_below` (1.2 in the authors' code) a model teaches only where its accuracy on its client's
validation samples reaches so many times that of guessing, 1/C; clients send this number too, 4 bytes. Validation
samples then take part in training, if only by a yes or no. The average counts every client the same, as the authors'
code does, or by its samples (`weights`).
Left open by the paper: an architecture of which nobody was drawn; its model waits as it is. A round in which every
model is dropped; the averages stay as they are. A client without validation samples is not judged: its model teaches.
Departures: the authors stop a student by its accuracy on *labelled* data of the server (at most 10,000 steps, 1,000
without gain); a server without labels takes a fixed number of passes and the last student. There too they judge
teachers, and where none is near chance they drop outliers. Here each is judged where its client has labels, so that
one who knows a single class, and holds no other, is not weak. Models that are dropped still count in the average.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import Unsupported
from fl_bench.later import LATER
from fl_bench.lazy import np, torch
from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Teaching
from ..federation.optimizers import Optimizer
from ..federation.payloads import Bundle, Parameters, Scalars
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, kl_divergence
from .planning import PlannedPhase, parts_met
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Payload, Tree
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedDFConfig:
    """Settings of FedDF beside the run's local training."""

    ensemble: Literal["avg_logits", "avg_probs", "avg_losses"] = "avg_logits"
    """How teachers are put together: means of their logits, of their probabilities, or of the losses towards them."""
    temperature: float = 1.0
    """tau, of teachers and student alike; no tau^2 in the loss."""
    server_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes of every student over the public pool per round; 0 is FedAvg by architecture."""
    server_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Adam's learning rate at the start of a distillation; it falls to 0 along a cosine."""
    clip: float | None = 5.0
    """Largest gradient norm in distillation; null for none."""
    weights: Literal["size", "uniform"] = "uniform"
    """In the average, clients count by their private samples or all the same (the authors' code)."""
    drop_below: float | None = field(default=None, metadata=LATER)
    """A model whose accuracy on its client's validation samples is below this many times chance, 1/C, does not teach;
    1.2 in the authors' code, null lets all teach."""

    def __post_init__(self) -> None:
        positive("feddf", temperature=self.temperature, server_lr=self.server_lr)
        positive("feddf", clip=1.0 if self.clip is None else self.clip)
        positive("feddf", drop_below=1.0 if self.drop_below is None else self.drop_below)
        not_negative("feddf", server_epochs=self.server_epochs)


@method("feddf")
class FedDF(Method[FedDFConfig]):
    """The server averages by architecture, then every average learns from all uploaded models on public data.

    The server keeps the model of each architecture that has taken part; clients keep nothing between rounds.
    """

    category = "distillation"
    paper = "Lin et al., NeurIPS 2020, arXiv:2006.07242"
    wire = "up #theta * b + b, down #theta * b"
    requires = Requires(public_data_at_server=True, shared_init=True)
    exchanges = frozenset({Parameters, Scalars})
    tolerates_absence = True
    deployed_view = "global"
    deploys = "the server's newest model of the client's architecture, for every client"

    @property
    def judges(self) -> bool:
        """Whether teachers may be dropped."""
        return self.config.drop_below is not None

    def payloads(self) -> frozenset[type[Payload]]:
        """Weights, and accuracies where teachers are judged by them."""
        return self.exchanges if self.judges else frozenset({Parameters})

    def plan(self, facts: Facts) -> Plan:
        """#theta * 4 bytes each way, of the client's own architecture; a student for each that takes part."""
        students = parts_met(facts.architectures, facts.clients, facts.participants or facts.clients)
        return Plan(
            up_bytes=facts.weights_bytes
            + (facts.number_bytes if self.judges else 0)
            + size_bytes(facts, self.config.weights),
            down_bytes=facts.weights_bytes,
            work=(
                PlannedPhase("local", facts.local_epochs),
                PlannedPhase("server", self.config.server_epochs, "public", models=students),
            ),
            steps="expected" if students < facts.architectures else "most" if self.judges else "exact",
        )

    def setup(self, federation: Federation) -> None:
        """Nobody has taken part yet."""
        if self.judges and not federation.has_validation:
            raise Unsupported(
                "feddf.drop_below judges teachers on their clients' validation samples, but no client has any; "
                "a partition.val_fraction above 0 holds some out"
            )
        self.students: dict[str, Tree] = {}

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters | Bundle:
        """Train from the server's model of this architecture; first from the common initial weights."""
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        model = Parameters(clients.weights, sizes=told_sizes(clients, self.config.weights))
        if not self.judges:
            return model
        return Bundle({"model": model, "accuracy": Scalars({"share": clients.validation_accuracy()})})

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average by architecture, let the uploaded models teach each average, send each to its clients."""
        public = rnd.public.inputs()
        self.teachers = uploads.ids
        if self.config.drop_below is not None:
            weak = uploads.part("accuracy").scalars("share") < self.config.drop_below / self.federation.classes
            self.teachers = tuple(np.array(uploads.ids)[~weak.cpu().numpy()].tolist())
            uploads = uploads.part("model")
        lessons = self.lessons(uploads, public)
        for architecture in uploads.architectures:
            average = weighted_mean(
                uploads.parameters(architecture), shares(uploads, self.config.weights, architecture)
            )
            student = self.federation.holding(architecture, average).at(rnd.index)
            if self.teachers:
                self.distil(student, public, lessons)
            self.students[architecture] = student.weights
        fresh = {architecture: Parameters(self.students[architecture]) for architecture in uploads.architectures}
        return uploads.to_architectures(fresh)

    def lessons(self, uploads: Uploads, public: Tensor) -> Tensor:
        """What is taught about every public sample, probabilities of shape (samples, lessons, classes).

        One lesson, that of the ensemble of `teachers`; with `avg_losses` one of each of them.
        """
        logits = torch.cat(
            [
                self.federation.holding(name, uploads.parameters(name)).predict(public, as_="logits")[
                    [row for row, client in enumerate(uploads.ids_of(name)) if client in self.teachers]
                ]
                for name in uploads.architectures
            ]
        ).transpose(0, 1)
        if self.config.ensemble == "avg_logits":
            logits = logits.mean(dim=1, keepdim=True)
        lessons = (logits / self.config.temperature).softmax(dim=-1)
        return lessons.mean(dim=1, keepdim=True) if self.config.ensemble == "avg_probs" else lessons

    def distil(self, student: Cohort, public: Tensor, lessons: Tensor) -> None:
        """Train the average towards the ensemble, with Adam whose learning rate falls to 0."""

        student.fit(
            self.disagreement,
            on=Teaching(public, lessons[None]),
            epochs=self.config.server_epochs,
            optimizer=Optimizer("adam", self.config.server_lr, schedule="cosine"),
            clip=self.config.clip,
            stream="server",
        )
        student.check_finite()

    def disagreement(self, model: nn.Module, batch: Batch) -> Tensor:
        """KL(q || softmax(f / tau)), mean over samples and lessons."""
        assert batch.target is not None
        return kl_divergence(batch.target, model(batch.x)[:, None] / self.config.temperature)

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The server's model of the architecture, for every client of it."""
        start = self.federation.start[clients.architecture]
        return clients.with_weights(self.students.get(clients.architecture, start))

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains the server's newest model of its architecture."""
        clients.load(self.students.get(clients.architecture, {}))
        clients.fit(cross_entropy)
        return clients.deployed()

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """How many models taught, where some may be dropped."""
        return {"teachers": len(self.teachers)} if self.judges else {}

    def state_dict(self) -> dict[str, Any]:
        """The model of each architecture."""
        return {"students": self.students}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.students = dict(state["students"])
