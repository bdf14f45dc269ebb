"""The contender careful: what an expert writes by hand for exactly these workloads on a CPU (benchmarks room).

The steps, the tests and the server of plain, without what costs time in it: data and models in memory that two or more
processes share, a process per core that stays for the whole run and has one thread, batches by index, one step for all
parameters, convolutions channels last, tests in large batches. Everybody meets the public images of a round in one
order, so that a process lays them out once. Nothing of fl-bench takes part but the dealt data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from fl_bench.errors import ConfigError

from ...running.provenance import available_cores
from ..workloads import COSMOS_CLUSTERS
from . import lean
from .contender import Contender
from .crew import Crew
from .plain import clusters, net

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..workloads import Dealt, Workload


class Careful(Contender):
    """Clients train side by side, a process per core; the process that asks averages and clusters."""

    name = "careful"

    def __init__(self, workload: Workload, dealt: Dealt, device: str, seed: int) -> None:
        if device != "cpu":
            raise ConfigError(f"careful is written for a CPU, not for the device {device}; compare plain there")
        torch.manual_seed(seed)
        self.workload = workload
        self.shared = shared_memory(workload, dealt, seed)
        self.workers = min(available_cores(), workload.clients)
        self.crew = Crew(self.workers, Desk, self.shared)
        rounds: dict[str, Callable[[], float]] = {
            "fedavg": self._fedavg,
            "fedmd": self._fedmd,
            "cosmos": self._cosmos,
        }
        self.round_of_method = rounds[workload.method]
        self.done = 0
        self.assignment: list[int] = []
        self._steps = 0

    @property
    def steps(self) -> int:
        """See `Contender.steps`."""
        return self._steps

    def round(self) -> float:
        """See `Contender.round`."""
        accuracy = self.round_of_method()
        self.done += 1
        return accuracy

    def close(self) -> None:
        """See `Contender.close`."""
        self.crew.close()

    def _fedavg(self) -> float:
        """Train copies of the global model, average them by size, test in as many parts as there are workers."""
        clients, weights = self.workload.clients, self.shared.weights
        self._steps = sum(self.crew.call("average_client", [(client,) for client in range(clients)]))
        sizes = torch.tensor(self.shared.sizes, dtype=torch.float32)
        torch.mv(weights[:clients].T, sizes / sizes.sum(), out=weights[clients])
        correct = self.crew.call("test_part", [(part, self.workers) for part in range(self.workers)])
        return 100 * float(sum(correct)) / len(self.shared.test_labels)

    def _fedmd(self) -> float:
        """Digest, revisit and predict; the consensus is the mean of the logits."""
        accuracy = self._distilling_clients([0] * self.workload.clients if self.done else None)
        torch.mean(self.shared.predictions, dim=0, out=self.shared.targets[0])
        return accuracy

    def _cosmos(self) -> float:
        """Distil, train and predict; cluster after the first round; teach a model per cluster."""
        accuracy = self._distilling_clients(self.assignment or None)
        shared, clients = self.shared, self.workload.clients
        own = shared.predictions[:clients]
        self.assignment = self.assignment or clusters(own, at_most=COSMOS_CLUSTERS)
        found = range(max(self.assignment) + 1)
        for cluster in found:
            members = [client for client in range(clients) if self.assignment[client] == cluster]
            torch.mean(own[members], dim=0, out=shared.targets[cluster])
        self._steps += sum(self.crew.call("teach", [(cluster, self.done) for cluster in found]))
        shared.targets.copy_(shared.predictions[clients:])
        return accuracy

    def _distilling_clients(self, targets: list[int] | None) -> float:
        """Every client's part of a round, towards the target of its number, and the mean accuracy."""
        tasks = [(client, targets and targets[client], self.done) for client in range(self.workload.clients)]
        steps, accuracies = zip(*self.crew.call("distilling_client", tasks), strict=True)
        self._steps = sum(steps)
        return float(sum(accuracies)) / len(accuracies)


@dataclass(frozen=True)
class Shared:
    """What all processes see; tensors are in shared memory."""

    workload: Workload
    seed: int
    shapes: list[torch.Size]
    """Of a model's parameters."""
    weights: Tensor
    """A row per client, then the global model (FedAvg) or the models of clusters (COSMOS), if any."""
    sizes: list[int]
    """Private images of each client."""
    images: Tensor
    """Private images, client after client."""
    labels: Tensor
    test_sizes: list[int]
    test_images: Tensor
    test_labels: Tensor
    pool: Tensor
    """Public images; none for FedAvg."""
    targets: Tensor
    """What is distilled, shape (targets, samples, classes): FedMD's consensus, or one per cluster of COSMOS."""
    predictions: Tensor
    """Logits (FedMD) or probabilities (COSMOS) on the pool, a model each as in `weights`."""


def shared_memory(workload: Workload, dealt: Dealt, seed: int) -> Shared:
    """A workload's data and freshly drawn models, all models of a kind alike as in plain."""
    clients = range(workload.clients)
    private, tests = [dealt.private(client) for client in clients], [dealt.test(client) for client in clients]
    extra = {"fedavg": 1, "fedmd": 0, "cosmos": COSMOS_CLUSTERS}[workload.method]
    first = net(workload.model, workload.classes)
    rows = [lean.row_of(first)] * workload.clients
    if extra:
        rows += [lean.row_of(net(workload.model, workload.classes))] * extra
    pool = dealt.public() if workload.public else torch.empty(0, 1, 28, 28)

    def seen(images: Tensor) -> Tensor:
        return in_shared_memory((images.flatten(1) if workload.model == "mlp-200" else images).contiguous())

    def predicted(models: int) -> Tensor:
        return in_shared_memory(torch.zeros(models, len(pool), workload.classes))

    return Shared(
        workload=workload,
        seed=seed,
        shapes=[parameter.shape for parameter in first.parameters()],
        weights=in_shared_memory(torch.stack(rows)),
        sizes=[len(labels) for _, labels in private],
        images=seen(torch.cat([images for images, _ in private])),
        labels=in_shared_memory(torch.cat([labels for _, labels in private])),
        test_sizes=[len(labels) for _, labels in tests],
        test_images=seen(torch.cat([images for images, _ in tests])),
        test_labels=in_shared_memory(torch.cat([labels for _, labels in tests])),
        pool=seen(pool),
        targets=predicted(max(extra, 1)),
        predictions=predicted(len(rows)),
    )


