"""What a method trains in a round, as planned: phases, and the steps and passes that they come to over a run."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, comb
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind: TypeAlias = Literal["local", "distill", "server", "aside"]
"""Kinds of steps, as the record counts them in its columns `steps_*`."""
KINDS: tuple[Kind, ...] = get_args(Kind)
"""All of them."""


@dataclass(frozen=True)
class PlannedPhase:
    """One call of `fit` in a round, as a plan counts it: ceil(epochs * samples / batch_size) * repeat * share steps.

    Phases of the kinds `local` and `distill` are those of each participant, `aside` of every client (copies that are
    trained to be scored), `server` of the server.
    """

    kind: Kind
    """What its steps count as in the record."""
    epochs: float
    """Passes over its samples."""
    samples: Literal["private", "public", "both", "pooled", "pooled and public"] | int = "private"
    """What it trains on: the client's own samples, the public pool, both in one set (`Together`); the own samples of
    all clients in one set, or in one of each group, once a round (`Federation.pooled`); or so many samples of another
    set."""
    batches: int | None = None
    """Batches, instead of epochs."""
    repeat: int = 1
    """Steps on each batch."""
    passes: float = 1.0
    """What one of its steps costs, in forward and backward passes of a batch through the net: 2 where an objective runs
    two nets, or one net on two batches. A forward pass alone is about 1/3."""
    models: float = 1
    """Models that do it once a round: the server's, each on all samples, or those of groups on what these pool."""
    share: float = 1.0
    """How often it happens where a draw decides, as a share: its steps are then expected ones."""
    uploaded: bool = False
    """Whether `samples` are those that each participant sends: the server's set is made of all of them."""
    start: int = 0
    """First round in which it happens, from 0."""
    stop: int | None = None
    """First round in which it happens no more; None: it goes on to the end."""
    every: int = 1
    """Rounds from one time to the next."""
    turn: Literal["any", "first", "later", "absent"] = "any"
    """In which of a client's own rounds: all, the first in which it takes part, or those after it; `absent`: in the
    rounds for which it is not drawn, for copies of absent clients that are trained to be scored (`aside`)."""
    own_rounds: bool = False
    """Whether `start`, `stop` and `every` count the rounds in which a client takes part, and not those of the run."""

    @property
    def once(self) -> bool:
        """Whether it happens once a round, and not once for each client."""
        return self.kind == "server" or self.samples in ("pooled", "pooled and public")

    def happens(self, index: int) -> bool:
        """Whether it happens in round `index`."""
        return (
            index >= self.start and (self.stop is None or index < self.stop) and not (index - self.start) % self.every
        )


@dataclass
class PlannedWork:
    """What phases of one kind come to over a run."""

    steps: float = 0.0
    """Gradient evaluations, as the record counts them."""
    passes: float = 0.0
    """What they cost, in forward and backward passes."""


_TURNS = {"any": slice(None), "first": slice(1), "later": slice(1, None)}


