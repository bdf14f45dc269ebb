"""What goes wrong in a federation whatever the method: settings, and whom it meets in which round (federation room).

Absent clients, late clients, deadlines, wrong labels, poisoned clients: docs/faults.md has the words and the figures.
Everything is drawn from streams by the client's identity, so that all methods of a comparison meet the same faults, and
a larger share meets the clients of a smaller one, and more. Nothing here trains, or knows what a message holds: that is
in `poisoning`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.lazy import np
from fl_bench.streams import numpy_stream

from ..datasets.rounding import ceil_share

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fl_bench.streams import Seeds

    from .payloads import Payload

Place = Literal["before_upload", "after_download"]
"""Where in a round a client goes absent."""

SPOILT = {
    "random-scores": ("Scores", "Labels"),
    "sign-flip": ("Parameters", "Prototypes"),
    "scale": ("Parameters", "Prototypes"),
}
"""The payloads that a kind of poison is about; `label-flip` is about none."""

FACTOR = 10.0
"""How many times too far `scale` goes by default."""


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise ConfigError(f"faults.{name} must be in [0, 1), got {share}")


@dataclass(frozen=True)
class Poison:
    """`faults.poison`: clients that do harm, from the first round in which they take part to the last."""

    kind: Literal["label-flip", "random-scores", "sign-flip", "scale"] = "label-flip"
    """`label-flip`: they train on the class after the true one, (y + 1) mod C. `random-scores`: the predictions that
    they send are drawn at random. `sign-flip`: what they learned since the message that they received is sent with the
    other sign. `scale`: it is sent `factor` times as large."""
    clients: float = 0.0
    """Share of the clients that are poisoned, rounded up, in [0, 1); one client at least stays honest."""
    factor: float = field(default=FACTOR, metadata=LATER)
    """Of `scale`: above 0."""

    def __post_init__(self) -> None:
        _check_share("poison.clients", self.clients)
        if not 0 < self.factor < inf:
            raise ConfigError(f"faults.poison.factor must be above 0 and finite, got {self.factor}")
        if self.factor != FACTOR and self.kind != "scale":
            raise ConfigError(f"faults.poison.factor belongs to kind scale, got factor={self.factor}, kind={self.kind}")


@dataclass(frozen=True)
class Faults:
    """The faults of a federation, the same for all methods of a comparison; none by default."""

    absent: float = field(default=0.0, metadata=LATER)
    """Probability of a client that is drawn for a round to go absent in it, in [0, 1). Not the networks' dropout."""
    absent_at: Literal["before_upload", "after_download", "either"] = field(default="before_upload", metadata=LATER)
    """Where it does. `before_upload`: it has received and trained, and keeps that, but sends nothing. `after_download`:
    it has received, and does nothing more. `either`: one or the other, as likely."""
    late: float = field(default=0.0, metadata=LATER)
    """Share of the clients that join late, rounded up, in [0, 1): each from a round on that is drawn among all but the
    first. Before that it cannot be drawn; one client at least is there from the start."""
    deadline: int | None = field(default=None, metadata=LATER)
    """Most training steps of a client in a round, all of its phases together: who has more to do is cut there, and
    sends what it has. None by default."""
    label_noise: float = field(default=0.0, metadata=LATER)
    """Probability of a private training label to be taken for another class, each as likely, in [0, 1]; drawn once for
    the run. Validation and test labels stay true."""
    poison: Poison = field(default=Poison(), metadata=LATER)
    """Clients that do harm."""

    def __post_init__(self) -> None:
        _check_share("absent", self.absent)
        _check_share("late", self.late)
        if not 0 <= self.label_noise <= 1:
            raise ConfigError(f"faults.label_noise must be in [0, 1], got {self.label_noise}")
        if self.deadline is not None and self.deadline < 1:
            raise ConfigError(f"faults.deadline must be at least 1 step or null, got {self.deadline}")

    def canonical(self) -> Faults:
        """The same faults in one spelling: what belongs to a fault that there is none of is gone."""
        own = self if self.absent else replace(self, absent_at="before_upload")
        return own if own.poison.clients else replace(own, poison=Poison())

    def refused_by(self, sent: Collection[type[Payload]], *, tolerates_absence: bool) -> str | None:
        """Why a method cannot meet these faults, or None when it can.

        Args:
            sent: payload types that it may send; a method that sends nothing has no message to spoil.
            tolerates_absence: whether it goes on where drawn clients go absent.
        """
        if self.absent and not tolerates_absence:
            return (
                f"does not say that it goes on as it should where drawn clients go absent (`tolerates_absence`), and "
                f"faults.absent is {self.absent:g}"
            )
        kind, names = self.poison.kind, sorted(payload.__name__ for payload in sent)
        spoilt = SPOILT.get(kind, ())
        if not self.poison.clients or not spoilt or not names or set(names) & set(spoilt):
            return None
        return (
            f"faults.poison.kind={kind} spoils {' and '.join(spoilt)}, but its clients send {', '.join(names)}; "
            "label-flip is for every method"
        )