def in_shared_memory(tensor: Tensor) -> Tensor:
    """The tensor, moved there."""
    return tensor.share_memory_()  # type: ignore[no-any-return, no-untyped-call]  # torch's


class Desk:
    """What a worker does with the shared memory; each method is a task of `Crew.call`."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.models = [lean.leaves(row, shared.shapes) for row in shared.weights]
        self.draws = [torch.Generator().manual_seed(1_000_003 * shared.seed + row) for row in range(len(self.models))]
        sizes, test_sizes = shared.sizes, shared.test_sizes
        self.private = list(zip(torch.split(shared.images, sizes), torch.split(shared.labels, sizes), strict=True))
        test_images, test_labels = (torch.split(each, test_sizes) for each in (shared.test_images, shared.test_labels))
        self.tests = list(zip(test_images, test_labels, strict=True))
        settings = shared.workload.settings
        self.distill_epochs, self.server_epochs = (settings.get(f"{who}_epochs", 5) for who in ("distill", "server"))
        self._laid_out: tuple[tuple[int, int], Tensor, tuple[Tensor, ...]] | None = None

    def average_client(self, client: int) -> int:
        """FedAvg: train a copy of the global model; the number of steps."""
        self.shared.weights[client].copy_(self.shared.weights[-1])
        return self.train(client)

    def test_part(self, part: int, parts: int) -> int:
        """FedAvg: how many images of a part of everybody's test the global model gets right."""
        images, labels = self.shared.test_images, self.shared.test_labels
        return lean.correct(self.models[-1], images.tensor_split(parts)[part], labels.tensor_split(parts)[part])

    def distilling_client(self, client: int, target: int | None, number: int) -> tuple[int, float]:
        """FedMD and COSMOS: a client's part of round `number`; its steps and its accuracy, percent."""
        steps = 0
        if target is not None:
            steps += self.digest(client, target, number) if self.fedmd else self.distill(client, target, number, 1e-4)
        steps += self.train(client)
        self.predict(client)
        images, labels = self.tests[client]
        return steps, 100 * lean.correct(self.models[client], images, labels) / len(labels)

    def teach(self, cluster: int, number: int) -> int:
        """COSMOS: train a cluster's model and predict; the number of steps."""
        row = self.shared.workload.clients + cluster
        steps = self.distill(row, cluster, number, 1e-3)
        self.predict(row)
        return steps

    @property
    def fedmd(self) -> bool:
        """Whether targets are logits."""
        return self.shared.workload.method == "fedmd"

    def train(self, client: int) -> int:
        """Cross-entropy on private data; the number of steps."""
        weights, (images, labels) = self.models[client], self.private[client]
        workload, steps = self.shared.workload, 0
        for _ in range(workload.epochs):
            order = torch.randperm(len(labels), generator=self.draws[client])
            for rows in torch.split(order, workload.batch_size):
                logits = lean.forward(weights, images.index_select(0, rows))
                lean.descend(weights, F.cross_entropy(logits, labels.index_select(0, rows)), workload.lr)
                steps += 1
        return steps

    def digest(self, client: int, target: int, number: int) -> int:
        """FedMD: a pass towards the consensus; the number of steps."""
        weights, steps = self.models[client], 0
        for images, logits in self.public_batches(target, number, epochs=1):
            lean.descend(weights, F.l1_loss(lean.forward(weights, images), logits), 1e-3)
            steps += 1
        return steps

    def distill(self, row: int, target: int, number: int, lr: float) -> int:
        """COSMOS: passes towards a target; clients have numbers below those of the clusters; the number of steps."""
        weights, draws, steps = self.models[row], self.draws[row], 0
        epochs = self.distill_epochs if row < self.shared.workload.clients else self.server_epochs
        for images, probabilities in self.public_batches(target, number, epochs):
            lean.descend(weights, lean.consistent(weights, images, probabilities, draws), lr, clip=1.0)
            steps += 1
        return steps

    def predict(self, row: int) -> None:
        """A model's logits or probabilities on the pool, for everybody to see."""
        logits = lean.predict(self.models[row], self.shared.pool)
        self.shared.predictions[row] = logits if self.fedmd else logits.softmax(dim=1)

    def public_batches(self, target: int, number: int, epochs: int) -> list[tuple[Tensor, Tensor]]:
        """Passes over the pool in the order of round `number`, joined end to end, with the rows of a target."""
        size = self.shared.workload.batch_size
        if self._laid_out is None or self._laid_out[0] != (number, epochs):
            draws = torch.Generator().manual_seed(1_000_003 * self.shared.seed + 500_000 + number)
            order = torch.cat([torch.randperm(len(self.shared.pool), generator=draws) for _ in range(epochs)])
            self._laid_out = (number, epochs), order, torch.split(self.shared.pool.index_select(0, order), size)
        _, order, images = self._laid_out
        return list(zip(images, torch.split(self.shared.targets[target].index_select(0, order), size), strict=True))