def planned_work(
    phases: Sequence[Sequence[PlannedPhase]],
    sizes: Sequence[float],
    drawn: Sequence[Sequence[int]],
    *,
    public: int,
    batch_size: int,
    groups: Sequence[int] | None = None,
    heard: Sequence[Sequence[int]] | None = None,
    deadline: int | None = None,
) -> dict[Kind, PlannedWork]:
    """The work of a run, by kind.

    Args:
        phases: what each client plans (`Plan.phases`). What happens once a round is read from the first client's, but
            for what each participant uploads.
        sizes: private samples of each client; floats are averages, where sizes are not known.
        drawn: the participants of each round who work.
        public: samples of the public pool.
        batch_size: samples of a step.
        groups: the latent group of each client; None: groups are taken to be of one size.
        heard: those whose messages reach the server; `drawn` by default.
        deadline: most steps of a client in a round, or of a model of pooled data, one phase after the other; copies
            (`aside`) and the server have none.

    Returns:
        Steps and passes: what the record will have where sizes are known. With averages, the last step of a phase
        counts as half full.
    """
    work: dict[Kind, PlannedWork] = {kind: PlannedWork() for kind in KINDS}

    left: dict[tuple[str, int, int], float] = {}

    def add(phase: PlannedPhase, samples: float, times: float) -> None:
        count(phase, times * _steps(phase, samples, batch_size))

    def add_until_the_deadline(phase: PlannedPhase, samples: float, who: str, number: int, index: int) -> None:
        wanted = _steps(phase, samples, batch_size)
        if deadline is not None:  # a batch is trained on as often as it is to be, or not at all
            rest = left.get((who, number, index), deadline)
            wanted = min(wanted, rest // phase.repeat * phase.repeat)
            left[who, number, index] = rest - wanted
        count(phase, wanted)

    def count(phase: PlannedPhase, steps: float) -> None:
        work[phase.kind].steps += steps
        work[phase.kind].passes += steps * phase.passes

    rounds_of: list[list[int]] = [[] for _ in sizes]
    for index, present in enumerate(drawn):
        for client in present:
            rounds_of[client].append(index)
    for client, size in enumerate(sizes):
        own = rounds_of[client]
        sets = {"private": size, "public": public, "both": size + public}
        for phase in phases[client]:
            if not phase.once:
                if phase.turn == "absent":
                    rounds: Sequence[int] = sorted(set(range(len(drawn))) - set(own))
                elif phase.own_rounds:
                    rounds = range(len(own))
                else:
                    rounds = range(len(drawn)) if phase.kind == "aside" else own[_TURNS[phase.turn]]
                samples = phase.samples if isinstance(phase.samples, int) else sets[phase.samples]
                happens = filter(phase.happens, rounds)
                if deadline is None or phase.kind == "aside":
                    add(phase, samples, sum(1 for _ in happens))
                    continue
                for index in (own[ordinal] for ordinal in happens) if phase.own_rounds else happens:
                    add_until_the_deadline(phase, samples, "client", client, index)
    for place, phase in enumerate(phases[0]):
        for index, present in enumerate(drawn if heard is None else heard):
            if not phase.once or not phase.happens(index):
                continue
            if phase.uploaded:
                add(phase, sum(int(phases[client][place].samples) for client in present), phase.models)
            elif phase.kind == "server":
                add(phase, public if phase.samples == "public" else int(phase.samples), phase.models)
            else:
                for number, pooled in enumerate(_pooled(sizes, phase.models, groups)):
                    more = public if phase.samples == "pooled and public" else 0
                    add_until_the_deadline(phase, pooled + more, "pool", number, index)
    return work


def _pooled(sizes: Sequence[float], models: float, groups: Sequence[int] | None) -> list[float]:
    """Samples that each model of pooled data sees."""
    if models == 1:
        return [sum(sizes)]
    if groups is None:
        return [float(sum(sizes) / models)] * round(models)
    return [sum(size for size, own in zip(sizes, groups, strict=True) if own == group) for group in sorted(set(groups))]


def _steps(phase: PlannedPhase, samples: float, batch_size: int) -> float:
    """Steps of a phase over so many samples; expected ones where a draw decides."""
    return phase.share * phase.repeat * _batches(phase, samples, batch_size)


def _batches(phase: PlannedPhase, samples: float, batch_size: int) -> float:
    """Batches of a phase over so many samples; expected ones where they are an average."""
    if not samples:
        return 0
    if phase.batches is not None:
        return phase.batches
    exact = phase.epochs * samples / batch_size
    if isinstance(samples, int):
        return ceil(exact)
    return max(1.0, exact + 0.5) if exact else 0.0


def parts_met(parts: int, clients: int, participants: int) -> float:
    """Expected number of parts of a federation, as even in size as they can be, that a draw of participants meets."""
    sizes = [clients // parts + (part < clients % parts) for part in range(parts)]
    return sum(1 - comb(clients - size, participants) / comb(clients, participants) for size in sizes)
