"""The contender plain: what a careful researcher writes by hand in PyTorch, without fl-bench (benchmarks room).

A DataLoader per client, a deep copy of the global model, torch.optim, averaging of state_dicts, a test loop; for
distillation the loops of FedMD (arXiv:1910.03581) and COSMOS (arXiv:2605.11165) written straight down. Nothing is
slowed down on purpose, and nothing is done that a script of this kind would not do.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ..workloads import COSMOS_CLUSTERS
from .contender import Contender

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..workloads import Dealt, Workload

TEST_BATCH = 256
"""Images per forward pass without gradients."""

NOISE = 0.1
"""Deviation of COSMOS's noise on inputs in [-1, 1]."""


class Plain(Contender):
    """The script of the workload's method."""

    name = "plain"

    def __init__(self, workload: Workload, dealt: Dealt, device: str, seed: int) -> None:
        scripts: dict[str, type[FedAvgScript | FedMDScript | CosmosScript]] = {
            "fedavg": FedAvgScript,
            "fedmd": FedMDScript,
            "cosmos": CosmosScript,
        }
        torch.manual_seed(seed)
        self.script = scripts[workload.method](workload, dealt, torch.device(device))

    @property
    def steps(self) -> int:
        """See `Contender.steps`."""
        return self.script.steps

    def round(self) -> float:
        """See `Contender.round`."""
        self.script.steps = 0
        return self.script.round()


def net(name: str, classes: int) -> nn.Module:
    """The nets of the workloads as scripts write them, for 28x28 grey images."""
    if name == "mlp-200":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, classes))
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


