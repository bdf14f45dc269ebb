"""The round loop: draws clients, carries messages, evaluates, checkpoints; knows no method by name."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import torch

from fl_bench.errors import ConfigError, Diverged
from fl_bench.streams import Seeds, numpy_stream, stream_key

from . import checkpoint as checkpoints
from .channel import Channel, Uploads
from .codecs import Codec
from .cohort import Cohort, Models, WorkLog
from .data import FederatedData
from .evaluation import ClientScores, Deployed, cluster_quality, evaluate, one_model, summarise
from .models.build import build_net, compile_nets, count_parameters
from .precision import gpu_arithmetic
from .rounds import Federation, Round
from .settings import Execution

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from fl_bench.sealed import Sealed

    from ..datasets.dataset import Dataset
    from ..datasets.split import Split
    from .channel import Downloads
    from .models.net import Net
    from .payloads import Payload, Tree
    from .settings import ModelMix, Training


HOPELESS = 1000.0
"""A training loss of so many times that of even guessing, ln C, is a diverged run, finite or not."""


class RoundMethod(Protocol):
    """What the loop needs of a method; `methods.base.Method` is the interface that methods implement."""

    name: ClassVar[str]
    deployed_view: ClassVar[str]
    federation: Federation

    def needs(self) -> Any: ...  # noqa: D102
    def payloads(self) -> frozenset[type[Payload]]: ...  # noqa: D102
    def setup(self, federation: Federation) -> None: ...  # noqa: D102
    def opening(self) -> Downloads | None: ...  # noqa: D102
    def build_client(self, base: nn.Module) -> nn.Module: ...  # noqa: D102
    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Payload | None: ...  # noqa: D102
    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None: ...  # noqa: D102
    def deployed(self, clients: Cohort, rnd: Round) -> Deployed: ...  # noqa: D102
    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]: ...  # noqa: D102
    def report(self, rnd: Round) -> dict[str, float | int | None]: ...  # noqa: D102
    def clusters(self) -> np.ndarray | None: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class RoundRow:
    """The results of one round."""

    values: dict[str, float | int | None]
    """Flat and ordered; clocks start with `seconds_`. None: not defined for this method or round."""
    clients: list[dict[str, float | int | str | None]]
    """One row per client."""


class Run:
    """One method on one dealt dataset with one seed.

    Args:
        method: the method, configured.
        dataset: the data.
        split: who holds which rows.
        models: the clients' architectures.
        training: rounds and local training.
        seed: of every stream of the run but the split's, or one for each part of its randomness.
        device: a torch device.
        codec: what scores are coded with (`none`, `float16`, `top-<k>`, `hard`).
        checkpoint: where the state is kept while running; nothing is kept when None.
        identities: what names each client's random streams, its id by default; a run of renumbered clients that
            take their identities along has the same results, renumbered.
        execution: how to use the machine; no result depends on it but by rounding.
    """

    def __init__(
        self,
        method: RoundMethod,
        dataset: Dataset,
        split: Split,
        models: ModelMix,
        training: Training,
        *,
        seed: int | Seeds,
        device: str = "cpu",
        codec: str = "none",
        checkpoint: Path | None = None,
        identities: Sequence[int] | None = None,
        execution: Execution | None = None,
    ) -> None:
        self.method = method
        self.models = models
        self.training = training
        self.execution = Execution() if execution is None else execution
        self.seeds = seed if isinstance(seed, Seeds) else Seeds.of(seed)
        self.device = torch.device(device)
        self.dtype: torch.dtype = getattr(torch, training.dtype_name)
        self.stored_as = torch.float16 if training.store == "float16" else self.dtype
        self.data = FederatedData(dataset, split, self.device, self.dtype, channels_last=self._channels_last())
        self.identities = tuple(range(self.data.clients) if identities is None else identities)
        self.architectures = assign_architectures(models, self.data.clients, self._true_groups(), self.seeds.partition)
        self._split = split
        self._checkpoint = checkpoint
        self._work = WorkLog()
        self.federation = method.federation = Federation(self)
        self._clients, self._initial_weights = self._build_clients()
        self.federation.start = {name: models.first() for name, models in self._clients.items()}
        self._channel = Channel(
            self.data.clients, method.payloads(), Codec.parse(codec), method.name, (self.dtype, self.stored_as)
        )
        self._history: list[RoundRow] = []
        method.setup(self.federation)
        self._channel.post(method.opening())

    def rounds(self) -> Iterator[RoundRow]:
        """Run, or continue, and yield a row per round; rows of a restored checkpoint come first, at once.

        Raises:
            Diverged: a loss, a weight or a score is not finite.
        """
        self._restore()
        yield from list(self._history)
        for index in range(len(self._history), self.training.rounds):
            with gpu_arithmetic(self.training, self.device):
                row = self._round(Round(index, self.seeds.draws, self.federation))
            self._history.append(row)
            started = time.perf_counter()
            self._save()
            row.values["seconds_checkpoint"] = time.perf_counter() - started
            yield row

    def facts(self) -> dict[str, Any]:
        """What the record says beside the rounds, as plain values for JSON."""
        about, split = self.data.about, self._split
        views = sorted({key.partition(".")[0] for row in self._history for key in row.values if "." in key})
        return {
            "deployed": self.method.deployed_view,
            "views": views,
            "badges": sorted(badge for value in self._sealed().values() for badge in value.badges()),
            "view_badges": {view: ["oracle: test labels"] for view in views if view.endswith("_oracle")},
            "pairing": {
                "partition": split.fingerprint,
                "initial_weights": self._initial_weights,
                "client_draws": _digest(*[np.asarray(self.participants(t)) for t in range(self.training.rounds)]),
                "public_order": _digest(split.public),
            },
            "dataset": {
                "name": about.name,
                "source": about.source,
                "fingerprint": about.fingerprint,
                "classes": about.classes,
                "shape": list(about.shape),
            },
            "heterogeneity": asdict(split.measured),
            "public_samples": len(self.data.public),
            "bytes_one_off": self._public_bytes(),
            "parameters": {name: count_parameters(models.template) for name, models in self._clients.items()},
        }

    def client_weights(self) -> dict[str, Tree]:
        """Copies of all clients' weights, architecture to stacked tree, clients in id order."""
        return {
            name: {key: tensor.clone() for key, tensor in {**models.parameters, **models.buffers}.items()}
            for name, models in self._clients.items()
        }

    def participants(self, index: int) -> list[int]:
        """Clients drawn for round `index`, ascending; the same for every method of a seed."""
        clients, fraction = self.data.clients, self.training.participation
        if fraction == 1.0:
            return list(range(clients))
        count = max(1, round(fraction * clients))
        drawn = numpy_stream(self.seeds.draws, "participation", index).choice(clients, count, replace=False)
        return sorted(int(client) for client in drawn)

    def cohort(
        self,
        models: Models,
        ids: Sequence[int],
        *,
        side: Literal["client", "server"] = "client",
        rows: Sequence[int] | None = None,
        private_rows: Sequence[Tensor] = (),
        label_counts: Tensor | None = None,
        keys: Sequence[int] | None = None,
    ) -> Cohort:
        """A cohort of this run; `Federation` and the loop make all of them here."""
        return Cohort(
            models,
            ids,
            rows=ids if rows is None else rows,
            data=self.data,
            training=self.training,
            execution=self.execution,
            seed=self.seeds.batches,
            work=self._work,
            private_rows=private_rows,
            label_counts=label_counts,
            side=side,
            keys=keys,
        )

    def build(self, name: str, key: int) -> Net:
        """A net of the zoo for this run's data, with initial weights from a key."""
        return build_net(name, self.data.about.shape, self.data.about.classes, key=key, width=self.models.width)

    def client_models(self, architecture: str) -> Models:
        """The stacked models of all clients of one architecture."""
        return self._clients[architecture]

    def client_cohort(self, architecture: str, ids: Sequence[int], rnd: Round) -> Cohort:
        """The clients `ids`, all of one architecture."""
        owned = self.data.train.split()
        place = {client: row for row, client in enumerate(self._ids_of(architecture))}
        return self.cohort(
            self._clients[architecture],
            ids,
            rows=[place[client] for client in ids],
            private_rows=[owned[client] for client in ids],
            label_counts=self.data.label_counts[list(ids)],
            keys=[self.identities[client] for client in ids],
        ).at(rnd.index)

    def _channels_last(self) -> bool:
        """Memory format of images: on a CPU, convolutions and pools of a single net are faster with channels last."""
        asked = self.execution.channels_last
        return (self.training.engine != "stacked" and self.device.type == "cpu") if asked is None else asked

    def _round(self, rnd: Round) -> RoundRow:
        clock = Clock(self.device)
        self._channel.open_round()
        self._work.clear()
        participants = self.participants(rnd.index)
        with clock.measure("training"):
            sent = []
            for architecture in self._clients:
                mine = [client for client in participants if self.architectures[client] == architecture]
                for ids, received in self._channel.deliver(mine):
                    cohort = self.client_cohort(architecture, ids, rnd)
                    payload = self.method.client_update(cohort, received, rnd)
                    cohort.check_finite()
                    if payload is not None:
                        sent.append((architecture, ids, self._channel.up(ids, payload)))
        with clock.measure("server"):
            sizes = self.data.train.sizes
            uploads = Uploads(sent, sizes=sizes, owners=self.architectures, dtype=self.dtype)
            self._channel.post(self.method.server_update(uploads, rnd))
        losses = self._training_losses()
        with clock.measure("evaluation"):
            metrics, per_client = self._evaluate(rnd)
        traffic = self._channel.traffic
        values: dict[str, float | int | None] = {
            "round": rnd.index,
            "participants": len(participants),
            **metrics,
            **{f"loss_{kind}": loss for kind, loss in losses.items()},
            "bytes_up": int(traffic.up.sum()),
            "bytes_down": int(traffic.down.sum()),
            **{
                f"bytes_{direction}_{kind}": traffic.kinds[f"{direction} {kind}"]
                for kind in sorted(kind.__name__ for kind in self.method.payloads())
                for direction in ("up", "down")
            },
            **{f"steps_{kind}": self._work.steps[kind] for kind in ("local", "distill", "server")},
            **self._cluster_metrics(),
            **self.method.report(rnd),
            **{f"seconds_{name}": clock.seconds[name] for name in ("training", "server", "evaluation")},
            "seconds_checkpoint": None,
        }
        for row in per_client:
            client = int(row["client"])  # type: ignore[arg-type]  # written as an int a few lines below
            row["bytes_up"], row["bytes_down"] = int(traffic.up[client]), int(traffic.down[client])
        return RoundRow(values, per_client)

    def _evaluate(self, rnd: Round) -> tuple[dict[str, float | int | None], list[dict[str, float | int | str | None]]]:
        data, clients, threads = self.data, self.data.clients, self.execution.threads or 1
        test, validation = data.test.split(), data.validation.split()
        scored: dict[str, list[tuple[Sequence[int], ClientScores]]] = {}
        held_out: list[tuple[Sequence[int], ClientScores]] = []
        served: dict[str, list[Deployed]] = {}
        for architecture in self._clients:
            ids = self._ids_of(architecture)
            cohort = self.client_cohort(architecture, ids, rnd)
            views = {self.method.deployed_view: self.method.deployed(cohort, rnd)}
            if self.training.views == "all":
                views.update(self.method.views(cohort, rnd))
            for view, deployed in views.items():
                rows = [test[client] for client in ids]
                scored.setdefault(view, []).append((ids, evaluate(deployed, data, rows, threads=threads)))
                served.setdefault(view, []).append(deployed)
            if data.validation.rows.numel():
                kept = [validation[client] for client in ids]
                held_out.append((ids, evaluate(views[self.method.deployed_view], data, kept, threads=threads)))
        sizes = np.array(data.test.sizes)
        metrics: dict[str, float | int | None] = {}
        joined = {view: ClientScores.join(parts, clients) for view, parts in scored.items()}
        for view, scores in joined.items():
            if not np.isfinite(scores.loss).all():
                raise Diverged(f"the test loss of view {view} is not finite")
            metrics.update({f"{view}.{name}": value for name, value in summarise(scores, sizes).items()})
            if clients > 1 and data.global_test.numel() and one_model(served[view]):
                everywhere = evaluate(replace(served[view][0], index=(0,)), data, [data.global_test], threads=threads)
                metrics[f"{view}.acc_global_test"] = float(everywhere.accuracy[0])
        metrics["val_acc_mean"] = float(np.nanmean(ClientScores.join(held_out, clients).accuracy)) if held_out else None
        return metrics, self._client_rows(rnd, joined)

    def _training_losses(self) -> dict[str, float | None]:
        losses = {kind: self._work.mean_loss(kind) for kind in ("local", "distill", "server")}
        hopeless = HOPELESS * math.log(max(2, self.data.about.classes))
        for kind, loss in losses.items():
            if loss is not None and not loss <= hopeless:
                raise Diverged(
                    f"the mean {kind} training loss is {loss:.3g}; guessing evenly would have {hopeless / HOPELESS:.3g}"
                )
        return losses

    def _cluster_metrics(self) -> dict[str, float | int | None]:
        labels, groups = self.method.clusters(), self._true_groups()
        if labels is None:
            return {}
        return cluster_quality(labels, groups)

    def _client_rows(self, rnd: Round, joined: Mapping[str, ClientScores]) -> list[dict[str, float | int | str | None]]:
        groups, clusters = self._true_groups(), self.method.clusters()
        return [
            {
                "round": rnd.index,
                "client": client,
                "group": None if groups is None else int(groups[client]),
                "model": self.architectures[client],
                "train_size": self.data.train.sizes[client],
                "test_size": self.data.test.sizes[client],
                "cluster": None if clusters is None else int(clusters[client]),
                **{
                    f"{view}.{short}": float(column[client])
                    for view, scores in joined.items()
                    for short, column in (("acc", scores.accuracy), ("loss", scores.loss))
                },
            }
            for client in range(self.data.clients)
        ]

    def _build_clients(self) -> tuple[dict[str, Models], str]:
        models, digest = {}, hashlib.sha256()
        for name in dict.fromkeys(self.architectures):
            ids = self._ids_of(name)
            keys = [
                stream_key(self.seeds.init, "init", name)
                if self.training.init == "shared_per_arch"
                else stream_key(self.seeds.init, "init", name, self.identities[client])
                for client in ids
            ]
            nets = [self.build(name, key) for key in keys]
            for net in nets:
                for tensor in net.state_dict().values():
                    digest.update(tensor.numpy().tobytes())
            modules = [self.method.build_client(net) for net in nets]
            if self.execution.compile:
                compile_nets(modules[0])
            models[name] = Models.stacked(name, modules, self.device, self.dtype)
        return models, digest.hexdigest()

    def _sealed(self) -> dict[str, Sealed[Any]]:
        sealed = {"public": self.data.public.labels, "test": self.data.sealed_labels, "groups": self.data.groups}
        return {name: value for name, value in sealed.items() if value is not None}

    def _ids_of(self, architecture: str) -> list[int]:
        return [client for client, name in enumerate(self.architectures) if name == architecture]

    def _true_groups(self) -> np.ndarray | None:
        return None if self.data.groups is None else self.data.groups.open_for_evaluation()

    def _public_bytes(self) -> int:
        """Bytes of shipping the public inputs to every client once, as they are stored."""
        if not self.method.needs().public_data:
            return 0
        return (
            len(self.data.public)
            * math.prod(self.data.about.shape)
            * self.data.inputs.element_size()
            * self.data.clients
        )

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        checkpoints.save(
            self._checkpoint,
            {
                "made_with": checkpoints.made_with(self.device),
                "clients": {name: models.state_dict() for name, models in self._clients.items()},
                "method": self.method.state_dict(),
                "channel": self._channel.state_dict(),
                "openings": {name: list(value.openings) for name, value in self._sealed().items()},
                "history": json.dumps([[row.values, row.clients] for row in self._history]),
            },
        )

    def _restore(self) -> None:
        state = None if self._checkpoint is None else checkpoints.load(self._checkpoint, self.device)
        if state is None or state.get("made_with") != checkpoints.made_with(self.device):
            return  # other code, torch or device: half a run of each would be a run of neither
        for name, models in self._clients.items():
            models.load_state_dict(state["clients"][name])
        self.method.load_state_dict(state["method"])
        self._channel.load_state_dict(state["channel"])
        sealed = self._sealed()
        for name, openings in state["openings"].items():
            for by in openings:
                sealed[name].open(by)
        self._history = [RoundRow(values, clients) for values, clients in json.loads(state["history"])]


class Clock:
    """Seconds spent in the named parts of a round; waits for the device at the ends of a part only."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Measure one part."""
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[part] = time.perf_counter() - started


def assign_architectures(mix: ModelMix, clients: int, groups: np.ndarray | None, seed: int) -> tuple[str, ...]:
    """The architecture of each client.

    Raises:
        ConfigError: an explicit assignment that does not name one architecture per client.
    """
    if isinstance(mix.assignment, tuple):
        if len(mix.assignment) != clients:
            raise ConfigError(f"models.assignment names {len(mix.assignment)} architectures for {clients} clients")
        return mix.assignment
    if mix.assignment == "random":
        draws = [numpy_stream(seed, "architecture", client).integers(len(mix.names)) for client in range(clients)]
        return tuple(mix.names[draw] for draw in draws)
    seen: Counter[int] = Counter()
    chosen = []
    for group in [0] * clients if groups is None else groups.tolist():
        chosen.append(mix.names[seen[group] % len(mix.names)])
        seen[group] += 1
    return tuple(chosen)


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()
