"""The round loop: draws clients, carries messages, evaluates and checkpoints; knows no method by name."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch

from fl_bench.errors import ConfigError
from fl_bench.streams import Seeds

from . import checkpoint as checkpoints
from .channel import Channel
from .clock import Clock
from .codecs import Codec
from .data import FederatedData
from .exchange import Exchanges
from .factory import Factory, assign_architectures
from .faults import Faults, Met
from .journal import Journal, Mark, beside
from .kept import Kept, keep
from .leakage import leaks
from .models.build import count_parameters
from .precision import gpu_arithmetic
from .rounds import Federation, Round, Turn, drawn_clients
from .rows import RoundRow, Scoring, client_rows, cluster_metrics, fault_counts, training_losses
from .settings import Execution
from .unseen import score_unseen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from fl_bench.sealed import Sealed

    from ..datasets.dataset import Dataset
    from ..datasets.split import Split
    from .channel import Downloads, Uploads
    from .cohort import Cohort
    from .deployed import Deployed
    from .faults import Place
    from .leakage import Heard
    from .payloads import Payload, Tree
    from .settings import ModelMix, Training
    from .storage import Models


class RoundMethod(Protocol):
    """What the loop needs of a method; `methods.base.Method` is the interface that methods implement."""

    name: ClassVar[str]
    deployed_view: ClassVar[str]
    federation: Federation

    def needs(self) -> Any: ...  # noqa: D102
    def turns(self, participants: tuple[int, ...], rnd: Round) -> Sequence[Turn]: ...  # noqa: D102
    def payloads(self) -> frozenset[type[Payload]]: ...  # noqa: D102
    def setup(self, federation: Federation) -> None: ...  # noqa: D102
    def opening(self) -> Downloads | None: ...  # noqa: D102
    def build_client(self, base: nn.Module) -> nn.Module: ...  # noqa: D102
    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Payload | None: ...  # noqa: D102
    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None: ...  # noqa: D102
    def deployed(self, clients: Cohort, rnd: Round) -> Deployed: ...  # noqa: D102
    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]: ...  # noqa: D102
    def unseen(self, clients: Cohort, received: Any, rnd: Round) -> Deployed | None: ...  # noqa: D102
    def report(self, rnd: Round) -> dict[str, float | int | None]: ...  # noqa: D102
    def clusters(self) -> np.ndarray | None: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...  # noqa: D102


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
        identities: what names each client's random streams, its number in the partition by default; a run of
            renumbered clients that take their identities along has the same results, renumbered.
        execution: how to use the machine; no result depends on it but by rounding.
        faults: what goes wrong whatever the method; nothing by default.
        keep_models: whether to take down the models that clients deploy after the last round, as `kept`.
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
        faults: Faults | None = None,
        keep_models: bool = False,
    ) -> None:
        self.method = method
        self.models = models
        self.training = training
        self.execution = Execution() if execution is None else execution
        self.seeds = seed if isinstance(seed, Seeds) else Seeds.of(seed)
        self.device = torch.device(device)
        self.dtype: torch.dtype = getattr(torch, training.dtype_name)
        self.data = FederatedData(dataset, split, self.device, self.dtype, channels_last=self._channels_last())
        self.data.check_owners()
        self._unseen = self._data_of_unseen(dataset, split)
        if identities is None:
            identities = range(self.data.clients) if split.unseen is None else split.unseen.others
        self.faults = Faults() if faults is None else faults.canonical()
        self._met = Met(self.faults, identities, self.seeds, training.rounds)
        self._relabelled = 0
        if self._met.changes_labels:
            classes = dataset.about.classes
            self._relabelled = self.data.relabel(lambda client, own: self._met.labels(client, own, classes))
        self.factory = Factory(
            self.data,
            models,
            training,
            self.execution,
            seeds=self.seeds,
            identities=tuple(identities),
            client_module=method.build_client,
            deadline=self.faults.deadline,
        )
        self._check_unseen_architectures()
        self._split = split
        self._checkpoint = checkpoint
        self._journal = None if checkpoint is None else Journal(beside(checkpoint))
        needs = method.needs()
        reads_public = needs.public_data or needs.public_data_at_server
        self.federation = method.federation = Federation(self.factory, reads_public=reads_public)
        if needs.server_width:
            self.factory.check_server_width(method.name)
        self._initial_weights = self.factory.build_clients()
        self.federation.start = {name: models.first() for name, models in self.factory.clients.items()}
        formats = (self.dtype, self.federation.stored_as)
        self._channel = Channel(self.data.clients, method.payloads(), Codec.parse(codec), method.name, formats)
        self.saving = False
        """Whether a checkpoint is being written or read: a `StorageError` then is of the disk, and none of the
        method's."""
        self._history: list[RoundRow] = []
        self._keeps = keep_models
        self.kept: Kept | None = None
        """The models that clients deploy after the last round, where they are to be kept. None where that round came
        from a checkpoint of a run that was to keep none."""
        self._viewed: set[str] = set()
        self._read = 0
        self._drawn = np.zeros(self.data.clients, dtype=np.int64)
        self._counted = 0
        method.setup(self.federation)
        self._channel.post(method.opening())

    def rounds(self) -> Iterator[RoundRow]:
        """Run, or continue, and yield a row per round; rows of a restored checkpoint come first, at once.

        Raises:
            Diverged: a loss, a weight or a score is not finite.
        """
        self.saving = True
        self._restore()
        self.saving = False
        yield from list(self._history)
        for index in range(len(self._history), self.training.rounds):
            with gpu_arithmetic(self.training, self.device):
                row = self._round(Round(index, self.seeds.draws, self.federation))
            self._history.append(row)
            started = time.perf_counter()
            self._save(row)
            row.values["seconds_checkpoint"] = seconds = time.perf_counter() - started
            if self._journal is not None:
                self._journal.saved(seconds)
            yield row

    def facts(self) -> dict[str, Any]:
        """What the record says beside the rounds, as plain values for JSON."""
        about, split = self.data.about, self._split
        views = sorted(self._views())
        return {
            "deployed": self.method.deployed_view,
            "views": views,
            "badges": sorted(badge for value in self._sealed().values() for badge in value.badges()),
            "view_badges": {view: ["oracle: test labels"] for view in views if view.endswith("_oracle")},
            "pairing": {
                "partition": split.fingerprint,
                "initial_weights": self._initial_weights,
                "client_draws": self._client_draws,
                "public_order": _digest(split.public),
                **({} if self.faults == Faults() else {"faults": self._fault_draws}),
            },
            **self._facts_of_faults(),
            "dataset": {
                "name": about.name,
                "source": about.source,
                "fingerprint": about.fingerprint,
                "classes": about.classes,
                "shape": list(about.shape),
            },
            "heterogeneity": asdict(split.measured),
            "public_samples": len(self.data.public),
            **({} if split.pool is None else {"public_pool": asdict(split.pool)}),
            "bytes_one_off": self._public_bytes(),
            "bytes_undelivered": self._channel.undelivered(),
            "parameters": {name: count_parameters(models.template) for name, models in self.factory.clients.items()},
        }

    def _views(self) -> set[str]:
        """The views of all rounds so far; only rows that are new since the last call are read."""
        for row in self._history[self._read :]:
            self._viewed |= {key.partition(".")[0] for key in row.values if "." in key}
        self._read = len(self._history)
        return self._viewed

    @cached_property
    def _client_draws(self) -> str:
        """Digest of who takes part in which round."""
        return _digest(*[np.asarray(self.participants(t)) for t in range(self.training.rounds)])

    def _facts_of_faults(self) -> dict[str, Any]:
        """Who joined late, who was poisoned and how many labels were changed, where there are such faults."""
        faults, met = self.faults, self._met
        late = {str(client): first for client, first in enumerate(met.joins) if first}
        told = {
            **({"joins": late} if faults.late else {}),
            **({"labels_changed": self._relabelled} if met.changes_labels else {}),
            **({"poisoned": sorted(met.poisoned)} if met.poisoned else {}),
        }
        return {"faults": told} if told else {}

    @cached_property
    def _fault_draws(self) -> str:
        """Digest of whom the faults meet: private labels, who joins when, who is poisoned, who goes absent where."""
        absent = [sorted(self.absent(index).items()) for index in range(self.training.rounds)]
        places = [np.asarray([[client, place == "before_upload"] for client, place in one]) for one in absent]
        train = self.data.labels[self.data.train.rows].cpu().numpy()
        return _digest(train, np.asarray(self._met.joins), np.asarray(sorted(self._met.poisoned)), *places)

    def _draws(self, index: int) -> np.ndarray:
        """Rounds up to and with round `index` for which each client was drawn, shape (clients,)."""
        while self._counted <= index:  # after a restart from the first round on
            self._drawn[self.participants(self._counted)] += 1
            self._counted += 1
        return self._drawn.copy()

    def client_weights(self) -> dict[str, Tree]:
        """Copies of all clients' weights, architecture to stacked tree, clients in id order."""
        return {
            name: {key: tensor.clone() for key, tensor in {**models.parameters, **models.buffers}.items()}
            for name, models in self.factory.clients.items()
        }

    def participants(self, index: int) -> list[int]:
        """Clients drawn for round `index`, ascending; the same for every method of a seed.

        They are drawn from those who have joined (`faults.late`); some may go absent afterwards, see `absent`.
        """
        there = self._met.there(index)
        places = drawn_clients(len(there), self.training.participation, self.seeds.draws, index)
        return [there[place] for place in places]

    def absent(self, index: int) -> dict[int, Place]:
        """Who of the clients drawn for round `index` goes absent, and where; the same for every method of a seed."""
        return self._met.absent(index, self.participants(index))

    @property
    def architectures(self) -> tuple[str, ...]:
        """Architecture of each client."""
        return self.factory.architectures

    def client_models(self, architecture: str) -> Models:
        """The stacked models of all clients of one architecture, in id order."""
        return self.factory.clients[architecture]

    def client_cohort(self, architecture: str, ids: Sequence[int], rnd: Round) -> Cohort:
        """The clients `ids`, all of one architecture, as a method gets them in a round."""
        return self.factory.client_cohort(architecture, ids, rnd.index, rnd.turn)

    def _channels_last(self) -> bool:
        """Memory format of images: on a CPU, convolutions and pools of a single net are faster with channels last."""
        asked = self.execution.channels_last
        return (self.training.engine != "stacked" and self.device.type == "cpu") if asked is None else asked

    def _round(self, rnd: Round) -> RoundRow:
        clock = Clock(self.device)
        self._channel.open_round()
        self.factory.work.clear()
        participants = self.participants(rnd.index)
        absent = self.absent(rnd.index)
        attacked = self.training.leakage and rnd.index == self.training.rounds - 1
        heard: list[Heard] | None = [] if attacked else None
        exchanges = Exchanges(self.method, self.factory, self._channel, self._met, absent, heard=heard)
        turns = exchanges.turns(participants, rnd)
        parts: Counter[str] = Counter()
        for number, turn in enumerate(turns):
            parts.update(exchanges.run(turn, replace(rnd, turn=number), clock))
        losses = training_losses(self.factory.work, self.data.about.classes)
        with clock.measure("evaluation"):
            scores = self._scores(rnd)
            joined = scores.joined()
            draws = self._draws(rnd.index)
            metrics = scores.metrics(joined, draws, self._met.poisoned) | self._scores_of_unseen(rnd)
        with clock.measure("leakage"):
            start, public = self.federation.start, self.data.public.inputs()
            leaked = {} if heard is None else leaks(heard, self.factory, start, public, rnd.index)
        clusters, groups = self.method.clusters(), self._true_groups()
        per_client = client_rows(
            rnd.index, self.data, self.architectures, clusters, groups, joined, draws, risks=self.training.risks
        )
        traffic = self._channel.traffic
        values: dict[str, float | int | None] = {
            "round": rnd.index,
            "participants": len(participants),
            **fault_counts(self._met, rnd.index, absent, self.factory.work.cut),
            **metrics,
            **{f"loss_{kind}": loss for kind, loss in losses.items()},
            "bytes_up": int(traffic.up.sum()),
            "bytes_down": int(traffic.down.sum()),
            **{
                f"bytes_{direction}_{kind}": traffic.kinds[f"{direction} {kind}"]
                for kind in self._kinds()
                for direction in ("up", "down")
            },
            **{f"steps_{kind}": self.factory.work.steps[kind] for kind in ("local", "distill", "server")},
            **({"steps_aside": aside} if (aside := self.factory.work.steps["aside"]) else {}),
            **cluster_metrics(clusters, groups),
            **leaked,
            **self.method.report(rnd),
            **self.factory.work.noted(),
            **{f"seconds_{name}": clock.seconds[name] for name in ("training", "server", "evaluation")},
            **({} if heard is None else {"seconds_leakage": clock.seconds["leakage"]}),
            "seconds_checkpoint": None,
            **({} if len({turn.name for turn in turns}) == 1 else parts),
        }
        for row in per_client:
            client = int(row["client"])  # type: ignore[arg-type]  # written as an int a few lines below
            row["bytes_up"], row["bytes_down"] = int(traffic.up[client]), int(traffic.down[client])
            row |= self._met.column(client, rnd.index, absent)
        return RoundRow(values, per_client)

    def _kinds(self) -> list[str]:
        """Kinds of payload that the record counts apart: what the method may send, and sizes where they are told."""
        sent = {kind.partition(" ")[2] for kind in self._channel.traffic.kinds}
        return sorted({kind.__name__ for kind in self.method.payloads()} | sent)

    def _scores(self, rnd: Round) -> Scoring:
        method = self.method
        scores = Scoring(self.data, self.execution.threads or 1)
        deployed: dict[str, Deployed] = {}
        for architecture in self.factory.clients:
            ids = self.factory.ids_of(architecture)
            cohort = self.client_cohort(architecture, ids, rnd)
            views = {method.deployed_view: method.deployed(cohort, rnd)}
            deployed[architecture] = views[method.deployed_view]
            if self.training.views == "all":
                views.update(method.views(cohort, rnd))
            scores.add(ids, views, headline=method.deployed_view)
        if self._keeps and rnd.index == self.training.rounds - 1:
            self.kept = keep(deployed, self.factory)
        return scores

    def _data_of_unseen(self, dataset: Dataset, split: Split) -> FederatedData | None:
        """What the clients hold that are kept out of training; None where all take part."""
        if split.unseen is None:
            return None
        return FederatedData(dataset, split.of_unseen(), self.device, self.dtype, channels_last=self._channels_last())

    def _check_unseen_architectures(self) -> None:
        """Refuse newcomers of an architecture that no client in training has: nobody could tell them anything."""
        if self._unseen is None:
            return
        groups = self._unseen.groups
        theirs = assign_architectures(
            self.models,
            self._unseen.clients,
            None if groups is None else groups.open_for_evaluation(),
            self.seeds.partition,
        )
        lacking = sorted(set(theirs) - set(self.factory.architectures))
        if lacking:
            raise ConfigError(
                f"partition.unseen keeps all clients with {', '.join(lacking)} out of training; "
                f"ask for a smaller share, or for fewer architectures in models.names"
            )

    def _scores_of_unseen(self, rnd: Round) -> dict[str, float | int | None]:
        """After the last round, the metrics of the clients that were kept out of training."""
        if self._unseen is None or self._split.unseen is None or rnd.index < self.training.rounds - 1:
            return {}
        after = replace(rnd, index=self.training.rounds)
        ids = self._split.unseen.ids
        return score_unseen(self.method, self._unseen, ids, self.factory, self._channel, after)

    def _sealed(self) -> dict[str, Sealed[Any]]:
        sealed = {"public": self.data.public.labels, "test": self.data.sealed_labels, "groups": self.data.groups}
        return {name: value for name, value in sealed.items() if value is not None}

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

    def _save(self, row: RoundRow) -> None:
        if self._checkpoint is None or self._journal is None:
            return
        state = {
            "made_with": checkpoints.made_with(self.device),
            "clients": {name: models.state_dict() for name, models in self.factory.clients.items()},
            "method": self.method.state_dict(),
            "channel": self._channel.state_dict(),
            "openings": {name: list(value.openings) for name, value in self._sealed().items()},
            **({} if self.kept is None else {"kept": self.kept.state_dict()}),
        }
        self.saving = True
        self._journal.add(row.values, row.clients)
        checkpoints.save(self._checkpoint, {**state, "rounds": asdict(self._journal.mark)})
        self.saving = False

    def _restore(self) -> None:
        if self._checkpoint is None or self._journal is None:
            return
        state = checkpoints.load(self._checkpoint, self.device)
        if state is None or state.get("made_with") != checkpoints.made_with(self.device):
            return  # other code, torch or device: half a run of each would be a run of neither
        mark = Mark.of(state)
        rows = None if mark is None else self._journal.read(mark)
        if rows is None:
            return
        for name, models in self.factory.clients.items():
            models.load_state_dict(state["clients"][name])
        self.method.load_state_dict(state["method"])
        self._channel.load_state_dict(state["channel"])
        sealed = self._sealed()
        for name, openings in state["openings"].items():
            for by in openings:
                sealed[name].open(by)
        self._history = [RoundRow(values, clients) for values, clients in rows]
        self.kept = Kept.of_state(state["kept"]) if "kept" in state and self._keeps else None


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()