class Script(ABC):
    """What the three scripts share: local training and testing."""

    def __init__(self, workload: Workload, dealt: Dealt, device: torch.device) -> None:
        self.workload = workload
        self.device = device
        self.steps = 0
        self.model = net(workload.model, workload.classes).to(device)
        self.loaders = [
            DataLoader(TensorDataset(*dealt.private(client)), workload.batch_size, shuffle=True)
            for client in range(workload.clients)
        ]

    @abstractmethod
    def round(self) -> float:
        """One round; `steps` counts along."""

    def train(self, model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> None:
        """Cross-entropy on private data."""
        optimizer = torch.optim.SGD(model.parameters(), lr=self.workload.lr)
        model.train()
        for _ in range(self.workload.epochs):
            for images, labels in loader:
                images, labels = images.to(self.device), labels.to(self.device)
                optimizer.zero_grad()
                loss = F.cross_entropy(model(images), labels)
                loss.backward()  # type: ignore[no-untyped-call]  # torch's
                optimizer.step()
                self.steps += 1

    def test(self, model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> float:
        """Accuracy of a model, percent."""
        model.eval()
        correct = total = 0
        with torch.no_grad():
            for images, labels in loader:
                images, labels = images.to(self.device), labels.to(self.device)
                correct += int((model(images).argmax(dim=1) == labels).sum())
                total += len(labels)
        return 100 * correct / total


class FedAvgScript(Script):
    """FedAvg: copy the global model, train the copy, average the copies by size."""

    def __init__(self, workload: Workload, dealt: Dealt, device: torch.device) -> None:
        super().__init__(workload, dealt, device)
        self.test_loader = DataLoader(TensorDataset(*dealt.everybodys_test()), TEST_BATCH)

    def round(self) -> float:
        """See `Script.round`."""
        states, sizes = [], []
        for loader in self.loaders:
            local = copy.deepcopy(self.model)
            self.train(local, loader)
            states.append(local.state_dict())
            sizes.append(len(loader.dataset))  # type: ignore[arg-type]  # a TensorDataset has a length
        total = sum(sizes)
        average = {
            name: sum(state[name] * (size / total) for state, size in zip(states, sizes, strict=True))
            for name in states[0]
        }
        self.model.load_state_dict(average)
        return self.test(self.model, self.test_loader)


class DistillationScript(Script):
    """What FedMD and COSMOS share: a model per client, a public pool, predictions, and each client's own test."""

    def __init__(self, workload: Workload, dealt: Dealt, device: torch.device) -> None:
        super().__init__(workload, dealt, device)
        self.models = [copy.deepcopy(self.model) for _ in self.loaders]
        self.pool = dealt.public()
        self.tests = [DataLoader(TensorDataset(*dealt.test(client)), TEST_BATCH) for client in range(workload.clients)]

    def predict(self, model: nn.Module) -> Tensor:
        """Logits on the public pool, shape (samples, classes), on the CPU as the pool is."""
        model.eval()
        with torch.no_grad():
            return torch.cat([model(images.to(self.device)).cpu() for images in torch.split(self.pool, TEST_BATCH)])

    def distill(
        self,
        model: nn.Module,
        targets: Tensor,
        loss_of: Callable[[nn.Module, Tensor, Tensor], Tensor],
        *,
        epochs: int,
        lr: float,
        clip: float | None = None,
    ) -> None:
        """Train towards targets on the public pool, shape (samples, classes).

        As many steps as fl-bench takes, which joins passes end to end: the last pass ends a few batches early.
        """
        loader = DataLoader(TensorDataset(self.pool, targets), self.workload.batch_size, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        model.train()
        steps = math.ceil(epochs * len(self.pool) / self.workload.batch_size)
        for images, target in islice(chain.from_iterable(repeat(loader)), steps):
            images, target = images.to(self.device), target.to(self.device)
            optimizer.zero_grad()
            loss_of(model, images, target).backward()  # type: ignore[no-untyped-call]  # torch's
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            self.steps += 1

    def test_all(self) -> float:
        """Mean accuracy of the clients' models, each on its own test images, percent."""
        scores = [self.test(model, loader) for model, loader in zip(self.models, self.tests, strict=True)]
        return sum(scores) / len(scores)


class FedMDScript(DistillationScript):
    """FedMD: digest the consensus, revisit private data, send logits; the server averages them."""

    consensus: Tensor | None = None

    def round(self) -> float:
        """See `Script.round`."""
        scores = []
        for model, loader in zip(self.models, self.loaders, strict=True):
            if self.consensus is not None:
                self.distill(model, self.consensus, absolute_error, epochs=1, lr=1e-3)
            self.train(model, loader)
            scores.append(self.predict(model))
        self.consensus = torch.stack(scores).mean(dim=0)
        return self.test_all()


class CosmosScript(DistillationScript):
    """COSMOS: clients distil from their cluster's model; the server clusters once and teaches a model per cluster."""

    feedback: Tensor | None = None
    """Probabilities of every cluster model on the pool, shape (clusters, samples, classes)."""
    assignment: list[int]

    def __init__(self, workload: Workload, dealt: Dealt, device: torch.device) -> None:
        super().__init__(workload, dealt, device)
        self.distill_epochs = workload.settings.get("distill_epochs", 5)
        self.server_epochs = workload.settings.get("server_epochs", 5)

    def round(self) -> float:
        """See `Script.round`."""
        predictions = []
        for client, (model, loader) in enumerate(zip(self.models, self.loaders, strict=True)):
            if self.feedback is not None:
                target = self.feedback[self.assignment[client]]
                self.distill(model, target, consistent, epochs=self.distill_epochs, lr=1e-4, clip=1.0)
            self.train(model, loader)
            predictions.append(self.predict(model).softmax(dim=1))
        if self.feedback is None:
            self.assignment = clusters(torch.stack(predictions), at_most=COSMOS_CLUSTERS)
            fresh = net(self.workload.model, self.workload.classes).to(self.device)
            self.servers = [copy.deepcopy(fresh) for _ in range(max(self.assignment) + 1)]
        answers = []
        for cluster, server in enumerate(self.servers):
            members = [p for p, own in zip(predictions, self.assignment, strict=True) if own == cluster]
            target = torch.stack(members).mean(dim=0)
            self.distill(server, target, consistent, epochs=self.server_epochs, lr=1e-3, clip=1.0)
            answers.append(self.predict(server).softmax(dim=1))
        self.feedback = torch.stack(answers)
        return self.test_all()


def absolute_error(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """FedMD's digest loss: mean absolute error of the logits."""
    return F.l1_loss(model(images), target)


def consistent(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """COSMOS's loss: KL(target || softmax f(u)) plus the squared disagreement with a noisy copy of u."""
    noisy = (images + NOISE * torch.randn_like(images)).clamp(-1.0, 1.0)
    logits = model(images)
    agreement = F.mse_loss(model(noisy).softmax(dim=1), logits.softmax(dim=1))
    return F.kl_div(logits.log_softmax(dim=1), target, reduction="batchmean") + agreement


def clusters(predictions: Tensor, at_most: int) -> list[int]:
    """Greedy elimination at the smallest threshold that leaves `at_most` clusters: a cluster id per client.

    The client with the most neighbours within the threshold takes them as its cluster; repeat with the rest.

    Args:
        predictions: shape (clients, samples, classes).
        at_most: number of clusters, at least 1.
    """
    flat = predictions.flatten(1)
    distances = torch.cdist(flat, flat)
    distances.fill_diagonal_(0.0)
    for threshold in [0.0, *torch.unique(distances).tolist()]:
        near = distances <= threshold
        labels = torch.full((len(flat),), -1)
        count = 0
        while (free := labels < 0).any():
            centre = int(((near & free).sum(dim=1) * free - (~free).long()).argmax())
            labels[near[centre] & free] = count
            count += 1
        if count <= at_most:
            return [int(label) for label in labels]
    return [0] * len(flat)
