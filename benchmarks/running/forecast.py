"""What a cell would send and do (benchmarks room): bytes and steps in closed form, from the plan of its method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING

from ...datasets.catalogue import dataset_info
from ...federation.codecs import Codec
from ...federation.faults import Faults, Met
from ...federation.models import NetBytes
from ...federation.rounds import drawn_clients
from ...methods.base import Facts, Plan
from ...methods.planning import KINDS, PlannedWork, planned_work

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.streams import Seeds

    from ...methods.planning import Kind
    from ..grid.cell import Cell

PLANNED_ROUNDS = 2000
"""Rounds whose draws are made and counted one by one; what a longer run does beyond is taken from these."""

RUN_SECONDS, ROUND_SECONDS = 0.3, 0.1
"""What takes time beside training steps: loading, dealing and building nets once; scoring and checkpoints every round.

Of the median run in results/offline it was 0.04 s and 0.02 to 0.1 s, without the loading of data, which takes 0.2 s.
"""

NOMINAL = NetBytes(weights=4000, trainable=4000, head=400, features=10, norms=0, factors=4000)
"""A net that stands for one that is not built."""


def fixed_seconds(rounds: int) -> float:
    """What a run of so many rounds takes on a CPU beside its training steps, however few these are."""
    return RUN_SECONDS + ROUND_SECONDS * rounds


@dataclass(frozen=True)
class Forecast:
    """What a run of a cell would send and do, in closed form."""

    up_bytes: int
    """Bytes that a client sends per round, a mean over architectures."""
    down_bytes: int
    """Bytes that it receives."""
    work: dict[Kind, PlannedWork]
    """Steps and passes of the whole run, by kind."""
    steps: str
    """How these are meant, as in `Plan.steps`."""
    sent: bool
    """Whether the method has a plan of its bytes."""


def forecast(cell: Cell, weigh: Callable[[str], NetBytes] | None = None) -> Forecast | None:
    """The closed forms of a cell on data of known size, clients being of average size; None where it is not known.

    Args:
        cell: what would run.
        weigh: what a net of it weighs, by name. Without, the bytes mean nothing, and the work is the same.
    """
    info, training, clients = dataset_info(cell.dataset.location), cell.training, cell.split.seen
    if info.shape is None or info.classes is None or info.train is None:
        return None
    public = cell.split.public_rows(info.train, info.classes)
    number_bytes = 8 if training.precision == "float64" else 4
    rounds = min(training.rounds, PLANNED_ROUNDS)
    drawn, heard = _draws(clients, training.participation, cell.repetition.seeds, cell.faults, rounds)

    weighed = weigh or (lambda _: NOMINAL)
    groups = getattr(cell.scheme, "groups", None) if cell.scheme.expected_in_group_share() is not None else None
    used, method = cell.models.used, cell.build_method()
    plans = [
        method.plan(
            Facts(
                public=public,
                classes=info.classes,
                net=weighed(name),
                server=weighed(cell.models.server_name),
                clients=clients,
                number_bytes=number_bytes,
                codec=Codec.parse(cell.codec),
                local_epochs=training.local_epochs,
                participants=len(drawn_clients(clients, training.participation, cell.repetition.seeds.draws, 0)),
                groups=groups,
                architectures=len(used),
                all_views=training.views == "all",
            )
        )
        for name in used
    ]
    known = [plan or Plan() for plan in plans]
    phases = [plan.phases(training.local_epochs) for plan in known]
    size = cell.split.private_rows(info.train) * (1 - cell.split.val_fraction) / cell.split.clients
    whole, half = (
        planned_work(
            [phases[client % len(phases)] for client in range(clients)],
            [size] * clients,
            drawn[:part],
            public=public,
            batch_size=training.batch_size,
            heard=heard[:part],
            deadline=cell.faults.deadline,
        )
        for part in (rounds, rounds // 2)
    )
    work = {kind: _continued(whole[kind], half[kind], rounds, training.rounds) for kind in KINDS}
    up, down = fmean(plan.up_bytes for plan in known), fmean(plan.down_bytes for plan in known)
    return Forecast(round(up), round(down), work, known[0].steps, None not in plans)


def _continued(whole: PlannedWork, half: PlannedWork, rounds: int, wanted: int) -> PlannedWork:
    """The work of `wanted` rounds, of which so many are planned: all others are like those in their second half."""
    times = (wanted - rounds) / max(rounds - rounds // 2, 1)
    steps, passes = whole.steps - half.steps, whole.passes - half.passes
    return PlannedWork(whole.steps + times * steps, whole.passes + times * passes)


@lru_cache(maxsize=64)
def _draws(
    clients: int, participation: float, seeds: Seeds, faults: Faults, rounds: int
) -> tuple[tuple[list[int], ...], tuple[list[int], ...]]:
    """Who works in each round, and whose messages reach the server: all that are drawn, but for faults."""
    met = Met(faults, range(clients), seeds, rounds)
    if participation == 1 and not (faults.absent or faults.late):
        everyone = (list(range(clients)),) * rounds  # one list for all
        return everyone, everyone
    working, heard = [], []
    for index in range(rounds):
        there = met.there(index)
        drawn = [there[place] for place in drawn_clients(len(there), participation, seeds.draws, index)]
        absent = met.absent(index, drawn)
        working.append([client for client in drawn if absent.get(client) != "after_download"])
        heard.append([client for client in drawn if client not in absent])
    return tuple(working), tuple(heard)