class Met:
    """Whom the faults of a run meet, and when.

    Args:
        faults: what goes wrong.
        identities: what names the random streams of each client.
        seeds: of the run; who is absent, late or poisoned belongs to its draws, wrong labels to its partition.
        rounds: rounds of the run.
    """

    def __init__(self, faults: Faults, identities: Sequence[int], seeds: Seeds, rounds: int) -> None:
        self.faults = faults
        self._identities = tuple(identities)
        self._seeds = seeds
        self.joins = [0] * len(self._identities)
        """The first round in which each client is there."""
        for client in self._chosen("late", faults.late):
            drawn = numpy_stream(seeds.draws, "joins", self._identities[client]).random()
            self.joins[client] = 1 + int(drawn * max(rounds - 1, 1))
        self.poisoned: frozenset[int] = frozenset(self._chosen("poisoned", faults.poison.clients))
        """The clients that do harm."""

    def there(self, index: int) -> list[int]:
        """The clients that have joined by round `index`, ascending; one at least."""
        return [client for client, first in enumerate(self.joins) if first <= index]

    def absent(self, index: int, drawn: Sequence[int]) -> dict[int, Place]:
        """Who of the drawn clients goes absent in round `index`, and where; the server hears from one at least.

        Where all would, the one stays whose number was the largest.
        """
        if not self.faults.absent:
            return {}
        numbers = {
            client: numpy_stream(self._seeds.draws, "absent", self._identities[client], index).random(2)
            for client in drawn
        }
        away = [client for client in drawn if numbers[client][0] < self.faults.absent]
        if len(away) == len(drawn):
            away.remove(max(away, key=lambda client: float(numbers[client][0])))
        return {client: self._place(numbers[client][1]) for client in away}

    def labels(self, client: int, labels: np.ndarray, classes: int) -> np.ndarray:
        """What a client takes its training labels for.

        Args:
            client: whose.
            labels: the true ones, in the order of its samples, shape (samples,).
            classes: number of classes C, 2 at least.
        """
        if self.faults.label_noise:
            stream = numpy_stream(self._seeds.partition, "label noise", self._identities[client])
            wrong = stream.random(len(labels)) < self.faults.label_noise
            labels = np.where(wrong, (labels + stream.integers(1, classes, len(labels))) % classes, labels)
        flipped = client in self.poisoned and self.faults.poison.kind == "label-flip"
        return (labels + 1) % classes if flipped else labels

    @property
    def changes_labels(self) -> bool:
        """Whether any client takes its labels for others."""
        return self.faults.label_noise > 0 or (self.faults.poison.kind == "label-flip" and bool(self.poisoned))

    @property
    def changes_messages(self) -> bool:
        """Whether any client sends something else than it should."""
        return self.faults.poison.kind != "label-flip" and bool(self.poisoned)

    def column(self, client: int, index: int, absent: Mapping[int, Place]) -> dict[str, int | str | None]:
        """What the record says of a client in round `index`, where there are such faults.

        Args:
            client: which.
            index: the round, from 0.
            absent: who of those drawn goes absent in it, and where.
        """
        return {
            **({"absent": absent.get(client)} if self.faults.absent else {}),
            **({"joined": int(self.joins[client] <= index)} if self.faults.late else {}),
            **({"poisoned": int(client in self.poisoned)} if self.poisoned else {}),
        }

    def stream(self, client: int, index: int, turn: int) -> np.random.Generator:
        """Random numbers of what a poisoned client sends in one exchange."""
        return numpy_stream(self._seeds.draws, "random scores", self._identities[client], index, turn)

    def _place(self, number: float) -> Place:
        if self.faults.absent_at == "either":
            return "before_upload" if number < 0.5 else "after_download"
        return self.faults.absent_at

    def _chosen(self, purpose: str, share: float) -> list[int]:
        """The clients that a share of them is, rounded up, but not all: those who draw the smallest numbers."""
        count = min(ceil_share(share, len(self._identities)), len(self._identities) - 1)
        numbers = [numpy_stream(self._seeds.draws, purpose, identity).random() for identity in self._identities]
        return sorted(range(len(numbers)), key=numbers.__getitem__)[:count]
